//! Packs run once on one instance: how their author works.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::caps::{Caps, Members};
use super::claims::Claims;
use super::link::{CONNECT, stand};
use super::outcome::Ending;
use super::probe::Took;
use super::prober::probe;
use super::rows::Terms;
use super::run::{Ran, plan_cost, run};
use crate::config::{Instance, Problem, Settings};
use crate::instances::{Budgets, Column, Connector};
use crate::metric::{Family, Point};
use crate::packs::{self, Query, Scope, Usage};
use crate::postgres::{InstanceReason, QueryReason};

/// What running some queries once gave.
pub struct Once {
    pub families: Vec<Arc<Family>>,
    /// In the order of the queries.
    pub runs: Vec<OnceRun>,
    /// What a person should know of the connection.
    pub notices: Vec<String>,
}

/// How one query fared.
#[derive(Clone, Debug)]
pub struct OnceRun {
    pub query: String,
    pub reason: QueryReason,
    /// What was lost or why it failed, and what to do.
    pub message: Option<String>,
    pub rows: usize,
    pub series: usize,
    pub duration: Duration,
    /// What the planner thinks it costs, in its own unit; none where there is no plan.
    pub cost: Option<f64>,
    /// What the author should know that only a run shows.
    pub advice: Vec<Problem>,
}

/// What was seen beside a query's ending.
#[derive(Default)]
struct Seen {
    cost: Option<f64>,
    advice: Vec<Problem>,
}

/// Runs `queries` one after another on one session with `database` of `instance` (none: the connection
/// string's), each within its own limits; with `plans` each is explained too.
///
/// # Errors
/// Why no session could be had, and a sentence with the remedy.
pub async fn run_once(
    settings: &Settings,
    instance: &Instance,
    database: Option<&str>,
    queries: &[Arc<Query>],
    plans: bool,
    budgets: &Budgets,
) -> Result<Once, (InstanceReason, String)> {
    let connector = Connector::new(instance, budgets);
    let claims = Claims::of(queries.iter().map(|query| &**query));
    let base = settings.labels_of(instance);
    let connect = async || {
        stand(&connector, database, Instant::now() + CONNECT)
            .await
            .map_err(|failure| (failure.reason, failure.message))
    };
    let mut stands = Ok(connect().await?);
    let mut once = Once { families: Vec::new(), runs: Vec::new(), notices: connector.notices() };
    for query in queries {
        let started = Instant::now();
        let (session, facts) = match &mut stands {
            Ok((session, facts)) => (session, facts),
            Err(failure) => {
                let (_, message): &(InstanceReason, String) = failure;
                let reason = QueryReason::Connect;
                let ending = Ending::Failed { reason, message: message.clone() };
                once.record(query, ending, started.elapsed(), Seen::default());
                continue;
            }
        };
        let mut seen = Seen::default();
        let mut took = None;
        let ending = match packs::select(query, facts) {
            Err(unavailable) => Ending::Unavailable(unavailable.why),
            Ok(sql) => {
                let (sql, shown) = Caps::of(&settings.collection).fill(&sql);
                let max_series = query.max_series.or(settings.collection.max_series);
                let terms = Terms {
                    base: &base,
                    claims: &claims,
                    max_series: shown.max_series(query, max_series),
                    database: (query.scope == Scope::Database).then_some(&*facts.database),
                    shown,
                    members: &Mutex::new(Members::default()),
                };
                let Ran { ending, mut lost, .. } = run(session, query, &sql, None, &terms).await;
                took = Some(started.elapsed());
                if let Ending::Rows(harvest) = &ending {
                    seen.advice = advice(query, &harvest.families, session.columns_of(&sql));
                }
                // What cannot be run cannot be planned, and would fill the server's log.
                let planned = match &ending {
                    Ending::Rows(_) => true,
                    Ending::Failed { reason, .. } => *reason == QueryReason::Timeout,
                    _ => false,
                };
                if plans && planned && lost.is_none() {
                    match plan_cost(session, query, &sql).await {
                        Ok(cost) => seen.cost = cost,
                        Err(error) => lost = Some(error),
                    }
                }
                if lost.is_some() {
                    stands = connect().await;
                }
                ending
            }
        };
        once.record(query, ending, took.unwrap_or_else(|| started.elapsed()), seen);
    }
    if let Ok((session, _)) = stands {
        session.close().await;
    }
    Ok(once)
}

/// Probes the way through the pooler of `connector` once.
///
/// # Errors
/// Why there was no answer within `timeout`, and a sentence with the remedy.
pub async fn probe_once(
    connector: &Connector,
    timeout: Duration,
) -> Result<Took, (InstanceReason, String)> {
    probe(connector, timeout).await.map_err(|failure| (failure.reason, failure.message))
}

impl Once {
    fn record(&mut self, query: &Query, ending: Ending, duration: Duration, seen: Seen) {
        let (reason, message, rows, series) = match ending {
            Ending::Rows(harvest) => {
                self.families.extend(harvest.families);
                let message = (!harvest.notes.is_empty()).then(|| harvest.notes.join(". "));
                (harvest.reason, message, harvest.rows, harvest.series)
            }
            Ending::Failed { reason, message } => (reason, Some(message), 0, 0),
            Ending::Unavailable(why) => (QueryReason::Unavailable, Some(why), 0, 0),
            // Only a lane has a limit other than the query's own.
            Ending::TooSlow => (QueryReason::Timeout, None, 0, 0),
        };
        let query = query.name.to_string();
        let Seen { cost, advice } = seen;
        self.runs.push(OnceRun { query, reason, message, rows, series, duration, cost, advice });
    }
}

/// What a result shows of labels and counters; of the packs that repeat others' names nothing.
fn advice(query: &Query, families: &[Arc<Family>], columns: Option<Arc<[Column]>>) -> Vec<Problem> {
    if packs::is_optional(&query.pack) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for used in &query.columns {
        let place = || used.place.clone();
        match used.usage {
            Usage::Label => {
                let columns = columns.iter().flat_map(|columns| columns.iter());
                let oid = columns.filter(|c| c.name == used.column).map(|c| c.type_oid).next();
                if let Some(what) = oid.and_then(endless) {
                    let what =
                        format!("label `{}` of query `{}` is {what}", used.metric, query.name);
                    let remedy = "drop or aggregate it: each value is a new series";
                    found.push(Problem::warning(place(), what, remedy));
                }
            }
            Usage::Counter => {
                let family = families.iter().find(|family| family.name == used.metric);
                let mut samples = family.iter().flat_map(|family| &family.samples);
                if samples.any(|s| matches!(s.point, Point::Number(value) if value < 0.0)) {
                    let what = format!("`{}` is a COUNTER, but came out negative", used.metric);
                    found.push(Problem::warning(place(), what, "make it a GAUGE"));
                }
            }
            _ => {}
        }
    }
    found
}

/// What values of a type have no end (`pg_type.dat`).
fn endless(oid: u32) -> Option<&'static str> {
    match oid {
        // timestamp, timestamptz, time, timetz, interval
        1114 | 1184 | 1083 | 1266 | 1186 => Some("a time, and has no bound"),
        // xid, cid, xid8
        28 | 29 | 5069 => Some("a transaction, and has no bound"),
        3220 => Some("a position in the WAL, and has no bound"),
        _ => None,
    }
}
