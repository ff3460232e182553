//! A group of tasks that one owner starts and stops.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{self, JoinSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Take in nothing new, finish what is in hand.
    Draining,
    /// Let go of everything.
    Cut,
}

/// What a task listens to in order to end. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Phase>);

impl Stop {
    /// Ends when the stop begins: take in nothing new, finish what is in hand.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Ends when the time for finishing is over.
    pub async fn cut(&self) {
        self.reached(Phase::Cut).await;
    }

    pub fn is_draining(&self) -> bool {
        // As in `reached`, a dropped group stops its tasks.
        *self.0.borrow() >= Phase::Draining || self.0.has_changed().is_err()
    }

    pub fn is_cut(&self) -> bool {
        *self.0.borrow() >= Phase::Cut || self.0.has_changed().is_err()
    }

    async fn reached(&self, phase: Phase) {
        // A dropped group stops its tasks as surely as a told stop.
        let _ = self.0.clone().wait_for(|now| *now >= phase).await;
    }
}

/// Owns tasks: each has a name, all end when the group is stopped. Clones share the tasks.
#[derive(Clone)]
pub struct Group {
    phase: Arc<watch::Sender<Phase>>,
    tasks: Arc<Mutex<Tasks>>,
}

#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    names: HashMap<task::Id, &'static str>,
}

impl Tasks {
    fn forget(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        let id = ended.map_or_else(|e| e.id(), |(id, ())| id);
        self.names.remove(&id);
    }
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    pub fn new() -> Self {
        Self { phase: Arc::new(watch::channel(Phase::Running).0), tasks: Arc::default() }
    }

    /// The signal that this group's tasks listen to.
    pub fn signal(&self) -> Stop {
        Stop(self.phase.subscribe())
    }

    /// Starts a task. It must end soon after [`Stop::cut`]; one that does not is aborted and named.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.lock();
        // Finished tasks are collected here, so that a long run holds no list of the dead.
        while let Some(ended) = tasks.running.try_join_next_with_id() {
            tasks.forget(ended);
        }
        let handle = tasks.running.spawn(async move {
            work.await;
            tracing::trace!(task = name, "task ended");
        });
        tasks.names.insert(handle.id(), name);
    }

    /// Stops: tells all to drain, waits up to `drain`, then cuts and waits up to `cut` more.
    /// Returns the names of the tasks that did not end by themselves.
    pub async fn stop(&self, drain: Duration, cut: Duration) -> Vec<&'static str> {
        for (phase, time) in [(Phase::Draining, drain), (Phase::Cut, cut)] {
            self.phase.send_replace(phase);
            if self.all_ended(time).await {
                return Vec::new();
            }
        }
        let mut tasks = self.lock();
        tasks.running.abort_all();
        tasks.names.values().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn all_ended(&self, within: Duration) -> bool {
        // The lock is held for one poll at a time, so that tasks may start others meanwhile.
        let next = || poll_fn(|context| self.lock().running.poll_join_next_with_id(context));
        let all = async {
            while let Some(ended) = next().await {
                self.lock().forget(ended);
            }
        };
        tokio::time::timeout(within, all).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stops_in_two_phases() {
        let group = Group::new();
        let stop = group.signal();
        group.spawn("polite", async move { stop.draining().await });
        assert!(group.stop(Duration::from_secs(5), Duration::ZERO).await.is_empty());

        let group = Group::new();
        let stop = group.signal();
        group.spawn("late", async move { stop.cut().await });
        assert!(group.stop(Duration::from_millis(1), Duration::from_secs(5)).await.is_empty());

        let group = Group::new();
        group.spawn("stuck", std::future::pending());
        group.spawn("done", async {});
        assert_eq!(group.stop(Duration::from_millis(1), Duration::from_millis(1)).await, ["stuck"]);
    }
}
