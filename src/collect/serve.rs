//! What a lane does with its session: what the board says is due, one job after another.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::board::{Job, Lane};
use super::cadence::FAST_CAP;
use super::link::{of_query, over};
use super::outcome::Ending;
use super::probe::Took;
use super::run::{Ran, run};
use super::standing::Failure;
use super::worker::Worker;
use crate::config::InstanceKind;
use crate::instances::{Limits, Session};
use crate::packs::Query;
use crate::postgres::Role;
use crate::task::Stop;

/// How long the server may take for what costs it nothing. Scrapes do not wait so long; a session
/// that is given up early would be replaced by another, which a hanging server needs least.
const TRIFLE: Duration = Duration::from_secs(6);

/// How long a lane idles without a look at what is due: the other one may be stuck meanwhile.
const GLANCE: Duration = Duration::from_secs(1);

/// How long a session lives in the rest lane: what the server remembers of all that it looked at is then
/// given back.
const LIFE: Duration = Duration::from_secs(3600);

/// Tells whether the server answers, and in which role, without touching any relation.
const PING: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// The same for PgBouncer's console.
const PING_CONSOLE: &str = "SHOW VERSION";

/// How a lane's time with one session ended.
pub(super) enum Parting {
    Stopped,
    Lost(Failure),
    /// It was closed to make room for a visit to that database.
    Left(Arc<str>),
    /// It was closed because the server remembers too much for it.
    Worn,
}

impl Worker {
    /// Does what is due in `lane` until the session is lost or the stop begins.
    pub(super) async fn serve(&self, lane: Lane, mut session: Session, stop: &Stop) -> Parting {
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
