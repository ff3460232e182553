//! All shelves under one bound: what is too old goes, and what is too much goes, oldest first.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::{Gauge, IntCounterVec};

use super::frame::{FilePosition, Frame, FrameHead};
use super::place::Place;
use super::shelf::{self, Segment, Shelf};
use crate::config::Redaction;
use crate::logs::checkpoint::{Checkpoint, State};
use crate::telemetry::Telemetry;

/// The directory of the routes' shelves in the state directory.
pub(super) const STORE: &str = "store";
/// The directory of the spools.
const SPOOL: &str = "spool";

/// How many segments the bound is made of, about: so much goes at once.
const SEGMENTS: u64 = 32;

/// What a route says about its shelf.
#[derive(Clone, Copy, Debug)]
pub(in crate::logs) struct Kept {
    pub keep: Duration,
    pub redact: Redaction,
}

impl Kept {
    /// Who may read the files: what is freed of literals may be read by the agent's group, which is
    /// how developers get at it; the rest is the agent's own.
    fn mode(self) -> u32 {
        match self.redact {
            Redaction::Credentials => 0o600,
            Redaction::Literals => 0o640,
        }
    }
}

/// See the module.
pub(in crate::logs) struct Store {
    root: PathBuf,
    max_bytes: u64,
    /// By their directories below the root, each with its period.
    shelves: Mutex<BTreeMap<String, (Shelf, Duration)>>,
    dropped: IntCounterVec,
    bytes: Gauge,
}

impl Store {
    pub(in crate::logs) fn new(root: &Path, max_bytes: u64, telemetry: &Telemetry) -> Self {
        let dropped = telemetry.counters(
            "pgvigil_log_store_dropped_entries_total",
            "Log entries that left the local store before their time, by what left no room.",
            &["reason"],
        );
        for reason in ["max_bytes", "disk_full", "keep"] {
            dropped.with_label_values(&[reason]).inc_by(0);
        }
        Self {
            root: root.to_owned(),
            max_bytes,
            shelves: Mutex::default(),
            dropped,
            bytes: telemetry.gauge(
                "pgvigil_log_store_bytes",
                "Bytes of the local log store, the spool of standard input included.",
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Shelf, Duration)>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a route's shelf; returns its name.
    pub(in crate::logs) fn open_route(&self, route: &str, kept: Kept) -> io::Result<String> {
        self.open(&format!("{STORE}/{}", directory_name(route)), kept)
    }

    /// Opens the spool of a stream; returns its name.
    pub(in crate::logs) fn open_spool(&self, stream: &str, kept: Kept) -> io::Result<String> {
        let crc = crc32fast::hash(stream.as_bytes());
        self.open(&format!("{SPOOL}/{crc:08x}"), Kept { redact: Redaction::Credentials, ..kept })
    }

    fn open(&self, name: &str, kept: Kept) -> io::Result<String> {
        let segment_bytes = (self.max_bytes / SEGMENTS).clamp(64 * 1024, 32 * 1024 * 1024);
        let shelf = Shelf::open(self.root.join(name), kept.mode(), segment_bytes, kept.keep)?;
        self.lock().insert(name.to_owned(), (shelf, kept.keep));
        self.trim();
        Ok(name.to_owned())
    }

    /// Appends a batch to a shelf. With `make_room`, a full disk costs the oldest segment instead of
    /// the append.
    pub(in crate::logs) fn append(
        &self,
        shelf: &str,
        head: &FrameHead,
        entries: &[u8],
        make_room: bool,
    ) -> io::Result<()> {
        loop {
            let appended = match self.lock().get_mut(shelf) {
                Some((own, _)) => own.append(head, entries),
                None => Err(io::Error::other("the shelf was never opened")),
            };
            match appended {
                Err(e) if make_room && e.kind() == io::ErrorKind::StorageFull => {
                    if !self.drop_oldest("disk_full") {
                        return Err(e);
                    }
                }
                Ok(()) => {
                    self.trim();
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes away what is too old, and the oldest of what is too much.
    pub(in crate::logs) fn trim(&self) {
        {
            let mut shelves = self.lock();
            for (name, (shelf, keep)) in shelves.iter_mut() {
                let now = SystemTime::now();
                for segment in shelf.segments() {
                    // A clock that was set back makes nothing old.
                    let age = now.duration_since(segment.modified).unwrap_or_default();
                    if age > *keep
                        && let Ok((entries, _)) = shelf.remove(&segment)
                        && name.starts_with(SPOOL)
                    {
                        // What was still to be sent is lost, where a route's own time is over.
                        self.dropped.with_label_values(&["keep"]).inc_by(entries);
                    }
                }
            }
        }
        while self.total() > self.max_bytes && self.drop_oldest("max_bytes") {}
    }

    fn total(&self) -> u64 {
        let total = self.lock().values().flat_map(|(s, _)| s.segments()).map(|s| s.bytes).sum();
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
        self.bytes.set(total as f64);
        total
    }

    /// Takes away the oldest segment of all shelves. False when there is none left to take.
    fn drop_oldest(&self, reason: &str) -> bool {
        let mut shelves = self.lock();
        let segments = shelves.iter().flat_map(|(name, (shelf, _))| {
            shelf.segments().into_iter().map(|segment| (name.clone(), segment))
        });
        let mut segments: Vec<(String, Segment)> = segments.collect();
        segments.sort_by_key(|(_, segment)| segment.modified);
        for (name, segment) in segments {
            let Some((shelf, _)) = shelves.get_mut(&name) else { continue };
            // An empty one makes no room.
            if segment.bytes == 0 && shelf.writing() == Some(segment.number) {
                continue;
            }
            if let Ok((entries, _)) = shelf.remove(&segment) {
                self.dropped.with_label_values(&[reason]).inc_by(entries);
                return true;
            }
        }
        false
    }

    /// Counts entries that could not even be written.
    pub(in crate::logs) fn lose(&self, entries: u64) {
        self.dropped.with_label_values(&["disk_full"]).inc_by(entries);
    }

    /// The next frame of a shelf behind `place`, and the place behind it. Segments before are taken
    /// away: they are done.
    pub(in crate::logs) fn next(&self, shelf: &str, place: Place) -> Option<(Frame, Place)> {
        let (segments, writing) = {
            let shelves = self.lock();
            let (own, _) = shelves.get(shelf)?;
            (own.segments(), own.writing())
        };
        for segment in segments {
            if segment.number < place.segment {
                self.done(shelf, &segment);
                continue;
            }
            let offset = if segment.number == place.segment { place.offset } else { 0 };
            let mut found = None;
            let read = shelf::read(&segment.path, offset, |frame, end| {
                let first = found.is_none();
                if first {
                    found = Some((frame, Place { segment: segment.number, offset: end }));
                }
                first
            });
            if let Some(found) = found {
                return Some(found);
            }
            // A segment that is closed and has no more frames: the next one.
            if read.is_err() || writing == Some(segment.number) {
                return None;
            }
            if segment.number == place.segment {
                self.done(shelf, &segment);
            }
        }
        None
    }

    fn done(&self, shelf: &str, segment: &Segment) {
        if let Some((own, _)) = self.lock().get_mut(shelf) {
            let _ = own.remove(segment);
        }
    }

    /// Brings the checkpoint up to the frames of a route's shelf that were written after it.
    pub(in crate::logs) fn outrank(&self, shelf: &str, route: &str, checkpoint: &Checkpoint) {
        let since = checkpoint.saved_at();
        let segments = match self.lock().get(shelf) {
            Some((own, _)) => own.segments(),
            None => return,
        };
        for segment in segments {
            // The clocks of a file system and of a process may differ a little.
            let fresh =
                since.is_none_or(|since| segment.modified + Duration::from_secs(60) > since);
            if !fresh {
                continue;
            }
            let read = shelf::read(&segment.path, 0, |frame, _| {
                checkpoint.change(|state| {
                    for position in frame.head.files {
                        advance(state, route, position);
                    }
                });
                true
            });
            if let Err(e) = read {
                tracing::warn!(
                    "cannot read the segment {}: {e}; records in it may be stored again",
                    segment.path.display()
                );
            }
        }
    }

    /// The shelves' directories, for messages.
    pub(in crate::logs) fn directory(&self, shelf: &str) -> PathBuf {
        match self.lock().get(shelf) {
            Some((own, _)) => own.directory().to_owned(),
            None => self.root.join(shelf),
        }
    }
}

/// A frame says that its file is done up to a mark: so it is.
fn advance(state: &mut State, route: &str, position: FilePosition) {
    let FilePosition { file, mark } = position;
    // When it was met tells one content of an inode from the next.
    let known = state.files.iter().find(|(_, known)| {
        known.source == file.source
            && (known.device, known.inode, known.met) == (file.device, file.inode, file.met)
    });
    let id = match known {
        Some((id, _)) => *id,
        None => state.name_file(file),
    };
    let Some(known) = state.files.get_mut(&id) else { return };
    let own = known.routes.entry(route.to_owned()).or_default();
    if mark.next >= own.mark.next {
        own.mark = mark;
    }
}

/// A route's name as a directory's: whatever it holds, it stays below the store.
pub(super) fn directory_name(route: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_');
    percent_encoding::utf8_percent_encode(route, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Kept = Kept { keep: Duration::from_secs(3600), redact: Redaction::Credentials };

    fn head(entries: u64) -> FrameHead {
        let (labels, files) = ("{}".to_owned(), Vec::new());
        FrameHead { labels, entries, oldest: 0, newest: 0, late: false, files }
    }

    /// Bytes that snappy can make no smaller.
    fn noise(size: usize) -> Vec<u8> {
        let mut x = 1u32;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x.to_le_bytes()[0]
        };
        (0..size).map(|_| next()).collect()
    }

    #[test]
    fn the_oldest_goes_where_it_is_too_much() {
        let directory = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::new();
        let store = Store::new(directory.path(), 512 * 1024, &telemetry);
        let admin = store.open_route("admin", KEPT).unwrap();
        let other = store.open_route("../other", KEPT).unwrap();
        assert!(store.directory(&other).starts_with(directory.path().join("store")));
        for _ in 0..40 {
            store.append(&admin, &head(1), &noise(40_000), false).unwrap();
            assert!(store.total() <= 512 * 1024);
        }
        store.append(&other, &head(1), &noise(10), false).unwrap();
        let dropped = store.dropped.with_label_values(&["max_bytes"]).get();
        assert!((20..40).contains(&dropped), "{dropped}");
    }

    #[test]
    fn a_spool_is_read_in_order_and_goes_when_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), 4 << 20, &Telemetry::new());
        let spool = store.open_spool("{a=\"b\"}", KEPT).unwrap();
        assert!(store.next(&spool, Place::default()).is_none());
        for n in 1..=9 {
            store.append(&spool, &head(n), &noise(50_000), false).unwrap();
        }
        let mut place = Place::default();
        for n in 1..=9 {
            let (frame, next) = store.next(&spool, place).unwrap();
            assert_eq!(frame.head.entries, n);
            assert!(next > place);
            place = next;
        }
        assert!(store.next(&spool, place).is_none());
        let left = store.lock()[&spool].0.segments();
        assert!(left.len() <= 2, "{left:?}");
        // It goes on after a restart, with what is written then.
        drop(store);
        let store = Store::new(directory.path(), 4 << 20, &Telemetry::new());
        let spool = store.open_spool("{a=\"b\"}", KEPT).unwrap();
        assert!(store.next(&spool, place).is_none());
        store.append(&spool, &head(10), b"x", false).unwrap();
        assert_eq!(store.next(&spool, place).unwrap().0.head.entries, 10);
    }
}
