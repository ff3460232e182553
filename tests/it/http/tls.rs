//! Certificates of both sides, and new ones while the door is open.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tempfile::TempDir;

use super::{Open, ask, read_all};
use crate::support::exposition::parse_text;

/// An authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// PEM of a certificate and of its key.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A directory with the door's certificate, and its web configuration.
struct Setup {
    directory: TempDir,
    authority: Authority,
}

impl Setup {
    fn new(more: &str) -> Self {
        let setup = Self { directory: TempDir::new().unwrap(), authority: Authority::new() };
        setup.renew();
        setup.write("ca.crt", &setup.authority.0.pem());
        let text = format!("tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n{more}");
        setup.write("web.yml", &text);
        setup
    }

    /// A new certificate in place of the present one.
    fn renew(&self) -> CertificateDer<'static> {
        let pair = self.authority.sign(&["localhost"]);
        self.write("tls.crt", &pair.certificate);
        self.write("tls.key", &pair.key);
        CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn web_config(&self) -> PathBuf {
        self.directory.path().join("web.yml")
    }

    /// Asks for a path; the error is what TLS or the socket says.
    fn ask(
        &self,
        door: &Open,
        client: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
        path: &str,
    ) -> Result<Answer, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(door.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let request = format!("GET {path} HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        let text = read_all(&mut stream);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Err("no answer".to_owned());
        };
        let shown = stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
        Ok(Answer { head: head.to_owned(), body: body.to_owned(), shown })
    }

    fn status(&self, door: &Open, client: Option<&Pair>) -> Option<String> {
        let answer = self.ask(door, client, &[&TLS12, &TLS13], "/livez").ok()?;
        answer.head.split(' ').nth(1).map(str::to_owned)
    }
}

struct Answer {
    head: String,
    body: String,
    shown: CertificateDer<'static>,
}

#[test]
fn pages_over_tls() {
    let setup = Setup::new("");
    let door = Open::guarded(&setup.web_config());
    for version in [&TLS12, &TLS13] {
        let answer = setup.ask(&door, None, &[version], "/metrics").unwrap();
        assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
        let page = parse_text(&answer.body).unwrap();
        let end = page.value("pgvigil_certificate_expiry_timestamp_seconds", &[("use", "http")]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(end.unwrap() > now.as_secs_f64());
    }
    let targets = setup.ask(&door, None, &[&TLS13], "/sd").unwrap().body;
    assert!(targets.contains(r#""__scheme__":"https""#), "{targets}");
    let plain = ask(door.address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(plain.starts_with("HTTP/1.1 400 ") && plain.contains("https"), "{plain}");
}

#[test]
fn versions_are_bounded() {
    let setup = Setup::new("  min_version: TLS13\n");
    let door = Open::guarded(&setup.web_config());
    assert!(setup.ask(&door, None, &[&TLS12], "/livez").is_err());
    assert!(setup.ask(&door, None, &[&TLS13], "/livez").is_ok());
    let setup = Setup::new("  max_version: TLS12\n");
    let door = Open::guarded(&setup.web_config());
    assert!(setup.ask(&door, None, &[&TLS13], "/livez").is_err());
    assert!(setup.ask(&door, None, &[&TLS12], "/livez").is_ok());
}

#[test]
fn client_certificates_of_every_kind() {
    // For each word: who comes in of a client with none, with one of ours, with a stranger's.
    for (word, ca, none, ours, strangers) in [
        ("NoClientCert", false, true, true, true),
        ("RequestClientCert", false, true, true, true),
        ("RequireAnyClientCert", false, false, true, true),
        ("VerifyClientCertIfGiven", true, true, true, false),
        ("RequireAndVerifyClientCert", true, false, true, false),
    ] {
        let ca = if ca { "  client_ca_file: ca.crt\n" } else { "" };
        let setup = Setup::new(&format!("  client_auth_type: {word}\n{ca}"));
        let door = Open::guarded(&setup.web_config());
        let own = setup.authority.sign(&["prometheus"]);
        let foreign = Authority::new().sign(&["prometheus"]);
        for (client, comes_in) in [(None, none), (Some(&own), ours), (Some(&foreign), strangers)] {
            let status = setup.status(&door, client);
            assert_eq!(status.is_some(), comes_in, "{word} {:?}", client.map(|c| &c.certificate));
        }
    }
}

#[test]
fn only_named_clients() {
    let setup = Setup::new(
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
         client_allowed_sans: [prometheus, 10.0.0.7]\n",
    );
    let door = Open::guarded(&setup.web_config());
    for (name, comes_in) in
        [("prometheus", true), ("10.0.0.7", true), ("grafana", false), ("10.0.0.8", false)]
    {
        let client = setup.authority.sign(&[name]);
        assert_eq!(setup.status(&door, Some(&client)).is_some(), comes_in, "{name}");
    }
    assert!(setup.status(&door, None).is_none());
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let setup = Setup::new("");
    let door = Open::guarded(&setup.web_config());
    let shown = || setup.ask(&door, None, &[&TLS13], "/livez").unwrap().shown;
    let first = shown();
    let renewed = setup.renew();
    assert_ne!(first, renewed);
    let deadline = Instant::now() + Duration::from_secs(8);
    while shown() != renewed {
        assert!(Instant::now() < deadline, "the old one is still shown");
        std::thread::sleep(Duration::from_millis(100));
    }
    // Half a change keeps the whole one.
    setup.write("tls.key", &KeyPair::generate().unwrap().serialize_pem());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(shown(), renewed);
}

#[test]
fn a_client_that_never_finishes_its_handshake_is_let_go() {
    let setup = Setup::new("");
    let limits =
        pgvigil::net::serve::Limits { handshake: Duration::from_millis(300), ..Default::default() };
    let door = Open::of(super::Stub::default(), Some(&setup.web_config()), limits);
    let mut silent = TcpStream::connect(door.address).unwrap();
    let mut stuck = TcpStream::connect(door.address).unwrap();
    stuck.write_all(&[0x16, 3, 1]).unwrap();
    for stream in [&mut silent, &mut stuck] {
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let started = Instant::now();
        read_all(stream);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}
