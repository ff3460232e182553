//! Where a record meets its routes: counted once, redacted for each, put into the lanes that have
//! room. Nothing leaves here unredacted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::{FileId, State};
use super::count::SourceCounts;
use super::entry;
use super::lane::Lane;
use super::redact::{Counts, Level, redacted};
use super::route::Rules;
use super::source::{Desk, RouteSet, Taken};
use crate::loki::{Metadata, Packer};

/// The desk of one source.
pub(super) struct SourceDesk {
    rules: Arc<[Rules]>,
    /// By route number.
    lanes: Vec<Arc<Lane>>,
    counts: Arc<SourceCounts>,
    decided: Decisions,
    /// Of the record in hand.
    metadata: Metadata,
    packer: Packer,
}

/// What an earlier run of the agent decided, by file and route.
struct Decisions(HashMap<(FileId, usize), Decided>);

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
        Self {
            rules,
            lanes,
            counts,
            decided: Decisions(decided),
            metadata: Metadata::default(),
            packer: Packer::default(),
        }
    }
}

impl Decisions {
    /// What an earlier run decided; none for records that it has not met.
    fn of(&mut self, taken: &Taken, route: usize) -> Option<bool> {
        if self.0.is_empty() {
            return None;
        }
        let start = taken.record.bytes.start;
        let known = self.0.get(&(taken.file, route))?;
        if start >= known.before {
            self.0.remove(&(taken.file, route));
            return None;
        }
        Some(known.late.iter().any(|(first, last)| *first <= start && start <= *last))
    }
}

impl Desk for SourceDesk {
    fn has_room(&self, routes: RouteSet) -> bool {
        routes.iter().any(|route| self.lanes[route].place().is_some())
    }

    fn take(&mut self, taken: &mut Taken, now: Instant) {
        if std::mem::replace(&mut taken.first_seen, false) {
            self.counts.record(taken);
        }
        let Self { rules, lanes, counts, decided, metadata, packer } = self;
        for level in [Level::Credentials, Level::Literals] {
            let mut masked = None;
            for route in taken.routes.iter().filter(|at| rules[*at].level == level) {
                let (rules, lane) = (&rules[route], &lanes[route]);
                if !rules.wants(&taken.record, &taken.event) {
                    lane.pass(taken, now);
                } else if let Some(place) = lane.place() {
                    let decided = decided.of(taken, route);
                    let record = masked.get_or_insert_with(|| {
                        let (record, redacted) = redacted(&taken.record, level);
                        counts.redacted(redacted);
                        record
                    });
                    let late = if rules.patterns.is_empty() {
                        entry::first(record, &taken.event, metadata);
                        place.put(taken, record, metadata, now, decided, packer)
                    } else {
                        let (record, count) = rules.patterns.mask(record.clone().into_owned());
                        counts.redacted(Counts { patterns: count, ..Counts::default() });
                        entry::first(&record, &taken.event, metadata);
                        place.put(taken, &record, metadata, now, decided, packer)
                    };
                    if late {
                        counts.late();
                    }
                } else {
                    continue;
                }
                taken.routes.remove(route);
            }
        }
    }
}
