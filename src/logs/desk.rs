//! Where a record meets its routes: counted once, redacted for each, put into the lanes that have
//! room. Nothing leaves here unredacted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::{FileId, State};
use super::count::SourceCounts;
use super::lane::Lane;
use super::redact::{Counts, Level, redacted};
use super::route::Rules;
use super::source::{Desk, Taken};

/// The desk of one source.
pub(super) struct SourceDesk {
    rules: Arc<[Rules]>,
    /// By route number.
    lanes: Vec<Arc<Lane>>,
    counts: Arc<SourceCounts>,
    decided: HashMap<(FileId, usize), Decided>,
}

/// Which streams an earlier run of the agent chose for a file's records.
struct Decided {
    /// For those that start before this offset.
    before: u64,
    /// First and last start of runs that went to the backfill stream.
    late: Vec<(u64, u64)>,
}

impl SourceDesk {
    /// `state` is as the checkpoint was loaded: what is decided later is in the lanes.
    pub(super) fn new(
        rules: Arc<[Rules]>,
        lanes: Vec<Arc<Lane>>,
        counts: Arc<SourceCounts>,
        state: &State,
    ) -> Self {
        let mut decided = HashMap::new();
        for (id, file) in state.files.iter().filter(|(_, f)| f.source == counts.source) {
            for (route, rules) in rules.iter().enumerate() {
                let Some(own) = file.routes.get(&rules.name) else { continue };
                if own.decided > own.mark.offset {
                    let late = own.late.clone();
                    decided.insert((*id, route), Decided { before: own.decided, late });
                }
            }
        }
        Self { rules, lanes, counts, decided }
    }

    /// What an earlier run decided; none for records that it has not met.
    fn decided(&mut self, taken: &Taken, route: usize) -> Option<bool> {
        if self.decided.is_empty() {
            return None;
        }
        let start = taken.record.bytes.start;
        let known = self.decided.get(&(taken.file, route))?;
        if start >= known.before {
            self.decided.remove(&(taken.file, route));
            return None;
        }
        Some(known.late.iter().any(|(first, last)| *first <= start && start <= *last))
    }
}

impl Desk for SourceDesk {
    fn take(&mut self, taken: &mut Taken) {
        let now = Instant::now();
        if std::mem::replace(&mut taken.first_seen, false) {
            self.counts.record(taken);
        }
        let rules = Arc::clone(&self.rules);
        for level in [Level::Credentials, Level::Literals] {
            let mut masked = None;
            for route in taken.routes.iter().filter(|at| rules[*at].level == level) {
                let lane = Arc::clone(&self.lanes[route]);
                if !rules[route].wants(&taken.record, &taken.event) {
                    lane.pass(taken, now);
                } else if lane.has_room() {
                    let decided = self.decided(taken, route);
                    let record = masked.get_or_insert_with(|| {
                        let (record, counts) = redacted(&taken.record, level);
                        self.counts.redacted(counts);
                        record
                    });
                    let patterns = &rules[route].patterns;
                    let late = if patterns.is_empty() {
                        lane.put(taken, record, now, decided)
                    } else {
                        let (record, count) = patterns.mask(record.clone().into_owned());
                        self.counts.redacted(Counts { patterns: count, ..Counts::default() });
                        lane.put(taken, &record, now, decided)
                    };
                    if late {
                        self.counts.late();
                    }
                } else {
                    continue;
                }
                taken.routes.remove(route);
            }
        }
    }
}
