//! When records are whole, and leave: in the order of their first lines, each with where to read again.

use std::time::Instant;

use super::cache::Cache;
use super::open::Open;
use super::{Assembler, Break, IDLE};
use crate::logs::record::Record;

/// As much memory of records that have left is kept for others: of a run of small ones, for where
/// processes write in turn many leave at once.
const SPARE_BYTES: usize = 64 * 1024;

impl Assembler {
    pub(super) fn finish_where(&mut self, mut whole: impl FnMut(&Open) -> bool) {
        let Self { records, live, front, .. } = self;
        live.retain(|(_, number)| {
            let open = usize::try_from(number - *front).ok().and_then(|at| records.get_mut(at));
            let Some(open) = open else { return false };
            open.whole = open.whole || whole(open);
            !open.whole
        });
    }

    /// To be called when every byte that the file holds was read: takes records as whole that got no
    /// line for [`IDLE`], and says so by a value, to be stored before their first sending and kept
    /// until the position has passed it. Without this call no clock has any effect.
    pub fn idle(&mut self, now: Instant) -> Option<Break> {
        let rested = |open: &Open| now.saturating_duration_since(open.touched) >= IDLE;
        let before = self
            .records
            .iter()
            .filter(|open| !open.whole && rested(open))
            .map(|open| open.record.bytes.end)
            .max()?;
        let stop = Break { at: self.end, before };
        self.close(stop, now);
        Some(stop)
    }

    pub(super) fn close(&mut self, stop: Break, now: Instant) {
        self.flush(stop.before, now);
        self.finish_where(|open| open.record.bytes.end <= stop.before);
    }

    /// When [`idle`](Self::idle) will next have something to do.
    pub fn idle_at(&self) -> Option<Instant> {
        self.records.iter().filter(|open| !open.whole).map(|open| open.touched + IDLE).min()
    }

    /// The file ends here for good: all records are whole.
    pub fn finish(&mut self) {
        if let Some(now) = self.records.iter().find(|open| open.hollow).map(|open| open.touched) {
            self.flush(u64::MAX, now);
        }
        self.finish_where(|_| true);
        self.last = None;
        self.torn = None;
    }

    /// What follows is lost, and with it what is not whole. Says where the first of it begins; none where
    /// all is whole.
    pub fn abandon(&mut self) -> Option<u64> {
        let open = self.records.iter_mut().filter(|open| !open.whole);
        let first = open.fold(None, |first: Option<u64>, open| {
            open.hollow = true;
            first.or(Some(open.record.bytes.start))
        });
        self.finish_where(|_| true);
        self.last = None;
        self.torn = None;
        first
    }

    /// The next whole record, in the order of first lines.
    pub fn ready(&mut self) -> Option<Record> {
        self.next_whole().map(|record| *record)
    }

    /// The same where it lies; [`recycle`](Self::recycle) takes its memory back.
    pub(in crate::logs) fn next_whole(&mut self) -> Option<Box<Record>> {
        loop {
            let open = self.records.pop_front_if(|open| open.whole)?;
            self.front += 1;
            self.weight -= open.weight();
            let next = self.open_since().unwrap_or(self.end);
            let resume = self.overlaps.leave(open.from..open.record.bytes.end, open.in_parts, next);
            if open.hollow {
                continue;
            }
            self.counts.cut += u64::from(open.record.left_out > 0);
            if open.record.bytes.start < self.next {
                continue;
            }
            let mut record = open.into_record();
            record.next = next;
            record.resume = resume;
            return Some(record);
        }
    }

    /// Memory for records to come, of one that has left.
    pub(in crate::logs) fn recycle(&mut self, record: Box<Record>) {
        let size = record.capacity();
        if self.spare_bytes + size <= SPARE_BYTES {
            self.spare_bytes += size;
            self.spare.push(record);
        }
    }

    /// Gives back memory that a quiet file does not need.
    pub(in crate::logs) fn rest_quietly(&mut self) {
        self.spare = Vec::new();
        self.spare_bytes = 0;
        self.prefixes = Cache::default();
        self.records.shrink_to_fit();
    }

    pub(super) fn blank(&mut self) -> Box<Record> {
        let record = self.spare.pop().unwrap_or_default();
        self.spare_bytes = self.spare_bytes.saturating_sub(record.capacity());
        record
    }

    /// Where the first record begins that has not left yet; none where nothing waits.
    pub fn open_since(&self) -> Option<u64> {
        self.records.front().map(|open| open.record.bytes.start)
    }
}
