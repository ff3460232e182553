//! How one instance stands: a state machine over given instants, without any input or output.
//!
//! ```text
//! Connecting ──connected──▶ Up ──lost──▶ Connecting (or Waiting, when it was up for a moment only)
//!     └──failed──▶ Waiting ──its time comes──▶ Connecting
//! ```

use std::time::Duration;

use tokio::time::Instant;

use crate::postgres::InstanceReason;
use crate::task::{Backoff, jittered};

/// A session that lasted less does not earn an attempt without waiting.
const WORTHY: Duration = Duration::from_secs(5);

/// Who answered so lately, on any session, is alive.
const ALIVE: Duration = Duration::from_secs(3);

/// Why an instance is not up, and a sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: InstanceReason,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(reason: InstanceReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `hopeful`: nothing speaks against success, so a scrape waits for it.
    Connecting {
        hopeful: bool,
    },
    Up {
        since: Instant,
    },
    Waiting,
}

/// What a scrape or a page says of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reason: InstanceReason,
    /// None where all is well.
    pub(crate) message: Option<String>,
}

impl Verdict {
    pub(crate) fn is_up(&self) -> bool {
        self.reason == InstanceReason::Ok
    }
}

/// One instance's standing.
#[derive(Debug)]
pub(crate) struct Standing {
    phase: Phase,
    /// The last failure, kept until a session stands again.
    failure: Option<Failure>,
    last_answer: Option<Instant>,
    /// Someone waited for an answer in vain, and none has come since.
    late: bool,
    backoff: Backoff,
    /// The reason as of the last change, and when it changed.
    shown: (InstanceReason, Instant),
}

impl Standing {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Connecting { hopeful: true },
            failure: None,
            last_answer: None,
            late: false,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(60)),
            shown: (InstanceReason::Timeout, now),
        }
    }

    /// An attempt begins that waited for its time.
    pub(crate) fn connecting(&mut self) {
        if self.phase == Phase::Waiting {
            self.phase = Phase::Connecting { hopeful: false };
        }
    }

    /// A session stands and the server has told its facts.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.phase = Phase::Up { since: now };
        self.failure = None;
        self.answered(now);
    }

    /// The server answered a statement, with rows or with an error.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.last_answer = Some(now);
        self.late = false;
        if let Phase::Up { since } = self.phase {
            self.show(InstanceReason::Ok, now);
            if now.duration_since(since) >= WORTHY {
                self.backoff.reset();
            }
        }
    }

    /// The session that the instance stood on is gone. Returns when to try again.
    pub(crate) fn lost(&mut self, now: Instant, failure: Failure) -> Instant {
        let worthy = matches!(self.phase, Phase::Up { since }
            if now.duration_since(since) >= WORTHY);
        if !worthy {
            return self.failed(now, failure);
        }
        // A server that hung will hang the next attempt too; one that closed may be back already, and
        // one that answers on another session only lost this one.
        let alive = self.last_answer.is_some_and(|at| now.duration_since(at) < ALIVE);
        let hopeful = alive || failure.reason != InstanceReason::Timeout;
        self.phase = Phase::Connecting { hopeful };
        self.show(failure.reason, now);
        self.failure = Some(failure);
        now
    }

    /// An attempt failed. Returns when to try again.
    pub(crate) fn failed(&mut self, now: Instant, mut failure: Failure) -> Instant {
        if let Some(cause) = self.failure.take()
            && failure.reason == InstanceReason::Budget
            && matches!(cause.reason, InstanceReason::Timeout | InstanceReason::Unreachable)
        {
            // That we hold back is no news: what made us is.
            failure = Failure::new(cause.reason, failure.message);
        }
        self.phase = Phase::Waiting;
        self.late = false;
        self.show(failure.reason, now);
        let ceiling = ceiling(failure.reason);
        self.failure = Some(failure);
        let wait = self.backoff.wait();
        now + if wait > ceiling { jittered(ceiling) } else { wait }
    }

    /// Someone waited since before `begin`, and no answer came.
    pub(crate) fn overdue(&mut self, begin: Instant, now: Instant) {
        if self.is_worth_waiting() && self.last_answer.is_none_or(|at| at < begin) {
            self.late = true;
            self.show(InstanceReason::Timeout, now);
        }
    }

    /// Whether an answer may come soon: not from a server that is known to be down or late.
    pub(crate) fn is_worth_waiting(&self) -> bool {
        match self.phase {
            Phase::Connecting { hopeful } => hopeful && !self.late,
            Phase::Up { .. } => !self.late,
            Phase::Waiting => false,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// What to say to someone who asks whether the server answered at `heard_since` or later.
    pub(crate) fn verdict(&self, heard_since: Instant) -> Verdict {
        let heard = self.last_answer.is_some_and(|at| at >= heard_since);
        match (self.phase, &self.failure) {
            (Phase::Up { .. }, _) if heard => Verdict { reason: InstanceReason::Ok, message: None },
            (Phase::Connecting { hopeful: false } | Phase::Waiting, Some(failure)) => {
                Verdict { reason: failure.reason, message: Some(failure.message.clone()) }
            }
            (Phase::Up { .. }, _) => Verdict {
                reason: InstanceReason::Timeout,
                message: Some(
                    "the session stands but the server does not answer; \
                     see whether the server hangs or the network drops packets"
                        .to_owned(),
                ),
            },
            _ => Verdict {
                reason: InstanceReason::Timeout,
                message: Some(
                    "no session stands yet; see whether the server accepts connections".to_owned(),
                ),
            },
        }
    }

    /// How it stands now for a page that asks for nothing, and since when.
    pub(crate) fn shown(&self, now: Instant) -> (Verdict, Instant) {
        let heard_since = self.last_answer.filter(|_| !self.late).unwrap_or(now);
        (self.verdict(heard_since), self.shown.1)
    }

    fn show(&mut self, reason: InstanceReason, now: Instant) {
        if self.shown.0 != reason {
            self.shown = (reason, now);
        }
    }
}

/// The longest wait between two attempts: short where an attempt is cheap and the cure comes by
/// itself, long where each one is a line in the server's log and a person must act.
fn ceiling(reason: InstanceReason) -> Duration {
    Duration::from_secs(match reason {
        InstanceReason::Starting | InstanceReason::Refused | InstanceReason::Budget => 4,
        InstanceReason::Unreachable
        | InstanceReason::Timeout
        | InstanceReason::TooManyConnections => 10,
        _ => 30,
    })
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
