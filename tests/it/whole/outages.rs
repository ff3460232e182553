//! Servers in every kind of trouble behind one agent: its page comes in time with the right reason for
//! each, and its log has one sentence for each change.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use pgvigil::task::Group;
use tempfile::TempDir;

use super::{SESSIONS, await_page, page, settled, state, up, warnings};
use crate::support::agent::Agent;
use crate::support::pki::Authority;
use crate::support::postgres::{Cluster, MONITOR, Options, PASSWORD, Stop};
use crate::support::process::free_port;

/// Time enough for several attempts, however their pauses grow.
const WHILE: Duration = Duration::from_secs(15);

/// The one sentence with its remedy that the log has of a change.
#[track_caller]
fn sentence<'l>(agent_log: &'l str, instance: &str) -> &'l str {
    let [line] = warnings(agent_log, instance)[..] else {
        panic!("{instance}: not one sentence:\n{agent_log}")
    };
    assert!(line.contains("; "), "no remedy: {line}");
    line
}

fn dsn(port: u16, database: &str, more: &str) -> String {
    format!("postgresql://{MONITOR}:{PASSWORD}@127.0.0.1:{port}/{database}{more}")
}

#[test]
fn every_trouble_has_its_reason_and_one_sentence() {
    let authority = Authority::new("authority");
    let issued = authority.server(&["db.example.com"]);
    let refusing = Options::default()
        .tls(&issued.certificate, &issued.key, &authority.certificate)
        .conf("log_connections = on")
        .start(17);
    let Some(refusing) = refusing else { return };
    let mut starting = Cluster::start(17).unwrap();
    starting.keep_starting();
    // A standby whose own kind of starting has other words before PostgreSQL 14.
    let mut starting_old = Cluster::start(13).unwrap();
    starting_old.keep_starting();
    let full = Options::default()
        .conf("max_connections = 6\nsuperuser_reserved_connections = 3\nmax_wal_senders = 0")
        .start(17)
        .unwrap();
    full.sql("CREATE ROLE app LOGIN");
    let healthy = Cluster::start(17).unwrap();

    // The kernel takes connections into the queue; nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let closed = free_port();
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("root.crt");
    fs::write(&root, &authority.certificate).unwrap();
    let verify = format!("?sslmode=verify-full&sslrootcert={}", root.display());

    let instances = [
        ("silent", dsn(silent_port, "postgres", "")),
        ("closed", dsn(closed, "postgres", "")),
        ("starting", dsn(starting.port, "postgres", "")),
        ("starting-old", dsn(starting_old.port, "postgres", "")),
        ("full", dsn(full.port, "postgres", "")),
        ("database", dsn(refusing.port, "no_such_database", "")),
        ("tls", dsn(refusing.port, "postgres", &verify)),
        ("healthy", dsn(healthy.port, "postgres", "")),
    ];
    let mut configuration = "cluster: c\ninstances:\n".to_owned();
    for (name, dsn) in &instances {
        configuration.push_str(&format!("  - {{name: {name}, dsn: \"{dsn}\"}}\n"));
    }
    let application = format!("postgresql://app@127.0.0.1:{}/postgres", full.port);
    full.with_client("postgres", async |_| {
        let (group, mut kept) = (Group::new(), Vec::new());
        while let Ok((client, connection)) =
            tokio_postgres::connect(&application, tokio_postgres::NoTls).await
        {
            group.spawn("application", async { drop(connection.await) });
            kept.push(client);
        }
        assert!(!kept.is_empty());
        let agent = std::thread::scope(|scope| {
            scope.spawn(|| troubled(&configuration, &refusing)).join().unwrap()
        });
        drop(kept);
        assert!(group.stop(Duration::from_secs(10), Duration::ZERO).await.is_empty());
        // What ends by itself is seen by itself.
        std::thread::scope(|scope| scope.spawn(|| ended(agent, &mut starting)).join().unwrap());
    });
    drop(silent);
}

fn reasons(page: &crate::support::exposition::Parsed) -> Vec<(&'static str, String)> {
    ["silent", "closed", "starting", "starting-old", "full", "database", "tls", "healthy"]
        .map(|server| (server, state(page, server)))
        .to_vec()
}

const EXPECTED: [(&str, &str, &str); 8] = [
    ("silent", "timeout", ""),
    ("closed", "refused", "nothing listens"),
    ("starting", "starting", "is not ready"),
    ("starting-old", "starting", "is not ready"),
    ("full", "too_many_connections", "no connection is free"),
    ("database", "database", "no database `no_such_database`"),
    ("tls", "tls", "db.example.com"),
    ("healthy", "ok", ""),
];

/// Everything is wrong from the start, and stays so.
fn troubled(configuration: &str, refusing: &Cluster) -> Agent {
    let agent = Agent::start(configuration);
    let expected: Vec<_> =
        EXPECTED.iter().map(|(server, reason, _)| (*server, (*reason).to_owned())).collect();
    // The first pages may come before the first attempts have ended.
    await_page(&agent, Duration::from_secs(10), |page| reasons(page) == expected);
    let begin = Instant::now();
    while begin.elapsed() < WHILE {
        let page = page(&agent);
        assert_eq!(reasons(&page), expected);
        for (server, reason, _) in EXPECTED {
            assert_eq!(up(&page, server), reason == "ok", "{server}");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let log = agent.log();
    for (server, reason, part) in EXPECTED {
        if reason == "ok" {
            assert_eq!(warnings(&log, server), Vec::<&str>::new());
        } else {
            let line = sentence(&log, server);
            assert!(line.contains(part), "{server}: {line}");
            assert!(line.contains(&format!("reason=\"{reason}\"")), "{server}: {line}");
        }
    }
    // It was said once because it was the same, not because nothing was tried.
    let attempts = refusing.output().matches("no_such_database\" does not exist").count();
    assert!(attempts >= 3, "{attempts} attempts");
    assert!(!log.contains(PASSWORD));
    agent
}

fn ended(agent: Agent, starting: &mut Cluster) {
    let told = agent.log().len();
    starting.end_starting();
    await_page(&agent, Duration::from_secs(60), |page| {
        ["full", "starting"].iter().all(|server| up(page, server) && settled(page, server))
    });
    let log = agent.log().split_off(told);
    for server in ["full", "starting"] {
        let named = format!("instance=\"{server}\"");
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&named)).collect();
        let connected = lines.last().is_some_and(|line| line.contains(" connected "));
        assert!(connected && lines.len() <= 2, "not told in a word: {lines:#?}");
    }
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_server_that_stops_starts_and_hangs_is_told_once_each_time() {
    let Some(mut cluster) = Cluster::start(17) else { return };
    let agent =
        Agent::start(&format!("instances: [{{name: s, dsn: \"{}\"}}]\n", cluster.monitor_dsn()));
    let soon = Duration::from_secs(20);
    let well = |page: &_| up(page, "s") && state(page, "s") == "ok";
    await_page(&agent, soon, well);
    // A session must have lasted a while for its loss to be news of the server.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(warnings(&agent.log(), "s"), Vec::<&str>::new());

    cluster.stop(Stop::Fast);
    await_page(&agent, soon, |page| !up(page, "s") && state(page, "s") == "refused");
    stays(&agent, WHILE / 2, &["refused"]);
    // Whether it is met while it shuts down, or in the moment in which it closes its port, is chance.
    let log = agent.log();
    let mut told = warnings(&log, "s");
    let refused = |line: &str| {
        line.contains("nothing listens there; ") || line.contains("closed during the login")
    };
    assert!(told.pop().is_some_and(refused), "{log}");
    let earlier = |line: &&str| line.contains("reason=\"starting\"");
    assert!(told.len() <= 1 && told.iter().all(earlier), "{log}");
    cluster.start_again();
    await_page(&agent, soon, well);
    std::thread::sleep(Duration::from_secs(6));

    let told = agent.log().len();
    cluster.freeze();
    await_page(&agent, soon, |page| !up(page, "s"));
    stays(&agent, WHILE, &["timeout"]);
    let log = agent.log().split_off(told);
    assert!(sentence(&log, "s").contains("reason=\"timeout\""), "{log}");
    cluster.thaw();
    let begin = Instant::now();
    let mut most = 0;
    let mut recovered = false;
    while begin.elapsed() < Duration::from_secs(10) || !recovered {
        let count: usize = cluster.sql(SESSIONS)[0][0].parse().unwrap();
        most = most.max(count);
        recovered = recovered || well(&page(&agent));
        assert!(begin.elapsed() < Duration::from_secs(60), "{}", agent.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!((1..=3).contains(&most), "{most} sessions");
}

/// The server is down for one of these reasons at every look.
fn stays(agent: &Agent, time: Duration, reasons: &[&str]) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        let page = page(agent);
        assert!(!up(&page, "s"));
        let state = state(&page, "s");
        assert!(reasons.contains(&&*state), "{state}\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(500));
    }
}
