//! At most three connections per server address, whatever happens: one that we gave up counts until
//! the server has closed it or TCP has declared it dead.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::task::Group;
use crate::telemetry::Telemetry;

/// Connections at once to one server address, cancel requests among them.
pub const SESSIONS: usize = 3;

/// Where a server is reached: after name resolution, so that two names of one server share a budget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The right to one connection; given back when dropped.
pub(super) type Permit = OwnedSemaphorePermit;

/// The budgets of all servers. One per process: a reload of the configuration keeps it, for the old
/// connections still count. Clones share it.
#[derive(Clone)]
pub struct Budgets(Arc<Inner>);

struct Inner {
    group: Group,
    places: Mutex<BTreeMap<Address, Arc<Semaphore>>>,
    opened: IntCounter,
    given_up: IntCounter,
    cancels: IntCounterVec,
}

impl Budgets {
    /// `group` owns the tasks that wait for the end of given-up connections.
    pub fn new(group: &Group, telemetry: &Telemetry) -> Self {
        Self(Arc::new(Inner {
            group: group.clone(),
            places: Mutex::default(),
            opened: telemetry.counter(
                "pgvigil_sessions_opened_total",
                "Sessions with PostgreSQL servers that were opened.",
            ),
            given_up: telemetry.counter(
                "pgvigil_sessions_given_up_total",
                "Sessions that the agent gave up, since a statement did not end after its cancel \
                 request; each counts as open until the server closes it.",
            ),
            cancels: telemetry.counters(
                "pgvigil_cancel_requests_total",
                "Cancel requests by result: sent, unsent (no connection was left for it), failed.",
                &["result"],
            ),
        }))
    }

    /// A place at `address`, waiting for one until `until`.
    pub(super) async fn take(&self, address: &Address, until: Instant) -> Option<Permit> {
        let place = self.place(address);
        timeout_at(until, place.acquire_owned()).await.ok()?.ok()
    }

    /// A place, if one is free now.
    pub(super) fn take_now(&self, address: &Address) -> Option<Permit> {
        self.place(address).try_acquire_owned().ok()
    }

    fn place(&self, address: &Address) -> Arc<Semaphore> {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        // Addresses change with DNS: those where nothing is open are forgotten.
        places.retain(|known, place| known == address || Arc::strong_count(place) > 1);
        let place = places.entry(address.clone());
        Arc::clone(place.or_insert_with(|| Arc::new(Semaphore::new(SESSIONS))))
    }

    /// Keeps the permit of a connection that nobody uses any more, and what ends with it, until the
    /// server has closed it: then `closed` resolves, which holds the socket.
    pub(super) fn linger(
        &self,
        closed: impl Future<Output = ()> + Send + 'static,
        permit: Permit,
        ended: impl Send + 'static,
    ) {
        if tokio::runtime::Handle::try_current().is_err() {
            // Outside a runtime the program is ending: the kernel closes the socket.
            return;
        }
        let stop = self.0.group.signal();
        self.0.group.spawn("closing connection", async move {
            tokio::select! {
                () = closed => {}
                () = stop.draining() => {}
            }
            drop(permit);
            drop(ended);
        });
    }

    pub(super) fn count_opened(&self) {
        self.0.opened.inc();
    }

    pub(super) fn count_given_up(&self) {
        self.0.given_up.inc();
    }

    pub(super) fn count_cancel(&self, result: &str) {
        self.0.cancels.with_label_values(&[result]).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn three_and_no_more() {
        let budgets = Budgets::new(&Group::new(), &Telemetry::new());
        let here = Address::Tcp(([127, 0, 0, 1], 1).into());
        let there = Address::Unix("/tmp/x".into());
        let held: Vec<_> = (0..SESSIONS).filter_map(|_| budgets.take_now(&here)).collect();
        assert_eq!(held.len(), 3);
        assert!(budgets.take_now(&there).is_some(), "another address has its own");
        assert!(budgets.take_now(&here).is_none(), "taking elsewhere frees nothing here");
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(budgets.take(&here, soon).await.is_none());
        drop(held);
        assert!(budgets.take_now(&here).is_some());
    }
}
