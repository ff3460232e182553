//! The databases of an instance and what runs in each: what is due where, what is shown. Pure over
//! given instants.
//!
//! A visit is one connection to one database, in which all runs that is due there, and which ends
//! before `DROP DATABASE` and `CREATE DATABASE … TEMPLATE` lose patience (they wait 5 s for other
//! sessions to leave). One visit follows the other, never two at a time, with pauses as long as the
//! visits: where there are more databases than fit into an interval, the intervals stretch, and
//! [`Cell::gap`] tells by how much.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use glob::Pattern;
use tokio::time::Instant;

use super::cadence::{next_time, withdrawal};
use super::caps::Known;
use super::outcome::{Ending, Run, Shown, concluded, cut_off, recall};
use crate::config::{DatabaseFilter, Intervals};
use crate::packs::{Query, Scope};
use crate::postgres::{Facts, InstanceReason, QueryReason};

/// How long a visit may take, from the first packet to the goodbye.
pub(crate) const VISIT: Duration = Duration::from_secs(4);

/// Nothing but a visit's first query begins later than this.
pub(crate) const LAST_BEGIN: Duration = Duration::from_secs(1);

/// The longest pause between two visits.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long after a visit the next one waits while the server has no place for it.
const NO_PLACE: Duration = Duration::from_secs(3);

/// Visits that have waited so long go before the instance's own queries.
const NEGLECTED: Duration = Duration::from_secs(5);

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Visit(Arc<str>),
    At(Instant),
    Never,
}

/// One query in one database.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) query: Arc<Query>,
    pub(crate) interval: Duration,
    due: Instant,
    started: Option<Instant>,
    /// The time between the beginnings of its last two runs; longer than the interval where there
    /// are too many databases for it.
    pub(crate) gap: Duration,
    pub(crate) last: Option<Run>,
    /// What `last` was before there was no session.
    before: Option<Run>,
    pub(crate) shown: Option<Shown>,
    members: Known,
}

impl Cell {
    fn deadline(&self) -> Instant {
        self.due + self.interval
    }
}

/// What a visit runs next.
pub(crate) struct Errand {
    pub(crate) index: usize,
    pub(crate) query: Arc<Query>,
    pub(crate) members: Known,
}

#[derive(Debug)]
struct Place {
    cells: Vec<Cell>,
    /// It could not be connected: not again before.
    not_before: Instant,
}

/// The databases that are watched.
#[derive(Debug)]
pub(crate) struct Databases {
    queries: Vec<Arc<Query>>,
    filter: Filter,
    intervals: Intervals,
    name: Arc<str>,
    epoch: Instant,
    places: BTreeMap<Arc<str>, Place>,
    /// The pause after the last visit.
    not_before: Instant,
    /// When the last visit ended.
    left: Option<Instant>,
    /// The last visit, and how long what ran there had waited since it was due: the length of a round.
    lag: (Instant, Duration),
}

#[derive(Debug)]
struct Filter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Filter {
    fn new(filter: &DatabaseFilter) -> Self {
        Self { include: patterns(&filter.include), exclude: patterns(&filter.exclude) }
    }

    fn fits(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        any(&self.include) && !any(&self.exclude)
    }
}

/// Whether `query` runs in the database of that name, of those that `filter` leaves.
pub fn is_visited(filter: &DatabaseFilter, query: &Query, name: &str) -> bool {
    let own = patterns(&query.databases);
    Filter::new(filter).fits(name)
        && (own.is_empty() || own.iter().any(|pattern| pattern.matches(name)))
}

/// A text that is no pattern stands for itself.
fn patterns(texts: &[String]) -> Vec<Pattern> {
    let pattern =
        |text: &String| Pattern::new(text).or_else(|_| Pattern::new(&Pattern::escape(text)));
    texts.iter().filter_map(|text| pattern(text).ok()).collect()
}

impl Databases {
    /// Those of `queries` that run in every database.
    pub(crate) fn new(
        name: &str,
        queries: &[Arc<Query>],
        filter: &DatabaseFilter,
        intervals: &Intervals,
        now: Instant,
    ) -> Self {
        let mine = queries.iter().filter(|query| query.scope == Scope::Database);
        Self {
            queries: mine.cloned().collect(),
            filter: Filter::new(filter),
            intervals: intervals.clone(),
            name: name.into(),
            epoch: now,
            places: BTreeMap::new(),
            not_before: now,
            left: None,
            lag: (now, Duration::ZERO),
        }
    }

    pub(crate) fn queries(&self) -> &[Arc<Query>] {
        &self.queries
    }

    /// How many databases are watched.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Every query in every database, by database.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (&Arc<str>, &Cell)> {
        self.places
            .iter()
            .flat_map(|(name, place)| place.cells.iter().map(move |cell| (name, cell)))
    }

    /// What a cell shows now: nothing once the result is too old. Where there are more databases than fit
    /// into an interval, its next turn comes when all others had theirs.
    pub(crate) fn present<'c>(&self, cell: &'c Cell, now: Instant) -> Option<&'c Shown> {
        let shown = cell.shown.as_ref()?;
        let age = now.duration_since(shown.at);
        (age <= withdrawal(cell.interval.max(cell.gap).max(self.lag.1))).then_some(shown)
    }

    /// The databases as they are now: what is new is due at once, what is gone shows nothing more.
    /// `changed`: the server has another role or version.
    pub(crate) fn learn(&mut self, facts: &Facts, changed: bool, now: Instant) {
        if self.queries.is_empty() {
            return;
        }
        let watched = |name: &str| {
            self.filter.fits(name) && facts.databases.binary_search_by(|d| (**d).cmp(name)).is_ok()
        };
        self.places.retain(|name, _| watched(name));
        for name in facts.databases.iter().filter(|name| self.filter.fits(name)) {
            if self.places.contains_key(name.as_str()) {
                continue;
            }
            let cells = self.queries.iter().filter(|query| {
                query.databases.is_empty()
                    || patterns(&query.databases).iter().any(|pattern| pattern.matches(name))
            });
            let cell = |query: &Arc<Query>| Cell {
                interval: query.interval.duration(&self.intervals),
                query: Arc::clone(query),
                due: now,
                started: None,
                gap: Duration::ZERO,
                last: None,
                before: None,
                shown: None,
                members: Arc::default(),
            };
            let cells = cells.map(cell).collect();
            self.places.insert(name.as_str().into(), Place { cells, not_before: now });
        }
        if changed {
            for cell in self.places.values_mut().flat_map(|place| &mut place.cells) {
                cell.due = now;
                if cell.query.role.is_some_and(|role| role != facts.role) {
                    cell.shown = None;
                }
            }
        }
    }

    /// Where to go next: where the deadline, an interval after it was due, comes first.
    pub(crate) fn next(&self, now: Instant) -> Next {
        let mut wait: Option<Instant> = None;
        let mut first: Option<(Instant, &Arc<str>)> = None;
        for (name, place) in &self.places {
            for cell in &place.cells {
                let due = cell.due.max(place.not_before).max(self.not_before);
                if due > now {
                    wait = Some(wait.map_or(due, |wait| wait.min(due)));
                } else if first.is_none_or(|(deadline, _)| cell.deadline() < deadline) {
                    first = Some((cell.deadline(), name));
                }
            }
        }
        match (first, wait) {
            (Some((_, name)), _) => Next::Visit(Arc::clone(name)),
            (None, Some(wait)) => Next::At(wait),
            (None, None) => Next::Never,
        }
    }

    /// Whether visits have waited so long that the instance's own queries step back.
    pub(crate) fn is_neglected(&self, now: Instant) -> bool {
        let cells = self.places.values().flat_map(|place| &place.cells);
        let oldest = cells.map(|cell| cell.due).min();
        oldest.is_some_and(|due| self.left.map_or(due, |left| left.max(due)) + NEGLECTED < now)
    }

    /// What to run next in a visit to `database` that began at `begin`; what is due soon is taken along.
    pub(crate) fn begin(&mut self, database: &str, begin: Instant, now: Instant) -> Option<Errand> {
        let place = self.places.get_mut(database)?;
        let due = |cell: &Cell| {
            cell.due <= begin + cell.interval / 10 && cell.started.is_none_or(|at| at < begin)
        };
        let cells = place.cells.iter_mut().enumerate();
        let (index, cell) =
            cells.filter(|(_, cell)| due(cell)).min_by_key(|(_, cell)| cell.deadline())?;
        if let Some(started) = cell.started.replace(now) {
            cell.gap = now - started;
        }
        let late = now.saturating_duration_since(cell.due);
        // What is only taken along was hardly due.
        self.lag = (begin, if self.lag.0 == begin { self.lag.1.max(late) } else { late });
        // The same offset for all: what is due in a database is due there in one visit.
        cell.due = next_time(self.epoch, &(&self.name, "databases"), cell.interval, now);
        Some(Errand { index, query: Arc::clone(&cell.query), members: Arc::clone(&cell.members) })
    }

    /// A run has ended. Returns the outcome where it is news for the log.
    pub(crate) fn finish(
        &mut self,
        database: &str,
        index: usize,
        ending: Ending,
        now: Instant,
    ) -> Option<(QueryReason, Option<String>)> {
        // The database may have gone meanwhile.
        let cell = self.places.get_mut(database)?.cells.get_mut(index)?;
        let duration = cell.started.map_or(Duration::ZERO, |started| now - started);
        let run = concluded(ending, duration, now, &mut cell.shown);
        if run.was_locked_out() {
            cell.due = cell.due.min(now + self.intervals.medium);
        }
        let news = run.is_news(cell.last.as_ref());
        let told = (run.reason, run.message.clone());
        cell.last = Some(run);
        news.then_some(told)
    }

    /// A visit that began at `begin` is over: the next waits as long as it took.
    pub(crate) fn left(&mut self, begin: Instant, now: Instant) {
        self.left = Some(now);
        self.not_before = self.not_before.max(now + (now - begin).min(LONGEST_PAUSE));
    }

    /// `database` could not be connected. Returns whether that is news.
    pub(crate) fn refused(
        &mut self,
        database: &str,
        reason: InstanceReason,
        message: &str,
        now: Instant,
    ) -> bool {
        let of_server = matches!(
            reason,
            InstanceReason::Budget
                | InstanceReason::Starting
                | InstanceReason::Refused
                | InstanceReason::Unreachable
                | InstanceReason::Timeout
                | InstanceReason::TooManyConnections
        );
        if of_server {
            self.not_before = now + NO_PLACE;
        }
        let Some(place) = self.places.get_mut(database) else { return false };
        place.not_before = now + if of_server { NO_PLACE } else { self.intervals.medium };
        let mut news = false;
        for cell in &mut place.cells {
            let run = Run::without_rows(QueryReason::Connect, message, now);
            news |= run.is_news(cell.last.as_ref());
            cell.last = Some(run);
        }
        news
    }

    /// No session can be had for visits: what they would run says so.
    pub(crate) fn unreachable(&mut self, message: &str, now: Instant) {
        for cell in self.places.values_mut().flat_map(|place| &mut place.cells) {
            cut_off(&mut cell.last, &mut cell.before, message, now);
        }
    }

    /// Sessions can be had again.
    pub(crate) fn recall(&mut self) {
        for cell in self.places.values_mut().flat_map(|place| &mut place.cells) {
            recall(&mut cell.last, &mut cell.before);
        }
    }
}

#[cfg(test)]
#[path = "databases_tests.rs"]
mod tests;
