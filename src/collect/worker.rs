//! One instance's worker: two lanes, each a task with one session, that do what the board says is due.
//!
//! The fast lane stands for the instance: its session is the one that `pg_up` speaks of, it connects
//! first and reads the facts. The rest lane follows when that one stands; where the server or the
//! budget has no room for a second session, the fast lane does its work too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::board::{Board, Job, Lane};
use super::cadence::FAST_CAP;
use super::caps::{Caps, Members, Shown};
use super::claims::Claims;
use super::outcome::Ending;
use super::probe::{Probes, Took};
use super::rows::Terms;
use super::run::{Ran, run};
use super::standing::Failure;
use crate::config::{Instance, InstanceKind};
use crate::instances::{ConnectError, Connector, Limits, QueryError, Session};
use crate::metric::Labels;
use crate::packs::Query;
use crate::postgres::{Facts, InstanceReason, LogSettings, QueryReason, Role, Whereabouts};
use crate::task::{Backoff, Group, Stop};

/// How long a login may take, from the first packet to the facts.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// How long the server may take for what costs it nothing. Scrapes do not wait so long; a session
/// that is given up early would be replaced by another, which a hanging server needs least.
const TRIFLE: Duration = Duration::from_secs(6);

/// How long a lane idles without a look at what is due: the other one may be stuck meanwhile.
const GLANCE: Duration = Duration::from_secs(1);

/// How long a session lives in the rest lane: what the server remembers of all that it looked at is then
/// given back.
const LIFE: Duration = Duration::from_secs(3600);

/// How long a statement may go on after the stop has begun, before it is cancelled.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Tells whether the server answers, and in which role, without touching any relation.
const PING: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// The same for PgBouncer's console.
const PING_CONSOLE: &str = "SHOW VERSION";

/// What a lane has in hand of its instance.
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
    through: Option<(Duration, Duration)>,
    /// Something became due for that lane.
    fast: Notify,
    pub(super) rest: Notify,
    /// Something ended that a scrape may wait for.
    progress: watch::Sender<()>,
    log_settings: watch::Sender<Option<LogSettings>>,
    whereabouts: watch::Sender<Option<Whereabouts>>,
}

/// How a lane's time with one session ended.
enum Parting {
    Stopped,
    Lost(Failure),
    /// It was closed to make room for a visit to that database.
    Left(Arc<str>),
    /// It was closed because the server remembers too much for it.
    Worn,
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

    /// Starts the lanes: both, but for an instance that needs no second session; and the probe.
    pub(crate) fn start(self: &Arc<Self>, group: &Group) {
        let (worker, stop) = (Arc::clone(self), group.signal());
        group.spawn("fast lane", async move { Box::pin(worker.fast_lane(&stop)).await });
        if let Some((every, timeout)) = self.through {
            let (worker, stop) = (Arc::clone(self), group.signal());
            group.spawn("probe", async move { worker.probe_lane(every, timeout, &stop).await });
        }
        if self.is_pooler() {
            return;
        }
        let (worker, stop) = (Arc::clone(self), group.signal());
        group.spawn("rest lane", async move { worker.rest_lane(&stop).await });
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

    // ---- the fast lane ----

    async fn fast_lane(&self, stop: &Stop) {
        let mut parted = None;
        while let Some((session, facts)) = self.stand(parted.take(), stop).await {
            tracing::info!(
                instance = self.name,
                version = %facts.version,
                role = facts.role.as_str(),
                "connected"
            );
            self.publish(&facts);
            {
                let mut board = self.board();
                board.connected(facts, Instant::now());
                board.sessions_open += 1;
            }
            self.tell();
            self.rest.notify_one();
            let parting = self.serve(Lane::Fast, session, stop).await;
            self.board().sessions_open -= 1;
            let Parting::Lost(failure) = parting else { return };
            parted = Some(failure.clone());
            let now = Instant::now();
            let again = {
                let mut board = self.board();
                let message = failure.message.clone();
                let again = board.standing.lost(now, failure);
                if again > now {
                    board.unreachable(None, &message, now);
                }
                again
            };
            self.tell();
            if !idle(again, stop).await {
                return;
            }
        }
    }

    /// Connects and reads the facts, again and again until it succeeds; none when it is to stop.
    /// `parted`: why the session before was lost.
    ///
    /// Each change of the reason is said once, not each attempt. Of a session that was closed the next
    /// attempt tells more, so it speaks first; one that hung is told of now, for the attempt may hang too.
    async fn stand(&self, mut parted: Option<Failure>, stop: &Stop) -> Option<(Session, Facts)> {
        let hung = parted.take_if(|failure| failure.reason == InstanceReason::Timeout);
        let mut told = hung.map(|failure| {
            self.say(&failure);
            failure.reason
        });
        loop {
            self.board().standing.connecting();
            let attempt = stand(&self.connector, None, Instant::now() + CONNECT);
            let failure = tokio::select! {
                biased;
                () = stop.draining() => return None,
                result = attempt => match result {
                    Ok(stands) => {
                        if let Some(failure) = parted {
                            self.say(&failure);
                        }
                        return Some(stands);
                    }
                    Err(failure) => failure,
                },
            };
            parted = None;
            if !self.is_pooler() {
                self.probed(Err(failure.clone()));
            }
            let now = Instant::now();
            let (again, verdict) = {
                let mut board = self.board();
                board.unreachable(None, &failure.message, now);
                let again = board.standing.failed(now, failure);
                (again, board.standing.verdict(now))
            };
            // As it is shown: that the agent holds back from a server that hangs is no news of it.
            if told.replace(verdict.reason) != Some(verdict.reason) {
                let message = verdict.message.unwrap_or_default();
                self.say(&Failure::new(verdict.reason, message));
            }
            self.tell();
            if !idle(again, stop).await {
                return None;
            }
        }
    }

    fn say(&self, failure: &Failure) {
        let reason = failure.reason.as_str();
        tracing::warn!(instance = self.name, reason, "{}", failure.message);
    }

    // ---- the rest lane ----

    async fn rest_lane(&self, stop: &Stop) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut told = None;
        let mut ahead = None;
        loop {
            // A second session is tried only where the first stands.
            while !self.board().standing.is_connected() {
                tokio::select! {
                    () = stop.draining() => return,
                    () = self.rest.notified() => {}
                }
            }
            if let Some(database) = ahead.take()
                && !self.tour(database, stop).await
            {
                return;
            }
            let connected = tokio::select! {
                biased;
                () = stop.draining() => return,
                result = self.connector.connect(None, Instant::now() + CONNECT) => result,
            };
            match connected {
                Ok(session) => {
                    told = None;
                    {
                        let mut board = self.board();
                        board.rest_connected();
                        board.sessions_open += 1;
                    }
                    let begin = Instant::now();
                    let parting = self.serve(Lane::Rest, session, stop).await;
                    self.board().sessions_open -= 1;
                    let failure = match parting {
                        Parting::Stopped => return,
                        Parting::Left(database) => {
                            ahead = Some(database);
                            continue;
                        }
                        Parting::Worn => continue,
                        Parting::Lost(failure) => failure,
                    };
                    tracing::debug!(instance = self.name, "rest lane: {}", failure.message);
                    if begin.elapsed() > Duration::from_secs(60) {
                        backoff.reset();
                    }
                }
                Err(error) => {
                    if told.replace(error.reason) != Some(error.reason) {
                        let reason = error.reason.as_str();
                        tracing::warn!(
                            instance = self.name,
                            reason,
                            "second session: {}",
                            error.message
                        );
                    }
                    self.do_without(error);
                }
            }
            if !idle(Instant::now() + backoff.wait(), stop).await {
                return;
            }
        }
    }

    /// There is no second session: where there is no room for it, the first one serves for all.
    fn do_without(&self, error: ConnectError) {
        let full =
            matches!(error.reason, InstanceReason::Budget | InstanceReason::TooManyConnections);
        let mut board = self.board();
        if full {
            board.databases.unreachable(&error.message, Instant::now());
            board.single = Some(error.message);
            drop(board);
            self.fast.notify_one();
        } else {
            board.single = None;
            board.unreachable(Some(Lane::Rest), &error.message, Instant::now());
        }
    }

    // ---- both ----

    /// Does what is due in `lane` until the session is lost or the stop begins.
    async fn serve(&self, lane: Lane, mut session: Session, stop: &Stop) -> Parting {
        let wake = match lane {
            Lane::Fast => &self.fast,
            Lane::Rest => &self.rest,
        };
        let begin = Instant::now();
        let mut heavy = false;
        loop {
            if stop.is_draining() {
                session.close().await;
                return Parting::Stopped;
            }
            let job = self.board().next(lane, Instant::now());
            let lost = match job {
                Job::Wait(_) if lane == Lane::Rest && (heavy || begin.elapsed() > LIFE) => {
                    session.close().await;
                    return Parting::Worn;
                }
                Job::Wait(until) => {
                    let glance = Instant::now() + GLANCE;
                    tokio::select! {
                        () = stop.draining() => None,
                        () = wake.notified() => None,
                        () = sleep_until(until.min(glance)) => None,
                        error = session.ended() => Some(of_query(&error)),
                    }
                }
                Job::Visit(database) if !self.is_home(&database) => {
                    session.close().await;
                    return Parting::Left(database);
                }
                job => {
                    let done = tokio::select! {
                        lost = self.work(lane, job, &mut session, &mut heavy) => Some(lost),
                        () = over(stop) => None,
                    };
                    let Some(lost) = done else {
                        session.abandon().await;
                        return Parting::Stopped;
                    };
                    lost
                }
            };
            if let Some(failure) = lost {
                return Parting::Lost(failure);
            }
        }
    }

    /// Does one job; `heavy` becomes true when it has cost the server much memory that the session
    /// keeps. Returns why the session is lost, when it is.
    async fn work(
        &self,
        lane: Lane,
        job: Job,
        session: &mut Session,
        heavy: &mut bool,
    ) -> Option<Failure> {
        match job {
            Job::Wait(_) => None,
            Job::Ping => self.ping(lane, session).await,
            Job::Facts => self.read_facts(session).await,
            Job::Query(index) => self.query(lane, index, session).await,
            Job::Visit(database) => self.look_around(&database, session, None, heavy).await,
        }
    }

    /// Whether the lanes' own sessions are in that database.
    pub(super) fn is_home(&self, database: &str) -> bool {
        self.board().facts.as_ref().is_some_and(|facts| facts.database == database)
    }

    async fn ping(&self, lane: Lane, session: &mut Session) -> Option<Failure> {
        self.board().ping_begins(lane, Instant::now());
        let ping = match self.kind {
            InstanceKind::Postgres => PING,
            InstanceKind::Pgbouncer => PING_CONSOLE,
        };
        let asked = Instant::now();
        let result = session.run(ping, &trifle()).await;
        if !self.is_pooler() {
            let took = Took { login: None, answer: asked.elapsed() };
            self.probed(result.as_ref().map(|_| took).map_err(of_query));
        }
        let known = self.board().facts.as_ref().map(|facts| facts.role);
        let flipped = match &result {
            Ok(rows) => {
                let standby =
                    rows.rows.first().and_then(|row| row.first()?.as_deref()) == Some("t");
                let role = if standby { Role::Standby } else { Role::Primary };
                known.is_some_and(|known| known != role)
            }
            Err(_) => false,
        };
        let lost = self.heard(result.err());
        self.board().ping_ends(lane);
        self.tell();
        if flipped && lost.is_none() { self.read_facts(session).await } else { lost }
    }

    async fn read_facts(&self, session: &mut Session) -> Option<Failure> {
        self.board().facts_asked(Instant::now());
        match session.facts(Instant::now() + TRIFLE).await {
            Ok(facts) => {
                self.publish(&facts);
                let now = Instant::now();
                let mut board = self.board();
                board.standing.answered(now);
                board.learn(facts, now);
                drop(board);
                self.fast.notify_one();
                self.tell();
                None
            }
            Err(error) => self.heard(Some(error)),
        }
    }

    async fn query(&self, lane: Lane, index: usize, session: &mut Session) -> Option<Failure> {
        let begun = self.board().begin(index, lane, Instant::now());
        let (query, sql, members) = begun?;
        let (sql, shown) = self.caps.fill(&sql);
        let terms = self.terms(&query, None, shown, &members);
        let capped = lane == Lane::Fast && !self.is_pooler();
        let cap = capped.then_some(FAST_CAP);
        let Ran { ending, answered, lost } = run(session, &query, &sql, cap, &terms).await;
        let handed_over = matches!(ending, Ending::TooSlow);
        let now = Instant::now();
        let news = {
            let mut board = self.board();
            if answered {
                board.standing.answered(now);
            }
            let news = board.finish(index, lane, ending, now);
            if lost.is_some() {
                board.suspect(index);
            }
            news
        };
        if let Some((reason, message)) = news {
            self.log(&query, reason, message.as_deref());
        }
        self.tell();
        if handed_over {
            self.rest.notify_one();
        }
        lost.map(|error| of_query(&error))
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
    fn heard(&self, error: Option<QueryError>) -> Option<Failure> {
        let lost = error.filter(|error| error.session_lost);
        if lost.as_ref().is_none_or(|error| error.sqlstate.is_some()) {
            self.board().standing.answered(Instant::now());
        }
        lost.map(|error| of_query(&error))
    }

    fn log(&self, query: &Query, reason: QueryReason, message: Option<&str>) {
        let (instance, query, reason) = (self.name.as_str(), &*query.name, reason.as_str());
        match message {
            Some(message) => tracing::warn!(instance, query, reason, "{message}"),
            None => tracing::info!(instance, query, reason, "the query works again"),
        }
    }

    fn publish(&self, facts: &Facts) {
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

/// A session whose server has told its facts.
///
/// # Errors
/// Why there is none.
pub(crate) async fn stand(
    connector: &Connector,
    database: Option<&str>,
    deadline: Instant,
) -> Result<(Session, Facts), Failure> {
    let mut session = connector
        .connect(database, deadline)
        .await
        .map_err(|error| Failure::new(error.reason, error.message))?;
    let facts = match session.facts(deadline).await {
        Ok(facts) => facts,
        Err(error) => {
            session.close().await;
            return Err(of_query(&error));
        }
    };
    Ok((session, facts))
}

/// Tells those who follow a value, where it is another than before.
fn renew<T: Clone + PartialEq>(followed: &watch::Sender<Option<T>>, value: &T) {
    followed.send_if_modified(|known| {
        let changed = known.as_ref() != Some(value);
        *known = Some(value.clone());
        changed
    });
}

/// Ends when the time is over in which a statement in hand may end by itself.
pub(super) async fn over(stop: &Stop) {
    stop.draining().await;
    tokio::select! {
        () = stop.cut() => {}
        () = tokio::time::sleep(LAST_WORD) => {}
    }
}

/// Waits until `until`; false when the stop begins before.
pub(super) async fn idle(until: Instant, stop: &Stop) -> bool {
    tokio::select! {
        biased;
        () = stop.draining() => false,
        () = sleep_until(until) => true,
    }
}

fn trifle() -> Limits {
    Limits {
        statement_timeout: TRIFLE,
        deadline: Instant::now() + TRIFLE,
        max_rows: 1,
        max_bytes: 1 << 10,
        search_path: Query::NATIVE_PATH,
    }
}

/// What a lost session says of its instance.
pub(super) fn of_query(error: &QueryError) -> Failure {
    let reason = match error.reason {
        QueryReason::Timeout | QueryReason::LockTimeout => InstanceReason::Timeout,
        QueryReason::Permission => InstanceReason::Permission,
        QueryReason::Disconnected => match error.sqlstate.as_deref() {
            Some(code) => InstanceReason::of_sqlstate(code),
            None => InstanceReason::Unreachable,
        },
        _ => InstanceReason::Error,
    };
    Failure::new(reason, error.message.clone())
}
