//! How long an answer takes: what the latency probes of one instance have measured since the agent's
//! start. Pure; `prober` and the workers' own question, whether the server answers, feed it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::standing::Failure;
use crate::metric::{Family, Histogram, Kind, Labels, Point, Sample};
use crate::postgres::InstanceReason;

/// Upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Observations by [`BOUNDS`].
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    counts: [u64; BOUNDS.len()],
    sum: f64,
    count: u64,
}

impl Spread {
    fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        for (bound, count) in BOUNDS.iter().zip(&mut self.counts) {
            *count += u64::from(seconds <= *bound);
        }
        self.sum += seconds;
        self.count += 1;
    }

    fn family(&self, name: &str, help: &str, labels: &Labels) -> Family {
        let buckets = BOUNDS.into_iter().zip(self.counts).collect();
        let histogram = Histogram { buckets, sum: self.sum, count: self.count };
        let point = Point::Histogram(Box::new(histogram));
        let mut family = Family::new(name, help, Kind::Histogram);
        family.samples.push(Sample { labels: labels.clone(), point });
        family
    }
}

/// How long one probe took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    /// None: the session was open already.
    pub login: Option<Duration>,
    pub answer: Duration,
}

/// The probes of one instance.
#[derive(Debug)]
pub(crate) struct Probes {
    /// `via`, and the database behind a pooler.
    own: Labels,
    answers: Spread,
    logins: Spread,
    outcomes: BTreeMap<InstanceReason, u64>,
    /// Why the last one failed; none where it did not.
    failure: Option<Failure>,
    any: bool,
}

impl Probes {
    /// `through`: the database behind PgBouncer; none: the server itself.
    pub(crate) fn new(through: Option<&str>) -> Self {
        let via = ("via", if through.is_some() { "pooler" } else { "direct" });
        let database = through.map(|database| ("datname", database));
        // Those that an alert is likely to be about exist from the start, so that it sees their first.
        let outcomes = [InstanceReason::Ok, InstanceReason::Timeout].map(|reason| (reason, 0));
        Self {
            own: Labels::new([via].into_iter().chain(database)),
            answers: Spread::default(),
            logins: Spread::default(),
            outcomes: BTreeMap::from(outcomes),
            failure: None,
            any: false,
        }
    }

    /// A probe has ended. Returns whether that is news: the first failure, another reason, or the end
    /// of failures.
    ///
    /// That the agent holds back because the connection before is still open is no reason of its own:
    /// what kept that one is.
    pub(crate) fn record(&mut self, result: Result<Took, Failure>) -> bool {
        self.any = true;
        let before = self.failure.take();
        match result {
            Ok(Took { login, answer }) => {
                self.answers.observe(answer);
                if let Some(login) = login {
                    self.logins.observe(login);
                }
            }
            Err(mut failure) => {
                if failure.reason == InstanceReason::Budget
                    && let Some(before) = &before
                {
                    failure.reason = before.reason;
                }
                self.failure = Some(failure);
            }
        }
        let reason = |failure: &Option<Failure>| failure.as_ref().map(|failure| failure.reason);
        let now = reason(&self.failure);
        *self.outcomes.entry(now.unwrap_or(InstanceReason::Ok)).or_default() += 1;
        now != reason(&before)
    }

    /// Why the last one failed.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// What has been measured; nothing before the first probe.
    pub(crate) fn families(&self, base: &Labels) -> Vec<Arc<Family>> {
        if !self.any {
            return Vec::new();
        }
        let labels = base.over(&self.own);
        let mut outcomes = Family::new(
            "pg_probes_total",
            "Probes by how they ended: a trivial statement to the server itself (via direct), or to a \
             database through PgBouncer (via pooler).",
            Kind::Counter,
        );
        for (reason, count) in &self.outcomes {
            let own = Labels::new([("reason", reason.as_str())]);
            #[expect(clippy::cast_precision_loss, reason = "it would take 2^53 probes")]
            outcomes.push(labels.over(&own), *count as f64);
        }
        let success = Family::new(
            "pg_probe_success",
            "1 where the last probe was answered in its time, 0 where it was not.",
            Kind::Gauge,
        );
        let mut families = vec![
            success.with(labels.clone(), f64::from(u8::from(self.failure.is_none()))),
            self.answers.family(
                "pg_probe_duration_seconds",
                "How long the answers to probes took, in seconds, on an open session; those that were \
                 not answered are in pg_probes_total alone.",
                &labels,
            ),
            outcomes,
        ];
        if self.logins.count > 0 {
            families.push(self.logins.family(
                "pg_probe_connect_duration_seconds",
                "How long the logins of probes through PgBouncer took, in seconds.",
                &labels,
            ));
        }
        families.into_iter().map(Arc::new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(milliseconds: u64) -> Result<Took, Failure> {
        Ok(Took { login: None, answer: Duration::from_millis(milliseconds) })
    }

    fn number(probes: &Probes, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let families = probes.families(&Labels::default());
        let family = families.iter().find(|family| &*family.name == name)?;
        let holds = |sample: &&Sample| labels.iter().all(|(n, v)| sample.labels.get(n) == Some(v));
        match &family.samples.iter().find(holds)?.point {
            Point::Number(number) => Some(*number),
            Point::Histogram(_) => None,
        }
    }

    #[test]
    fn answers_are_counted_by_buckets() {
        let mut probes = Probes::new(None);
        assert!(probes.families(&Labels::default()).is_empty());
        for milliseconds in [1, 3, 7000] {
            assert!(!probes.record(took(milliseconds)));
        }
        let families = probes.families(&Labels::default());
        let family = families.iter().find(|f| &*f.name == "pg_probe_duration_seconds").unwrap();
        let Point::Histogram(histogram) = &family.samples[0].point else { panic!() };
        let below = |bound: f64| histogram.buckets.iter().find(|(b, _)| *b == bound).unwrap().1;
        assert_eq!((below(0.0005), below(0.001), below(0.005), below(5.0)), (0, 1, 2, 2));
        assert_eq!((histogram.count, histogram.sum), (3, 7.004));
        assert_eq!(family.samples[0].labels.get("via"), Some("direct"));
        let connect = |f: &Arc<Family>| &*f.name == "pg_probe_connect_duration_seconds";
        assert!(!families.iter().any(connect), "no login was measured");
    }

    #[test]
    fn outcomes_are_counted_and_told_when_they_change() {
        let fails = |reason| Err(Failure::new(reason, "why"));
        let mut probes = Probes::new(Some("shop"));
        assert!(!probes.record(took(1)));
        assert_eq!(number(&probes, "pg_probes_total", &[("reason", "timeout")]), Some(0.0));
        assert!(probes.record(fails(InstanceReason::Timeout)));
        // The next one finds its place taken by the one before: that is the same failure.
        assert!(!probes.record(fails(InstanceReason::Budget)));
        let timeouts = [("reason", "timeout"), ("datname", "shop"), ("via", "pooler")];
        assert_eq!(number(&probes, "pg_probes_total", &timeouts), Some(2.0));
        assert_eq!(number(&probes, "pg_probe_success", &[]), Some(0.0));
        assert!(probes.record(took(1)));
        assert_eq!(number(&probes, "pg_probes_total", &[("reason", "ok")]), Some(2.0));
        assert_eq!(number(&probes, "pg_probe_success", &[]), Some(1.0));
        assert!(probes.record(fails(InstanceReason::Budget)), "without another before it");
        assert_eq!(number(&probes, "pg_probes_total", &[("reason", "budget")]), Some(1.0));
    }
}
