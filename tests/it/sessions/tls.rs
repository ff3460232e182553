//! TLS to real servers: every mode, good and bad certificates, client certificates, channel binding.

use std::path::Path;
use std::time::{Duration, SystemTime};

use pgvigil::config::PgEnvironment;
use pgvigil::instances::{ConnectError, Connector, Limits};
use pgvigil::postgres::InstanceReason;

use super::{budgets, instance, limits, one, refusal, session, soon};
use crate::support::pki::{Authority, Issued};
use crate::support::postgres::{Cluster, Options, PASSWORD, edges, majors, write_owned};

fn with_certificate(major: u32, issued: &Issued, clients: &Authority) -> Option<Cluster> {
    Options::default().tls(&issued.certificate, &issued.key, &clients.certificate).start(major)
}

async fn encrypted(dsn: &str) -> String {
    let mut session = session(dsn).await;
    one(&mut session, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await
}

fn assert_tls(error: &ConnectError, words: &str) {
    assert_eq!(error.reason, InstanceReason::Tls, "{error}");
    assert!(error.message.contains(words) && error.message.contains("; "), "{error}");
}

#[tokio::test]
async fn every_mode_with_a_good_certificate() {
    let (authority, stranger) = (Authority::new("Shop CA"), Authority::new("Other CA"));
    let issued = authority.server(&["localhost", "127.0.0.1"]);
    for major in edges() {
        let Some(cluster) = with_certificate(major, &issued, &authority) else { continue };
        let folder = cluster.directory();
        let (root, other) = (folder.join("root.crt"), folder.join("other.crt"));
        std::fs::write(&root, &authority.certificate).unwrap();
        std::fs::write(&other, &stranger.certificate).unwrap();
        let dsn = |more: &str| {
            format!("host=localhost port={} user=pgvigil dbname=postgres {more}", cluster.port)
        };
        let rooted = |mode: &str, root: &Path| {
            dsn(&format!("sslmode={mode} sslrootcert={}", root.display()))
        };
        for (dsn, expected) in [
            (dsn(""), "t"),
            (dsn("sslmode=disable"), "f"),
            (dsn("sslmode=allow"), "t"),
            (dsn("sslmode=prefer"), "t"),
            (dsn("sslmode=require"), "t"),
            (rooted("require", &root), "t"),
            (rooted("verify-ca", &root), "t"),
            (rooted("verify-full", &root), "t"),
            (rooted("prefer", &other), "t"),
            (rooted("verify-full", &root) + " ssl_min_protocol_version=TLSv1.3", "t"),
        ] {
            assert_eq!(encrypted(&dsn).await, expected, "{dsn}");
        }
        if major >= 17 {
            assert_eq!(
                encrypted(&(rooted("verify-full", &root) + " sslnegotiation=direct")).await,
                "t"
            );
        }
        for mode in ["require", "verify-ca", "verify-full"] {
            assert_tls(&refusal(&rooted(mode, &other)).await, "issued by `CN=Shop CA`");
        }
        // No root file: the machine's own roots, which know nothing of it.
        let error = refusal(&dsn("sslmode=verify-full")).await;
        assert!(
            error.message.contains("the roots of this machine")
                || error.message.contains("no root certificates"),
            "{error}"
        );

        // The root file at its usual place counts, and is read anew at each connect.
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        std::fs::create_dir_all(home.join(".postgresql")).unwrap();
        let usual = home.join(".postgresql/root.crt");
        std::fs::write(&usual, &stranger.certificate).unwrap();
        let mut at_home = instance(&dsn("sslmode=require"));
        at_home.environment =
            PgEnvironment::capture(&|name| (name == "HOME").then(|| home.display().to_string()));
        let connector = Connector::new(&at_home, &budgets());
        assert_tls(&connector.connect(None, soon()).await.err().unwrap(), "Shop CA");
        std::fs::write(&usual, &authority.certificate).unwrap();
        connector.connect(None, soon()).await.unwrap();
        assert!(connector.notices().is_empty(), "{:?}", connector.notices());
        let mut seen: Vec<_> =
            connector.certificates().into_iter().map(|c| (c.usage, c.expires)).collect();
        seen.sort_unstable();
        assert_eq!(seen.iter().map(|(usage, _)| *usage).collect::<Vec<_>>(), ["ca", "server"]);
        let end_of_2039 = SystemTime::UNIX_EPOCH + Duration::from_secs(2_208_988_800);
        assert_eq!(seen[1].1, end_of_2039);
    }
}

#[tokio::test]
async fn what_is_not_verified_is_said() {
    let Some(&major) = majors().last() else { return };
    let authority = Authority::new("Shop CA");
    let Some(cluster) = with_certificate(major, &authority.server(&["db1"]), &authority) else {
        return;
    };
    let Some(plain) = Cluster::start(major) else { return };
    let notices = async |dsn: &str| {
        let connector = Connector::new(&instance(dsn), &budgets());
        connector.connect(None, soon()).await.unwrap_or_else(|e| panic!("{dsn}: {e}"));
        connector.notices()
    };
    let said = notices(&(cluster.monitor_dsn() + "?sslmode=require")).await;
    assert!(said.len() == 1 && said[0].contains("nobody verifies who answers"), "{said:?}");
    let said = notices(&plain.monitor_dsn()).await;
    assert!(
        said.len() == 1
            && said[0].contains("not encrypted")
            && said[0].contains("the default on this machine"),
        "{said:?}"
    );
    let said = notices(&(plain.monitor_dsn() + "?sslmode=allow")).await;
    assert!(said.len() == 1 && said[0].contains("sslmode=allow does without"), "{said:?}");
    let said = notices(&format!(
        "host={} port={} user=pgvigil dbname=postgres sslmode=verify-full",
        plain.directory().display(),
        plain.port
    ))
    .await;
    assert!(said.is_empty(), "a socket needs no TLS: {said:?}");
}

#[tokio::test]
async fn bad_certificates_are_refused_with_the_remedy() {
    let Some(&major) = majors().last() else { return };
    let authority = Authority::new("Shop CA");
    let at = |cluster: &Cluster, more: &str| {
        format!("host=localhost port={} user=pgvigil dbname=postgres {more}", cluster.port)
    };
    let root = |cluster: &Cluster, text: &str| {
        let file = cluster.directory().join("root.crt");
        std::fs::write(&file, text).unwrap();
        format!("sslrootcert={}", file.display())
    };
    for (issued, mode, words) in [
        (
            authority.server(&["db1", "10.0.0.1"]),
            "verify-full",
            "is for `db1`, `10.0.0.1`, not for `localhost`",
        ),
        (authority.expired(&["localhost"]), "verify-ca", "expired on 2021-01-01"),
        (authority.server(&[]), "verify-full", "tells its name only in its subject (`CN=server`)"),
    ] {
        let Some(cluster) = with_certificate(major, &issued, &authority) else { return };
        let named = root(&cluster, &authority.certificate);
        assert_tls(&refusal(&at(&cluster, &format!("sslmode={mode} {named}"))).await, words);
        // The same certificate in the root file itself is trusted; its dates and names still count.
        let pinned = root(&cluster, &issued.certificate);
        let error = refusal(&at(&cluster, &format!("sslmode={mode} {pinned}"))).await;
        assert_tls(&error, words);
        if !words.contains("expired") {
            assert_eq!(encrypted(&at(&cluster, &format!("sslmode=verify-ca {pinned}"))).await, "t");
        }
    }
    let outdated = Issued {
        certificate: include_str!("../../data/tls/version1.crt").to_owned(),
        key: include_str!("../../data/tls/version1.key").to_owned(),
    };
    let Some(cluster) = with_certificate(major, &outdated, &authority) else { return };
    let pinned = root(&cluster, &outdated.certificate);
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = refusal(&at(&cluster, &format!("sslmode={mode} {pinned}"))).await;
        assert_tls(
            &error,
            "X.509 version 1; reissue it as version 3 with subjectAltName=DNS:localhost",
        );
    }
    // Where nothing is verified, it encrypts as well as another; SCRAM binds to it, too.
    assert_eq!(encrypted(&at(&cluster, "sslmode=require")).await, "t");
    cluster.set_hba("hostssl all all 127.0.0.1/32 scram-sha-256");
    let bound = format!("sslmode=require channel_binding=require password={PASSWORD}");
    assert_eq!(encrypted(&at(&cluster, &bound)).await, "t");
    // A certificate of its own that lies in the root file, with the right name.
    let own = authority.server(&["localhost"]);
    let Some(cluster) = with_certificate(major, &own, &authority) else { return };
    let pinned = root(&cluster, &own.certificate);
    assert_eq!(encrypted(&at(&cluster, &format!("sslmode=verify-full {pinned}"))).await, "t");
}

#[tokio::test]
async fn client_certificates_scram_and_cancel_over_tls() {
    for major in edges() {
        let authority = Authority::new("Shop CA");
        let hba = "hostssl all pgvigil 127.0.0.1/32 cert\n\
                   hostssl all postgres 127.0.0.1/32 scram-sha-256";
        let issued = authority.server(&["localhost"]);
        let Some(cluster) = Options::default()
            .tls(&issued.certificate, &issued.key, &authority.certificate)
            .hba(hba)
            .start(major)
        else {
            continue;
        };
        let file = |name: &str, text: &str| {
            let path = cluster.directory().join(name);
            write_owned(&path, text, 0o644);
            path.display().to_string()
        };
        let root = file("root.crt", &authority.certificate);
        let dsn = |more: &str| {
            format!(
                "host=localhost port={} dbname=postgres sslmode=verify-full sslrootcert={root} {more}",
                cluster.port
            )
        };
        let good = authority.client("pgvigil");
        let (certificate, key) =
            (file("client.crt", &good.certificate), file("client.key", &good.key));
        let ours = dsn(&format!("user=pgvigil sslcert={certificate} sslkey={key}"));
        let connector = Connector::new(&instance(&ours), &budgets());
        let mut session = connector.connect(None, soon()).await.unwrap_or_else(|e| panic!("{e}"));
        assert!(connector.certificates().iter().any(|c| c.usage == "client"));
        // A cancel request goes by TLS too.
        let late = Limits {
            deadline: tokio::time::Instant::now() + Duration::from_millis(300),
            ..limits()
        };
        let error = session.run("SELECT pg_sleep(10)", &late).await.unwrap_err();
        assert!(!error.session_lost, "{error:?}");

        let error = refusal(&dsn("user=pgvigil")).await;
        assert_eq!(error.reason, InstanceReason::Authentication, "{error}");
        assert!(error.message.contains("`sslcert`"), "{error}");
        let stranger = Authority::new("Other CA").client("pgvigil");
        // Read anew at each connect.
        file("client.crt", &stranger.certificate);
        file("client.key", &stranger.key);
        assert_tls(
            &connector.connect(None, soon()).await.err().unwrap(),
            "refuses the client certificate",
        );
        file("client.key", &good.key);
        assert_tls(&connector.connect(None, soon()).await.err().unwrap(), "do not work together");
        let wrong = authority.client("somebody");
        file("client.crt", &wrong.certificate);
        file("client.key", &wrong.key);
        let error = connector.connect(None, soon()).await.err().unwrap();
        assert_eq!(error.reason, InstanceReason::Authentication, "{error}");

        let bound = dsn(&format!("user=postgres password={PASSWORD} channel_binding=require"));
        assert_eq!(encrypted(&bound).await, "t");
        let error = refusal(&dsn("user=postgres password=wrong channel_binding=require")).await;
        assert_eq!(error.reason, InstanceReason::Authentication, "{error}");
    }
}
