//! Bytes to lines: bounded in memory whatever the file holds, and where each line stands.

use std::ops::Range;

use super::identity::{TAIL, Tail};
use crate::logs::format::{BEGINNING_BYTES, LINE_BYTES};
use crate::logs::redact::first_sign;

/// What one read asks for.
const CHUNK: usize = 256 * 1024;

/// So many bytes stay here with the present line: behind them records begin that wait for further lines,
/// and the tail before each is asked for.
const BACK: usize = 8 * 1024;

/// Splits a file's bytes into lines. NUL bytes are no text: a run of them (a sparse hole, what a
/// crash leaves) ends a line and is skipped.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Up to `end`: some bytes before `start` for the tail's hash, then what is not consumed yet. Behind
    /// it is room for the next read.
    bytes: Vec<u8>,
    end: usize,
    /// Where the present line starts in `bytes`.
    start: usize,
    /// Where the search for its end goes on.
    searched: usize,
    /// The file's offset of `start`.
    offset: u64,
    /// Bytes of the present line that were skipped: they stand behind its beginning.
    skipped: u64,
    /// The bytes before this offset are not all here.
    broken: u64,
    /// From the present line up to this offset no credential has a sign: whole blocks are searched, for
    /// each search has its price, and a line is short.
    clean: u64,
}

/// A line without its end. Of one that is too long the middle is missing, and counts in its range.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub bytes: &'a [u8],
    /// With its end.
    pub at: Range<u64>,
    /// It was searched for signs of credentials, and holds none.
    pub clean: bool,
}

impl Lines {
    /// Starts at `offset`, where a line starts. `before` are the bytes before it.
    pub(super) fn new(offset: u64, before: &[u8]) -> Self {
        let before = &before[before.len().saturating_sub(TAIL)..];
        Self {
            bytes: before.to_vec(),
            end: before.len(),
            start: before.len(),
            searched: before.len(),
            offset,
            skipped: 0,
            broken: 0,
            clean: 0,
        }
    }

    /// The offset of the present line: whatever is before it has been given out.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The offset of the next byte to be read.
    pub(super) fn end(&self) -> u64 {
        self.offset + (self.end - self.start) as u64 + self.skipped
    }

    /// The next whole line; none when more bytes are needed.
    pub(super) fn next(&mut self) -> Option<Line<'_>> {
        if self.skipped == 0 && self.searched == self.start {
            let nul = self.held(self.start).iter().take_while(|b| **b == 0).count();
            self.start += nul;
            self.searched = self.start;
            self.offset += nul as u64;
        }
        let found = memchr::memchr2(b'\n', 0, self.held(self.searched))?;
        let end = self.shorten(self.searched + found);
        // A NUL ends the line but is no part of it.
        let next = end + usize::from(self.bytes[end] == b'\n');
        let from = self.start;
        let at = self.offset..self.offset + (next - self.start) as u64 + self.skipped;
        let clean = self.skipped == 0 && self.is_clean(at.end);
        if self.skipped > 0 {
            self.broken = at.end;
        }
        self.offset = at.end;
        self.start = next;
        self.searched = next;
        self.skipped = 0;
        Some(Line { bytes: &self.bytes[from..end], at, clean })
    }

    /// Whether the present line, which ends there, holds no sign of a credential.
    fn is_clean(&mut self, end: u64) -> bool {
        if self.clean < end {
            let rest = self.held(self.start);
            self.clean = self.offset + first_sign(rest).unwrap_or(rest.len()) as u64;
        }
        self.clean >= end
    }

    /// Takes the middle out of the present line, which reaches up to `end`, where it is too long.
    fn shorten(&mut self, end: usize) -> usize {
        let excess = (end - self.start).saturating_sub(LINE_BYTES);
        if excess > 0 {
            let from = self.start + BEGINNING_BYTES;
            self.bytes.copy_within(from + excess..self.end, from);
            self.end -= excess;
            self.skipped += excess as u64;
        }
        end - excess
    }

    /// What stands behind the last line end, as if it ended there: the rest of a finished file.
    pub(super) fn rest(&mut self) -> Option<Line<'_>> {
        if self.end == self.start {
            return None;
        }
        self.shorten(self.end);
        let from = self.start;
        let at = self.offset..self.end();
        if self.skipped > 0 {
            self.broken = at.end;
        }
        self.offset = at.end;
        self.start = self.end;
        self.searched = self.start;
        self.skipped = 0;
        Some(Line { bytes: self.held(from), at, clean: false })
    }

    /// Lets `read` fill bytes from the file's offset that it is given: up to 64 known bytes first,
    /// then new ones. Returns how many new ones came, or none where the known ones have changed, or
    /// `read` says so: then the file has been written anew.
    pub(super) fn fill<E>(
        &mut self,
        read: impl FnOnce(&mut [u8], u64) -> Result<Option<usize>, E>,
    ) -> Result<Option<usize>, E> {
        self.make_room();
        let end = self.end();
        // Behind a gap of skipped bytes the known ones are those of the line's end.
        let known = TAIL.min(self.end - self.floor());
        let mut before = [0; TAIL];
        let old = self.end - known;
        before[..known].copy_from_slice(self.held(old));
        let got = read(self.room(old), end - known as u64)?;
        let new = got.and_then(|got| got.checked_sub(known));
        let Some(new) = new.filter(|_| *self.held(old) == before[..known]) else {
            self.bytes[old..self.end].copy_from_slice(&before[..known]);
            return Ok(None);
        };
        self.end += new;
        Ok(Some(new))
    }

    /// Takes in what comes next in a stream that cannot be read twice; returns how much came.
    pub(super) fn extend<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.make_room();
        let got = read(self.room(self.end))?;
        self.end += got;
        Ok(got)
    }

    /// What is here from there on.
    fn held(&self, from: usize) -> &[u8] {
        &self.bytes[from..self.end]
    }

    /// Room for a read, from there on. It is made once: zeros for each read would cost as much as some
    /// of what is read.
    fn room(&mut self, from: usize) -> &mut [u8] {
        let until = self.end + CHUNK;
        if self.bytes.len() < until {
            self.bytes.resize(until, 0);
        }
        &mut self.bytes[from..until]
    }

    /// Where contiguous bytes up to the end begin.
    fn floor(&self) -> usize {
        if self.skipped > 0 { self.start + BEGINNING_BYTES } else { 0 }
    }

    fn make_room(&mut self) {
        // What was consumed goes, but for the tail and what records may go back to.
        let back = BACK.saturating_sub(self.end - self.start);
        self.forget(TAIL + back);
        // Everything here has been searched already, for `next` is asked before more is read.
        self.searched = self.shorten(self.end);
    }

    /// Of what was consumed, so many bytes stay.
    fn forget(&mut self, but: usize) {
        let drop = self.start.saturating_sub(but);
        if drop > 0 {
            self.bytes.copy_within(drop..self.end, 0);
            self.end -= drop;
            self.start -= drop;
            self.searched = self.searched.saturating_sub(drop).max(self.start);
        }
    }

    /// Gives back memory that a quiet file does not need.
    pub(super) fn rest_quietly(&mut self) {
        self.make_room();
        self.forget(TAIL);
        self.bytes.truncate(self.end);
        self.bytes.shrink_to(1024);
    }

    /// The hash of the bytes before `offset`, where they are still here.
    pub(super) fn tail(&self, offset: u64) -> Option<Tail> {
        if (self.skipped > 0 && offset > self.offset) || offset < self.broken {
            return None;
        }
        let base = self.offset - self.start as u64;
        let at = usize::try_from(offset.checked_sub(base)?).ok()?;
        if at > self.end || (at < TAIL && offset > at as u64) {
            return None;
        }
        Some(Tail::of(&self.bytes[..at]))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    /// Reads `content` in pieces of the sizes given, as a growing file would show it.
    fn split(content: &[u8], pieces: &[usize]) -> Vec<(Vec<u8>, Range<u64>)> {
        let mut lines = Lines::new(0, &[]);
        let mut found = Vec::new();
        let mut shown = 0;
        let mut pieces = pieces.iter().cycle();
        loop {
            while let Some(line) = lines.next() {
                found.push((line.bytes.to_vec(), line.at));
                let offset = lines.offset();
                let expected = Tail::of(&content[..usize::try_from(offset).unwrap()]);
                assert!(lines.tail(offset).is_none_or(|tail| tail == expected));
            }
            if shown == content.len() {
                break;
            }
            shown = content.len().min(shown + pieces.next().unwrap());
            let read = |room: &mut [u8], from: u64| {
                let from = usize::try_from(from).unwrap();
                let size = room.len().min(shown - from);
                room[..size].copy_from_slice(&content[from..from + size]);
                Ok::<_, ()>(Some(size))
            };
            let got = lines.fill(read).unwrap();
            assert!(got.is_some(), "unchanged bytes were taken for changed ones");
            assert!(lines.bytes.len() <= LINE_BYTES + CHUNK + 3 * TAIL, "memory is bounded");
            // A read that reached the end of the buffer may leave more to be read.
            shown = usize::try_from(lines.end()).unwrap();
        }
        if let Some(line) = lines.rest() {
            found.push((line.bytes.to_vec(), line.at));
        }
        found
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_bytes_arrive(
            content in "[a-c\n\0]{0,400}",
            pieces in prop::collection::vec(1usize..40, 1..10),
        ) {
            let whole = split(content.as_bytes(), &[1 << 20]);
            prop_assert_eq!(&split(content.as_bytes(), &pieces), &whole);
            let text: Vec<&str> = content.split(['\n', '\0']).filter(|l| !l.is_empty()).collect();
            let full: Vec<String> = whole
                .iter()
                .map(|(bytes, _)| String::from_utf8(bytes.clone()).unwrap())
                .filter(|line| !line.is_empty())
                .collect();
            prop_assert_eq!(full, text);
            for (bytes, at) in whole {
                let from = usize::try_from(at.start).unwrap();
                prop_assert_eq!(&content.as_bytes()[from..from + bytes.len()], &bytes[..]);
            }
        }

        #[test]
        fn a_line_is_clean_where_it_holds_no_sign_itself(
            content in prop::collection::vec("[a\n\0]{0,30}|PASS|word|: ?//|to|ken=|x{900,1100}", 0..60),
            pieces in prop::collection::vec(1usize..60, 1..10),
        ) {
            let content = content.concat();
            let mut content = content.as_bytes();
            let mut lines = Lines::new(0, &[]);
            for piece in pieces.into_iter().cycle() {
                while let Some(line) = lines.next() {
                    prop_assert_eq!(line.clean, first_sign(line.bytes).is_none());
                }
                if content.is_empty() {
                    break;
                }
                lines.extend(|room| content.read(&mut room[..piece])).unwrap();
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory_beyond_the_cap() {
        for size in [LINE_BYTES, LINE_BYTES + 1, LINE_BYTES + 70, 2 * CHUNK - 9, 3 * CHUNK + 7] {
            let line: Vec<u8> = (0..size).map(|at| b'a' + (at % 23) as u8).collect();
            let content = [b"before\n", &line[..], b"\nnext\n"].concat();
            let end = size - (LINE_BYTES - BEGINNING_BYTES);
            let kept = [&line[..BEGINNING_BYTES], &line[end..]].concat();
            for pieces in [&[1 << 20][..], &[100_000], &[65_537, 3], &[262_144, 1]] {
                let found = split(&content, pieces);
                assert_eq!(found.len(), 3);
                // Of a line that is just short enough nothing is missing.
                assert!(found[1].0 == kept, "{size} in {pieces:?}: {}", found[1].0.len());
                assert_eq!(found[1].1, 7..content.len() as u64 - 5);
                assert_eq!((&found[2].0[..], found[2].1.start), (&b"next"[..], found[1].1.end));
                // Without its newline it is the same line.
                let found = split(&content[..content.len() - 6], pieces);
                assert!(found[1].0 == kept, "{size} in {pieces:?}");
            }
        }
    }

    #[test]
    fn no_hash_is_taken_across_what_is_missing() {
        let mut lines = Lines::new(0, &[]);
        let content = [&[b'a'; 99][..], b"\n", &[b'b'; LINE_BYTES + 50], b"\nnext\n"].concat();
        for part in content.chunks(CHUNK) {
            let fill = |room: &mut [u8]| {
                room[..part.len()].copy_from_slice(part);
                Ok::<_, ()>(part.len())
            };
            lines.extend(fill).unwrap();
            while lines.next().is_some() {
                for offset in [100, lines.offset()] {
                    let expected = Tail::of(&content[..usize::try_from(offset).unwrap()]);
                    assert!(lines.tail(offset).is_none_or(|tail| tail == expected), "{offset}");
                }
            }
        }
        assert_eq!(lines.tail(100), None, "a long line stands between");
    }

    #[test]
    fn a_hole_is_skipped() {
        let mut content = b"half".to_vec();
        content.resize(5 * CHUNK, 0);
        content.extend_from_slice(b"whole\n");
        let found = split(&content, &[200_000]);
        assert_eq!(found.len(), 2);
        assert_eq!((&found[0].0[..], found[0].1.clone()), (&b"half"[..], 0..4));
        assert_eq!(&found[1].0[..], b"whole");
        assert_eq!(found[1].1.end, content.len() as u64);
    }

    #[test]
    fn changed_bytes_are_seen() {
        let mut lines = Lines::new(0, &[]);
        let show = |content: &'static [u8]| {
            move |room: &mut [u8], from: u64| {
                let from = usize::try_from(from).unwrap().min(content.len());
                let size = room.len().min(content.len() - from);
                room[..size].copy_from_slice(&content[from..from + size]);
                Ok::<_, ()>(Some(size))
            }
        };
        assert_eq!(lines.fill(show(b"one\ntwo\n")), Ok(Some(8)));
        while lines.next().is_some() {}
        assert_eq!(lines.fill(show(b"one\ntwo\nthree\n")), Ok(Some(6)));
        // Written anew, to the same length and more.
        assert_eq!(lines.fill(show(b"ONE\nTWO\nTHREE\nFOUR\n")), Ok(None));
        assert_eq!(lines.fill(show(b"short")), Ok(None));
    }
}
