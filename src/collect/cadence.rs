//! When things are due: how often an instance is scraped, when a query runs, when a result is too
//! old to be shown. Pure over given instants.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// A scrape takes a result that is not older than this without a new run.
pub(crate) const MIN_AGE: Duration = Duration::from_secs(1);

/// How long a statement may take in the fast lane. Below [`MIN_AGE`], so that while one is stuck the
/// answer before it still speaks for the server; what needs longer runs in the other lane.
pub(crate) const FAST_CAP: Duration = Duration::from_millis(800);

/// However short its interval, a result is shown at least for so long.
const SHORTEST_SHOW: Duration = Duration::from_secs(45);

/// A scraper that comes more seldom is not one to wait for.
const LONGEST_GAP: Duration = Duration::from_secs(120);

/// How many gaps are looked at: the longest of them counts, since two scrapers of a pair, each
/// regular in itself, leave short and long gaps in turn.
const GAPS: usize = 4;

/// The rhythm in which an instance is scraped.
#[derive(Debug, Default)]
pub(crate) struct Cadence {
    last: Option<Instant>,
    gaps: VecDeque<Duration>,
}

impl Cadence {
    pub(crate) fn scraped(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.gaps.push_back(now.duration_since(last));
            if self.gaps.len() > GAPS {
                self.gaps.pop_front();
            }
        }
    }

    /// The gap between scrapes; none where nobody scrapes, or no longer.
    pub(crate) fn gap(&self, now: Instant) -> Option<Duration> {
        let last = self.last?;
        let gap = *self.gaps.iter().max()?;
        let patience = gap + gap / 2 + MIN_AGE;
        (gap <= LONGEST_GAP && now.duration_since(last) <= patience).then_some(gap)
    }

    /// How long after its last run a fast query runs by itself: a scraper that comes regularly is
    /// waited for, so that the query does not run just before it too.
    pub(crate) fn fast_interval(&self, interval: Duration, now: Instant) -> Duration {
        match self.gap(now) {
            Some(gap) => interval.max(gap + gap / 4),
            None => interval,
        }
    }

    /// From which age on a fast result is withdrawn.
    pub(crate) fn fast_withdrawal(&self, interval: Duration, now: Instant) -> Duration {
        withdrawal(interval.max(self.gap(now).unwrap_or_default()))
    }
}

/// From which age on a result is withdrawn that is renewed every `interval`.
pub(crate) fn withdrawal(interval: Duration) -> Duration {
    (interval * 3).max(SHORTEST_SHOW)
}

/// The next time of a query on its own clock after a run that began at `started`. Its times are
/// `interval` apart, at an offset that `key` decides: queries and instances spread over the
/// interval, always in the same way. The first step is between half an interval and one and a half.
pub(crate) fn next_time(
    epoch: Instant,
    key: &impl Hash,
    interval: Duration,
    started: Instant,
) -> Instant {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    let offset = hasher.finish() % nanos;
    let earliest = started + interval / 2;
    let since_epoch = earliest.saturating_duration_since(epoch).as_nanos();
    let since_epoch = u64::try_from(since_epoch).unwrap_or(u64::MAX);
    let whole = since_epoch.saturating_sub(offset).div_ceil(nanos);
    epoch + Duration::from_nanos(offset.saturating_add(whole.saturating_mul(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_regular_scraper_is_waited_for_and_a_lost_one_is_not() {
        let t = Instant::now();
        let mut cadence = Cadence::default();
        assert_eq!(cadence.fast_interval(seconds(15), t), seconds(15));
        cadence.scraped(t);
        assert_eq!(cadence.gap(t), None, "one scrape is no rhythm");
        for n in 1..=3 {
            cadence.scraped(t + seconds(60 * n));
        }
        let now = t + seconds(200);
        assert_eq!(cadence.fast_interval(seconds(15), now), seconds(75));
        assert_eq!(cadence.fast_withdrawal(seconds(15), now), seconds(180));
        let now = t + seconds(180 + 92);
        assert_eq!(cadence.fast_interval(seconds(15), now), seconds(15));
        assert_eq!(cadence.fast_withdrawal(seconds(15), now), seconds(45));
    }

    #[test]
    fn a_pair_of_scrapers_counts_as_one_that_is_as_slow_as_their_longest_gap() {
        let t = Instant::now();
        let mut cadence = Cadence::default();
        for n in 0..4 {
            cadence.scraped(t + seconds(30 * n));
            cadence.scraped(t + seconds(30 * n + 3));
        }
        assert_eq!(cadence.gap(t + seconds(100)), Some(seconds(27)));
    }

    #[test]
    fn withdrawn_after_three_intervals() {
        assert_eq!(withdrawal(seconds(300)), seconds(900));
        assert_eq!(withdrawal(seconds(1)), seconds(45));
    }

    #[test]
    fn queries_spread_over_their_interval_and_keep_their_times() {
        let epoch = Instant::now();
        let minute = seconds(60);
        let mut offsets = std::collections::BTreeSet::new();
        for key in 0..50u32 {
            let mut at = next_time(epoch, &key, minute, epoch);
            assert!(at >= epoch + minute / 2 && at <= epoch + minute + minute / 2);
            offsets.insert((at - epoch).as_millis());
            for _ in 0..5 {
                // A run that begins a little late does not move the next.
                let next = next_time(epoch, &key, minute, at + seconds(2));
                assert_eq!(next, at + minute);
                at = next;
            }
        }
        assert!(offsets.len() > 45, "{offsets:?}");
    }
}
