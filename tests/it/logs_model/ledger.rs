//! What was sent to each route: read once from the stub, as it comes.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::loki::{Entry, Push};

/// One shape in which a record was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) labels: String,
    pub(super) entry: Entry,
    /// Loki has it so.
    pub(super) stored: bool,
}

impl Sent {
    /// By how many nanoseconds it was sent at another time, and is the same else.
    pub(super) fn differs_in_time(&self, other: &Self) -> u64 {
        let retimed = Entry { ns: self.entry.ns, ..other.entry.clone() };
        match self.labels == other.labels && self.entry == retimed {
            true => self.entry.ns.abs_diff(other.entry.ns),
            false => u64::MAX,
        }
    }
}

/// What was sent to one route, by the records' numbers.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) arrived: BTreeSet<usize>,
    /// What Loki has refused for good, or taken and thrown away: the agent has nothing left to do
    /// about it but to count it.
    pub(super) refused: BTreeSet<usize>,
    /// The different shapes in which each was sent, in their order.
    pub(super) shapes: BTreeMap<usize, Vec<Sent>>,
}

impl Ledger {
    pub(super) fn is_settled(&self, number: usize) -> bool {
        self.arrived.contains(&number) || self.refused.contains(&number)
    }

    pub(super) fn note(&mut self, push: Push) {
        let for_good = match push.status {
            204 | 400 => true,
            // Until only one entry is left, halves are tried.
            413 => push.entries.len() == 1,
            _ => false,
        };
        for (at, entry) in push.entries.into_iter().enumerate() {
            let Some(number) = number(&entry) else { continue };
            let stored = at >= push.refused;
            if stored {
                self.arrived.insert(number);
            } else if for_good {
                self.refused.insert(number);
            }
            let shapes = self.shapes.entry(number).or_default();
            let same = |shape: &&mut Sent| shape.labels == push.labels && shape.entry == entry;
            match shapes.iter_mut().find(same) {
                Some(shape) => shape.stored |= stored,
                None => shapes.push(Sent { labels: push.labels.clone(), entry, stored }),
            }
        }
    }
}

fn number(entry: &Entry) -> Option<usize> {
    let (_, rest) = entry.line.split_once("number ")?;
    rest.split(' ').next()?.parse().ok()
}
