//! Every way a connect fails: its reason, its sentence, and no password in it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use pgvigil::config::SecretSource;
use pgvigil::instances::{ConnectError, Connector};
use pgvigil::postgres::InstanceReason as Reason;
use tokio::time::Instant;

use super::{budgets, connector, instance, refusal, soon};
use crate::support::postgres::{Cluster, Options, PASSWORD, majors};
use crate::support::process::free_port;

/// One sentence that names the place and what to do, with this reason and these words.
fn assert_told(error: &ConnectError, reason: Reason, words: &str) {
    assert_eq!(error.reason, reason, "{}", error.message);
    assert!(error.message.contains(words), "{}", error.message);
    assert!(error.message.contains("; "), "no remedy: {}", error.message);
    assert!(
        !error.message.contains('\n') && !error.message.contains(PASSWORD),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn the_server_says_no() {
    for major in majors() {
        let hba = "host all pgvigil 127.0.0.1/32 scram-sha-256\n\
                   host all oldhash 127.0.0.1/32 md5\n\
                   host all nopass,norole,full,nologin 127.0.0.1/32 trust";
        let Some(cluster) = Options::default().hba(hba).start(major) else { continue };
        cluster.sql("CREATE ROLE nopass LOGIN; CREATE ROLE full LOGIN CONNECTION LIMIT 0; CREATE ROLE nologin");
        cluster.sql(
            "SET password_encryption = 'md5'; CREATE ROLE oldhash LOGIN PASSWORD 'old-pass-4711'",
        );
        cluster.sql("CREATE DATABASE closed ALLOW_CONNECTIONS false");
        cluster.sql("CREATE DATABASE private");
        cluster.sql("REVOKE CONNECT ON DATABASE private FROM PUBLIC");
        let at = format!("host=127.0.0.1 port={} connect_timeout=5", cluster.port);
        for (dsn, reason, words) in [
            (
                format!("user=pgvigil password=wrong-{PASSWORD}"),
                Reason::Authentication,
                "the password of `pgvigil` is not accepted",
            ),
            ("user=pgvigil".to_owned(), Reason::Authentication, "set `password_file`"),
            (
                format!("user=stranger password={PASSWORD}"),
                Reason::Authentication,
                "pg_hba.conf does not let `stranger` in",
            ),
            ("user=norole dbname=postgres".to_owned(), Reason::Authentication, "create the role"),
            ("user=nologin dbname=postgres".to_owned(), Reason::Authentication, "may not log in"),
            ("user=nopass dbname=nowhere".to_owned(), Reason::Database, "no database `nowhere`"),
            ("user=nopass dbname=closed".to_owned(), Reason::Database, "takes no connections"),
            ("user=nopass dbname=private".to_owned(), Reason::Permission, "GRANT CONNECT"),
            (
                "user=full dbname=postgres".to_owned(),
                Reason::TooManyConnections,
                "no connection is free for `full`",
            ),
            (
                "user=nopass dbname=postgres sslmode=require".to_owned(),
                Reason::Tls,
                "offers no TLS",
            ),
            (
                "user=nopass dbname=postgres sslmode=verify-full sslrootcert=/no/root".to_owned(),
                Reason::Tls,
                "cannot read /no/root",
            ),
            (
                format!("user=pgvigil dbname=postgres channel_binding=require password={PASSWORD}"),
                Reason::Authentication,
                "does not bind",
            ),
        ] {
            let error = refusal(&format!("{at} {dsn}")).await;
            assert_told(&error, reason, words);
            assert!(error.message.contains(&format!("127.0.0.1:{}", cluster.port)), "{error}");
        }
        for dsn in [
            "user=pgvigil dbname=postgres password=vigil-pass-4711",
            "user=oldhash dbname=postgres password=old-pass-4711",
        ] {
            let opened = connector(&format!("{at} {dsn}")).connect(None, soon()).await;
            assert!(opened.is_ok(), "{dsn}: {:?}", opened.err());
        }
        // The password in every spelling, and from its file, which is read anew each time.
        let encoded: String = PASSWORD.bytes().map(|b| format!("%{b:02x}")).collect();
        let place = format!("127.0.0.1:{}/postgres", cluster.port);
        let file = cluster.directory().join("password");
        std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
        let mut by_file = instance(&format!("postgresql://pgvigil:wrong@{place}"));
        by_file.password = Some(SecretSource::File(file.clone()));
        let by_file = Connector::new(&by_file, &budgets());
        assert!(by_file.connect(None, soon()).await.is_ok());
        assert!(by_file.notices().iter().all(|n| n.contains("not encrypted")));
        std::fs::remove_file(&file).unwrap();
        assert!(by_file.connect(None, soon()).await.is_ok(), "the last value holds");
        assert!(
            by_file.notices().iter().any(|n| n.contains("last value")),
            "{:?}",
            by_file.notices()
        );
        std::fs::write(&file, "other").unwrap();
        assert_told(
            &by_file.connect(None, soon()).await.err().unwrap(),
            Reason::Authentication,
            "not accepted",
        );
        for dsn in [
            format!("postgresql://pgvigil:{encoded}@{place}"),
            format!("postgres://{place}?user=pgvigil&password={encoded}"),
            format!("{at} user=pgvigil dbname=postgres password='{PASSWORD}'"),
        ] {
            assert!(connector(&dsn).connect(None, soon()).await.is_ok(), "{dsn}");
            cluster.sql("ALTER ROLE pgvigil PASSWORD 'changed'");
            assert_told(&refusal(&dsn).await, Reason::Authentication, "not accepted");
            cluster.sql(&format!("ALTER ROLE pgvigil PASSWORD '{PASSWORD}'"));
        }
    }
}

#[tokio::test]
async fn nobody_is_there() {
    let closed = free_port();
    assert_told(
        &refusal(&format!("host=127.0.0.1 port={closed} user=u")).await,
        Reason::Refused,
        "nothing listens there",
    );
    assert_told(&refusal("host=/nowhere user=u").await, Reason::Refused, "no such socket");
    assert_told(
        &refusal("host=no-such-host.invalid user=u").await,
        Reason::Unreachable,
        "cannot be resolved",
    );
    assert_told(&refusal("host=h port=x user=u").await, Reason::Error, "`port`");

    // A black hole: packets vanish. No session exists, so the budget stays whole.
    let (port, _kept) = black_hole();
    let hole = connector(&format!("host=127.0.0.1 port={port} user=u connect_timeout=1"));
    for _ in 0..5 {
        let started = Instant::now();
        let error = hole.connect(None, soon()).await.err().unwrap();
        assert_told(&error, Reason::Unreachable, "nothing answers there");
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}

/// A port whose packets vanish: its queue of connections is full, and nobody takes them out.
fn black_hole() -> (u16, (OwnedFd, Vec<TcpStream>)) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let kept: Vec<_> = std::iter::from_fn(fill).take(50).collect();
    assert!(kept.len() < 50, "its queue takes whatever comes");
    (address.port(), (listener, kept))
}

/// A server that answers each connection's first message with these bytes, then hangs up.
fn answering(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(20) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(&bytes);
        }
    });
    port
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

#[tokio::test]
async fn something_else_is_there() {
    let fatal = |code: &str, text: &str| {
        message(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0").as_bytes())
    };
    let login = |version: &str| {
        [
            message(b'R', &[0, 0, 0, 0]),
            message(b'S', format!("server_version\0{version}\0").as_bytes()),
            message(b'Z', b"I"),
        ]
        .concat()
    };
    for (answer, reason, words) in [
        (
            fatal("57P03", "the database system is starting up"),
            Reason::Starting,
            "wait until it is",
        ),
        (
            fatal("53300", "sorry, too many clients already"),
            Reason::TooManyConnections,
            "raise max_connections",
        ),
        (fatal("57P01", "terminating connection"), Reason::Refused, "hung up"),
        (
            fatal("08P01", "unsupported startup parameter: options"),
            Reason::Unsupported,
            "not through a pooler",
        ),
        (fatal("XX000", "broken\nbeyond repair"), Reason::Error, "XX000: broken beyond repair"),
        (login("12.22"), Reason::Unsupported, "older than 13"),
        (login("1.21.0/bouncer"), Reason::Unsupported, "PgBouncer"),
        (Vec::new(), Reason::Refused, "closed during the login"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Reason::Error,
            "does not speak as PostgreSQL",
        ),
    ] {
        let dsn = format!("host=127.0.0.1 port={} user=u sslmode=disable", answering(answer));
        assert_told(&refusal(&dsn).await, reason, words);
    }
}

#[tokio::test]
async fn several_servers_are_tried_in_order() {
    let Some(cluster) = majors().last().and_then(|&m| Cluster::start(m)) else { return };
    let closed = free_port();
    let dsn =
        format!("postgresql://pgvigil@127.0.0.1:{closed},127.0.0.1:{}/postgres", cluster.port);
    assert!(connector(&dsn).connect(None, soon()).await.is_ok());
    // A wrong database is wrong everywhere; a dead last server is what is told.
    let error =
        refusal(&format!("postgresql://pgvigil@127.0.0.1:{},127.0.0.1:{closed}/x", cluster.port))
            .await;
    assert_eq!(error.reason, Reason::Database);
    let socket = format!(
        "host={} port={} user=pgvigil dbname=postgres",
        cluster.directory().display(),
        cluster.port
    );
    assert!(connector(&socket).connect(None, soon()).await.is_ok());
    assert!(connector(&socket).connect(Some("template1"), soon()).await.is_ok());
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    for major in majors() {
        let Some(mut cluster) = Cluster::start(major) else { continue };
        let dsn = cluster.monitor_dsn();
        let mut session = super::session(&dsn).await;
        assert!(!session.is_closed());
        cluster.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pgvigil'",
        );
        let error = session.run("SELECT 1", &super::limits()).await.unwrap_err();
        assert!(error.session_lost && session.is_closed(), "{error:?}");
        assert_eq!(error.reason.as_str(), "disconnected", "{error:?}");
        cluster.stop(crate::support::postgres::Stop::Fast);
        assert_told(&refusal(&dsn).await, Reason::Refused, "nothing listens there");
        cluster.start_again();
        assert!(connector(&dsn).connect(None, soon()).await.is_ok());
    }
}
