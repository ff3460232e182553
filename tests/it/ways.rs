//! The ways to Loki: TLS, client certificates, and proxies, each with and without what it asks for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::agent::{Agent, pgvigil};
use crate::support::loki::Stub;
use crate::support::pki::{Authority, Issued};
use crate::support::river::{append, record};

const SOON: Duration = Duration::from_secs(15);
/// `ann:hunter2`
const BASIC: &str = "Basic YW5uOmh1bnRlcjI=";

/// Serves loopback connections, each by `serve`, as long as it lives.
struct Listener {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Listener {
    fn start<F>(serve: impl Fn(TcpStream, Arc<AtomicUsize>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, served) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&served);
        let handle = runtime.handle().clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                handle.spawn(serve(stream, Arc::clone(&count)));
            }
        });
        Self { address, served, _runtime: runtime }
    }

    /// TLS before a server that has none; with `clients`, only for whom that authority has signed.
    fn tls(to: SocketAddr, issued: &Issued, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let pem = authority.certificate.as_bytes();
                roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        Self::start(move |stream, served| {
            let config = Arc::clone(&config);
            async move {
                let mut stream =
                    tokio_rustls::TlsAcceptor::from(config).accept(stream).await.ok()?;
                served.fetch_add(1, Ordering::Relaxed);
                let mut server = TcpStream::connect(to).await.ok()?;
                copy_bidirectional(&mut stream, &mut server).await.ok().map(drop)
            }
        })
    }

    /// An HTTP proxy that lets through who is `ann:hunter2`.
    fn proxy() -> Self {
        Self::start(|mut stream, served| async move {
            loop {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.ok()?);
                }
                let head = String::from_utf8(head).ok()?;
                let field = |name: &str| {
                    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
                };
                if field("proxy-authorization") != Some(BASIC) {
                    let refusal = "HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n";
                    stream.write_all(refusal.as_bytes()).await.ok()?;
                    continue;
                }
                served.fetch_add(1, Ordering::Relaxed);
                let target = head.split(' ').nth(1)?;
                if head.starts_with("CONNECT ") {
                    let mut server = TcpStream::connect(target).await.ok()?;
                    stream.write_all(b"HTTP/1.1 200 Go on\r\n\r\n").await.ok()?;
                    copy_bidirectional(&mut stream, &mut server).await.ok()?;
                    return Some(());
                }
                let (host, path) = target.strip_prefix("http://")?.split_once('/')?;
                let mut body = vec![0; field("content-length").unwrap_or("0").parse().ok()?];
                stream.read_exact(&mut body).await.ok()?;
                let mut server = TcpStream::connect(host).await.ok()?;
                let forwarded = head.replacen(target, &format!("/{path}"), 1);
                server.write_all(forwarded.as_bytes()).await.ok()?;
                server.write_all(&body).await.ok()?;
                // The stub's answers to pushes have no body.
                let mut answer = Vec::new();
                while !answer.ends_with(b"\r\n\r\n") {
                    answer.push(server.read_u8().await.ok()?);
                }
                stream.write_all(&answer).await.ok()?;
            }
        })
    }
}

/// An agent with one record in its log, and the stub that it is to reach; `loki` is the block's YAML.
fn agent(directory: &Arc<TempDir>, loki: &str, environment: &[(&str, &str)]) -> Agent {
    let path = |name: &str| directory.path().join(name);
    append(&path("pg.log"), &record(Duration::ZERO, 7, "LOG", "it came"));
    let text = format!(
        "http: {{listen: [\"127.0.0.1:0\"]}}\nstate_directory: {}\nlogs:\n  sources: [{{name: pg, files: [\"{}\"]}}]\n  loki: {loki}\n",
        path("state").display(),
        path("pg.log").display(),
    );
    std::fs::write(path("pgvigil.yml"), text).unwrap();
    let mut command = pgvigil(&["run", "--config"]);
    command.arg(path("pgvigil.yml")).envs(environment.iter().copied());
    Agent::spawn(command, Arc::clone(directory))
}

fn told(agent: &Agent, part: &str) {
    let deadline = std::time::Instant::now() + SOON;
    while !agent.log().contains(part) {
        assert!(std::time::Instant::now() < deadline, "no {part:?} in\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn tls_and_client_certificates() {
    let stub = Stub::start();
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let issued = ours.server(&["127.0.0.1"]);
    let open = Listener::tls(stub.address, &issued, None);
    let closed = Listener::tls(stub.address, &issued, Some(&ours));
    let directory = Arc::new(TempDir::new().unwrap());
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let trusted = write("ca.crt", &ours.certificate);
    let other = write("other.crt", &others.certificate);
    let client = ours.client("pgvigil");
    let certificate = write("client.crt", &client.certificate);
    let key = write("client.key", &client.key);
    let stranger = others.client("pgvigil");

    let running = agent(
        &directory,
        &format!("{{url: \"https://{}\", tls: {{ca_file: {other}}}}}", open.address),
        &[],
    );
    told(&running, "invalid peer certificate");
    assert!(stub.pushes().is_empty());
    // The right authority is put in the place of the wrong one, and the agent goes on by itself.
    std::fs::copy(&trusted, &other).unwrap();
    stub.await_entries("", 1, SOON);
    assert_eq!(running.stop(), 0);

    let strange_certificate = write("strange.crt", &stranger.certificate);
    let strange_key = write("strange.key", &stranger.key);
    let url = format!("https://{}", closed.address);
    let tls = |certificate: &str, key: &str| {
        format!(
            "{{url: \"{url}\", tls: {{ca_file: {trusted}, cert_file: {certificate}, key_file: {key}}}}}"
        )
    };
    let before = closed.served.load(Ordering::Relaxed);
    let running = agent(&directory, &tls(&strange_certificate, &strange_key), &[]);
    told(&running, "does not answer");
    assert_eq!(closed.served.load(Ordering::Relaxed), before, "a stranger was let in");
    running.kill();
    let running = agent(&directory, &tls(&certificate, &key), &[]);
    stub.await_entries("", 2, SOON);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_proxy_that_asks_for_a_password() {
    let stub = Stub::start();
    let authority = Authority::new("ours");
    let encrypted = Listener::tls(stub.address, &authority.server(&["127.0.0.1"]), None);
    let proxy = Listener::proxy();
    let directory = Arc::new(TempDir::new().unwrap());
    let ca = directory.path().join("ca.crt");
    std::fs::write(&ca, &authority.certificate).unwrap();
    let right = format!("http://ann:hunter2@{}", proxy.address);
    let plain = format!("http://{}", stub.address);
    let secret = format!("https://{}", encrypted.address);

    let with = |url: &str, proxy: &str| {
        let tls = if url.starts_with("https") {
            format!(", tls: {{ca_file: {}}}", ca.display())
        } else {
            String::new()
        };
        format!("{{url: \"{url}\"{tls}, proxy_url: \"{proxy}\"}}")
    };
    // Both ways through, in the clear and by a tunnel.
    for (number, url) in [&plain, &secret].into_iter().enumerate() {
        let running = agent(&directory, &with(url, &right), &[]);
        stub.await_entries("", number + 1, SOON);
        assert!(proxy.served.load(Ordering::Relaxed) > number, "{url}");
        assert!(!running.log().contains("hunter2"), "{}", running.log());
        assert_eq!(running.stop(), 0);
    }
    assert!(encrypted.served.load(Ordering::Relaxed) > 0);

    // The wrong password lets nothing through, and is not told.
    let wrong = format!("http://ann:wrong-4711@{}", proxy.address);
    let running = agent(&directory, &with(&secret, &wrong), &[]);
    told(&running, "the proxy 127.0.0.1 gives no way through");
    assert!(!running.log().contains("wrong-4711"), "{}", running.log());
    running.kill();
    // The environment's holds only for other machines; here everything is on this one.
    let elsewhere = [("HTTP_PROXY", wrong.as_str())];
    let running = agent(&directory, &format!("{{url: \"{plain}\"}}"), &elsewhere);
    stub.await_entries("", 4, SOON);
    assert_eq!(running.stop(), 0);
}
