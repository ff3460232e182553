//! What the records of one source add up to: figures by kind, logged durations, errors by class.

use std::sync::Arc;

use super::counter::Count;
use super::events::{Event, EventKind, Figure, figures};
use super::{Record, Severity, SqlState};
use crate::metric::{Family, Histogram, Kind, Labels, Point, Sample};

/// Upper bounds of the durations' buckets, in microseconds.
const BOUNDS: [u64; 16] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// Severities of errors, and one class more for codes that users made up.
const ERRORS: [Severity; 3] = [Severity::Error, Severity::Fatal, Severity::Panic];
const CLASSES: usize = SqlState::CLASSES.len() + 1;

/// Sums in millionths, exact far beyond what a log can hold.
#[derive(Debug)]
pub(super) struct Sums {
    figures: [Count; Figure::ALL.len()],
    buckets: [Count; BOUNDS.len() + 1],
    duration: Count,
    errors: [[Count; CLASSES]; ERRORS.len()],
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            figures: Default::default(),
            buckets: Default::default(),
            duration: Count::default(),
            errors: std::array::from_fn(|_| std::array::from_fn(|_| Count::default())),
        }
    }
}

fn millionths(value: f64) -> u64 {
    // Figures are not negative, and the cast saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    let millionths = (value * 1e6).round() as u64;
    millionths
}

fn units(millionths: u64) -> f64 {
    millionths as f64 / 1e6
}

impl Sums {
    pub(super) fn add(&self, record: &Record, event: &Event) {
        if let Some(at) = ERRORS.iter().position(|own| record.severity == Some(*own))
            && let Some(sqlstate) = record.sqlstate
        {
            let class = SqlState::CLASSES.iter().position(|own| *own == sqlstate.class());
            self.errors[at][class.unwrap_or(CLASSES - 1)].add(1);
        }
        if event.kind == Some(EventKind::Duration) {
            if let Some(micros) = event.duration_us {
                let at = BOUNDS.partition_point(|bound| *bound < micros);
                self.buckets[at].add(1);
                self.duration.add(micros);
            }
            return;
        }
        if record.severity.is_some_and(|severity| severity <= Severity::Warning) {
            figures(record, event, |figure, value| {
                self.figures[figure as usize].add(millionths(value));
            });
        }
    }
}

/// The families of all sources; sources of one server add up.
pub(super) fn families<'s>(
    sources: impl Iterator<Item = (&'s Labels, &'s Sums)> + Clone,
) -> Vec<Arc<Family>> {
    let mut families: Vec<Family> = Vec::new();
    for figure in Figure::ALL {
        let (name, help, label) = figure.described();
        let mut add = |labels: Labels, value: f64| {
            let known = families.iter().position(|family| &*family.name == name);
            let at = known.unwrap_or_else(|| {
                families.push(Family::new(name, help, Kind::Counter));
                families.len() - 1
            });
            push(&mut families[at], labels, value);
        };
        for (identity, sums) in sources.clone() {
            let labels = label
                .map_or_else(|| identity.clone(), |label| identity.over(&Labels::new([label])));
            add(labels, units(sums.figures[figure as usize].get()));
        }
    }
    let mut errors = Family::new(
        "pg_log_errors_total",
        "Errors in the server's log by severity and class of SQLSTATE, where its format tells it.",
        Kind::Counter,
    );
    let mut durations = Family::new(
        "pg_log_duration_seconds",
        "Durations of statements as logged (log_duration, log_min_duration_statement, auto_explain).",
        Kind::Histogram,
    );
    for (identity, sums) in sources {
        for (severity, classes) in ERRORS.iter().zip(&sums.errors) {
            for (at, count) in classes.iter().enumerate() {
                let count = count.get();
                if count > 0 {
                    let class = SqlState::CLASSES.get(at).copied().unwrap_or("other");
                    let own = [("severity", severity.as_str()), ("sqlstate_class", class)];
                    push(&mut errors, identity.over(&Labels::new(own)), count as f64);
                }
            }
        }
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (at, bucket) in sums.buckets.iter().enumerate() {
            count += bucket.get();
            buckets.extend(BOUNDS.get(at).map(|bound| (units(*bound), count)));
        }
        let sum = units(sums.duration.get());
        merge(&mut durations, identity.clone(), Histogram { buckets, sum, count });
    }
    families.push(errors);
    families.push(durations);
    families.into_iter().map(Arc::new).collect()
}

fn push(family: &mut Family, labels: Labels, value: f64) {
    for sample in &mut family.samples {
        if let (true, Point::Number(known)) = (sample.labels == labels, &mut sample.point) {
            *known += value;
            return;
        }
    }
    family.push(labels, value);
}

fn merge(family: &mut Family, labels: Labels, own: Histogram) {
    for sample in &mut family.samples {
        if let (true, Point::Histogram(known)) = (sample.labels == labels, &mut sample.point) {
            for (known, own) in known.buckets.iter_mut().zip(&own.buckets) {
                known.1 += own.1;
            }
            known.sum += own.sum;
            known.count += own.count;
            return;
        }
    }
    family.samples.push(Sample { labels, point: Point::Histogram(Box::new(own)) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::classify;

    #[test]
    fn records_add_up() {
        let sums = Sums::default();
        let add = |severity, sqlstate: &str, message: &str| {
            let mut record = Record::new(severity, message);
            record.sqlstate = SqlState::parse(sqlstate.as_bytes());
            sums.add(&record, &classify(&record));
        };
        add(Severity::Log, "00000", "duration: 2.000 ms  statement: SELECT 1");
        add(Severity::Log, "00000", "duration: 400000.500 ms");
        add(Severity::Error, "23505", "duplicate key");
        add(Severity::Error, "ZZ001", "of a user");
        add(Severity::Error, "", "of a format that tells no code");
        add(Severity::Log, "00000", "temporary file: path \"x/pgsql_tmp1.0\", size 7");
        let identity = Labels::new([("server", "a")]);
        let families = families([(&identity, &sums), (&identity, &sums)].into_iter());
        let find = |name: &str| families.iter().find(|family| &*family.name == name).unwrap();
        let numbers = |name: &str| -> Vec<f64> {
            let points = find(name).samples.iter().map(|sample| &sample.point);
            points
                .filter_map(|point| match point {
                    Point::Number(number) => Some(*number),
                    Point::Histogram(_) => None,
                })
                .collect()
        };
        assert_eq!(numbers("pg_log_temp_file_bytes_total"), [14.0], "one server, two sources");
        assert_eq!(numbers("pg_log_errors_total"), [2.0, 2.0]);
        let Point::Histogram(durations) = &find("pg_log_duration_seconds").samples[0].point else {
            panic!()
        };
        assert_eq!((durations.count, durations.buckets[0].1, durations.buckets[1].1), (4, 0, 2));
        assert!((durations.sum - 800.005).abs() < 1e-9, "{}", durations.sum);
    }
}
