//! Distributions counted from rows: pgsty's HISTOGRAM, one observation a row.
//!
//! What it gives are gauges, as there: each result is a distribution of its own, which may shrink.

use std::collections::HashMap;

use super::decode::{self, Reading};
use crate::metric::{Labels, Point};

/// A column of observations.
pub(super) struct Spread<'q> {
    pub(super) column: &'q str,
    pub(super) at: usize,
    pub(super) type_oid: u32,
    /// Finite, rising.
    pub(super) bounds: &'q [f64],
    pub(super) scale: Option<f64>,
    pub(super) default: Option<&'q str>,
    /// The families of `_bucket`, `_count` and `_sum`.
    pub(super) families: [usize; 3],
}

/// What one column's observations add up to, by label set in the order of coming.
#[derive(Default)]
pub(super) struct Tally {
    numbers: HashMap<Labels, usize>,
    sums: Vec<(Labels, Vec<u64>, f64)>,
    /// One observation that cannot be read makes the whole distribution wrong: none is shown.
    spoilt: bool,
}

impl Spread<'_> {
    /// Counts a row's observation in; NULL is none.
    ///
    /// # Errors
    /// What stands there instead of a finite number.
    pub(super) fn observe(
        &self,
        text: Option<&str>,
        labels: &Labels,
        reading: Reading,
        tally: &mut Tally,
    ) -> Result<(), &'static str> {
        let number = match (text, self.default) {
            (Some(text), _) => decode::number(self.type_oid, text, reading),
            (None, Some(default)) => {
                decode::parse(default).ok_or("has a default that is no number")
            }
            (None, None) => return Ok(()),
        };
        let scale = self.scale.filter(|_| text.is_none() || decode::is_scaled(self.type_oid));
        let number = number.map(|number| number * scale.unwrap_or(1.0));
        let number = match number {
            Ok(number) if number.is_finite() => number,
            other => {
                tally.spoilt = true;
                return Err(other.err().unwrap_or("is not finite"));
            }
        };
        let next = tally.sums.len();
        let at = *tally.numbers.entry(labels.clone()).or_insert(next);
        if at == next {
            tally.sums.push((labels.clone(), vec![0; self.bounds.len() + 1], 0.0));
        }
        let (_, counts, sum) = &mut tally.sums[at];
        counts[self.bounds.partition_point(|bound| *bound < number)] += 1;
        *sum += number;
        Ok(())
    }

    /// The samples: labels, family and value.
    pub(super) fn samples(&self, tally: Tally) -> Vec<(Labels, usize, Point)> {
        let [bucket, count, sum] = self.families;
        let mut samples = Vec::new();
        if tally.spoilt {
            return samples;
        }
        for (labels, counts, total) in tally.sums {
            let mut so_far = 0;
            let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
            for (bound, observed) in bounds.zip(counts) {
                so_far += observed;
                let le = decode::go_float(bound);
                let pairs = labels.iter().chain([("le", &*le)]);
                samples.push((Labels::new(pairs), bucket, number(so_far)));
            }
            samples.push((labels.clone(), count, number(so_far)));
            samples.push((labels, sum, Point::Number(total)));
        }
        samples
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows of one result are far below 2^53")]
fn number(count: u64) -> Point {
    Point::Number(count as f64)
}
