//! What is due in one database, run one after another on a session that is in it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::databases::{Errand, LAST_BEGIN, VISIT};
use super::link::of_query;
use super::outcome::Ending;
use super::run::{Ran, run};
use super::standing::Failure;
use super::worker::Worker;
use crate::instances::{Limits, QueryError, SEARCH_PATH, Session};
use crate::packs;
use crate::postgres::{Extension, Facts, QueryReason};

/// How long the server may take to tell the extensions.
const SHORT: Duration = Duration::from_secs(1);

/// More rows than that are taken for as many relations that the server has opened, and remembers for as
/// long as the session lasts: 75 MB after 10,000 tables with their exact sizes (PostgreSQL 18).
const MANY: usize = 1000;

/// The extensions of a database: names, versions and schemas differ from one to the next.
const EXTENSIONS: &str = "SELECT extname::text, extversion, nspname::text \
    FROM pg_catalog.pg_extension JOIN pg_catalog.pg_namespace AS n ON n.oid = extnamespace";

impl Worker {
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
