//! What is lost: files that went before all of them was acknowledged, and a checkpoint that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::files::{Named, Work};
use super::kin::fits;
use super::scan::{self, Seen};
use crate::logs::checkpoint::{FileId, FileState};

/// For so long a file is looked for whose name and content are gone, before it is counted as lost. What
/// renames, copies or compresses a file has the new name ready before the old one goes.
const LOST: Duration = Duration::from_secs(5);

impl Work {
    /// Counts what was deleted, or truncated while nobody looked, before all of it was acknowledged.
    /// Should it come back within an hour it is read on all the same, and stays counted, for a counter
    /// cannot fall: whoever waits longer before he counts tells too late of what is gone for good.
    pub(super) fn count_lost(&mut self, now: Instant) {
        let followed: BTreeMap<(u64, u64), FileId> =
            self.tracked.iter().filter(|t| !t.gone).map(|t| (t.seen.key(), t.id)).collect();
        let in_hand: BTreeSet<FileId> = self.tracked.iter().map(|tracked| tracked.id).collect();
        let missing: Vec<(FileId, FileState)> = self.files.checkpoint.read(|state| {
            let own = state.files.iter().filter(|(id, file)| {
                file.source == self.files.source
                    && !file.given_up
                    && !file.head.is_empty()
                    && file.behind() > 0
                    && !in_hand.contains(id)
                    && !self.left.contains(id)
            });
            own.map(|(id, file)| (*id, file.clone())).collect()
        });
        let mut listings: BTreeMap<PathBuf, BTreeMap<(u64, u64), Seen>> = BTreeMap::new();
        let mut gone = |file: &FileState| {
            let listing = listings.entry(file.directory().to_owned()).or_insert_with(|| {
                let listed = scan::directory(file.directory());
                listed.into_iter().map(|seen| (seen.key(), seen)).collect()
            });
            // Where nothing is at all, the directory may not be mounted yet.
            if listing.is_empty() {
                return false;
            }
            // Another content has its inode, whether it is followed or not, or nothing has it.
            let followed = followed.contains_key(&file.key());
            let other = |seen| matches!(scan::open(seen), Ok(Some(there)) if !fits(&there, file));
            listing.get(&file.key()).is_none_or(|seen| followed || other(seen))
        };
        let missing: BTreeMap<FileId, FileState> =
            missing.into_iter().filter(|(_, file)| gone(file)).collect();
        self.missing.retain(|id, _| missing.contains_key(id));
        for (id, file) in missing {
            let since = *self.missing.entry(id).or_insert(now);
            if now - since < LOST {
                continue;
            }
            tracing::warn!(
                file = %file.path, bytes = file.behind(),
                "deleted or truncated before all of it was sent; let rotation keep files for longer"
            );
            self.files.counts.vanished_bytes.add(file.behind());
            self.files.checkpoint.change(|state| {
                if let Some(file) = state.files.get_mut(&id) {
                    file.given_up = true;
                }
            });
            self.files.checkpoint.save_soon();
        }
    }

    /// After a lost checkpoint nobody knows what of the rotated files was sent: all are read that lie
    /// beside a pattern's names.
    pub(super) fn distrust(&mut self, found: &[Seen], now: Instant) {
        if !self.files.checkpoint.is_lost_to(&self.files.source) {
            return;
        }
        for seen in found {
            let named = || Named { key: seen.key(), looked: i64::MIN, seen: now };
            self.names.entry(seen.path.clone()).or_insert_with(named);
        }
    }
}
