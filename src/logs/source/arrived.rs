//! Since when the bytes of a file have been there, as far as looks at its size tell: so that of many files
//! that wait for the same queue the one is read whose bytes have waited longest.

use std::collections::VecDeque;
use std::time::Instant;

/// Looks that are told apart; of more, neighbours become one.
const LOOKS: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// Up to which offset bytes had come by when, in both orders.
    looks: VecDeque<(u64, Instant)>,
}

impl Arrived {
    /// The file reaches up to `end` by now.
    pub(super) fn see(&mut self, end: u64, now: Instant) {
        if self.looks.back().is_some_and(|(known, _)| *known >= end) {
            return;
        }
        if self.looks.len() >= LOOKS {
            // The older time of the two holds: what came later is read a little too soon.
            let looks = std::mem::take(&mut self.looks).into_iter().enumerate();
            let mut since = now;
            for (at, (end, came)) in looks {
                if at % 2 == 0 {
                    since = came;
                } else {
                    self.looks.push_back((end, since));
                }
            }
        }
        self.looks.push_back((end, now));
    }

    /// Since when the byte at `offset` has been there; none where it has not come.
    pub(super) fn since(&self, offset: u64) -> Option<Instant> {
        self.looks.iter().find(|(end, _)| *end > offset).map(|(_, since)| *since)
    }

    /// What stands before `offset` is read.
    pub(super) fn forget(&mut self, offset: u64) {
        while self.looks.pop_front_if(|(end, _)| *end <= offset).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bytes_are_as_old_as_the_look_that_saw_them_or_older() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let mut arrived = Arrived::default();
        assert_eq!(arrived.since(0), None);
        for second in 0..1_000 {
            arrived.see((second + 1) * 10, at(second));
            // Nothing new has come.
            arrived.see((second + 1) * 10, at(second) + Duration::from_millis(500));
            assert_eq!(arrived.since((second + 1) * 10), None);
            assert_eq!(arrived.since(0), Some(start));
            assert!(arrived.looks.len() <= LOOKS);
            let oldest_first = arrived.looks.iter().is_sorted();
            assert!(oldest_first);
        }
        for second in 0..1_000 {
            arrived.forget(second * 10);
            assert!(arrived.since(second * 10 + 5).is_some_and(|since| since <= at(second)));
        }
        assert!(arrived.since(9_999) > Some(at(500)), "the newest are told apart");
        arrived.forget(10_000);
        assert!(arrived.looks.is_empty());
    }
}
