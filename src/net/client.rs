//! The HTTP client: what speaks to Loki, straight or through a proxy. Bounded answers, a deadline on
//! every request, and TLS files that are read again when they change.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderMap, PROXY_AUTHORIZATION};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::dial::Dial;
use crate::config::Proxy;

/// Idle connections are closed by us before the usual proxies do (60 s and up), so that no request
/// meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(45);

/// What TLS is made from; all of it may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM of the authorities to trust; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// All is plain HTTP, and the system's authorities need not be read.
    pub plain: bool,
    /// PEM of our own certificate and its key, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// At most as many bytes as the caller allowed.
    pub body: Bytes,
    /// There was more than that.
    pub truncated: bool,
}

/// Why there is no answer. Whether the server has seen the request is unknown in each case but
/// [`SendError::Files`] and [`SendError::Connect`].
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{0}")]
    Files(String),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Deadline(Duration),
    #[error("the connection broke: {0}")]
    Broken(String),
}

type Inner = Client<HttpsConnector<Dial>, Full<Bytes>>;

/// A client with a pool of connections. Clones share it.
#[derive(Clone)]
pub struct HttpClient {
    files: Arc<TlsFiles>,
    dial: Dial,
    built: Arc<Mutex<Built>>,
}

struct Built {
    client: Inner,
    stamps: Vec<Option<Stamp>>,
}

/// Changes when a file is replaced or rewritten: modification time and size.
type Stamp = (SystemTime, u64);

impl HttpClient {
    /// # Errors
    /// A sentence that names the file which cannot be used.
    pub fn new(files: TlsFiles, proxy: Option<&Proxy>) -> Result<Self, String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(30)));
        let dial = Dial::new(http, proxy);
        let stamps = stamps(&files);
        let client = build(&files, &dial)?;
        let built = Arc::new(Mutex::new(Built { client, stamps }));
        Ok(Self { files: Arc::new(files), dial, built })
    }

    /// Sends `request` and reads the answer's body up to `max_body` bytes, all before `deadline`.
    ///
    /// # Errors
    /// Never for a status: only when no whole answer came.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        max_body: usize,
        deadline: Instant,
    ) -> Result<Reply, SendError> {
        if let Some(value) = self.dial.authorization(request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
        let client = self.current();
        let started = Instant::now();
        let answer = async {
            let response = client.request(request).await.map_err(|e| {
                let text = causes(&e);
                if e.is_connect() { SendError::Connect(text) } else { SendError::Broken(text) }
            })?;
            let (parts, body) = response.into_parts();
            let (body, truncated) = read(body, max_body).await?;
            Ok(Reply { status: parts.status, headers: parts.headers, body, truncated })
        };
        tokio::time::timeout_at(deadline, Box::pin(answer))
            .await
            .unwrap_or_else(|_| Err(SendError::Deadline(started.elapsed())))
    }

    /// The client, built anew when a TLS file has changed. Files that are no longer good leave the
    /// old client in place, so that a half-written renewal stops nothing.
    fn current(&self) -> Inner {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if now != built.stamps {
            match build(&self.files, &self.dial) {
                Ok(client) => *built = Built { client, stamps: now },
                Err(sentence) => {
                    tracing::warn!("TLS files changed but stay unused: {sentence}");
                    built.stamps = now;
                }
            }
        }
        built.client.clone()
    }
}

async fn read(mut body: Incoming, max: usize) -> Result<(Bytes, bool), SendError> {
    let mut out = Vec::with_capacity(
        usize::try_from(body.size_hint().lower()).unwrap_or(0).min(max).min(64 * 1024),
    );
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| SendError::Broken(causes(&e)))?;
        if let Some(data) = frame.data_ref() {
            let room = max - out.len();
            if data.len() > room {
                out.extend_from_slice(&data[..room]);
                return Ok((Bytes::from(out), true));
            }
            out.extend_from_slice(data);
        }
    }
    Ok((Bytes::from(out), false))
}

fn stamps(files: &TlsFiles) -> Vec<Option<Stamp>> {
    [&files.ca_file, &files.cert_file, &files.key_file]
        .into_iter()
        .flatten()
        .map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
        .collect()
}

fn build(files: &TlsFiles, dial: &Dial) -> Result<Inner, String> {
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(files)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(dial.clone());
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(https))
}

fn tls(files: &TlsFiles) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(roots(files)?);
    match (&files.cert_file, &files.key_file) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| {
                format!("cannot read the private key in {}: {e}; give a PEM file", key.display())
            })?;
            builder.with_client_auth_cert(chain, key_der).map_err(|e| {
                format!(
                    "the certificate in {} and the key in {} do not work together: {e}; \
                     give a matching pair",
                    cert.display(),
                    key.display()
                )
            })
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), None) => {
            Err(format!("{} has no key beside it; set key_file too", cert.display()))
        }
        (None, Some(key)) => {
            Err(format!("{} has no certificate beside it; set cert_file too", key.display()))
        }
    }
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    match &files.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                store.add(certificate).map_err(|e| {
                    format!(
                        "{} holds a certificate that cannot be trusted: {e}; \
                         give the authority's own certificate",
                        path.display()
                    )
                })?;
            }
        }
        None if files.plain => {}
        None => {
            // A machine without any root still speaks plain HTTP, so this is no error here.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |e: &dyn std::fmt::Display| {
        format!("cannot read certificates in {}: {e}; give a readable PEM file", path.display())
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|e| fail(&e))?
        .collect::<Result<_, _>>()
        .map_err(|e| fail(&e))?;
    if found.is_empty() { Err(fail(&"there is none")) } else { Ok(found) }
}

/// An error and what caused it, in one line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn get(url: &str) -> Request<Full<Bytes>> {
        Request::get(url).body(Full::default()).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    /// Answers each connection with `answer`, or with silence where that is empty.
    fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                if answer.is_empty() {
                    std::thread::sleep(Duration::from_secs(30));
                }
                let _ = stream.write_all(answer);
            }
        });
        url
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let url = server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\n0123456789");
        let client = HttpClient::new(TlsFiles::default(), None).unwrap();
        let reply = client.send(get(&url), 4, soon()).await.unwrap();
        assert_eq!(
            (reply.status.as_u16(), &reply.body[..], reply.truncated),
            (400, &b"0123"[..], true)
        );
        let reply = client.send(get(&url), 10, soon()).await.unwrap();
        assert_eq!((reply.body.len(), reply.truncated), (10, false));
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let client = HttpClient::new(TlsFiles::default(), None).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = client.send(get(&format!("http://{free}/")), 4, soon()).await;
        assert!(matches!(refused, Err(SendError::Connect(_))), "{refused:?}");
        let silent = server(b"");
        let deadline = Instant::now() + Duration::from_millis(200);
        let late = client.send(get(&silent), 4, deadline).await;
        assert!(matches!(late, Err(SendError::Deadline(_))), "{late:?}");
        let cut = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01");
        let broken = client.send(get(&cut), 100, soon()).await;
        assert!(matches!(broken, Err(SendError::Broken(_))), "{broken:?}");
    }

    #[test]
    fn unusable_files_are_named() {
        let missing = TlsFiles { ca_file: Some("/nowhere/ca.crt".into()), ..TlsFiles::default() };
        let sentence = HttpClient::new(missing, None).err().unwrap();
        assert!(sentence.contains("/nowhere/ca.crt") && sentence.contains("; "), "{sentence}");
        let half = TlsFiles { cert_file: Some("/c.crt".into()), ..TlsFiles::default() };
        assert!(HttpClient::new(half, None).err().unwrap().contains("key_file"));
    }
}
