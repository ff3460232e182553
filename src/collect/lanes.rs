//! The tasks of one instance: two lanes with one session each, and the probe through a pooler.
//!
//! The fast lane stands for the instance: its session is the one that `pg_up` speaks of, it connects
//! first and reads the facts. The rest lane follows when that one stands; where the server or the
//! budget has no room for a second session, the fast lane does its work too.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::board::Lane;
use super::link::{self, CONNECT, idle};
use super::serve::Parting;
use super::standing::Failure;
use super::worker::Worker;
use crate::instances::{ConnectError, Session};
use crate::postgres::{Facts, InstanceReason};
use crate::task::{Backoff, Group, Stop};

impl Worker {
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
            let attempt = link::stand(&self.connector, None, Instant::now() + CONNECT);
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
}
