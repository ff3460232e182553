//! The moving part of a session: the connection is driven by whoever waits for an answer, so that no
//! task outlives a session and a dropped one lets go of its socket at once.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Error;

use super::socket::Gate;

type Connection = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Why an operation got no answer.
pub(super) enum Halt {
    Deadline,
    /// The connection has ended, with the server's last word where there was one.
    Ended(Option<Error>),
    /// More bytes came for one message than the gate allowed.
    Oversized,
}

pub(super) struct Wire {
    /// None: given up or ended.
    connection: Option<Connection>,
    pub(super) gate: Gate,
    closed: oneshot::Receiver<()>,
}

impl Wire {
    pub(super) fn new(
        connection: impl Future<Output = Result<(), Error>> + Send + 'static,
        gate: Gate,
        closed: oneshot::Receiver<()>,
    ) -> Self {
        Self { connection: Some(Box::pin(connection)), gate, closed }
    }

    /// Moves bytes until `operation` is done.
    pub(super) async fn drive<T>(
        &mut self,
        deadline: Instant,
        operation: impl Future<Output = T>,
    ) -> Result<T, Halt> {
        let mut operation = std::pin::pin!(operation);
        let moving = poll_fn(|cx| {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Err(Halt::Ended(None)));
            };
            let ended = connection.as_mut().poll(cx);
            if let Poll::Ready(done) = operation.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            match ended {
                Poll::Ready(result) => {
                    self.connection = None;
                    Poll::Ready(Err(Halt::Ended(result.err())))
                }
                Poll::Pending if self.gate.is_shut() => Poll::Ready(Err(Halt::Oversized)),
                Poll::Pending => Poll::Pending,
            }
        });
        timeout_at(deadline, moving).await.unwrap_or(Err(Halt::Deadline))
    }

    /// Whether nothing can be asked any more; looks whether the server has hung up meanwhile.
    pub(super) fn is_closed(&mut self) -> bool {
        if let Some(connection) = &mut self.connection {
            let mut cx = Context::from_waker(Waker::noop());
            if connection.as_mut().poll(&mut cx).is_ready() {
                self.connection = None;
            }
        }
        self.connection.is_none()
    }

    /// Waits until the server ends the connection; its last word, where there was one.
    pub(super) async fn ended(&mut self) -> Option<Error> {
        poll_fn(|cx| {
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            connection.as_mut().poll(cx).map(|result| {
                self.connection = None;
                result.err()
            })
        })
        .await
    }

    /// Lets go of the socket, which the budget keeps until the server closes it.
    pub(super) fn give_up(&mut self) {
        self.connection = None;
    }

    /// Waits for the connection's proper end, once its client is gone, and for the server's.
    pub(super) async fn close(mut self, until: Instant) {
        if let Some(connection) = self.connection.take() {
            let _ = timeout_at(until, connection).await;
        }
        let _ = timeout_at(until, self.closed).await;
    }
}
