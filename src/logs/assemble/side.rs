//! What is begun and goes on in another line: parts of a line, and a csvlog record. A container has two
//! streams, and each a side of its own.

use crate::logs::format::Scanner;

/// What one stream of a container has begun.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) parts: Option<Parts>,
    pub(super) csv: Option<Csv>,
}

impl Side {
    /// The places among the records of what is begun.
    pub(super) fn numbers(&mut self) -> impl Iterator<Item = &mut u64> {
        let parts = self.parts.iter_mut().map(|parts| &mut parts.number);
        parts.chain(self.csv.iter_mut().map(|csv| &mut csv.number))
    }
}

/// A line whose end is missing.
#[derive(Debug)]
pub(super) struct Parts {
    /// Its place among the records.
    pub(super) number: u64,
    pub(super) text: Vec<u8>,
    /// Bytes that are not kept.
    pub(super) beyond: u64,
    /// The first part's.
    pub(super) time: Option<i64>,
}

/// A csvlog record that goes on in the next line.
#[derive(Debug)]
pub(super) struct Csv {
    pub(super) number: u64,
    pub(super) text: Vec<u8>,
    pub(super) scanner: Scanner,
    pub(super) beyond: u64,
    pub(super) time: Option<i64>,
    /// Some of it is not here, so only the next head ends it.
    pub(super) lost: bool,
}
