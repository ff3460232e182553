//! The way to an HTTP server: straight, or through a proxy. A tunnel (CONNECT, RFC 9110 section 9.3.6)
//! leads to what is encrypted; what is plain is asked of the proxy itself.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::Proxy;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Dial {
    http: HttpConnector,
    rules: Option<Arc<Matcher>>,
}

impl Dial {
    pub(super) fn new(http: HttpConnector, proxy: Option<&Proxy>) -> Self {
        let rules = proxy.map(|proxy| {
            Matcher::builder().all(proxy.url.expose()).no(proxy.bypass.as_str()).build()
        });
        Self { http, rules: rules.map(Arc::new) }
    }

    fn proxy_for(&self, to: &Uri) -> Option<Intercept> {
        self.rules.as_ref()?.intercept(to)
    }

    /// What a request in the clear must say to its proxy; a tunnel says it by itself.
    pub(super) fn authorization(&self, to: &Uri) -> Option<HeaderValue> {
        let plain = to.scheme_str() == Some("http");
        self.proxy_for(to).filter(|_| plain)?.basic_auth().cloned()
    }
}

type Failure = Box<dyn Error + Send + Sync>;

/// Why there is no way through the proxy.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} gives no way through")]
struct NoWay {
    proxy: String,
    source: Failure,
}

impl Service<Uri> for Dial {
    type Response = Dialed;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Dialed, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxy_for(&to) else {
            let straight = self.http.call(to);
            return Box::pin(async { Ok(Dialed { stream: straight.await?, by_proxy: false }) });
        };
        let uri = proxy.uri().clone();
        let name = uri.authority().map(|at| at.host().to_owned()).unwrap_or_default();
        let through = move |source| NoWay { proxy: name, source };
        if to.scheme_str() == Some("https") {
            let mut tunnel = Tunnel::new(uri, self.http.clone());
            if let Some(authorization) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            let tunnel = tunnel.call(to);
            Box::pin(async {
                let stream = tunnel.await.map_err(|e| through(e.into()))?;
                Ok(Dialed { stream, by_proxy: false })
            })
        } else {
            let to_proxy = self.http.call(uri);
            Box::pin(async {
                let stream = to_proxy.await.map_err(|e| through(e.into()))?;
                Ok(Dialed { stream, by_proxy: true })
            })
        }
    }
}

/// A connection; one that ends at a proxy is asked for whole URLs.
pub(super) struct Dialed {
    stream: TokioIo<TcpStream>,
    by_proxy: bool,
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.by_proxy)
    }
}

impl Read for Dialed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Dialed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }
}
