//! The sender of a lane to Loki: one batch after the other, each until it is settled, the checkpoint
//! before and after.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoint;
use super::lane::Lane;
use crate::loki::{Attempt, Delivery, Entries, Loki, Outcome, Pace, Reason};
use crate::task::Stop;

/// How often the same kind of refusal is logged with Loki's own words.
const REFUSALS_EVERY: Duration = Duration::from_secs(3600);

/// When each kind of refusal was last logged.
pub(super) type Refusals = HashMap<Reason, Instant>;

/// Sends what the lane holds until it is closed and empty, or the stop cuts.
pub(super) async fn run(lane: Arc<Lane>, loki: Arc<Loki>, checkpoint: Arc<Checkpoint>, stop: Stop) {
    let mut pace = Pace::default();
    let mut refusals = Refusals::default();
    'batches: while let Some(batch) = lane.next(&stop).await {
        // What decides about the shape and the stream of these records is stored before anything of
        // them is sent; so is the acknowledgement of the batch before.
        checkpoint.change(|state| batch.decide(&lane.route, state));
        checkpoint.save().await;
        if batch.too_old > 0 {
            loki.refuse_locally(Reason::TooOld, batch.too_old);
        }
        for (labels, entries) in [(&lane.text, &batch.entries), (&lane.late_text, &batch.late)] {
            let sent =
                deliver(&lane, &loki, labels, entries, &mut pace, &mut refusals, &stop).await;
            if !sent {
                // What is not acknowledged is read again at the next start.
                break 'batches;
            }
        }
        checkpoint.change(|state| batch.acknowledge(&lane.route, &lane.text, state));
        lane.recycle(batch);
        if lane.is_empty() {
            checkpoint.save().await;
        }
    }
    checkpoint.save().await;
}

/// Sends entries of one stream until they are settled; false where the stop cut.
pub(super) async fn deliver(
    lane: &Lane,
    loki: &Loki,
    labels: &str,
    entries: &Entries,
    pace: &mut Pace,
    refusals: &mut Refusals,
    stop: &Stop,
) -> bool {
    if entries.is_empty() {
        return true;
    }
    let tenant = lane.tenant.as_deref();
    let told = |attempt: Attempt<'_>| {
        lane.stand(attempt.outcome.as_str(), trouble(&loki.address(), tenant, &attempt));
        if let Some(oldest) = attempt.oldest_accepted {
            lane.learn_oldest(oldest);
        }
        let Outcome::Refused(found) = attempt.outcome else { return };
        let now = Instant::now();
        for refusal in found {
            let last = refusals.get(&refusal.reason);
            if last.is_some_and(|last| now - *last < REFUSALS_EVERY) {
                continue;
            }
            refusals.insert(refusal.reason, now);
            tracing::warn!(
                route = %lane.route, entries = refusal.entries, reason = refusal.reason.as_str(),
                "Loki refused entries for good, they are not in it: {}", attempt.text
            );
        }
    };
    let sent = Box::pin(loki.deliver(Delivery { tenant, labels, entries }, pace, stop, told)).await;
    if sent {
        lane.settle(entries.len());
    }
    sent
}

/// What keeps a batch from being stored, in one sentence with its remedy.
fn trouble(address: &str, tenant: Option<&str>, attempt: &Attempt<'_>) -> Option<String> {
    let text = attempt.text;
    let tenant = tenant.map_or_else(String::new, |tenant| format!(" for tenant {tenant}"));
    let sentence = match attempt.outcome {
        Outcome::Stored | Outcome::UnexpectedSuccess | Outcome::Empty | Outcome::Refused(_) => {
            return None;
        }
        Outcome::Discarded => format!(
            "Loki at {address} throws away what is sent{tenant} ({text}); entries are kept, ask its \
             operator to lift the block"
        ),
        Outcome::Malformed => format!(
            "Loki at {address} cannot read what is sent{tenant} ({text}) and the entries are lost; \
             check that logs.loki.url leads to Loki itself, else report it"
        ),
        Outcome::Misconfigured => format!(
            "Loki at {address} refuses requests{tenant} ({text}); check logs.loki.url, the \
             credentials and the route's tenant, entries wait"
        ),
        Outcome::TooLarge => format!(
            "Loki at {address} finds requests too large{tenant} ({text}); they are sent in halves, \
             raise the limit of the proxy before it"
        ),
        Outcome::RateLimited | Outcome::StreamRateLimited => format!(
            "Loki at {address} limits the rate{tenant} ({text}); entries wait, raise \
             ingestion_rate_mb or per_stream_rate_limit there"
        ),
        Outcome::StreamLimit => format!(
            "Loki at {address} has no room for another stream{tenant} ({text}); entries wait, raise \
             max_global_streams_per_user there or use fewer labels"
        ),
        Outcome::Unavailable => format!(
            "Loki at {address} has trouble{tenant} ({text}); entries wait, look at its own log"
        ),
        Outcome::NoAnswer => format!(
            "Loki at {address} does not answer ({text}); entries wait, start it or mend \
             logs.loki.url"
        ),
    };
    Some(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_has_a_remedy() {
        let all = [
            Outcome::Discarded,
            Outcome::Malformed,
            Outcome::Misconfigured,
            Outcome::TooLarge,
            Outcome::RateLimited,
            Outcome::StreamRateLimited,
            Outcome::StreamLimit,
            Outcome::Unavailable,
            Outcome::NoAnswer,
        ];
        for outcome in &all {
            let attempt =
                Attempt { outcome, text: "500: x", oldest_accepted: None, retry_in: None };
            let sentence = trouble("loki:3100", Some("dba"), &attempt).unwrap();
            assert!(sentence.contains("loki:3100") && sentence.contains("; "), "{sentence}");
        }
        let outcome = &Outcome::Stored;
        let stored = Attempt { outcome, text: "", oldest_accepted: None, retry_in: None };
        assert_eq!(trouble("x", None, &stored), None);
    }
}
