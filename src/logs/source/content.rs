//! What a file holds: its bytes as they are, or, of one that rotation has compressed, as they were.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};

use flate2::read::MultiGzDecoder;

/// How gzip's files begin; a log's text never does.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// As many unpacked bytes before the last position are kept. A reader looks back: to a record that was
/// open when it read its last chunk, or to where it stands from the end of what a prefix is guessed from.
const BACK: usize = 512 * 1024;
/// As many places of one file are read on at once: routes may stand at several.
const PLACES: usize = 4;
/// What is unpacked at once on the way to an offset.
const STEP: usize = 64 * 1024;

/// An open file.
#[derive(Debug)]
pub(super) struct Content {
    file: File,
    /// Of what is compressed: the places up to which it is unpacked, the one used last at the end.
    unpacked: Option<RefCell<Vec<Unpacked>>>,
}

/// One place up to which a file is unpacked. There is no way back but from the file's beginning.
#[derive(Debug)]
struct Unpacked {
    decoder: MultiGzDecoder<BufReader<Reading>>,
    /// The offset behind `back`.
    at: u64,
    /// The last bytes before `at`.
    back: Vec<u8>,
    /// The file is cut off or damaged here.
    ended: bool,
}

impl Content {
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut magic = [0; 2];
        let packed = file.read_at(&mut magic, 0)? == GZIP.len() && magic == GZIP;
        Ok(Self { file, unpacked: packed.then(RefCell::default) })
    }

    /// Whether it is compressed: then it is whole, and does not change.
    pub(super) fn is_packed(&self) -> bool {
        self.unpacked.is_some()
    }

    /// Its size, modification time in nanoseconds since 1970, device and inode. The size of what is
    /// compressed is the one before, as gzip noted it: modulo 4 GiB.
    ///
    /// # Errors
    /// When the file cannot be looked at.
    pub(super) fn look(&self) -> io::Result<Looks> {
        let meta = self.file.metadata()?;
        let mut size = meta.len();
        if self.is_packed() {
            let mut trailer = [0; 4];
            let read = self.file.read_at(&mut trailer, size.saturating_sub(4))?;
            size = if read == 4 { u32::from_le_bytes(trailer).into() } else { 0 };
        }
        let modified = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Ok(Looks { size, modified, key: (meta.dev(), meta.ino()) })
    }

    /// Gives back the memory of unpacking: the next read begins anew.
    pub(super) fn rest(&self) {
        if let Some(unpacked) = &self.unpacked {
            *unpacked.borrow_mut() = Vec::new();
        }
    }

    /// Reads from `offset` on until `bytes` is full or the content ends.
    ///
    /// # Errors
    /// When the file cannot be read. What is damaged ends there.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(unpacked) = &self.unpacked {
            let mut places = unpacked.borrow_mut();
            let before = |place: &&Unpacked| place.first() <= offset;
            let nearest = places.iter().filter(before).map(|place| place.at).max();
            let known = nearest.and_then(|at| places.iter().position(|place| place.at == at));
            let mut place = match known {
                Some(known) => places.remove(known),
                None => Unpacked::new(&self.file)?,
            };
            let read = place.read_at(bytes, offset);
            places.push(place);
            let excess = places.len().saturating_sub(PLACES);
            places.drain(..excess);
            return read;
        }
        let mut done = 0;
        while done < bytes.len() {
            match self.file.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

/// A file that is read from its start, wherever others of its handles stand.
#[derive(Debug)]
struct Reading {
    file: File,
    at: u64,
}

impl Read for Reading {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// What the file system says of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    pub(super) size: u64,
    pub(super) modified: i64,
    pub(super) key: (u64, u64),
}

impl Unpacked {
    fn new(file: &File) -> io::Result<Self> {
        let decoder =
            MultiGzDecoder::new(BufReader::new(Reading { file: file.try_clone()?, at: 0 }));
        Ok(Self { decoder, at: 0, back: Vec::new(), ended: false })
    }

    /// The first offset from which it can read.
    fn first(&self) -> u64 {
        self.at - self.back.len() as u64
    }

    fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut scratch = vec![0; if offset > self.at { STEP } else { 0 }];
        while offset > self.at {
            let most = STEP.min(usize::try_from(offset - self.at).unwrap_or(STEP));
            if self.unpack(&mut scratch[..most])? == 0 {
                return Ok(0);
            }
        }
        let behind = usize::try_from(self.at - offset).unwrap_or(0);
        let known = &self.back[self.back.len() - behind..];
        let mut done = known.len().min(bytes.len());
        bytes[..done].copy_from_slice(&known[..done]);
        while done < bytes.len() {
            match self.unpack(&mut bytes[done..])? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    /// The next bytes; none at the end.
    fn unpack(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let read = loop {
            match self.decoder.read(bytes) {
                Ok(read) => break read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_damage(&e) => {
                    tracing::warn!(
                        "a compressed log is damaged or cut off, it is read so far: {e}"
                    );
                    self.ended = true;
                    return Ok(0);
                }
                Err(e) => return Err(e),
            }
        };
        self.at += read as u64;
        #[cfg(test)]
        tests::UNPACKED.set(tests::UNPACKED.get() + read as u64);
        self.back.extend_from_slice(&bytes[read.saturating_sub(BACK)..read]);
        let excess = self.back.len().saturating_sub(BACK);
        self.back.drain(..excess);
        Ok(read)
    }
}

fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    thread_local! {
        /// Bytes unpacked so far.
        pub(in super::super) static UNPACKED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// Lines of text, and the file that gzip makes of them.
    fn packed(lines: u32) -> (Vec<u8>, File) {
        let plain: Vec<u8> = (0..lines).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let mut encoder =
            GzEncoder::new(tempfile::tempfile().unwrap(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        (plain, encoder.finish().unwrap())
    }

    #[test]
    fn several_places_are_read_on_without_beginning_anew() {
        let (plain, file) = packed(600_000);
        let content = Content::new(file).unwrap();
        let half = plain.len() / 2;
        let mut bytes = vec![0; 100_000];
        let before = UNPACKED.get();
        for step in 0..half / bytes.len() {
            let at = step * bytes.len();
            // One reads the first half, one the second, and both look back a little.
            for offset in [at, at + half, at.saturating_sub(300_000), (at + half) - 300_000] {
                assert_eq!(content.read_at(&mut bytes, offset as u64).unwrap(), bytes.len());
                assert!(bytes == plain[offset..offset + bytes.len()], "{offset}");
            }
        }
        let passes = (UNPACKED.get() - before) as f64 / plain.len() as f64;
        assert!(passes < 2.1, "{passes}");
        content.rest();
        assert_eq!(content.read_at(&mut bytes[..9], half as u64).unwrap(), 9);
        assert_eq!(bytes[..9], plain[half..half + 9]);
    }

    #[test]
    fn what_was_compressed_reads_as_before() {
        let (plain, packed) = packed(200_000);
        let size = packed.metadata().unwrap().len();
        let content = Content::new(packed.try_clone().unwrap()).unwrap();
        assert!(content.is_packed());
        assert_eq!(content.look().unwrap().size, plain.len() as u64);
        let mut bytes = vec![0; 100_000];
        // On, a little back, far on, far back, behind the end.
        for offset in [0, 99_936, 199_000, 1_400_000, 5, plain.len() - 10, plain.len() + 5] {
            let read = content.read_at(&mut bytes, offset as u64).unwrap();
            let rest = plain.get(offset..).unwrap_or_default();
            assert_eq!(bytes[..read], rest[..rest.len().min(bytes.len())], "{offset}");
        }
        // Cut off: read so far.
        packed.set_len(size / 2).unwrap();
        let content = Content::new(packed).unwrap();
        let read = content.read_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes[..read], plain[..read]);
        assert_eq!(content.read_at(&mut bytes, plain.len() as u64 - 5).unwrap(), 0);
    }
}
