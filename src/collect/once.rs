//! Packs run once on one instance: how their author works.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::board::Ending;
use super::caps::{Caps, Members};
use super::claims::Claims;
use super::probe::Took;
use super::prober::probe;
use super::rows::Terms;
use super::run::{Ran, run};
use super::worker::{CONNECT, stand};
use crate::config::{Instance, Settings};
use crate::instances::{Budgets, Connector};
use crate::metric::Family;
use crate::packs::{self, Query, Scope};
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
}

/// Runs `queries` one after another on one session with `database` of `instance` (none: the connection
/// string's), each within its own limits.
///
/// # Errors
/// Why no session could be had, and a sentence with the remedy.
pub async fn run_once(
    settings: &Settings,
    instance: &Instance,
    database: Option<&str>,
    queries: &[Arc<Query>],
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
                once.record(query, ending, started.elapsed());
                continue;
            }
        };
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
                let Ran { ending, lost, .. } = run(session, query, &sql, None, &terms).await;
                if lost.is_some() {
                    stands = connect().await;
                }
                ending
            }
        };
        once.record(query, ending, started.elapsed());
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
    fn record(&mut self, query: &Query, ending: Ending, duration: Duration) {
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
        self.runs.push(OnceRun { query, reason, message, rows, series, duration });
    }
}
