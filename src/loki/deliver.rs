//! Delivery: a batch of one stream is sent until each of its entries is stored or refused for good.
//!
//! Nothing is given up: every wait has a ceiling, none has an end but the stop.

use std::ops::Range;
use std::time::Duration;

use super::{Entries, Loki, Outcome, Reason};
use crate::task::{Backoff, Stop, jittered};

/// The batch of one stream, for one tenant.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    pub tenant: Option<&'a str>,
    /// The stream's labels as [`super::StreamLabels::text`] writes them.
    pub labels: &'a str,
    pub entries: &'a Entries,
}

/// How a delivery stands, told after each attempt.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    pub outcome: &'a Outcome,
    /// What Loki said, or what kept it from saying anything.
    pub text: &'a str,
    /// The time before which Loki takes nothing, where it said so.
    pub oldest_accepted: Option<i64>,
    /// When the next attempt follows; none where this one settled it.
    pub retry_in: Option<Duration>,
}

/// The waits of one stream. Kept from batch to batch, so that a stream in trouble stays slow.
#[derive(Debug)]
pub struct Pace {
    /// The server's or the network's trouble.
    transient: Backoff,
    /// What a person must mend: credentials, addresses, a blocked tenant.
    slow: Backoff,
    /// No room for another stream: minutes.
    crowded: Backoff,
    /// How often a rate, the tenant's or the stream's, has refused the same request.
    rate_limited: u32,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            transient: Backoff::new(Duration::from_millis(250), seconds(45)),
            slow: Backoff::new(seconds(2), seconds(60)),
            crowded: Backoff::new(seconds(15), seconds(300)),
            rate_limited: 0,
        }
    }
}

impl Pace {
    fn settle(&mut self) {
        self.transient.reset();
        self.slow.reset();
        self.crowded.reset();
        self.rate_limited = 0;
    }
}

/// What to do after an outcome.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Settled,
    Refuse(Vec<(Reason, u64)>),
    Halve(Duration),
    Wait(Duration),
}

impl Pace {
    /// The next step for a request of `entries` entries.
    fn after(&mut self, outcome: &Outcome, entries: usize) -> Step {
        let all = entries as u64;
        match outcome {
            Outcome::Stored | Outcome::UnexpectedSuccess | Outcome::Empty => Step::Settled,
            Outcome::Refused(refusals) => {
                Step::Refuse(refusals.iter().map(|r| (r.reason, r.entries)).collect())
            }
            // The labels are checked before and the encoding is ours, so this is a bug or a proxy:
            // told, counted, and not repeated for ever.
            Outcome::Malformed => Step::Refuse(vec![(Reason::Malformed, all)]),
            Outcome::TooLarge if entries > 1 => Step::Halve(Duration::ZERO),
            Outcome::TooLarge => Step::Refuse(vec![(Reason::TooLarge, all)]),
            Outcome::RateLimited | Outcome::StreamRateLimited => {
                self.rate_limited += 1;
                let wait = self.transient.wait();
                // A request above the tenant's or the stream's burst is refused for ever, and no
                // answer tells the burst: so what is refused twice is tried in halves.
                if self.rate_limited >= 2 && entries > 1 {
                    self.rate_limited = 0;
                    Step::Halve(wait)
                } else {
                    Step::Wait(wait)
                }
            }
            Outcome::Unavailable | Outcome::NoAnswer => Step::Wait(self.transient.wait()),
            Outcome::StreamLimit => Step::Wait(self.crowded.wait()),
            Outcome::Misconfigured => Step::Wait(self.slow.wait()),
            Outcome::Discarded => Step::Wait(jittered(Duration::from_secs(120))),
        }
    }
}

impl Loki {
    /// Sends until every entry is settled, or until `stop` cuts. `told` hears of each attempt.
    /// Returns whether all is settled.
    pub async fn deliver(
        &self,
        delivery: Delivery<'_>,
        pace: &mut Pace,
        stop: &Stop,
        mut told: impl FnMut(Attempt<'_>),
    ) -> bool {
        let whole: Range<usize> = 0..delivery.entries.len();
        let mut left = Vec::from([whole]);
        while let Some(range) = left.pop() {
            if range.is_empty() {
                continue;
            }
            let body = delivery.entries.body(delivery.labels, range.clone());
            let push = self.push(delivery.tenant, body, range.len() as u64);
            let pushed = tokio::select! {
                pushed = push => pushed,
                () = stop.cut() => return false,
            };
            let step = pace.after(&pushed.outcome, range.len());
            let retry_in = match &step {
                Step::Settled | Step::Refuse(_) => None,
                Step::Halve(wait) | Step::Wait(wait) => Some(*wait),
            };
            told(Attempt {
                outcome: &pushed.outcome,
                text: &pushed.text,
                oldest_accepted: pushed.oldest_accepted,
                retry_in,
            });
            match step {
                Step::Settled => {
                    pace.settle();
                    self.counters.entries.inc_by(range.len() as u64);
                }
                Step::Refuse(refusals) => {
                    pace.settle();
                    let refused: u64 = refusals.iter().map(|(_, entries)| entries).sum();
                    for (reason, entries) in refusals {
                        self.counters.refuse(reason, entries);
                    }
                    self.counters.entries.inc_by((range.len() as u64).saturating_sub(refused));
                }
                Step::Halve(wait) => {
                    let middle = range.start + range.len() / 2;
                    left.push(middle..range.end);
                    left.push(range.start..middle);
                    if !slept(wait, stop).await {
                        return false;
                    }
                }
                Step::Wait(wait) => {
                    left.push(range);
                    if !slept(wait, stop).await {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Counts entries that are not sent because Loki is known to refuse them.
    pub fn refuse_locally(&self, reason: Reason, entries: u64) {
        self.counters.refuse(reason, entries);
    }
}

/// Waits; false when the stop cut the wait short.
async fn slept(wait: Duration, stop: &Stop) -> bool {
    tokio::select! {
        () = tokio::time::sleep(wait) => true,
        () = stop.cut() => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki::outcome::Refusal;

    #[test]
    fn steps() {
        let mut pace = Pace::default();
        assert_eq!(pace.after(&Outcome::Stored, 5), Step::Settled);
        assert_eq!(pace.after(&Outcome::Empty, 5), Step::Settled);
        let partial = Outcome::Refused(vec![Refusal { reason: Reason::TooOld, entries: 2 }]);
        assert_eq!(pace.after(&partial, 5), Step::Refuse(vec![(Reason::TooOld, 2)]));
        assert_eq!(pace.after(&Outcome::TooLarge, 2), Step::Halve(Duration::ZERO));
        assert_eq!(pace.after(&Outcome::TooLarge, 1), Step::Refuse(vec![(Reason::TooLarge, 1)]));
        // Refused twice by a rate: in halves. A single entry is only ever repeated.
        assert!(matches!(pace.after(&Outcome::StreamRateLimited, 8), Step::Wait(_)));
        assert!(matches!(pace.after(&Outcome::StreamRateLimited, 8), Step::Halve(_)));
        assert!(matches!(pace.after(&Outcome::RateLimited, 8), Step::Wait(_)));
        assert!(matches!(pace.after(&Outcome::RateLimited, 8), Step::Halve(_)));
        assert!(matches!(pace.after(&Outcome::RateLimited, 1), Step::Wait(_)));
        assert!(matches!(pace.after(&Outcome::RateLimited, 1), Step::Wait(_)));
        // A stream in trouble gets slower up to a ceiling, and fast again with success.
        let wait = |pace: &mut Pace, outcome: &Outcome| match pace.after(outcome, 1) {
            Step::Wait(wait) => wait,
            step => panic!("{step:?}"),
        };
        for _ in 0..20 {
            assert!(wait(&mut pace, &Outcome::Unavailable) <= Duration::from_secs(45));
            assert!(wait(&mut pace, &Outcome::Misconfigured) <= Duration::from_secs(60));
        }
        assert!(wait(&mut pace, &Outcome::Unavailable) >= Duration::from_secs(20));
        pace.settle();
        assert!(wait(&mut pace, &Outcome::NoAnswer) <= Duration::from_millis(250));
        assert!(wait(&mut pace, &Outcome::Discarded) >= Duration::from_secs(60));
    }
}
