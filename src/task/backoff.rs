//! Waiting between attempts: doubling up to a ceiling, with jitter so that agents do not march in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The waits of one kind of attempt.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    ceiling: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, ceiling: Duration) -> Self {
        Self { first, ceiling, next: first }
    }

    /// How long to wait now: between half of the present step and the whole of it.
    pub fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.ceiling);
        jittered(step)
    }

    /// Success: the next wait is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A duration between half of `whole` and `whole`.
pub fn jittered(whole: Duration) -> Duration {
    // The standard library's randomly keyed hasher is random enough to keep agents apart.
    let random = RandomState::new().hash_one(0u8) % 1000;
    whole.mul_f64(0.5 + f64::from(u32::try_from(random).unwrap_or(0)) / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_ceiling() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
        for whole in [1, 2, 3, 3] {
            let wait = backoff.wait();
            assert!(wait >= Duration::from_millis(whole * 500));
            assert!(wait <= Duration::from_secs(whole));
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_secs(1));
    }
}
