//! Cancel requests: a connection of their own, with the session's TLS, one second, and a place in the
//! budget.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_postgres::CancelToken;

use super::budget::{Address, Budgets};
use super::socket::Held;
use super::tls::Plan;

/// How long a cancel request may take until the server has acted on it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// The server has seen it and closed its connection: no later statement can be hit by it.
    Sent,
    /// It was never sent.
    Unsent,
    /// It may be on its way still.
    Unknown,
}

/// Where and how to ask for the end of a session's statement.
pub(super) struct Canceller {
    pub(super) address: Address,
    pub(super) plan: Plan,
    pub(super) budgets: Budgets,
}

impl Canceller {
    pub(super) async fn cancel(&self, token: CancelToken) -> Cancelled {
        let until = Instant::now() + PATIENCE;
        let outcome = match self.budgets.take_now(&self.address) {
            None => Cancelled::Unsent,
            Some(permit) => {
                match timeout_at(until, Held::open(&self.address, &self.budgets, permit)).await {
                    Ok(Ok(held)) => self.send(token, held, until).await,
                    _ => Cancelled::Unsent,
                }
            }
        };
        self.budgets.count_cancel(match outcome {
            Cancelled::Sent => "sent",
            Cancelled::Unsent => "unsent",
            Cancelled::Unknown => "failed",
        });
        outcome
    }

    async fn send(&self, token: CancelToken, mut held: Held, until: Instant) -> Cancelled {
        let closed = held.closed();
        let request = token.cancel_query_raw(held, self.plan.connector());
        match timeout_at(until, request).await {
            // The server closes the connection after it has signalled its backend.
            Ok(Ok(())) if timeout_at(until, closed).await.is_ok() => Cancelled::Sent,
            _ => Cancelled::Unknown,
        }
    }
}
