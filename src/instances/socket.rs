//! A socket to a server: with the keepalive that finds a dead peer, a permit of the budget that
//! outlives its use, and a gate that bounds how much is read for one row.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

use super::budget::{Address, Budgets, Permit};

/// Our own limit for data that the peer's machine does not acknowledge.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection, whatever its kind.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let fd = stream.as_fd();
                // A peer that is gone without a word is found after 10 s + 4 × 5 s of silence.
                sockopt::set_socket_keepalive(fd, true)?;
                sockopt::set_tcp_keepidle(fd, Duration::from_secs(10))?;
                sockopt::set_tcp_keepintvl(fd, Duration::from_secs(5))?;
                sockopt::set_tcp_keepcnt(fd, 4)?;
                let limit = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
                sockopt::set_tcp_user_timeout(fd, limit)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => match path.to_str().and_then(|p| p.strip_prefix('@')) {
                Some(name) => {
                    use std::os::linux::net::SocketAddrExt;
                    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
                    let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
                    stream.set_nonblocking(true)?;
                    UnixStream::from_std(stream).map(Self::Unix)
                }
                None => UnixStream::connect(path).await.map(Self::Unix),
            },
        }
    }

    /// Ends our side and reads what still comes, until the server has closed its side or is dead.
    pub(super) async fn until_closed(mut self) {
        // What fails here fails again in the read below.
        let _ = self.shutdown().await;
        let mut rest = vec![0; 16 * 1024];
        while matches!(self.read(&mut rest).await, Ok(1..)) {}
    }
}

/// What this end of a connection knows of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Unix,
    /// Both ends have an address of this machine; the port is our own.
    Own(u16),
    Elsewhere,
}

impl Link {
    fn of(socket: &Socket) -> Self {
        let Socket::Tcp(stream) = socket else { return Self::Unix };
        match (stream.local_addr(), stream.peer_addr()) {
            (Ok(own), Ok(peer))
                if own.ip() == peer.ip() || (own.ip().is_loopback() && peer.ip().is_loopback()) =>
            {
                Self::Own(own.port())
            }
            _ => Self::Elsewhere,
        }
    }

    /// Whether the server is at the other end itself, on this machine: behind a tunnel, a pooler or a
    /// forwarded port it sees another client than us. `seen`: the client's port as the server sees it,
    /// none on a Unix socket.
    pub(super) fn is_direct(self, seen: Option<u16>) -> bool {
        match self {
            Self::Unix => seen.is_none(),
            Self::Own(port) => seen == Some(port),
            Self::Elsewhere => false,
        }
    }
}

/// How many bytes may still be read; shared between a socket and its session.
#[derive(Clone)]
pub(super) struct Gate(Arc<AtomicU64>);

impl Gate {
    pub(super) fn allow(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_shut(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: usize) {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(bytes as u64);
        self.0.store(left, Ordering::Relaxed);
    }
}

/// A socket with its permit. When it is dropped, both go to the budget's care.
pub(super) struct Held {
    inner: Option<(Socket, Permit)>,
    budgets: Budgets,
    gate: Gate,
    /// Dropped when the server has closed the connection.
    closed: Option<oneshot::Sender<()>>,
    /// What else ends with the connection.
    turn: Option<Permit>,
}

impl Held {
    /// Connects. Where that fails or is given up there is no connection, and the permit is free.
    pub(super) async fn open(
        address: &Address,
        budgets: &Budgets,
        permit: Permit,
    ) -> io::Result<Self> {
        let socket = Socket::open(address).await?;
        Ok(Self {
            inner: Some((socket, permit)),
            budgets: budgets.clone(),
            gate: Gate(Arc::new(AtomicU64::new(u64::MAX))),
            closed: None,
            turn: None,
        })
    }

    pub(super) fn link(&self) -> Link {
        self.inner.as_ref().map_or(Link::Elsewhere, |(socket, _)| Link::of(socket))
    }

    /// Keeps `turn` until the server has closed the connection.
    pub(super) fn keep(&mut self, turn: Permit) {
        self.turn = Some(turn);
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Resolves (with an error, which means nothing) once the server has closed the connection.
    pub(super) fn closed(&mut self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.closed = Some(sender);
        receiver
    }

    fn socket(&mut self) -> io::Result<&mut Socket> {
        self.inner
            .as_mut()
            .map(|(socket, _)| socket)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((socket, permit)) = self.inner.take() {
            self.budgets.linger(
                socket.until_closed(),
                permit,
                (self.closed.take(), self.turn.take()),
            );
        }
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.gate.is_shut() {
            // Whoever shut it looks at it after each poll, so that nobody need be woken.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let ready = Pin::new(self.socket()?).poll_read(cx, buf);
        self.gate.spend(buf.filled().len() - before);
        ready
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.socket()?).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.socket()?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.socket()?).poll_shutdown(cx)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::super::budget::SESSIONS;
    use super::*;
    use crate::task::Group;
    use crate::telemetry::Telemetry;

    #[tokio::test]
    async fn a_dropped_socket_holds_its_place_until_the_server_closes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let budgets = Budgets::new(&Group::new(), &Telemetry::new());
        let mut kept = Vec::new();
        for _ in 0..SESSIONS {
            let permit = budgets.take_now(&address).unwrap();
            let held = Held::open(&address, &budgets, permit).await.unwrap();
            kept.push(listener.accept().await.unwrap().0);
            drop(held);
        }
        let soon = || Instant::now() + Duration::from_millis(100);
        assert!(budgets.take(&address, soon()).await.is_none(), "none of them is closed");
        kept.pop();
        assert!(budgets.take(&address, soon()).await.is_some(), "the server closed one");
    }
}
