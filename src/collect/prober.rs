//! The latency probe through a pooler: connect, ask, disconnect, once in each fast interval and never
//! two at a time.

use std::time::Duration;

use tokio::time::Instant;

use super::link::{idle, of_query};
use super::probe::Took;
use super::standing::Failure;
use super::worker::Worker;
use crate::instances::{Connector, Limits, SEARCH_PATH};
use crate::task::Stop;

/// Asks for nothing that a database has.
const QUESTION: &str = "SELECT 1";

impl Worker {
    /// Probes the way through the pooler every `interval`. One that takes longer delays the next.
    pub(super) async fn probe_lane(&self, interval: Duration, timeout: Duration, stop: &Stop) {
        loop {
            let next = Instant::now() + interval;
            let result = tokio::select! {
                biased;
                () = stop.draining() => return,
                result = probe(&self.connector, timeout) => result,
            };
            self.probed(result);
            if !idle(next, stop).await {
                return;
            }
        }
    }
}

/// One connection through the pooler and one question, in `timeout` together.
///
/// # Errors
/// Why there was no answer, with the remedy.
pub(crate) async fn probe(connector: &Connector, timeout: Duration) -> Result<Took, Failure> {
    let begin = Instant::now();
    let deadline = begin + timeout;
    let opened = connector.through(deadline).await;
    let mut session = opened.map_err(|error| Failure::new(error.reason, error.message))?;
    let asked = Instant::now();
    let limits = Limits {
        statement_timeout: timeout,
        deadline,
        max_rows: 1,
        max_bytes: 1 << 10,
        search_path: SEARCH_PATH,
    };
    match session.run(QUESTION, &limits).await {
        Ok(_) => {
            let answer = asked.elapsed();
            session.close().await;
            Ok(Took { login: Some(asked - begin), answer })
        }
        Err(error) => {
            if !error.session_lost {
                session.close().await;
            }
            Err(of_query(&error))
        }
    }
}
