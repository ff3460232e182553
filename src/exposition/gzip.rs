//! A gzip member (RFC 1952) made of deflate pieces that were compressed apart: what has not changed
//! since the last page is not compressed again.
//!
//! One member, for several are not read whole by every client: curl stops after the first.

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};

/// Magic number, deflate, no flags, no time, the fastest level, an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// The final block of a deflate stream, without data.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// More room than this is made when a buffer is full.
const ROOM: usize = 4 << 10;

/// Compressed text that can stand anywhere in a member: it refers to nothing before it, nothing after
/// it may refer to it, and it ends with a byte.
pub(super) struct Piece {
    deflate: Box<[u8]>,
    crc: u32,
    /// Bytes of the text.
    pub(super) length: u64,
}

/// Compresses text and strings pieces together.
pub(super) struct Packer {
    compress: Compress,
    deflate: Vec<u8>,
    text: Hasher,
    length: u64,
    /// There is text since the last border.
    begun: bool,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self {
            // A page is text that repeats itself: the dearer levels save little more.
            compress: Compress::new(Compression::fast(), false),
            deflate: Vec::new(),
            text: Hasher::new(),
            length: 0,
            begun: false,
        }
    }

    pub(super) fn write(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        self.text.update(text);
        self.length += text.len() as u64;
        self.begun = true;
        let mut rest = text;
        while !rest.is_empty() {
            let before = self.compress.total_in();
            self.step(rest, FlushCompress::None);
            let taken = usize::try_from(self.compress.total_in() - before).unwrap_or(rest.len());
            rest = &rest[taken..];
        }
    }

    pub(super) fn append(&mut self, piece: &Piece) {
        self.border();
        self.deflate.extend_from_slice(&piece.deflate);
        self.text.combine(&Hasher::new_with_initial_len(piece.crc, piece.length));
        self.length += piece.length;
    }

    pub(super) fn into_piece(mut self) -> Piece {
        self.border();
        Piece {
            deflate: self.deflate.into_boxed_slice(),
            crc: self.text.finalize(),
            length: self.length,
        }
    }

    pub(super) fn into_member(mut self) -> Vec<u8> {
        self.border();
        let mut member = Vec::with_capacity(HEADER.len() + self.deflate.len() + 10);
        member.extend_from_slice(&HEADER);
        member.append(&mut self.deflate);
        member.extend_from_slice(&LAST_BLOCK);
        member.extend_from_slice(&self.text.finalize().to_le_bytes());
        // As the format has it: the length modulo 2^32.
        member.extend_from_slice(&(self.length as u32).to_le_bytes());
        member
    }

    /// Nothing after it refers to what is before it.
    fn border(&mut self) {
        if std::mem::take(&mut self.begun) {
            // It is complete when it did not need all the room that it was given.
            while !self.step(&[], FlushCompress::Full) {}
        }
    }

    /// Returns whether there is room left.
    fn step(&mut self, text: &[u8], flush: FlushCompress) -> bool {
        self.deflate.reserve(ROOM);
        // Compressing to memory cannot fail.
        let _ = self.compress.compress_vec(text, &mut self.deflate, flush);
        self.deflate.len() < self.deflate.capacity()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn unpacked(member: &[u8]) -> String {
        let mut text = String::new();
        let mut decoder = GzDecoder::new(member);
        decoder.read_to_string(&mut text).expect("a whole member, its sum and its length right");
        assert!(decoder.into_inner().is_empty(), "bytes after the member");
        text
    }

    /// The same words on both sides of a border tempt the compressor to refer across it.
    #[test]
    fn pieces_and_text_stand_in_any_order() {
        let words = |of: &str| format!("{of} which repeats itself\n").repeat(5000);
        let piece = |text: &str| {
            let mut packer = Packer::new();
            packer.write(text.as_bytes());
            packer.into_piece()
        };
        let (a, b) = (piece(&words("a")), piece(&words("b")));
        let mut packer = Packer::new();
        packer.write(words("live").as_bytes());
        packer.append(&a);
        packer.write(words("live").as_bytes());
        packer.append(&b);
        packer.append(&a);
        packer.append(&piece(""));
        packer.write(b"end\n");
        let (live, a, b) = (words("live"), words("a"), words("b"));
        assert_eq!(unpacked(&packer.into_member()), format!("{live}{a}{live}{b}{a}end\n"));
    }

    #[test]
    fn nothing_is_a_member_too() {
        assert_eq!(unpacked(&Packer::new().into_member()), "");
    }

    /// What compresses badly fills buffers.
    #[test]
    fn noise() {
        let mut state = 1u64;
        let mut noise = String::new();
        for _ in 0..300_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.push(char::from((state >> 57) as u8));
        }
        let mut packer = Packer::new();
        for chunk in noise.as_bytes().chunks(70_001) {
            packer.write(chunk);
        }
        assert_eq!(unpacked(&packer.into_member()), noise);
    }
}
