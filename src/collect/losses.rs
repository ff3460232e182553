//! What a run's result lost on the way to the page, and what is said of it.

use std::collections::BTreeMap;

use crate::postgres::QueryReason;

/// What went wrong in a run, gathered.
#[derive(Default)]
pub(super) struct Losses {
    /// A sentence, once, and how often it came true.
    notes: BTreeMap<String, usize>,
    pub(super) duplicate: bool,
    undecodable: bool,
    pub(super) truncated: bool,
    pub(super) dropped: usize,
}

impl Losses {
    pub(super) fn note(&mut self, sentence: impl Into<String>) {
        *self.notes.entry(sentence.into()).or_default() += 1;
    }

    pub(super) fn cut(&mut self, what: &str) {
        self.truncated = true;
        self.note(format!("{what}; aggregate in the query, or raise `max_series`"));
    }

    pub(super) fn undecodable(&mut self, column: &str, why: &str) {
        self.undecodable = true;
        self.dropped += 1;
        self.note(format!("column `{column}` {why}; its sample is dropped, mend the query"));
    }

    pub(super) fn reason(&self) -> QueryReason {
        match self {
            Self { truncated: true, .. } => QueryReason::Truncated,
            Self { duplicate: true, .. } => QueryReason::Duplicate,
            Self { undecodable: true, .. } => QueryReason::Type,
            _ => QueryReason::Ok,
        }
    }

    pub(super) fn into_notes(self) -> Vec<String> {
        let say = |(note, times)| match times {
            1 => note,
            _ => format!("{note} ({times} times)"),
        };
        self.notes.into_iter().map(say).collect()
    }
}
