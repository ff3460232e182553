//! One counter of a source.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter of its own: the `prometheus` crate's have no labels that differ by source. The thread that
/// reads the source counts alone, so it need not lock the counter's memory for each record.
#[derive(Debug, Default)]
pub(in crate::logs) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
