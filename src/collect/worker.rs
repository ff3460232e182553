//! What the tasks of one instance share: its board, its probes, how they wake each other, and what
//! they tell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::board::Board;
use super::caps::{Caps, Members, Shown};
use super::claims::Claims;
use super::link::of_query;
use super::probe::{Probes, Took};
use super::rows::Terms;
use super::standing::Failure;
use crate::config::{Instance, InstanceKind};
use crate::instances::{Connector, QueryError};
use crate::metric::Labels;
use crate::packs::Query;
use crate::postgres::{Facts, LogSettings, QueryReason, Whereabouts};

/// One instance at work.
pub(crate) struct Worker {
    pub(crate) kind: InstanceKind,
    pub(crate) name: String,
    pub(crate) cluster: String,
    /// Identity and configured labels.
    pub(crate) base: Labels,
    pub(crate) connector: Connector,
    claims: Arc<Claims>,
    max_series: Option<usize>,
    pub(super) caps: Caps,
    board: Mutex<Board>,
    probes: Mutex<Probes>,
    /// How often and how patiently the way through the pooler is probed.
    pub(super) through: Option<(Duration, Duration)>,
    /// Something became due for that lane.
    pub(super) fast: Notify,
    pub(super) rest: Notify,
    /// Something ended that a scrape may wait for.
    progress: watch::Sender<()>,
    log_settings: watch::Sender<Option<LogSettings>>,
    whereabouts: watch::Sender<Option<Whereabouts>>,
}

impl Worker {
    pub(crate) fn new(
        instance: &Instance,
        base: Labels,
        connector: Connector,
        claims: Arc<Claims>,
        max_series: Option<usize>,
        mut board: Board,
    ) -> Self {
        let every = board.fast_interval();
        board.one_lane = instance.kind == InstanceKind::Pgbouncer;
        Self {
            kind: instance.kind,
            name: instance.name.clone(),
            cluster: instance.cluster.clone(),
            base,
            connector,
            claims,
            max_series,
            caps: board.caps,
            board: Mutex::new(board),
            probes: Mutex::new(Probes::new(instance.probe.as_ref().map(|p| p.database.as_str()))),
            through: instance.probe.as_ref().map(|probe| (every, probe.timeout)),
            fast: Notify::new(),
            rest: Notify::new(),
            progress: watch::Sender::new(()),
            log_settings: watch::Sender::new(None),
            whereabouts: watch::Sender::new(None),
        }
    }

    /// The board; never held across a wait.
    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the probes have measured.
    pub(crate) fn probes(&self) -> MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_pooler(&self) -> bool {
        self.kind == InstanceKind::Pgbouncer
    }

    /// A scrape begins.
    pub(crate) fn demand(&self, begin: Instant) {
        self.board().demand(begin);
        self.fast.notify_one();
        // It may be asked for a second opinion.
        self.rest.notify_one();
    }

    /// Waits until the scrape that began at `begin` has nothing to wait for, at most to `deadline`.
    pub(crate) async fn settled(&self, begin: Instant, deadline: Instant) {
        let mut progress = self.progress.subscribe();
        loop {
            progress.mark_unchanged();
            if self.board().is_settled(begin, Instant::now()) {
                return;
            }
            if timeout_at(deadline, progress.changed()).await.is_err() {
                self.board().standing.overdue(begin, Instant::now());
                return;
            }
        }
    }

    pub(crate) fn log_settings(&self) -> watch::Receiver<Option<LogSettings>> {
        self.log_settings.subscribe()
    }

    pub(crate) fn whereabouts(&self) -> watch::Receiver<Option<Whereabouts>> {
        self.whereabouts.subscribe()
    }

    /// Whether the lanes' own sessions are in that database.
    pub(super) fn is_home(&self, database: &str) -> bool {
        self.board().facts.as_ref().is_some_and(|facts| facts.database == database)
    }

    pub(super) fn say(&self, failure: &Failure) {
        let reason = failure.reason.as_str();
        tracing::warn!(instance = self.name, reason, "{}", failure.message);
    }

    /// Takes note of a probe; the log hears of each change.
    pub(super) fn probed(&self, result: Result<Took, Failure>) {
        let mut probes = self.probes();
        let news = probes.record(result);
        let failure = probes.failure().cloned();
        drop(probes);
        // Of the server's own silence the instance's standing tells.
        if !news || !self.is_pooler() {
            return;
        }
        let instance = self.name.as_str();
        match failure {
            Some(Failure { reason, message }) => {
                let reason = reason.as_str();
                tracing::warn!(instance, reason, "probe: {message}");
            }
            None => tracing::info!(instance, "probe: the way through the pooler works again"),
        }
    }
    pub(super) fn terms<'t>(
        &'t self,
        query: &Query,
        database: Option<&'t str>,
        shown: Shown,
        members: &'t Mutex<Members>,
    ) -> Terms<'t> {
        let max_series = query.max_series.or(self.max_series);
        Terms {
            base: &self.base,
            claims: &self.claims,
            max_series: shown.max_series(query, max_series),
            database,
            shown,
            members,
        }
    }

    /// Takes note of an answer, or of a session lost.
    pub(super) fn heard(&self, error: Option<QueryError>) -> Option<Failure> {
        let lost = error.filter(|error| error.session_lost);
        if lost.as_ref().is_none_or(|error| error.sqlstate.is_some()) {
            self.board().standing.answered(Instant::now());
        }
        lost.map(|error| of_query(&error))
    }

    pub(super) fn log(&self, query: &Query, reason: QueryReason, message: Option<&str>) {
        let (instance, query, reason) = (self.name.as_str(), &*query.name, reason.as_str());
        match message {
            Some(message) => tracing::warn!(instance, query, reason, "{message}"),
            None => tracing::info!(instance, query, reason, "the query works again"),
        }
    }

    pub(super) fn publish(&self, facts: &Facts) {
        if self.is_pooler() {
            // Its log is none of PostgreSQL's.
            return;
        }
        renew(&self.log_settings, &facts.log);
        renew(&self.whereabouts, &facts.whereabouts);
    }

    pub(super) fn tell(&self) {
        self.progress.send_replace(());
    }
}

/// Tells those who follow a value, where it is another than before.
fn renew<T: Clone + PartialEq>(followed: &watch::Sender<Option<T>>, value: &T) {
    followed.send_if_modified(|known| {
        let changed = known.as_ref() != Some(value);
        *known = Some(value.clone());
        changed
    });
}
