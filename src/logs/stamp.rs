//! The time that is sent for a record: its own, made distinct within its file, nanosecond by
//! nanosecond.
//!
//! Loki drops an entry that equals another of the same nanosecond, so equal records of one
//! millisecond need distinct times; and a record that is sent again must have the time it had, so
//! the count stands in the checkpoint, and neither the agent's clock nor a route has a say in it.

use serde::{Deserialize, Serialize};

const MILLISECOND: i64 = 1_000_000;

/// How many milliseconds are remembered. Processes that write at once mix the order of their
/// milliseconds a little; one process's own are in order.
const REMEMBERED: usize = 4;

/// What gives a file's records their times, in the order in which the records start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::logs) struct Stamps {
    /// The time of the last record that had one: what a record without one takes.
    last: i64,
    /// Milliseconds since 1970 and the last nanosecond given out in each.
    recent: [(i64, i64); REMEMBERED],
    /// The place that is overwritten next.
    next: u8,
}

impl Stamps {
    /// `met`: nanoseconds since 1970, the time of what stands before the first record with one.
    pub(in crate::logs) fn new(met: i64) -> Self {
        Self { last: met, ..Self::default() }
    }

    /// The time to send for the next record.
    pub(in crate::logs) fn stamp(&mut self, time: Option<i64>) -> i64 {
        let time = time.unwrap_or(self.last);
        self.last = time;
        let millis = time.div_euclid(MILLISECOND);
        match self.recent.iter_mut().find(|(known, given)| *known == millis && *given != 0) {
            Some((_, given)) => {
                *given = time.max(*given + 1);
                *given
            }
            None => {
                self.recent[usize::from(self.next)] = (millis, time);
                self.next = (self.next + 1) % u8::try_from(REMEMBERED).unwrap_or(1);
                time
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_become_distinct() {
        let mut stamps = Stamps::new(7_000_000);
        // Before any time is known: the one of the first meeting.
        assert_eq!(stamps.stamp(None), 7_000_000);
        assert_eq!(stamps.stamp(None), 7_000_001);
        assert_eq!(stamps.stamp(Some(9_000_000)), 9_000_000);
        assert_eq!(stamps.stamp(Some(9_000_000)), 9_000_001);
        // Another process's next millisecond does not make the old one begin anew.
        assert_eq!(stamps.stamp(Some(10_000_000)), 10_000_000);
        assert_eq!(stamps.stamp(Some(9_000_000)), 9_000_002);
        // A line without a time takes its predecessor's.
        assert_eq!(stamps.stamp(None), 9_000_003);
    }

    #[test]
    fn finer_times_are_kept() {
        let mut stamps = Stamps::new(0);
        assert_eq!(stamps.stamp(Some(5_000_100)), 5_000_100);
        assert_eq!(stamps.stamp(Some(5_000_200)), 5_000_200);
        assert_eq!(stamps.stamp(Some(5_000_150)), 5_000_201);
    }

    #[test]
    fn goes_on_after_a_restart() {
        let mut stamps = Stamps::new(0);
        for _ in 0..3 {
            stamps.stamp(Some(4_000_000));
        }
        let text = serde_json::to_string(&stamps).unwrap();
        let mut again: Stamps = serde_json::from_str(&text).unwrap();
        assert_eq!(again.stamp(Some(4_000_000)), stamps.stamp(Some(4_000_000)));
    }
}
