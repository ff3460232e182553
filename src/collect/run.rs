//! One query on one session: its gates, its statement, its rows to families.

use std::time::Duration;

use tokio::time::Instant;

use super::outcome::Ending;
use super::rows::{Terms, harvest};
use super::shape::shaped;
use crate::config::InstanceKind;
use crate::instances::{Limits, QueryError, Rows, Session};
use crate::packs::{self, Query};
use crate::postgres::QueryReason;

/// How long after the server's own limit we wait for it to say so.
const GRACE: Duration = Duration::from_secs(3);

/// What is read of one result at most, in bytes of text: with a cap on series, and without.
const MAX_BYTES: usize = 16 << 20;
const MAX_BYTES_UNCAPPED: usize = 256 << 20;

/// A run's end, and what it says of the session that it ran on.
pub(crate) struct Ran {
    pub(crate) ending: Ending,
    /// The server said something, a row or an error.
    pub(crate) answered: bool,
    /// The session is gone, and why.
    pub(crate) lost: Option<QueryError>,
}

/// Runs `query`, whose statement for this server is `sql`, within its own limits and `cap`: the time
/// that there is for it where it runs.
pub(crate) async fn run(
    session: &mut Session,
    query: &Query,
    sql: &str,
    cap: Option<Duration>,
    terms: &Terms<'_>,
) -> Ran {
    let capped = cap.is_some_and(|cap| query.timeout > cap);
    let timeout = cap.map_or(query.timeout, |cap| cap.min(query.timeout));
    for (at, gate) in query.gates().iter().enumerate() {
        let rows = match session.run(gate, &limits(query, timeout, 2)).await {
            Ok(rows) => rows,
            Err(error) => return failed(error, capped),
        };
        // The first gate is the function that it requires, where it requires one.
        let function = query.requires.function.as_deref().filter(|_| at == 0);
        if let Some(ending) = closed(&rows, function) {
            return Ran { ending, answered: true, lost: None };
        }
    }
    // Each row gives a series or is of no use, so as many rows as series are read; one more tells
    // that there are more.
    let max_rows = terms.max_series.map_or(usize::MAX, |series| series.saturating_add(1));
    let mut limits = limits(query, timeout, max_rows);
    if terms.max_series.is_none() {
        limits.max_bytes = MAX_BYTES_UNCAPPED;
    }
    match session.run(sql, &limits).await {
        Ok(rows) => {
            let harvest = harvest(query, &shaped(query, &rows), terms);
            Ran { ending: Ending::Rows(harvest), answered: true, lost: None }
        }
        Err(error) => failed(error, capped),
    }
}

/// What the planner thinks that `sql` costs, by the topmost node of its plan; none where it has no
/// plan or the server gives none.
///
/// # Errors
/// Why the session is gone.
pub(crate) async fn plan_cost(
    session: &mut Session,
    query: &Query,
    sql: &str,
) -> Result<Option<f64>, QueryError> {
    if query.kind != InstanceKind::Postgres || !packs::has_plan(sql) {
        return Ok(None);
    }
    let limits = limits(query, query.timeout, usize::MAX);
    match session.run(&format!("EXPLAIN {sql}"), &limits).await {
        Ok(rows) => {
            let top = rows.rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
            Ok(top.and_then(total_cost))
        }
        Err(error) if error.session_lost => Err(error),
        Err(_) => Ok(None),
    }
}

/// `8.17` of `Limit  (cost=0.15..8.17 rows=1 width=4)`.
fn total_cost(line: &str) -> Option<f64> {
    let (_, rest) = line.rsplit_once("(cost=")?;
    let (_, rest) = rest.split_once("..")?;
    rest.split(' ').next()?.parse().ok()
}

fn limits(query: &Query, timeout: Duration, max_rows: usize) -> Limits {
    Limits {
        statement_timeout: timeout,
        deadline: Instant::now() + timeout + GRACE,
        max_rows,
        max_bytes: MAX_BYTES,
        search_path: query.search_path,
    }
}

fn failed(error: QueryError, capped: bool) -> Ran {
    let answered = error.sqlstate.is_some() || !error.session_lost;
    let ending = if capped && error.reason == QueryReason::Timeout && !error.session_lost {
        Ending::TooSlow
    } else {
        Ending::Failed { reason: error.reason, message: error.message.clone() }
    };
    Ran { ending, answered, lost: error.session_lost.then_some(error) }
}

/// Why a gate keeps the query from running: its first row must be one `true`. No row, NULL and false
/// close it; what is no boolean is a mistake, as in the programs whose files have predicates.
fn closed(gate: &Rows, function: Option<&str>) -> Option<Ending> {
    /// `bool` in `pg_type.dat`.
    const BOOL: u32 = 16;
    if gate.columns.len() != 1 || gate.columns[0].type_oid != BOOL {
        let message = "the predicate gives other than one boolean; write `SELECT EXISTS (…)`";
        return Some(Ending::Failed { reason: QueryReason::Type, message: message.to_owned() });
    }
    match gate.rows.first().and_then(|row| row.first()).and_then(Option::as_deref) {
        Some("t") => None,
        _ => Some(Ending::Unavailable(match function {
            Some(name) => format!("the database lacks the function {name}"),
            None => "its predicate does not hold there".to_owned(),
        })),
    }
}
