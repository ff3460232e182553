//! What is shown one by one of very many: the first N of a result, without blinking. Pure.
//!
//! A query that ends in `LIMIT {tables}` or `LIMIT {indexes}` orders its rows by weight and gets twice
//! as many as are to be shown. The first N are shown, and of the second N those that were among the
//! first within the last hour: two tables that change places at the border both stay.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Collection;
use crate::metric::Labels;
use crate::packs::{Query, Usage};

/// How long one stays that was among the first.
const KEPT: Duration = Duration::from_secs(3600);

/// The configured numbers; none: all are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    tables: Option<usize>,
    indexes: Option<usize>,
}

impl Caps {
    pub(crate) fn of(collection: &Collection) -> Self {
        Self { tables: collection.tables, indexes: collection.indexes }
    }

    /// `sql` with its placeholders filled in, and how many of its rows are to be shown.
    pub(crate) fn fill<'s>(&self, sql: &'s str) -> (Cow<'s, str>, Shown) {
        let mut filled = Cow::from(sql);
        let mut shown = Shown::Everything;
        for (word, number) in [("{tables}", self.tables), ("{indexes}", self.indexes)] {
            if !sql.contains(word) {
                continue;
            }
            let limit = number.map_or_else(|| "ALL".to_owned(), |n| (n * 2).to_string());
            filled = filled.replace(word, &limit).into();
            shown = number.map_or(Shown::Uncapped, Shown::First);
        }
        (filled, shown)
    }
}

/// How much of a result is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// What it holds, within the cap on series.
    Everything,
    /// What it holds: the configuration has lifted the cap.
    Uncapped,
    /// The first rows, and those that were among them.
    First(usize),
}

impl Shown {
    /// The cap on series of `query`, whose own or the configuration's is `max_series`.
    pub(crate) fn max_series(self, query: &Query, max_series: Option<usize>) -> Option<usize> {
        match self {
            Self::Everything => max_series,
            Self::Uncapped => None,
            // The rows have a cap of their own, which bounds the series.
            Self::First(rows) => {
                let values = query.columns.iter().filter(|c| c.usage != Usage::Label).count();
                max_series.map(|most| most.max(rows * 2 * values.max(1)))
            }
        }
    }
}

/// [`Members`] that outlive the run that looks at them.
pub(crate) type Known = Arc<Mutex<Members>>;

/// Who was among the first, and when last.
#[derive(Debug, Default)]
pub(crate) struct Members(HashMap<Labels, Instant>);

impl Members {
    /// Whether the row of `labels`, which stands at `rank` (0 is the first), is shown.
    pub(crate) fn keep(&mut self, labels: &Labels, rank: usize, most: usize, now: Instant) -> bool {
        if rank < most {
            self.0.insert(labels.clone(), now);
            return true;
        }
        self.0.get(labels).is_some_and(|seen| now.duration_since(*seen) < KEPT)
    }

    /// Forgets who has not been among the first for long.
    pub(crate) fn forget(&mut self, now: Instant) {
        self.0.retain(|_, seen| now.duration_since(*seen) < KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_with_twice_the_number() {
        let caps = Caps { tables: Some(200), indexes: None };
        assert_eq!(caps.fill("x LIMIT {tables}"), ("x LIMIT 400".into(), Shown::First(200)));
        assert_eq!(caps.fill("x LIMIT {indexes}"), ("x LIMIT ALL".into(), Shown::Uncapped));
        assert_eq!(caps.fill("x"), ("x".into(), Shown::Everything));
    }

    #[test]
    fn who_was_among_the_first_stays_for_an_hour() {
        let t = Instant::now();
        let [a, b] = ["a", "b"].map(|name| Labels::new([("relname", name)]));
        let mut members = Members::default();
        assert!(members.keep(&a, 0, 1, t) && !members.keep(&b, 1, 1, t));
        let later = t + Duration::from_secs(60);
        assert!(members.keep(&b, 0, 1, later) && members.keep(&a, 1, 1, later), "both stay");
        let much_later = t + KEPT;
        members.forget(much_later);
        assert!(!members.keep(&a, 1, 1, much_later) && members.keep(&b, 1, 1, much_later));
    }
}
