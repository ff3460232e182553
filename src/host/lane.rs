//! Work that touches a file system, which may hang for ever: one piece at a time, waited for only so long.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A lane holds at most one piece of work. While that is stuck, no other begins.
pub(super) struct Lane<T>(Option<JoinHandle<T>>);

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Lane<T> {
    /// Begins a piece of work, unless one is in hand.
    pub(super) fn begin(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        if self.0.is_none() {
            self.0 = Some(tokio::task::spawn_blocking(work));
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// The result of the work in hand; none where it is not done `within` that time, or failed.
    pub(super) async fn end(&mut self, within: Duration) -> Option<T> {
        let done = timeout(within, self.0.as_mut()?).await.ok()?;
        self.0 = None;
        done.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_is_stuck_is_not_begun_again() {
        let begun = Arc::new(AtomicU32::new(0));
        let (release, stuck) = std::sync::mpsc::channel::<()>();
        let mut lane = Lane::default();
        let count = Arc::clone(&begun);
        lane.begin(move || {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stuck.recv();
            1
        });
        let short = Duration::from_millis(20);
        assert_eq!(lane.end(short).await, None);
        assert!(lane.is_busy());
        let count = Arc::clone(&begun);
        lane.begin(move || {
            count.fetch_add(1, Ordering::SeqCst);
            2
        });
        assert_eq!(lane.end(short).await, None);
        release.send(()).unwrap();
        assert_eq!(lane.end(Duration::from_secs(20)).await, Some(1));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        lane.begin(|| 3);
        assert_eq!(lane.end(Duration::from_secs(20)).await, Some(3));
        assert!(!lane.is_busy());
    }
}
