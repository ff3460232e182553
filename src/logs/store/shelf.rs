//! A shelf: the segments of one route, or of one spool, in one directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::frame::{Found, Frame, FrameHead};

const EXTENSION: &str = "segment";

/// A segment is closed when it is this old, so that what is kept by age goes in pieces.
const LONGEST_SPAN: Duration = Duration::from_secs(6 * 3600);

/// A segment as its directory shows it.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

/// See the module.
#[derive(Debug)]
pub(in crate::logs) struct Shelf {
    directory: PathBuf,
    /// Of its files; its directory gets the matching one.
    mode: u32,
    segment_bytes: u64,
    span: Duration,
    open: Option<OpenSegment>,
    next: u64,
}

#[derive(Debug)]
struct OpenSegment {
    number: u64,
    file: File,
    bytes: u64,
    since: SystemTime,
}

impl Shelf {
    /// Makes the directory if need be, and takes torn ends off its last segment.
    pub(super) fn open(
        directory: PathBuf,
        mode: u32,
        segment_bytes: u64,
        keep: Duration,
    ) -> io::Result<Self> {
        // Who may read the files may list the directory.
        let readable = mode & 0o444;
        let directory_mode = mode | readable >> 2;
        DirBuilder::new().recursive(true).mode(directory_mode).create(&directory)?;
        // A route's rules may have changed: what lies there follows.
        fs::set_permissions(&directory, fs::Permissions::from_mode(directory_mode))?;
        let segments = segments(&directory);
        for segment in &segments {
            fs::set_permissions(&segment.path, fs::Permissions::from_mode(mode))?;
        }
        if let Some(last) = segments.last() {
            let whole = whole_bytes(&last.path)?;
            if whole < last.bytes {
                tracing::warn!(
                    segment = %last.path.display(), bytes = last.bytes - whole,
                    "took a torn end off a segment of the local store"
                );
                OpenOptions::new().write(true).open(&last.path)?.set_len(whole)?;
            }
        }
        Ok(Self {
            directory,
            mode,
            segment_bytes,
            span: LONGEST_SPAN.min(keep / 8),
            open: None,
            next: segments.last().map_or(1, |last| last.number + 1),
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn segments(&self) -> Vec<Segment> {
        segments(&self.directory)
    }

    /// Appends one batch and makes it safe. What fails leaves no trace.
    pub(super) fn append(&mut self, head: &FrameHead, entries: &[u8]) -> io::Result<()> {
        let frame = Frame::encode(head, entries)?;
        let full = self.open.as_ref().is_some_and(|open| {
            open.bytes > 0
                && (open.bytes + frame.len() as u64 > self.segment_bytes
                    || open.since.elapsed().unwrap_or_default() > self.span)
        });
        if full {
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(create(&self.directory, self.next, self.mode)?),
        };
        self.next = open.number + 1;
        let written = open.file.write_all(&frame).and_then(|()| open.file.sync_data());
        if let Err(e) = written {
            // A torn frame would hide those after it.
            let _ = open.file.set_len(open.bytes);
            let _ = open.file.seek(SeekFrom::Start(open.bytes));
            return Err(e);
        }
        open.bytes += frame.len() as u64;
        Ok(())
    }

    /// Takes a segment away, the one being written too. Returns the entries and bytes that go.
    pub(super) fn remove(&mut self, segment: &Segment) -> io::Result<(u64, u64)> {
        let entries = read(&segment.path, 0, |_, _| true).map_or(0, |read| read.entries);
        if self.open.as_ref().is_some_and(|open| open.number == segment.number) {
            self.open = None;
        }
        fs::remove_file(&segment.path)?;
        Ok((entries, segment.bytes))
    }

    /// The number of the segment that is being written.
    pub(super) fn writing(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.number)
    }
}

fn create(directory: &Path, number: u64, mode: u32) -> io::Result<OpenSegment> {
    let path = directory.join(format!("{number:016}.{EXTENSION}"));
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
    // The mask of the process has no say in who may read a route.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    File::open(directory)?.sync_all()?;
    Ok(OpenSegment { number, file, bytes: 0, since: SystemTime::now() })
}

/// The segments of a directory in the order of their numbers.
pub(super) fn segments(directory: &Path) -> Vec<Segment> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<Segment> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let path = entry.path();
            if path.extension()? != EXTENSION {
                return None;
            }
            let number = path.file_stem()?.to_str()?.parse().ok()?;
            let meta = entry.metadata().ok()?;
            let modified = meta.modified().ok()?;
            Some(Segment { number, path, bytes: meta.len(), modified })
        })
        .collect();
    found.sort_by_key(|segment| segment.number);
    found
}

/// What a reading of a segment came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Where the last whole frame that was taken ends.
    pub(super) end: u64,
    /// The entries of the frames that were taken.
    pub(super) entries: u64,
    /// What follows is no whole frame.
    pub(super) torn: bool,
}

/// Gives the frames of a segment from `offset` on, with where each ends, as long as `take` says true.
pub(super) fn read(
    path: &Path,
    offset: u64,
    mut take: impl FnMut(Frame, u64) -> bool,
) -> io::Result<Read> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut from = BufReader::with_capacity(64 * 1024, file);
    let mut read = Read { end: offset, ..Read::default() };
    loop {
        match Frame::read(&mut from)? {
            Found::Frame(frame, size) => {
                let entries = frame.head.entries;
                if !take(*frame, read.end + size) {
                    return Ok(read);
                }
                read.end += size;
                read.entries += entries;
            }
            Found::End => return Ok(read),
            Found::Torn => {
                read.torn = true;
                return Ok(read);
            }
        }
    }
}

fn whole_bytes(path: &Path) -> io::Result<u64> {
    Ok(read(path, 0, |_, _| true)?.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(entries: u64) -> FrameHead {
        FrameHead {
            labels: "{}".into(),
            entries,
            oldest: 0,
            newest: 0,
            late: false,
            files: Vec::new(),
        }
    }

    fn count(shelf: &Shelf) -> u64 {
        let counts = shelf
            .segments()
            .into_iter()
            .map(|segment| read(&segment.path, 0, |_, _| true).unwrap().entries);
        counts.sum()
    }

    #[test]
    fn segments_are_closed_and_torn_ends_taken_off() {
        let directory = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(86_400);
        let path = directory.path().join("admin");
        let mut shelf = Shelf::open(path.clone(), 0o640, 300, day).unwrap();
        for _ in 0..6 {
            shelf.append(&head(2), b"entries").unwrap();
        }
        let segments = shelf.segments();
        assert!(segments.len() > 1 && count(&shelf) == 12);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&segments[0].path), mode(&path)), (0o640, 0o750));
        // A crash in the middle of a frame.
        drop(shelf);
        let last = segments.last().unwrap();
        let mut file = OpenOptions::new().append(true).open(&last.path).unwrap();
        file.write_all(&Frame::encode(&head(1), b"torn").unwrap()[..20]).unwrap();
        let mut shelf = Shelf::open(path.clone(), 0o600, 300, day).unwrap();
        assert_eq!(fs::metadata(&last.path).unwrap().len(), last.bytes);
        assert_eq!((mode(&last.path), mode(&path)), (0o600, 0o700));
        shelf.append(&head(2), b"entries").unwrap();
        assert_eq!(count(&shelf), 14);
        let first = shelf.segments().remove(0);
        let (entries, bytes) = shelf.remove(&first).unwrap();
        assert!(bytes == first.bytes && count(&shelf) == 14 - entries);
    }
}
