//! What tells one file from another, whatever its name: device, inode, a hash of its head, and a
//! hash of the bytes before the position reached in it.
//!
//! An inode alone is reused, and a file truncated in place keeps it; a head alone is shared by
//! copies. Only together they say "the same bytes, this far".

use std::io;

use serde::{Deserialize, Serialize};

use super::content::Content;

/// As much of a file's start as is hashed.
const HEAD: usize = 1024;
/// As many bytes before a position as are hashed.
pub(super) const TAIL: usize = 64;

/// The hash of a file's first bytes: as many as there were, up to a KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::logs) struct Head {
    length: u16,
    crc: u32,
}

impl Head {
    pub(super) fn of(file: &Content) -> io::Result<Self> {
        Self::first(file, HEAD)
    }

    /// Of at most so many bytes of the file's start.
    pub(super) fn first(file: &Content, most: usize) -> io::Result<Self> {
        let mut bytes = [0; HEAD];
        let read = file.read_at(&mut bytes[..most.min(HEAD)], 0)?;
        Ok(Self::of_bytes(&bytes[..read]))
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        Self { length, crc: crc32fast::hash(bytes) }
    }

    /// Whether the file begins with the bytes that were hashed.
    pub(super) fn fits(self, file: &Content) -> io::Result<bool> {
        Ok(Self::first(file, usize::from(self.length))? == self)
    }

    /// The hash of what the file begins with by now; none where it begins otherwise than before. Of
    /// one look, for the file may be written anew at any time.
    pub(super) fn grown(self, file: &Content) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEAD];
        let read = file.read_at(&mut bytes, 0)?;
        let before = bytes[..read].get(..usize::from(self.length));
        let same = before.is_some_and(|before| Self::of_bytes(before) == self);
        Ok(same.then(|| Self::of_bytes(&bytes[..read])))
    }

    /// So many bytes are hashed.
    pub(in crate::logs) fn length(self) -> usize {
        usize::from(self.length)
    }

    /// Nothing was there to be hashed: it tells nothing from anything.
    pub(in crate::logs) fn is_empty(self) -> bool {
        self.length == 0
    }

    /// It grows no more.
    pub(super) fn is_whole(self) -> bool {
        self.length() == HEAD
    }

    /// Long enough to tell a file from others without their inodes, although it may have grown since: in
    /// each format it holds the time of the first line, to the millisecond, and something behind it.
    pub(in crate::logs) fn is_telling(self) -> bool {
        self.length >= 64
    }

    /// All that a file of this size holds, and not next to nothing.
    pub(in crate::logs) fn is_all_of(self, size: u64) -> bool {
        self.length >= 16 && u64::from(self.length) == size
    }
}

/// The hash of the bytes before an offset, at most 64. Each record has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::logs) struct Tail {
    size: u8,
    sum: u32,
}

impl Tail {
    /// Of bytes that end at the offset; only the last 64 count.
    pub(in crate::logs) fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
        Self { size: u8::try_from(bytes.len()).unwrap_or(0), sum: sum(bytes) }
    }

    /// Of the file's own bytes before `offset`.
    pub(super) fn before(file: &Content, offset: u64) -> io::Result<Self> {
        Self::last(file, offset, TAIL)
    }

    fn last(file: &Content, offset: u64, most: usize) -> io::Result<Self> {
        let mut bytes = [0; TAIL];
        let length = most.min(usize::try_from(offset).unwrap_or(TAIL));
        let read = file.read_at(&mut bytes[..length], offset - length as u64)?;
        Ok(Self::of(&bytes[..read]))
    }

    /// Whether the file has the hashed bytes before `offset`.
    pub(super) fn fits(self, file: &Content, offset: u64) -> io::Result<bool> {
        let most = usize::from(self.size);
        Ok(most as u64 <= offset && Self::last(file, offset, most)? == self)
    }
}

/// A hash by whole words, for a CRC of so few bytes goes through its tables one by one. Any change of one
/// word changes the state for good: each step can be undone.
fn sum(bytes: &[u8]) -> u32 {
    let step = |state: u64, word: [u8; 8]| {
        (state ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    };
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let state = step(words.iter().copied().fold(0, step), last);
    let [a, b, c, d, e, f, g, h] = state.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) ^ u32::from_le_bytes([e, f, g, h])
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    fn plain(file: &File) -> Content {
        Content::new(file.try_clone().unwrap()).unwrap()
    }

    #[test]
    fn a_file_that_grows_stays_the_same() {
        let mut file = tempfile::tempfile().unwrap();
        let empty = Head::of(&plain(&file)).unwrap();
        file.write_all(b"one line\n").unwrap();
        let head = Head::of(&plain(&file)).unwrap();
        let tail = Tail::before(&plain(&file), 9).unwrap();
        file.write_all(&[b'x'; 4000]).unwrap();
        assert!(empty.fits(&plain(&file)).unwrap() && head.fits(&plain(&file)).unwrap());
        assert!(tail.fits(&plain(&file), 9).unwrap());
        let grown = head.grown(&plain(&file)).unwrap().unwrap();
        assert!(grown != head && grown == Head::of(&plain(&file)).unwrap());
    }

    #[test]
    fn other_bytes_are_another_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"the same head, then this\n").unwrap();
        let (head, tail) =
            (Head::of(&plain(&file)).unwrap(), Tail::before(&plain(&file), 25).unwrap());
        let mut other = tempfile::tempfile().unwrap();
        other.write_all(b"the same head, then that\n").unwrap();
        assert!(
            !head.fits(&plain(&other)).unwrap() && head.grown(&plain(&other)).unwrap().is_none()
        );
        assert!(!tail.fits(&plain(&other), 25).unwrap());
        // Shorter than the position: it does not fit either.
        let mut short = tempfile::tempfile().unwrap();
        short.write_all(b"the same").unwrap();
        assert!(!tail.fits(&plain(&short), 25).unwrap());
    }
}
