//! The families of one result while they fill.

use std::collections::HashMap;
use std::sync::Arc;

use super::losses::Losses;
use crate::metric::{Family, Labels, Point, Sample};

/// The families while they fill.
pub(super) struct Barn {
    families: Vec<Family>,
    /// Each label set that came, by number: hashed once a row, whatever the number of columns.
    numbers: HashMap<Labels, usize>,
    /// By family, which of the numbers it holds.
    taken: Vec<Vec<bool>>,
    pub(super) series: usize,
    max_series: usize,
}

impl Barn {
    /// `families` are still empty; no more than `max_series` lines come in.
    pub(super) fn new(families: Vec<Family>, max_series: Option<usize>) -> Self {
        Self {
            numbers: HashMap::new(),
            taken: vec![Vec::new(); families.len()],
            families,
            series: 0,
            max_series: max_series.unwrap_or(usize::MAX),
        }
    }

    /// Takes a row's samples in. Returns whether there is room for more.
    pub(super) fn store(
        &mut self,
        labels: Labels,
        points: Vec<(usize, Point)>,
        losses: &mut Losses,
    ) -> bool {
        let next = self.numbers.len();
        let number = *self.numbers.entry(labels.clone()).or_insert(next);
        for (family, point) in points {
            let lines = match &point {
                Point::Number(_) => 1,
                Point::Histogram(histogram) => histogram.buckets.len() + 3,
            };
            let taken = &mut self.taken[family];
            if taken.len() <= number {
                taken.resize(number + 1, false);
            }
            if taken[number] {
                losses.duplicate = true;
                losses.dropped += 1;
                losses.note(format!(
                    "`{}` came more than once with the same labels, and the first counts; \
                     make the labels tell the rows apart",
                    self.families[family].name
                ));
                continue;
            }
            if self.series + lines > self.max_series {
                losses.dropped += 1;
                return false;
            }
            taken[number] = true;
            self.series += lines;
            self.families[family].samples.push(Sample { labels: labels.clone(), point });
        }
        true
    }

    pub(super) fn into_families(self) -> Vec<Arc<Family>> {
        self.families.into_iter().filter(|f| !f.samples.is_empty()).map(Arc::new).collect()
    }
}
