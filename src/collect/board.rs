//! What is known of one instance, and what is to be done next: the only state that lanes, scrapes
//! and the status page share. Pure over given instants; nobody holds it across a wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cadence::{Cadence, FAST_CAP, MIN_AGE, next_time, withdrawal};
use super::caps::{Caps, Known};
use super::databases::{Databases, Next};
use super::outcome::{Ending, Run, Shown, concluded, cut_off, recall};
use super::standing::{Standing, Verdict};
use crate::config::{Collection, DatabaseFilter, Intervals};
use crate::packs::{self, Every, Query, Scope};
use crate::postgres::{Facts, QueryReason};

/// A statement that is in hand longer than that in the fast lane will not be ended by the server: the
/// session is stuck, and the other lane is asked whether the server is.
const STUCK: Duration = Duration::from_secs(1);

/// The two queues of an instance, one session each: a query that is late or long in one of them
/// keeps nothing waiting in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Fast,
    Rest,
}

/// What a lane does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Ask whether the server answers, and in which role.
    Ping,
    /// Read the facts again.
    Facts,
    /// Run the entry of that index.
    Query(usize),
    /// Run in that database what is due there.
    Visit(Arc<str>),
    /// Nothing is due before.
    Wait(Instant),
}

/// One query of an instance.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) query: Arc<Query>,
    pub(crate) interval: Duration,
    /// Runs at each scrape.
    fast: bool,
    /// The SQL for the server as it is, or why there is none; none before the first facts.
    sql: Option<Result<Arc<str>, String>>,
    /// A fast query that was late: it runs in the other lane and no scrape waits for it.
    exiled: bool,
    /// To be run as soon as its lane is free, since then.
    asked: Option<Instant>,
    /// The next run on its own clock.
    due: Instant,
    started: Option<Instant>,
    running: bool,
    /// The session was lost while it ran: perhaps by it.
    suspect: bool,
    /// Of the tables or indexes that it shows one by one.
    members: Known,
    pub(crate) last: Option<Run>,
    /// What `last` was before the server could not be reached.
    before: Option<Run>,
    /// The outcome that the log knows of, and whether there was more to say.
    said: (QueryReason, bool),
    pub(crate) shown: Option<Shown>,
}

impl Entry {
    fn lane(&self) -> Lane {
        if self.fast && !self.exiled { Lane::Fast } else { Lane::Rest }
    }

    fn is_runnable(&self) -> bool {
        matches!(self.sql, Some(Ok(_))) && !self.running
    }
}

/// One instance's state.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) standing: Standing,
    pub(crate) facts: Option<Arc<Facts>>,
    /// What runs once for the instance.
    pub(crate) entries: Vec<Entry>,
    /// What runs in every database.
    pub(crate) databases: Databases,
    pub(crate) caps: Caps,
    /// Sessions that lanes hold now, and all that were ever opened.
    pub(crate) sessions_open: usize,
    /// The offset from which queries on their own clock are spread.
    epoch: Instant,
    /// Tells this instance's queries from another's in spreading.
    name: Arc<str>,
    intervals: Intervals,
    cadence: Cadence,
    /// The newest scrape.
    demand: Option<Instant>,
    ping_started: Option<Instant>,
    ping_running: bool,
    /// Why there is no second session and will be none soon: the fast lane does the rest's work too.
    pub(crate) single: Option<String>,
    /// No second session is wanted, as the instance answers everything at once (PgBouncer's console).
    pub(crate) one_lane: bool,
    /// When what the fast lane has in hand was begun.
    in_hand: Option<Instant>,
    /// When the rest lane was last asked whether the server answers.
    second_opinion: Option<Instant>,
    facts_due: Instant,
}

impl Board {
    pub(crate) fn new(
        name: &str,
        queries: Vec<Arc<Query>>,
        collection: &Collection,
        filter: &DatabaseFilter,
        now: Instant,
    ) -> Self {
        let intervals = &collection.intervals;
        let databases = Databases::new(name, &queries, filter, intervals, now);
        let queries = queries.into_iter().filter(|query| query.scope == Scope::Instance);
        let entry = |query: Arc<Query>| Entry {
            interval: query.interval.duration(intervals),
            fast: query.interval == Every::Fast,
            query,
            sql: None,
            exiled: false,
            asked: None,
            due: now,
            started: None,
            running: false,
            suspect: false,
            members: Arc::default(),
            last: None,
            before: None,
            said: (QueryReason::Ok, false),
            shown: None,
        };
        Self {
            standing: Standing::new(now),
            facts: None,
            entries: queries.map(entry).collect(),
            databases,
            caps: Caps::of(collection),
            sessions_open: 0,
            epoch: now,
            name: name.into(),
            intervals: intervals.clone(),
            cadence: Cadence::default(),
            demand: None,
            ping_started: None,
            ping_running: false,
            single: None,
            one_lane: false,
            in_hand: None,
            second_opinion: None,
            facts_due: now + intervals.medium,
        }
    }

    /// Time between two runs of what is fast, while nobody scrapes.
    pub(crate) fn fast_interval(&self) -> Duration {
        self.intervals.fast
    }

    // ---- what scrapes ask ----

    /// A scrape begins: whatever is fast and older than [`MIN_AGE`] is to be renewed.
    pub(crate) fn demand(&mut self, begin: Instant) {
        self.cadence.scraped(begin);
        self.demand = Some(self.demand.map_or(begin, |earlier| earlier.max(begin)));
    }

    /// Whether a scrape that began at `begin` has nothing to wait for any more.
    pub(crate) fn is_settled(&self, begin: Instant, now: Instant) -> bool {
        if !self.standing.is_worth_waiting() {
            return true;
        }
        if self.is_stuck(now) {
            // Of this session nothing is to be expected; of the server, only a sign of life.
            return self.verdict(begin).is_up();
        }
        let done = |started: Option<Instant>, running: bool| {
            !running && started.is_some_and(|at| at + MIN_AGE >= begin)
        };
        self.standing.is_connected()
            && done(self.ping_started, self.ping_running)
            && self.entries.iter().all(|entry| {
                entry.lane() != Lane::Fast
                    || !matches!(entry.sql, Some(Ok(_)))
                    || done(entry.started, entry.running)
            })
    }

    /// How the instance stands for a scrape that began at `begin`.
    pub(crate) fn verdict(&self, begin: Instant) -> Verdict {
        self.standing.verdict(begin.checked_sub(MIN_AGE).unwrap_or(begin))
    }

    /// What an entry shows now: nothing once the result is too old.
    pub(crate) fn present<'e>(&self, entry: &'e Entry, now: Instant) -> Option<&'e Shown> {
        let shown = entry.shown.as_ref()?;
        let withdrawn = if entry.fast {
            self.cadence.fast_withdrawal(entry.interval, now)
        } else {
            withdrawal(entry.interval)
        };
        (now.duration_since(shown.at) <= withdrawn).then_some(shown)
    }

    // ---- what lanes ask ----

    /// What `lane` does next.
    pub(crate) fn next(&self, lane: Lane, now: Instant) -> Job {
        match lane {
            Lane::Rest => match (self.next_rest(now), self.databases.next(now)) {
                (Job::Wait(_), Next::Visit(database)) => Job::Visit(database),
                (Job::Query(_) | Job::Facts, Next::Visit(database))
                    if self.databases.is_neglected(now) =>
                {
                    Job::Visit(database)
                }
                (Job::Wait(until), Next::At(visit)) => Job::Wait(until.min(visit)),
                (job, _) => job,
            },
            Lane::Fast => match self.next_fast(now) {
                Job::Wait(until) if self.single.is_some() || self.one_lane => {
                    match self.next_rest(now) {
                        Job::Wait(other) => Job::Wait(until.min(other)),
                        job => job,
                    }
                }
                job => job,
            },
        }
    }

    fn next_fast(&self, now: Instant) -> Job {
        let ping = self.fast_due(self.ping_started, self.intervals.fast, now);
        if ping <= now {
            return Job::Ping;
        }
        let mut wait = ping;
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.lane() != Lane::Fast || !entry.is_runnable() {
                continue;
            }
            let clock = self.fast_due(entry.started, entry.interval, now);
            let due = entry.asked.map_or(clock, |asked| asked.min(clock));
            if due <= now {
                return Job::Query(index);
            }
            wait = wait.min(due);
        }
        Job::Wait(wait)
    }

    /// When something fast is to be done that was last begun at `started`.
    fn fast_due(&self, started: Option<Instant>, interval: Duration, now: Instant) -> Instant {
        let Some(started) = started else { return self.epoch };
        let clock = started + self.cadence.fast_interval(interval, now);
        match self.demand {
            Some(demand) if started + MIN_AGE < demand => clock.min(demand),
            _ => clock,
        }
    }

    /// Whether the fast lane has something in hand that should have ended by itself.
    fn is_stuck(&self, now: Instant) -> bool {
        self.in_hand.is_some_and(|begun| now.duration_since(begun) > STUCK)
    }

    /// The one whose deadline, an interval after it was due, comes first. After a connect that is
    /// the most frequent and so the cheapest; later nothing starves, however busy the lane.
    fn next_rest(&self, now: Instant) -> Job {
        let mut wait = self.facts_due;
        if let (Some(begun), Some(demand)) = (self.in_hand, self.demand)
            && self.second_opinion.is_none_or(|at| at + MIN_AGE < demand)
        {
            if self.is_stuck(now) {
                return Job::Ping;
            }
            wait = wait.min(begun + STUCK + Duration::from_millis(1));
        }
        let facts = (self.facts_due <= now).then_some((
            self.facts_due + self.intervals.medium,
            Duration::ZERO,
            Job::Facts,
        ));
        let due = self.entries.iter().enumerate().filter_map(|(index, entry)| {
            if entry.lane() != Lane::Rest || !entry.is_runnable() {
                return None;
            }
            let due = entry.asked.map_or(entry.due, |asked| asked.min(entry.due));
            wait = wait.min(due);
            let took = entry.last.as_ref().map_or(Duration::ZERO, |run| run.duration);
            (due <= now).then_some((due + entry.interval, took, Job::Query(index)))
        });
        let first = due.chain(facts).min_by_key(|(deadline, took, _)| (*deadline, *took));
        first.map_or(Job::Wait(wait), |(_, _, job)| job)
    }

    /// The SQL to run for an entry; none when it has become unavailable meanwhile.
    pub(crate) fn begin(
        &mut self,
        index: usize,
        lane: Lane,
        now: Instant,
    ) -> Option<(Arc<Query>, Arc<str>, Known)> {
        let entry = &mut self.entries[index];
        let sql = Arc::clone(entry.sql.as_ref()?.as_ref().ok()?);
        if lane == Lane::Fast {
            self.in_hand = Some(now);
        }
        entry.running = true;
        entry.suspect = false;
        entry.started = Some(now);
        entry.asked = None;
        entry.due = next_time(self.epoch, &(&self.name, &entry.query.name), entry.interval, now);
        Some((Arc::clone(&entry.query), sql, Arc::clone(&entry.members)))
    }

    /// A run has ended. Returns the outcome where it is news for the log.
    pub(crate) fn finish(
        &mut self,
        index: usize,
        lane: Lane,
        ending: Ending,
        now: Instant,
    ) -> Option<(QueryReason, Option<String>)> {
        if lane == Lane::Fast {
            self.in_hand = None;
        }
        let entry = &mut self.entries[index];
        entry.running = false;
        let duration = entry.started.map_or(Duration::ZERO, |started| now - started);
        if matches!(ending, Ending::TooSlow) && self.single.is_none() {
            entry.exiled = true;
            entry.asked = Some(now);
            return None;
        }
        let run = concluded(ending, duration, now, &mut entry.shown);
        let late = matches!(run.reason, QueryReason::Timeout | QueryReason::LockTimeout);
        // Whoever was exiled comes back when it is quick again.
        entry.exiled = entry.fast && (late || (entry.exiled && duration > FAST_CAP / 2));
        if entry.exiled {
            entry.due = now + entry.interval;
        }
        if run.was_locked_out() {
            entry.due = entry.due.min(now + self.intervals.medium);
        }
        // The words may change from run to run, with the number of rows for instance. That there was no
        // session meanwhile is the instance's news, not each query's.
        let outcome = (run.reason, run.message.is_some());
        let news = run.reason != QueryReason::Unavailable && entry.said != outcome;
        let told = (run.reason, run.message.clone());
        if news {
            entry.said = outcome;
        }
        entry.last = Some(run);
        news.then_some(told)
    }

    /// The session was lost while the entry ran: it waits its interval before it is run again, for
    /// it may be what takes the server down.
    pub(crate) fn suspect(&mut self, index: usize) {
        self.entries[index].suspect = true;
    }

    pub(crate) fn ping_begins(&mut self, lane: Lane, now: Instant) {
        match lane {
            Lane::Fast => {
                self.ping_started = Some(now);
                self.ping_running = true;
                self.in_hand = Some(now);
            }
            Lane::Rest => self.second_opinion = Some(now),
        }
    }

    pub(crate) fn ping_ends(&mut self, lane: Lane) {
        if lane == Lane::Fast {
            self.ping_running = false;
            self.in_hand = None;
        }
    }

    /// What the facts say may no longer hold: they are read again soon.
    pub(crate) fn facts_doubted(&mut self, now: Instant) {
        self.facts_due = self.facts_due.min(now + Duration::from_secs(1));
    }

    /// The facts were asked for, whatever came of it.
    pub(crate) fn facts_asked(&mut self, now: Instant) {
        self.facts_due = now + self.intervals.medium;
    }

    // ---- what changes the instance's standing ----

    /// A first session stands: everything runs once, unless it has just run.
    pub(crate) fn connected(&mut self, facts: Facts, now: Instant) {
        self.standing.connected(now);
        self.facts_asked(now);
        self.ping_started = Some(now);
        self.ping_running = false;
        self.in_hand = None;
        self.learn(facts, now);
        self.databases.recall();
        for entry in &mut self.entries {
            recall(&mut entry.last, &mut entry.before);
            let fresh = entry.started.is_some_and(|at| at + entry.interval / 10 > now);
            if std::mem::take(&mut entry.suspect) {
                entry.asked = None;
                entry.due = now + entry.interval;
                entry.started = Some(now);
            } else if !fresh {
                entry.asked = Some(now);
            }
        }
    }

    /// A second session stands.
    pub(crate) fn rest_connected(&mut self) {
        self.databases.recall();
        self.single = None;
        for entry in self.entries.iter_mut().filter(|entry| entry.lane() == Lane::Rest) {
            recall(&mut entry.last, &mut entry.before);
        }
    }

    /// The facts as they are now: what they make possible is run at once, what they forbid goes.
    pub(crate) fn learn(&mut self, facts: Facts, now: Instant) {
        let changed = self
            .facts
            .as_ref()
            .is_none_or(|old| old.role != facts.role || old.version != facts.version);
        for entry in &mut self.entries {
            let sql = packs::select(&entry.query, &facts)
                .map(|sql| Arc::from(&*sql))
                .map_err(|unavailable| unavailable.why);
            match &sql {
                Ok(_) => {
                    if changed || entry.sql.as_ref() != Some(&sql) {
                        entry.asked = Some(now);
                    }
                }
                Err(why) => {
                    entry.shown = None;
                    entry.asked = None;
                    entry.last = Some(Run::without_rows(QueryReason::Unavailable, why, now));
                }
            }
            entry.sql = Some(sql);
        }
        self.databases.learn(&facts, changed, now);
        self.facts = Some(Arc::new(facts));
    }

    /// No session could be had for `lane` (none: for either): what it should run says so.
    pub(crate) fn unreachable(&mut self, lane: Option<Lane>, message: &str, now: Instant) {
        for entry in &mut self.entries {
            let concerned =
                lane.is_none_or(|lane| entry.lane() == lane) && !matches!(entry.sql, Some(Err(_)));
            if concerned {
                cut_off(&mut entry.last, &mut entry.before, message, now);
            }
        }
        if lane != Some(Lane::Fast) {
            self.databases.unreachable(message, now);
        }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
