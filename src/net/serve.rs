//! The listening side: HTTP/1.1 on bound listeners, with limits on everything that a client decides,
//! and a stop that lets answers finish.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::stall::Stall;
use crate::task::{Group, Stop};
use crate::telemetry::Telemetry;

/// What a client may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a request's line and headers together; more is answered with 431.
    pub head_bytes: usize,
    /// From the first moment of waiting for a request until its head is whole. As waiting counts, it
    /// ends idle connections too.
    pub head_time: Duration,
    pub handshake: Duration,
    /// How long a client may take in nothing of its answer.
    pub stall: Duration,
    /// At once, over all listeners; more wait in the kernel's queue.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 << 10,
            head_time: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            connections: 128,
        }
    }
}

/// A listening socket that nobody answers on yet.
#[derive(Debug)]
pub struct Bound {
    listener: std::net::TcpListener,
    pub address: SocketAddr,
}

/// Listens on an address; the port 0 takes a free one.
///
/// # Errors
/// A sentence with the address, what is wrong and what to do.
pub fn bind(address: SocketAddr) -> Result<Bound, String> {
    let told = |e: io::Error| {
        let remedy = match e.kind() {
            io::ErrorKind::AddrInUse => {
                "stop the program that holds it, or listen elsewhere (http.listen, --listen)"
            }
            io::ErrorKind::AddrNotAvailable => {
                "listen on an address of this machine (http.listen, --listen)"
            }
            io::ErrorKind::PermissionDenied => {
                "take a port from 1024 up (http.listen, --listen), or grant CAP_NET_BIND_SERVICE"
            }
            _ => "listen elsewhere (http.listen, --listen)",
        };
        format!("cannot listen on {address} ({}); {remedy}", e.kind())
    };
    let listener = std::net::TcpListener::bind(address).map_err(told)?;
    listener.set_nonblocking(true).map_err(told)?;
    let address = listener.local_addr().map_err(told)?;
    Ok(Bound { listener, address })
}

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// The TLS configuration for a connection that begins now; none: plain HTTP.
    fn tls(&self) -> Option<Arc<rustls::ServerConfig>>;

    /// Answers one request. Its body was not read and never is: no endpoint takes one.
    fn answer(&self, request: Request<()>) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// Answers on all listeners until `group` stops: from the drain on nothing new is taken in and idle
/// connections are closed, at the cut the rest is dropped.
///
/// # Errors
/// A sentence, when the runtime cannot take over a listener.
pub fn serve<S: Service>(
    listeners: Vec<Bound>,
    service: Arc<S>,
    limits: Limits,
    group: &Group,
    telemetry: &Telemetry,
) -> Result<(), String> {
    let shared = Arc::new(Shared {
        service,
        limits,
        permits: Arc::new(Semaphore::new(limits.connections)),
        open: telemetry.gauge("pgvigil_http_connections", "Open connections to the agent."),
        stop: group.signal(),
    });
    for Bound { listener, address } in listeners {
        let listener = TcpListener::from_std(listener)
            .map_err(|e| format!("cannot listen on {address} ({e}); start the agent again"))?;
        tracing::info!(%address, tls = shared.service.tls().is_some(), "listening");
        group.spawn("http listener", accept(listener, Arc::clone(&shared), group.clone()));
    }
    Ok(())
}

struct Shared<S> {
    service: Arc<S>,
    limits: Limits,
    permits: Arc<Semaphore>,
    open: Gauge,
    stop: Stop,
}

async fn accept<S: Service>(listener: TcpListener, shared: Arc<Shared<S>>, group: Group) {
    let next = async || {
        // The permit comes first: a connection too many stays in the kernel's queue and costs nothing.
        let permit = Arc::clone(&shared.permits).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                // The client went away before it was met.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    // Out of file handles, mostly: it passes, and busy looping would not help.
                    tracing::warn!(
                        "cannot accept a connection: {e}; raise the limit of open files"
                    );
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.draining() => return,
            accepted = next() => accepted,
        };
        let Some((stream, permit)) = accepted else { return };
        group.spawn("http connection", connection(stream, permit, Arc::clone(&shared)));
    }
}

async fn connection<S: Service>(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    shared: Arc<Shared<S>>,
) {
    let _counted = Counted::new(shared.open.clone());
    tokio::select! {
        () = speak(stream, &shared) => {}
        () = shared.stop.cut() => {}
    }
    drop(permit);
}

/// One open connection, however it ends.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

async fn speak<S: Service>(stream: TcpStream, shared: &Shared<S>) {
    // Answers are written whole, so there is nothing to gather.
    let _ = stream.set_nodelay(true);
    let limits = &shared.limits;
    let Some(config) = shared.service.tls() else {
        return http(Stall::new(stream, limits.stall), shared).await;
    };
    let handshake = async {
        if speaks_plain_http(&stream).await {
            return Err(stream);
        }
        let stream = Stall::new(stream, limits.stall);
        Ok(TlsAcceptor::from(config).accept(stream).await)
    };
    match timeout(limits.handshake, Box::pin(handshake)).await {
        Ok(Ok(Ok(stream))) => http(stream, shared).await,
        Ok(Err(stream)) => refuse_plain_http(stream).await,
        Ok(Ok(Err(e))) => tracing::debug!("a client's TLS handshake failed: {e}"),
        Err(_) => tracing::debug!("a client's TLS handshake took too long"),
    }
}

/// Whether a client begins with a word and not with a TLS record.
async fn speaks_plain_http(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first[0].is_ascii_uppercase()
}

async fn refuse_plain_http(mut stream: TcpStream) {
    let body = "This port speaks TLS; ask with https instead.\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = timeout(Duration::from_secs(1), stream.write_all(answer.as_bytes())).await;
    let _ = stream.shutdown().await;
}

async fn http<S: Service, I>(stream: I, shared: &Shared<S>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(async |request: Request<hyper::body::Incoming>| {
        let answer = shared.service.answer(request.map(drop)).await;
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.head_time)
        .max_header_size(shared.limits.head_bytes)
        .max_buf_size(shared.limits.head_bytes.max(64 << 10))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shared.stop.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(e) = ended {
        tracing::debug!("a client's connection ended: {e}");
    }
}
