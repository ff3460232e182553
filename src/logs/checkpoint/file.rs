//! The checkpoint's file: written beside, synced, renamed; the generation before it is kept.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use super::State;

const NAME: &str = "checkpoint.json";
const PREVIOUS: &str = "checkpoint.previous.json";
const NEW: &str = "checkpoint.new.json";

/// The first word of the first line; a later format has a later number.
const FORMAT: &str = "pgvigil-checkpoint-1";

/// Where a state came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) enum Loaded {
    /// There was none: a first start.
    Fresh,
    Current,
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
    let new = directory.join(NEW);
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    let (current, previous) = (directory.join(NAME), directory.join(PREVIOUS));
    // The old generation gets a second name before the new one takes its place, so that at every
    // moment a whole one has its name.
    match fs::remove_file(&previous) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    match fs::hard_link(&current, &previous) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        // Some file systems have no links: there the previous generation is a copy.
        Err(_) => {
            fs::copy(&current, &previous)?;
        }
        Ok(()) => {}
    }
    fs::rename(&new, &current)?;
    File::open(directory)?.sync_all()
}

/// The newest whole generation.
///
/// # Errors
/// Only where a file is there and cannot be read: that is no damage but a wrong permission.
pub(super) fn load(directory: &Path) -> io::Result<(State, Loaded)> {
    let mut damaged = false;
    for (name, loaded) in [(NAME, Loaded::Current), (PREVIOUS, Loaded::Previous)] {
        match fs::read(directory.join(name)) {
            Ok(bytes) => match decode(&bytes) {
                Some(state) => return Ok((state, loaded)),
                None => damaged = true,
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok((State::default(), if damaged { Loaded::Damaged } else { Loaded::Fresh }))
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
        let state = |name: &str| State { known_sources: vec![name.into()], ..State::default() };
        for name in ["one", "two"] {
            let mut bytes = b"as it was".to_vec();
            encode(&state(name), &mut bytes).unwrap();
            write(path, &bytes).unwrap();
        }
        assert_eq!(load(path).unwrap(), (state("two"), Loaded::Current));
        // Each kind of damage that a lost block makes: the generation before serves.
        let whole = fs::read(path.join(NAME)).unwrap();
        let nul = vec![0; whole.len()];
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damage in [&b""[..], &whole[..whole.len() - 3], &nul, &flipped] {
            fs::write(path.join(NAME), damage).unwrap();
            assert_eq!(load(path).unwrap(), (state("one"), Loaded::Previous));
        }
        fs::remove_file(path.join(NAME)).unwrap();
        assert_eq!(load(path).unwrap(), (state("one"), Loaded::Previous));
        fs::write(path.join(PREVIOUS), "{").unwrap();
        assert_eq!(load(path).unwrap(), (State::default(), Loaded::Damaged));
    }
}
