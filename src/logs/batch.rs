//! A batch: entries of one route and stream, and what the checkpoint may say once they are stored.

use std::time::Instant;

use super::checkpoint::{FileId, Mark, State};
use crate::loki::{Entries, Packer};

/// As much as one request holds, before compression. Far below Loki's default burst of 6 MB, for
/// what is above a tenant's burst is refused for ever.
pub(super) const BATCH_BYTES: usize = 1024 * 1024;

/// What one batch did to one file's position.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) file: FileId,
    pub(super) mark: Mark,
    /// Records that start before it have their stream.
    pub(super) decided: u64,
    /// Runs of records (first and last start) that went to the backfill stream.
    pub(super) late: Vec<(u64, u64)>,
    /// The last record is in the last run: another late one prolongs it.
    pub(super) in_run: bool,
}

impl Progress {
    /// The record that starts at `start` has its stream.
    pub(super) fn decide(&mut self, start: u64, late: bool) {
        self.decided = self.decided.max(start + 1);
        match self.late.last_mut().filter(|_| late && self.in_run) {
            Some(run) => run.1 = start,
            None if late => self.late.push((start, start)),
            None => {}
        }
        self.in_run = late;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Entries,
    /// Those more than an hour behind the stream: Loki takes them under another label only.
    pub(super) late: Entries,
    pub(super) progress: Vec<Progress>,
    /// When the first of it came.
    pub(super) since: Option<Instant>,
    /// Holds an error: people wait for it.
    pub(super) urgent: bool,
    /// The newest time in it that Loki takes.
    pub(super) newest: Option<i64>,
    /// Records left out, for Loki is known to refuse them.
    pub(super) too_old: u64,
}

impl Batch {
    pub(super) fn size(&self) -> usize {
        self.entries.size() + self.late.size()
    }

    /// Packs what can be packed.
    pub(super) fn pack(&mut self, packer: &mut Packer) {
        self.entries.pack(packer);
        self.late.pack(packer);
    }

    /// Empty, with the memory of this one.
    pub(super) fn emptied(self) -> Self {
        let Self { mut entries, mut late, .. } = self;
        entries.clear();
        late.clear();
        Self { entries, late, ..Self::default() }
    }

    /// Nothing to send and nothing to acknowledge.
    pub(super) fn is_empty(&self) -> bool {
        self.progress.is_empty()
    }

    /// The file's progress, to be moved on.
    pub(super) fn progress(&mut self, file: FileId, now: Instant) -> &mut Progress {
        self.since.get_or_insert(now);
        // Few files feed one batch, and mostly the last one again.
        let at = match self.progress.iter().rposition(|progress| progress.file == file) {
            Some(at) => at,
            None => {
                self.progress.push(Progress {
                    file,
                    mark: Mark::default(),
                    decided: 0,
                    late: Vec::new(),
                    in_run: false,
                });
                self.progress.len() - 1
            }
        };
        &mut self.progress[at]
    }

    /// Before the first attempt: which records go to which stream.
    pub(super) fn decide(&self, route: &str, state: &mut State) {
        for progress in &self.progress {
            state.decide(progress.file, route, progress.decided, &progress.late);
        }
    }

    /// After the last one: all of it is stored, or refused for good.
    pub(super) fn acknowledge(&self, route: &str, stream: &str, state: &mut State) {
        for progress in &self.progress {
            state.acknowledge(progress.file, route, progress.mark);
        }
        if let Some(newest) = self.newest {
            let known = state.streams.entry(stream.to_owned()).or_insert(newest);
            *known = newest.max(*known);
        }
    }
}
