//! A frame: one batch on disk. Length, CRC-32, a head in JSON, then the entries as they would be
//! pushed, in a snappy block.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::logs::checkpoint::{FileState, Mark};

/// A batch is a megabyte before compression; what claims to be far longer is damage.
const LONGEST: u32 = 16 * 1024 * 1024;

/// What can be told of a batch without reading its entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::logs) struct FrameHead {
    /// The stream's labels as the push API takes them.
    pub labels: String,
    pub entries: u64,
    /// Times of the oldest and the newest entry, nanoseconds since 1970.
    pub oldest: i64,
    pub newest: i64,
    /// Meant for the backfill stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// How far its files are done with it, for its route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilePosition>,
}

/// A file as the checkpoint knows it, and the position in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::logs) struct FilePosition {
    pub file: FileState,
    pub mark: Mark,
}

/// See the module.
#[derive(Debug)]
pub(in crate::logs) struct Frame {
    pub head: FrameHead,
    body: Vec<u8>,
}

/// What stands at a place in a segment.
#[derive(Debug)]
pub(super) enum Found {
    /// A frame, and how many bytes it takes.
    Frame(Box<Frame>, u64),
    /// Nothing more.
    End,
    /// Bytes that are no whole frame: torn by a crash, still being written, or damaged.
    Torn,
}

impl Frame {
    /// The frame as it is written.
    pub(super) fn encode(head: &FrameHead, entries: &[u8]) -> io::Result<Vec<u8>> {
        let head = serde_json::to_vec(head)?;
        let body = snap::raw::Encoder::new().compress_vec(entries).map_err(io::Error::other)?;
        let size = |size: usize| u32::try_from(size).map_err(io::Error::other);
        let length = size(4 + head.len() + body.len())?;
        let mut out = Vec::with_capacity(8 + length as usize);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&size(head.len())?.to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&body);
        let crc = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        Ok(out)
    }

    /// The frame that `from` begins with.
    ///
    /// # Errors
    /// When reading fails, not for what was read.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Found> {
        let mut lead = [0; 8];
        match fill(from, &mut lead)? {
            0 => return Ok(Found::End),
            8 => {}
            _ => return Ok(Found::Torn),
        }
        let number = |bytes: &[u8]| bytes.try_into().map_or(u32::MAX, u32::from_le_bytes);
        let (length, crc) = (number(&lead[..4]), number(&lead[4..]));
        if !(4..=LONGEST).contains(&length) {
            return Ok(Found::Torn);
        }
        let mut bytes = vec![0; length as usize];
        if fill(from, &mut bytes)? < bytes.len() || crc32fast::hash(&bytes) != crc {
            return Ok(Found::Torn);
        }
        let head_end = number(&bytes[..4]) as usize + 4;
        let head = bytes.get(4..head_end).and_then(|head| serde_json::from_slice(head).ok());
        let Some(head) = head else { return Ok(Found::Torn) };
        let body = bytes.split_off(head_end);
        Ok(Found::Frame(Box::new(Self { head, body }), 8 + u64::from(length)))
    }

    /// The entries as they stand in a stream message; none when they are damaged.
    pub(in crate::logs) fn entries(&self) -> Option<Vec<u8>> {
        snap::raw::Decoder::new().decompress_vec(&self.body).ok()
    }
}

/// Reads until `bytes` is full or there is no more.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match from.read(&mut bytes[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_or_flip_is_torn() {
        let head = FrameHead {
            labels: "{a=\"b\"}".into(),
            entries: 1,
            oldest: 1,
            newest: 2,
            late: false,
            files: Vec::new(),
        };
        let bytes = Frame::encode(&head, b"entries").unwrap();
        let Found::Frame(frame, size) = Frame::read(&mut &bytes[..]).unwrap() else { panic!() };
        assert_eq!((frame.head.clone(), size), (head, bytes.len() as u64));
        assert_eq!(frame.entries().unwrap(), b"entries");
        assert!(matches!(Frame::read(&mut &b""[..]).unwrap(), Found::End));
        for cut in 1..bytes.len() {
            assert!(matches!(Frame::read(&mut &bytes[..cut]).unwrap(), Found::Torn), "{cut}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            assert!(matches!(Frame::read(&mut &flipped[..]).unwrap(), Found::Torn), "{at}");
        }
    }
}
