//! Visits to an instance's databases: connect, run what is due there, disconnect, one at a time and
//! in the place of the rest lane's session.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::board::{Job, Lane};
use super::link::{CONNECT, over};
use super::worker::Worker;
use crate::postgres::InstanceReason;
use crate::task::Stop;

/// A wait between two visits for which the lane's own session is not opened again.
const SHORT: Duration = Duration::from_secs(1);

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
}
