//! Visits to an instance's databases: connect, run what is due there, disconnect, one at a time and
//! in the place of the rest lane's session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::board::{Job, Lane};
use super::databases::{Errand, LAST_BEGIN, VISIT};
use super::outcome::Ending;
use super::run::{Ran, run};
use super::standing::Failure;
use super::worker::{CONNECT, Worker, of_query, over};
use crate::instances::{Limits, QueryError, SEARCH_PATH, Session};
use crate::packs;
use crate::postgres::{Extension, Facts, InstanceReason, QueryReason};
use crate::task::Stop;

/// A wait between two visits for which the lane's own session is not opened again.
const SHORT: Duration = Duration::from_secs(1);

/// More rows than that are taken for as many relations that the server has opened, and remembers for as
/// long as the session lasts: 75 MB after 10,000 tables with their exact sizes (PostgreSQL 18).
const MANY: usize = 1000;

/// The extensions of a database: names, versions and schemas differ from one to the next.
const EXTENSIONS: &str = "SELECT extname::text, extversion, nspname::text \
    FROM pg_catalog.pg_extension JOIN pg_catalog.pg_namespace AS n ON n.oid = extnamespace";

impl Worker {
    /// Visits `database`, and whatever else is due in others. False when the stop has begun.
    pub(super) async fn tour(&self, database: Arc<str>, stop: &Stop) -> bool {
        let mut next = Some(database);
        loop {
            if let Some(database) = next.take()
                && !self.visit(&database, stop).await
            {
                return false;
            }
            let now = Instant::now();
            let job = {
                let board = self.board();
                if !board.standing.is_connected() {
                    return true;
                }
                board.next(Lane::Rest, now)
            };
            match job {
                Job::Visit(database) if !self.is_home(&database) => next = Some(database),
                Job::Wait(until) if until < now + SHORT => {
                    tokio::select! {
                        biased;
                        () = stop.draining() => return false,
                        () = self.rest.notified() => {}
                        () = sleep_until(until) => {}
                    }
                }
                _ => return true,
            }
        }
    }

    /// One visit. False when the stop has begun.
    async fn visit(&self, database: &str, stop: &Stop) -> bool {
        let begin = Instant::now();
        let connected = tokio::select! {
            biased;
            () = stop.draining() => return false,
            result = self.connector.connect(Some(database), begin + CONNECT) => result,
        };
        let mut session = match connected {
            Ok(session) => session,
            Err(error) => {
                let now = Instant::now();
                let mut board = self.board();
                if error.reason == InstanceReason::Database {
                    // It may be gone: the facts tell.
                    board.facts_doubted(now);
                }
                let databases = &mut board.databases;
                let news = databases.refused(database, error.reason, &error.message, now);
                databases.left(begin, now);
                drop(board);
                if news {
                    let (instance, reason) = (self.name.as_str(), error.reason.as_str());
                    tracing::warn!(instance, database, reason, "{}", error.message);
                }
                return true;
            }
        };
        self.board().sessions_open += 1;
        // It ends with the visit anyway.
        let mut heavy = false;
        let done = tokio::select! {
            lost = self.look_around(database, &mut session, Some(begin), &mut heavy) => Some(lost),
            () = over(stop) => None,
        };
        match &done {
            None => session.abandon().await,
            Some(None) => session.close().await,
            Some(Some(failure)) => {
                let instance = self.name.as_str();
                tracing::debug!(instance, database, "visit: {}", failure.message);
            }
        }
        self.board().sessions_open -= 1;
        self.tell();
        done.is_some()
    }

    /// Runs what is due in the session's database; with `guest_since`, when the connection was begun,
    /// only as long as a guest may stay. `heavy` becomes true when the session is better not kept for
    /// long. Returns why the session is lost, when it is.
    pub(super) async fn look_around(
        &self,
        database: &str,
        session: &mut Session,
        guest_since: Option<Instant>,
        heavy: &mut bool,
    ) -> Option<Failure> {
        let begin = Instant::now();
        let lost = self.errands(database, session, guest_since, begin, heavy).await;
        let now = Instant::now();
        self.board().databases.left(guest_since.unwrap_or(begin), now);
        lost
    }

    async fn errands(
        &self,
        database: &str,
        session: &mut Session,
        guest_since: Option<Instant>,
        begin: Instant,
        heavy: &mut bool,
    ) -> Option<Failure> {
        let facts = self.board().facts.clone()?;
        let mut here: Option<Facts> = self.is_home(database).then(|| (*facts).clone());
        let mut first = true;
        loop {
            let now = Instant::now();
            let stayed = guest_since.map_or(Duration::ZERO, |since| now - since);
            if !std::mem::take(&mut first) && stayed > LAST_BEGIN {
                return None;
            }
            let errand = self.board().databases.begin(database, begin, now);
            let Errand { index, query, members } = errand?;
            if here.is_none() {
                match extensions(session).await {
                    Ok(extensions) => {
                        let database = database.to_owned();
                        here = Some(Facts { database, extensions, ..(*facts).clone() });
                    }
                    Err(error) => {
                        let lost = error.session_lost.then(|| of_query(&error));
                        let QueryError { reason, message, .. } = error;
                        let ending = Ending::Failed { reason, message };
                        self.board().databases.finish(database, index, ending, Instant::now());
                        if lost.is_some() {
                            return lost;
                        }
                        continue;
                    }
                }
            }
            let here = here.as_ref().unwrap_or(&facts);
            let (ending, answered, lost) = match packs::select(&query, here) {
                Err(unavailable) => (Ending::Unavailable(unavailable.why), false, None),
                Ok(sql) => {
                    let (sql, shown) = self.caps.fill(&sql);
                    let terms = self.terms(&query, Some(database), shown, &members);
                    let cap = guest_since.map(|_| VISIT.saturating_sub(stayed));
                    let Ran { ending, answered, lost } =
                        run(session, &query, &sql, cap, &terms).await;
                    (ending, answered, lost)
                }
            };
            let ending = match ending {
                Ending::TooSlow => Ending::Failed {
                    reason: QueryReason::Timeout,
                    message: format!(
                        "it takes longer than the {} s for which a session stays in a database that \
                         others may want to drop or copy; make it cheaper, or connect the instance \
                         to this database",
                        VISIT.as_secs()
                    ),
                },
                ending => ending,
            };
            *heavy |= matches!(&ending, Ending::Rows(harvest) if harvest.rows > MANY);
            let now = Instant::now();
            let news = {
                let mut board = self.board();
                if answered {
                    board.standing.answered(now);
                }
                board.databases.finish(database, index, ending, now)
            };
            if let Some((reason, message)) = news {
                let (instance, query, reason) = (&*self.name, &*query.name, reason.as_str());
                match message {
                    Some(message) => {
                        tracing::warn!(instance, database, query, reason, "{message}");
                    }
                    None => {
                        tracing::info!(instance, database, query, reason, "the query works again");
                    }
                }
            }
            if let Some(error) = lost {
                return Some(of_query(&error));
            }
        }
    }
}

async fn extensions(session: &mut Session) -> Result<BTreeMap<String, Extension>, QueryError> {
    let limits = Limits {
        statement_timeout: SHORT,
        deadline: Instant::now() + SHORT * 2,
        max_rows: 10_000,
        max_bytes: 1 << 20,
        search_path: SEARCH_PATH,
    };
    let rows = session.run(EXTENSIONS, &limits).await?;
    let text = |value: &Option<Box<str>>| value.as_deref().unwrap_or_default().to_owned();
    Ok(rows
        .rows
        .iter()
        .filter_map(|row| {
            let [name, version, schema] = row.as_slice() else { return None };
            Some((text(name), Extension { version: text(version), schema: text(schema) }))
        })
        .collect())
}
