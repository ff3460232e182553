//! How a run ended, and what stays of it: the outcome that is told, and the result that is shown.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cadence::FAST_CAP;
use super::rows::Harvest;
use crate::metric::Family;
use crate::postgres::QueryReason;

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With rows, perhaps not all of them usable.
    Rows(Harvest),
    Failed {
        reason: QueryReason,
        message: String,
    },
    /// Its `requires` or predicate is not met.
    Unavailable(String),
    /// It took longer than the fast lane gives and less than it is itself allowed: no outcome, only
    /// a reason to run it elsewhere.
    TooSlow,
}

/// The last run of a query.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) finished: Instant,
    pub(crate) duration: Duration,
    pub(crate) reason: QueryReason,
    /// What was lost or why it failed, and what to do.
    pub(crate) message: Option<String>,
    pub(crate) rows: usize,
    pub(crate) dropped: usize,
    pub(crate) truncated: bool,
}

impl Run {
    /// What stands for a run that did not take place.
    pub(crate) fn without_rows(reason: QueryReason, message: &str, now: Instant) -> Self {
        Self {
            finished: now,
            duration: Duration::ZERO,
            reason,
            message: Some(message.to_owned()),
            rows: 0,
            dropped: 0,
            truncated: false,
        }
    }

    /// Whether only a lock was in the way, which is likely to pass: then the query is tried again soon,
    /// however rare it is, for the try costs half a second of waiting.
    pub(crate) fn was_locked_out(&self) -> bool {
        self.reason == QueryReason::LockTimeout
    }

    /// Whether it is worth a line in the log after `last`. The words may change from run to run, with
    /// the number of rows for instance.
    pub(crate) fn is_news(&self, last: Option<&Self>) -> bool {
        self.reason != QueryReason::Unavailable
            && match last {
                Some(last) => {
                    last.reason != self.reason || last.message.is_some() != self.message.is_some()
                }
                None => self.reason != QueryReason::Ok || self.message.is_some(),
            }
    }
}

/// There is no session: `last` says so, and `before` keeps what it was.
pub(crate) fn cut_off(
    last: &mut Option<Run>,
    before: &mut Option<Run>,
    message: &str,
    now: Instant,
) {
    let unreached = Run::without_rows(QueryReason::Connect, message, now);
    let was = last.replace(unreached);
    *before = was.filter(|run| run.reason != QueryReason::Connect).or(before.take());
}

/// The server can be reached again: until the next run, the last one that there was counts.
pub(crate) fn recall(last: &mut Option<Run>, before: &mut Option<Run>) {
    let unreached = last.as_ref().is_some_and(|run| run.reason == QueryReason::Connect);
    if unreached && before.is_some() {
        *last = before.take();
    }
}

/// The run that ended so; its result goes to `shown`.
pub(crate) fn concluded(
    ending: Ending,
    duration: Duration,
    now: Instant,
    shown: &mut Option<Shown>,
) -> Run {
    let mut run = Run { duration, message: None, ..Run::without_rows(QueryReason::Ok, "", now) };
    match ending {
        Ending::TooSlow => {
            run.reason = QueryReason::Timeout;
            run.message = Some(format!(
                "it takes longer than {} ms, which only a second session gives it; \
                 see why there is none",
                FAST_CAP.as_millis()
            ));
        }
        Ending::Unavailable(why) => {
            run.reason = QueryReason::Unavailable;
            run.message = Some(why);
            *shown = None;
        }
        Ending::Failed { reason, message } => {
            run.reason = reason;
            run.message = Some(message);
        }
        Ending::Rows(harvest) => {
            run.reason = harvest.reason;
            run.message = (!harvest.notes.is_empty()).then(|| told(&harvest.notes));
            run.rows = harvest.rows;
            run.dropped = harvest.dropped;
            run.truncated = harvest.truncated;
            *shown = Some(Shown { at: now, series: harvest.series, families: harvest.families });
        }
    }
    run
}

/// The last result that a query gave.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) at: Instant,
    pub(crate) series: usize,
    pub(crate) families: Vec<Arc<Family>>,
}

/// Notes of one run as one message.
fn told(notes: &[String]) -> String {
    const MOST: usize = 5;
    let mut message = notes.iter().take(MOST).cloned().collect::<Vec<_>>().join(". ");
    if notes.len() > MOST {
        message.push_str(&format!(". And {} more of the kind", notes.len() - MOST));
    }
    message
}
