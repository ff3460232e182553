//! Leaving files: those read to their end, those that sleep, and what the checkpoint need not know
//! any more.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::files::Work;
use super::scan;
use crate::logs::checkpoint::{FileId, FileState};

/// How often the checkpoint is freed of files that are done and gone.
const TIDY: Duration = Duration::from_secs(60);
/// A file that cannot be found is given up after so long, in nanoseconds: its directory may not be
/// mounted yet.
const MISSING: i64 = 3600 * 1_000_000_000;
/// A file without a pattern's name is forgotten so long after its end, in nanoseconds.
const FORGET: i64 = 7 * 24 * MISSING;

impl Work {
    /// A file of which no more will be read.
    pub(super) fn leave(&mut self, at: usize) {
        let tracked = self.tracked.remove(at);
        let end = tracked.most_end();
        if !tracked.gone {
            tracing::info!(file = %tracked.seen.path.display(), bytes = end, "read to its end");
        }
        self.end(tracked.id, Some(end));
    }

    pub(super) fn end(&self, id: FileId, end: Option<u64>) {
        self.files.checkpoint.change(|state| {
            if let Some(file) = state.files.get_mut(&id) {
                file.end = Some(end.unwrap_or(file.size));
            }
        });
    }

    /// Closes files that have been quiet for long and are acknowledged to their end.
    pub(super) fn put_to_sleep(&mut self, now: Instant) {
        for tracked in self.tracked.iter_mut().filter(|tracked| tracked.is_drowsy(now)) {
            let end = tracked.most_end();
            let acknowledged = self.files.checkpoint.read(|state| {
                let file = state.files.get(&tracked.id);
                file.is_some_and(|file| file.routes.values().all(|own| own.mark.offset >= end))
            });
            if acknowledged {
                tracked.sleep();
            }
        }
    }

    /// Takes out of the checkpoint what is done and gone, once in a while.
    pub(super) fn forget(&mut self, now: Instant) {
        if self.tidied.is_some_and(|last| now - last < TIDY) {
            return;
        }
        self.tidied = Some(now);
        let tracked: BTreeSet<FileId> = self.tracked.iter().map(|t| t.id).collect();
        let now = scan::now_ns();
        let mut vanished = 0;
        let left: Vec<(FileId, FileState)> = self.files.checkpoint.read(|state| {
            let own = state
                .files
                .iter()
                .filter(|(id, file)| file.source == self.files.source && !tracked.contains(id));
            own.map(|(id, file)| (*id, file.clone())).collect()
        });
        if left.is_empty() {
            return;
        }
        let there: BTreeSet<FileId> = left
            .iter()
            .filter(|(_, file)| {
                let parent = Path::new(&file.path).parent().unwrap_or(Path::new("/"));
                scan::directory(parent).iter().any(|s| s.key() == (file.device, file.inode))
            })
            .map(|(id, _)| *id)
            .collect();
        let left: BTreeSet<FileId> = left.into_iter().map(|(id, _)| id).collect();
        self.files.checkpoint.change(|state| {
            state.files.retain(|id, file| {
                if !left.contains(id) {
                    return true;
                }
                let least = file.routes.values().map(|route| route.mark.offset).min();
                let done = file.end.is_some_and(|end| least.is_none_or(|least| least >= end));
                if done && (file.inode == 0 || file.modified < now.saturating_sub(FORGET)) {
                    return false;
                }
                // Unless all of it is acknowledged, what is in memory still counts on it.
                if there.contains(id) || (file.end.is_some() && !done) {
                    file.missing_since = None;
                    return true;
                }
                let since = *file.missing_since.get_or_insert(now);
                let keep = !done && now - since < MISSING;
                if !keep && !done {
                    vanished += file.size.saturating_sub(least.unwrap_or(0));
                }
                keep
            });
        });
        self.files.counts.vanished_bytes.add(vanished);
    }
}
