//! What a file holds: its bytes as they are, or, of one that rotation has compressed, as they were.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};

use flate2::read::MultiGzDecoder;

/// How gzip's files begin; a log's text never does.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// As many unpacked bytes before the last position are kept: a reader looks back a little.
const BACK: usize = 4096;
/// What is unpacked at once on the way to an offset.
const STEP: usize = 64 * 1024;

/// An open file.
#[derive(Debug)]
pub(super) struct Content {
    file: File,
    unpacked: Option<RefCell<Unpacked>>,
}

#[derive(Debug)]
struct Unpacked {
    decoder: MultiGzDecoder<BufReader<File>>,
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
        let unpacked = packed.then(|| Unpacked::new(&file)).transpose()?.map(RefCell::new);
        Ok(Self { file, unpacked })
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

    /// Reads from `offset` on until `bytes` is full or the content ends.
    ///
    /// # Errors
    /// When the file cannot be read. What is damaged ends there.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(unpacked) = &self.unpacked {
            return unpacked.borrow_mut().read_at(&self.file, bytes, offset);
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

/// What the file system says of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    pub(super) size: u64,
    pub(super) modified: i64,
    pub(super) key: (u64, u64),
}

impl Unpacked {
    fn new(file: &File) -> io::Result<Self> {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let decoder = MultiGzDecoder::new(BufReader::new(file));
        Ok(Self { decoder, at: 0, back: Vec::new(), ended: false })
    }

    fn read_at(&mut self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset + (self.back.len() as u64) < self.at {
            *self = Self::new(file)?;
        }
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
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn what_was_compressed_reads_as_before() {
        let plain: Vec<u8> =
            (0..60_000u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let mut encoder =
            GzEncoder::new(tempfile::tempfile().unwrap(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        let packed = encoder.finish().unwrap();
        let size = packed.metadata().unwrap().len();
        let content = Content::new(packed.try_clone().unwrap()).unwrap();
        assert!(content.is_packed());
        assert_eq!(content.look().unwrap().size, plain.len() as u64);
        let mut bytes = vec![0; 100_000];
        // On, a little back, far on, far back, behind the end.
        for offset in [0, 99_936, 199_000, 400_000, 5, plain.len() - 10, plain.len() + 5] {
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
