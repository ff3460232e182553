//! The checkpoint's two files: the newest generation and the one before it. A new one is written over the
//! older, synced, and then the two change names; so one is whole at every moment. As they are there already
//! and seldom change their size, a save costs the disk one write. Which is the newer each tells by itself,
//! for a power failure may undo the change of names.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::State;

const NAME: &str = "checkpoint.json";
const PREVIOUS: &str = "checkpoint.previous.json";
const ASIDE: &str = "checkpoint.aside.json";

/// Blanks fill a file up to a multiple of it.
const SIZE: usize = 1024;

/// The first word of the first line; a later format has a later number.
const FORMAT: &str = "pgvigil-checkpoint-1";

/// Where a state came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) enum Loaded {
    /// There was none: a first start.
    Fresh,
    Current,
    /// The newest generation has the older one's name.
    Swapped,
    /// The newest generation was damaged or missing.
    Previous,
    /// Both generations were damaged.
    Damaged,
    /// There was one, as the lock says, and none is left.
    Gone,
}

/// A line with the format and the CRC-32 of the rest, then the state in JSON; in place of what `out` held.
pub(super) fn encode(state: &State, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let line = |crc: u32| format!("{FORMAT} {crc:08x}\n").into_bytes();
    out.clear();
    // The line's place is kept: of thousands of files the state is some megabytes, and here once.
    out.extend_from_slice(&line(0));
    let body = out.len();
    serde_json::to_writer(&mut *out, state)?;
    out.resize((out.len() + 1).next_multiple_of(SIZE) - 1, b' ');
    let line = line(crc32fast::hash(&out[body..]));
    out[..body].copy_from_slice(&line);
    out.push(b'\n');
    Ok(())
}

fn decode(bytes: &[u8]) -> Option<State> {
    let line = memchr::memchr(b'\n', bytes)?;
    let crc = std::str::from_utf8(&bytes[..line]).ok()?.strip_prefix(FORMAT)?.trim();
    let body = bytes[line + 1..].strip_suffix(b"\n")?;
    if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(body) {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// Puts `bytes` in place of the checkpoint in `directory`: whole or not at all, also when the power
/// fails.
pub(super) fn write(directory: &Path, bytes: &[u8]) -> io::Result<()> {
    let older = directory.join(PREVIOUS);
    let open = |is_new| File::options().write(true).create_new(is_new).open(&older);
    let (mut file, is_new) = match open(false) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => (open(true)?, true),
        found => (found?, false),
    };
    file.write_all(bytes)?;
    let size = bytes.len() as u64;
    if file.metadata()?.len() > size {
        file.set_len(size)?;
    }
    file.sync_data()?;
    exchange(directory)?;
    // Both names last: afterwards they only change places.
    if is_new { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// Lets the two files change names. Where there is one, or a file system that cannot, one after the other: at
/// every moment the newest generation has one of the names.
pub(super) fn exchange(directory: &Path) -> io::Result<()> {
    let [current, previous, aside] = [NAME, PREVIOUS, ASIDE].map(|name| directory.join(name));
    if renameat_with(CWD, &previous, CWD, &current, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    let both = match fs::rename(&current, &aside) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        moved => moved.map(|()| true)?,
    };
    fs::rename(&previous, &current)?;
    if both { fs::rename(&aside, &previous) } else { Ok(()) }
}

/// The newest whole generation.
///
/// # Errors
/// Only where a file is there and cannot be read: that is no damage but a wrong permission.
pub(super) fn load(directory: &Path) -> io::Result<(State, Loaded)> {
    let mut damaged = false;
    let mut read = |name| match fs::read(directory.join(name)) {
        Ok(bytes) => {
            let state = decode(&bytes);
            damaged |= state.is_none();
            Ok(state)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    };
    Ok(match (read(NAME)?, read(PREVIOUS)?) {
        (Some(current), Some(previous)) if previous.generation > current.generation => {
            (previous, Loaded::Swapped)
        }
        (Some(current), _) => (current, Loaded::Current),
        (None, Some(previous)) => (previous, Loaded::Previous),
        (None, None) => (State::default(), if damaged { Loaded::Damaged } else { Loaded::Fresh }),
    })
}

/// When the current generation was written.
pub(super) fn saved_at(directory: &Path) -> Option<SystemTime> {
    fs::metadata(directory.join(NAME)).and_then(|meta| meta.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_generation_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(load(path).unwrap(), (State::default(), Loaded::Fresh));
        let state = |generation, name: &str| State {
            generation,
            known_sources: vec![name.into()],
            ..State::default()
        };
        let (one, two) = (state(2, "one"), state(3, "two"));
        // The last is shorter than what it is written over.
        for state in [&state(1, &"longer".repeat(SIZE)), &one, &two] {
            let mut bytes = b"as it was".to_vec();
            encode(state, &mut bytes).unwrap();
            write(path, &bytes).unwrap();
            assert_eq!(load(path).unwrap(), (state.clone(), Loaded::Current));
        }
        // As a power failure may leave them.
        exchange(path).unwrap();
        assert_eq!(load(path).unwrap(), (two.clone(), Loaded::Swapped));
        exchange(path).unwrap();
        assert_eq!(load(path).unwrap(), (two, Loaded::Current));
        // Each kind of damage that a lost block makes: the generation before serves.
        let whole = fs::read(path.join(NAME)).unwrap();
        let nul = vec![0; whole.len()];
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damage in [&b""[..], &whole[..whole.len() - 3], &nul, &flipped] {
            fs::write(path.join(NAME), damage).unwrap();
            assert_eq!(load(path).unwrap(), (one.clone(), Loaded::Previous));
        }
        fs::remove_file(path.join(NAME)).unwrap();
        assert_eq!(load(path).unwrap(), (one.clone(), Loaded::Previous));
        fs::write(path.join(PREVIOUS), "{").unwrap();
        assert_eq!(load(path).unwrap(), (State::default(), Loaded::Damaged));
    }
}
