//! Leaving files: those read to their end, those that sleep, and what the checkpoint need not know
//! any more.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use super::files::Work;
use super::scan;
use crate::logs::checkpoint::{FileId, FileState};

/// How often the checkpoint is freed of files that are done and gone.
const TIDY: Duration = Duration::from_secs(60);
/// The same, while more than so many files have been left since.
const TIDY_SOON: Duration = Duration::from_secs(5);
const LEFT: usize = 64;
/// A file that was left is remembered for so long, for rotation may still be making a copy of it.
const LATELY: Duration = Duration::from_secs(10);
/// A file that cannot be found is given up after so long, in nanoseconds: its directory may not be
/// mounted yet.
const MISSING: i64 = 3600 * 1_000_000_000;
/// A file without a pattern's name is forgotten so long after its end, in nanoseconds.
const FORGET: i64 = 7 * 24 * MISSING;

impl Work {
    /// A file of which no more will be read.
    pub(super) fn leave(&mut self, at: usize, now: Instant) {
        let tracked = self.tracked.remove(at);
        let end = tracked.most_end();
        self.left.insert(tracked.id);
        if !tracked.gone {
            tracing::info!(file = %tracked.seen.path.display(), bytes = end, "read to its end");
        }
        self.end(tracked.id, Some(end), now);
    }

    pub(super) fn end(&mut self, id: FileId, end: Option<u64>, now: Instant) {
        self.ended.push_back((id, now));
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
        let old = self.ended.iter().take_while(|(_, since)| now - *since >= LATELY).count();
        let pause = if old > LEFT { TIDY_SOON } else { TIDY };
        if self.tidied.is_some_and(|last| now - last < pause) {
            return;
        }
        self.ended.drain(..old);
        self.tidied = Some(now);
        let lately = self.ended.iter().map(|(id, _)| *id);
        let kept: BTreeSet<FileId> = self.tracked.iter().map(|t| t.id).chain(lately).collect();
        let now = scan::now_ns();
        let left: Vec<(FileId, FileState)> = self.files.checkpoint.read(|state| {
            let own = state
                .files
                .iter()
                .filter(|(id, file)| file.source == self.files.source && !kept.contains(id));
            own.map(|(id, file)| (*id, file.clone())).collect()
        });
        if left.is_empty() {
            return;
        }
        let parents: BTreeSet<&Path> = left.iter().map(|(_, file)| file.directory()).collect();
        let listed: HashSet<(u64, u64)> =
            parents.into_iter().flat_map(scan::directory).map(|seen| seen.key()).collect();
        // An inode is soon given to another file, which is no reason to keep the one before.
        let followed: HashSet<(u64, u64)> =
            self.tracked.iter().filter(|t| !t.gone).map(|t| t.seen.key()).collect();
        let there: BTreeSet<FileId> = left
            .iter()
            .filter(|(_, file)| listed.contains(&file.key()) && !followed.contains(&file.key()))
            .map(|(id, _)| *id)
            .collect();
        let left: BTreeSet<FileId> = left.into_iter().map(|(id, _)| id).collect();
        let mut vanished = 0;
        let fewer = self.files.checkpoint.change(|state| {
            let before = state.files.len();
            state.files.retain(|id, file| {
                if !left.contains(id) {
                    return true;
                }
                if file.head.is_empty() {
                    return false;
                }
                let done = file.is_done();
                if done && (file.inode == 0 || file.modified < now.saturating_sub(FORGET)) {
                    return false;
                }
                // Unless all of it is acknowledged, what is in memory still counts on it.
                if !file.given_up && (there.contains(id) || (self.left.contains(id) && !done)) {
                    file.missing_since = None;
                    return true;
                }
                let since = *file.missing_since.get_or_insert(now);
                let keep = !done && now - since < MISSING;
                if !keep && !done && !file.given_up {
                    vanished += file.behind();
                }
                keep
            });
            state.files.len() < before
        });
        let known: BTreeSet<FileId> =
            self.files.checkpoint.read(|state| state.files.keys().copied().collect());
        self.left.retain(|id| known.contains(id));
        // Nothing else may come for long that would have it written.
        if fewer {
            self.files.checkpoint.save_soon();
        }
        self.files.counts.vanished_bytes.add(vanished);
    }
}
