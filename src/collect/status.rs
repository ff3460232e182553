//! Plain values for a page that a person reads: how each instance and each query stands.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::board::{Board, Entry};
use super::report::wall;
use crate::packs::Query;
use crate::postgres::{Facts, InstanceReason, QueryReason, Role, Version};

/// How an instance stands.
#[derive(Clone, Debug)]
pub struct InstanceStatus {
    pub name: String,
    pub cluster: String,
    pub reason: InstanceReason,
    /// Why it is not up and what to do; none where all is well.
    pub message: Option<String>,
    /// Since when that reason holds.
    pub since: SystemTime,
    /// As of the last session; none before the first.
    pub version: Option<Version>,
    pub role: Option<Role>,
    /// Sessions in use now.
    pub sessions: usize,
    /// Whose certificate, and when it ends.
    pub certificates: Vec<(String, SystemTime)>,
    /// What a person should know of the connection though it works.
    pub notices: Vec<String>,
    pub queries: Vec<QueryStatus>,
}

/// How one query of an instance fares.
#[derive(Clone, Debug)]
pub struct QueryStatus {
    pub name: String,
    pub pack: String,
    /// Time between two runs.
    pub interval: Duration,
    /// None before the first run.
    pub reason: Option<QueryReason>,
    /// What was lost or why it failed, and what to do.
    pub message: Option<String>,
    /// How long ago the last run ended, or was found to be impossible.
    pub ended: Option<Duration>,
    /// How long the last run took.
    pub duration: Option<Duration>,
    /// Age of the last usable result.
    pub age: Option<Duration>,
    /// Rows of the last run.
    pub rows: usize,
    /// Series shown now.
    pub series: usize,
}

impl InstanceStatus {
    /// What `board` says at `now`; the connection's part is filled in by who knows it.
    pub(crate) fn of(board: &Board, name: &str, cluster: &str, now: Instant) -> Self {
        let (verdict, since) = board.standing.shown(now);
        Self {
            name: name.to_owned(),
            cluster: cluster.to_owned(),
            reason: verdict.reason,
            message: verdict.message,
            since: wall(since, now),
            version: board.facts.as_ref().map(|facts| facts.version),
            // A pooler has none.
            role: board
                .facts
                .as_ref()
                .filter(|facts| !facts.version.is_pgbouncer())
                .map(|facts| facts.role),
            sessions: board.sessions_open,
            certificates: Vec::new(),
            notices: board
                .facts
                .as_deref()
                .and_then(rights)
                .into_iter()
                .chain(board.single.as_ref().map(|why| {
                    format!("there is no second session, so every query has 0.8 s at most ({why})")
                }))
                .collect(),
            queries: board
                .entries
                .iter()
                .map(|entry| query(board, entry, now))
                .chain(board.databases.queries().iter().map(|query| everywhere(board, query, now)))
                .collect(),
        }
    }
}

/// What is wrong with the role that the agent logs in as.
fn rights(facts: &Facts) -> Option<String> {
    let what = if facts.superuser {
        "the agent is connected as a superuser, which is more than it needs; \
         give it a role that is only in pg_monitor"
    } else if !facts.monitor {
        "the agent's role is not in pg_monitor, so that much of the server is hidden from it; \
         GRANT pg_monitor TO it"
    } else {
        return None;
    };
    Some(what.to_owned())
}

fn query(board: &Board, entry: &Entry, now: Instant) -> QueryStatus {
    let last = entry.last.as_ref();
    QueryStatus {
        name: entry.query.name.to_string(),
        pack: entry.query.pack.to_string(),
        interval: entry.interval,
        reason: last.map(|run| run.reason),
        message: last.and_then(|run| run.message.clone()),
        ended: last.map(|run| now - run.finished),
        duration: last.map(|run| run.duration),
        age: entry.shown.as_ref().map(|shown| now - shown.at),
        rows: last.map_or(0, |run| run.rows),
        series: board.present(entry, now).map_or(0, |shown| shown.series),
    }
}

/// How a query fares in all databases: the first fault that is one, the oldest result, all series.
fn everywhere(board: &Board, query: &Arc<Query>, now: Instant) -> QueryStatus {
    let cells = || board.databases.cells().filter(|(_, cell)| Arc::ptr_eq(&cell.query, query));
    let runs = || cells().filter_map(|(name, cell)| Some((name, cell.last.as_ref()?)));
    let rank = |reason: QueryReason| match reason {
        QueryReason::Ok => 1,
        QueryReason::Unavailable => 2,
        _ => 0,
    };
    // Nothing is told before it has run everywhere.
    let all = cells().all(|(_, cell)| cell.last.is_some());
    let worst = runs().filter(|_| all).min_by_key(|(_, run)| rank(run.reason));
    let faults = runs().filter(|(_, run)| rank(run.reason) == 0).count();
    let message = worst.and_then(|(name, run)| {
        let message = run.message.as_ref()?;
        let others = match faults {
            0 | 1 => String::new(),
            faults => format!("{faults} databases, one of them "),
        };
        Some(format!("{others}{name}: {message}"))
    });
    QueryStatus {
        name: query.name.to_string(),
        pack: query.pack.to_string(),
        interval: cells().next().map(|(_, cell)| cell.interval).unwrap_or_default(),
        reason: worst.map(|(_, run)| run.reason),
        message,
        ended: runs().map(|(_, run)| now - run.finished).max(),
        duration: runs().map(|(_, run)| run.duration).max(),
        age: cells().filter_map(|(_, cell)| Some(now - cell.shown.as_ref()?.at)).max(),
        rows: runs().map(|(_, run)| run.rows).sum(),
        series: cells()
            .filter_map(|(_, cell)| Some(board.databases.present(cell, now)?.series))
            .sum(),
    }
}
