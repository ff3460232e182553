//! Servers that are down, starting, frozen, locked or not there: every scrape answers in time with the
//! truth, and the server never has more than three sessions.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::watch::{PATIENCE, SESSIONS, Watch, outcome, sessions, state, up};
use crate::support::postgres::{Cluster, Options, Stop};
use crate::support::process::free_port;

/// What a scrape may take at most, whatever the server does.
const BOUND: Duration = Duration::from_millis(2500);

/// What it may take where the server is known to be down.
const KNOWN: Duration = Duration::from_millis(300);

#[test]
fn a_server_stops_and_starts() {
    let Some(mut cluster) = Cluster::start(17) else { return };
    let watch = Watch::start(&cluster.monitor_dsn(), "");
    watch.settle();
    std::thread::sleep(Duration::from_secs(1));
    watch.scrape();
    // Its sessions are seen to end, so that no answer of a moment ago speaks for it.
    cluster.stop(Stop::Fast);
    let (page, took) = watch.timed_scrape();
    assert!(!up(&page) && took < BOUND, "{took:?}");
    assert_eq!(state(&page), "refused");
    assert!(
        page.value("pg_postmaster_start_time_seconds", &[]).is_some(),
        "what was measured is shown until it is too old"
    );
    for _ in 0..5 {
        let (page, took) = watch.timed_scrape();
        assert!(!up(&page) && took < KNOWN, "{took:?}");
        assert_eq!(state(&page), "refused");
        assert_eq!(outcome(&page, "pg_postmaster"), "connect");
    }
    let message = watch.collector.status()[0].message.clone().unwrap();
    assert!(message.contains("; "), "no remedy in: {message}");
    cluster.start_again();
    let page = watch.await_scrape(Duration::from_secs(10), up);
    assert_eq!(state(&page), "ok");
    watch.await_scrape(Duration::from_secs(10), |page| outcome(page, "pg_postmaster") == "ok");
    assert!(sessions(&cluster) <= 2);
}

#[test]
fn a_crash_is_survived() {
    let Some(mut cluster) = Cluster::start(17) else { return };
    let watch = Watch::start(&cluster.monitor_dsn(), "");
    watch.settle();
    cluster.stop(Stop::Immediate);
    // The ends of its sessions are on their way here when it has gone, and sooner than a result is old.
    watch.await_scrape(Duration::from_millis(500), |page| !up(page));
    let (page, took) = watch.timed_scrape();
    assert!(!up(&page) && took < BOUND, "{took:?}");
    cluster.start_again();
    watch.await_scrape(Duration::from_secs(10), up);
}

#[test]
fn a_session_that_is_terminated_is_replaced_within_the_scrape() {
    let Some(cluster) = Cluster::start(17) else { return };
    let watch = Watch::start(&cluster.monitor_dsn(), "");
    watch.settle();
    // A session must have lasted a while to be replaced at once.
    std::thread::sleep(Duration::from_secs(5));
    cluster.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name LIKE 'pgvigil%'",
    );
    let (page, took) = watch.timed_scrape();
    assert!(up(&page) && took < BOUND, "{took:?} {}", watch.told());
    assert!(sessions(&cluster) <= 3);
}

#[test]
fn a_frozen_server_is_timeout_and_costs_three_sessions_at_most() {
    let Some(cluster) = Cluster::start(17) else { return };
    let watch = Watch::start(&cluster.monitor_dsn(), "");
    watch.settle();
    std::thread::sleep(Duration::from_secs(2));
    cluster.freeze();
    let (page, took) = watch.timed_scrape();
    assert!(!up(&page) && took < BOUND, "{took:?}");
    assert_eq!(state(&page), "timeout");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(15) {
        let (page, took) = watch.timed_scrape();
        assert!(!up(&page) && took < KNOWN, "{took:?} {}", watch.told());
        assert_eq!(state(&page), "timeout", "{}", watch.told());
        std::thread::sleep(Duration::from_millis(500));
    }
    cluster.thaw();
    let thawed = Instant::now();
    let mut most = 0;
    let mut recovered = None;
    while thawed.elapsed() < Duration::from_secs(15) {
        most = most.max(sessions(&cluster));
        if recovered.is_none() && up(&watch.scrape()) {
            recovered = Some(thawed.elapsed());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(recovered.is_some(), "{}", watch.told());
    assert!(most <= 3, "{most} sessions");
    assert!(sessions(&cluster) <= 2);
}

#[test]
fn one_session_that_is_stuck_does_not_make_the_server_down() {
    let Some(cluster) = Cluster::start(17) else { return };
    let watch = Watch::start(&cluster.monitor_dsn(), "");
    watch.settle();
    std::thread::sleep(Duration::from_secs(6));
    // The session that fast queries run on is the older one. Stopped, it heeds no cancel request.
    let oldest = "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgvigil' \
                  ORDER BY backend_start LIMIT 1";
    let pid = cluster.sql(oldest)[0][0].parse().unwrap();
    cluster.signal(pid, rustix::process::Signal::STOP);
    let begin = Instant::now();
    let mut most = 0;
    while begin.elapsed() < Duration::from_secs(12) {
        let (page, took) = watch.timed_scrape();
        assert!(up(&page), "after {:?}: {}", begin.elapsed(), watch.told());
        assert!(took < BOUND, "{took:?}");
        most = most.max(sessions(&cluster));
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(most, 3, "the stuck one still counts");
    let (page, took) = watch.timed_scrape();
    assert!(up(&page) && took < Duration::from_secs(1), "{took:?}");
    let age = page.value("pgvigil_query_age_seconds", &[("query", "pg_postmaster")]);
    // A result is good for a second, and the page takes its time too.
    let fresh = 1.0 + took.as_secs_f64();
    assert!(age.is_some_and(|age| age < fresh), "a new session has taken over: {age:?}, {took:?}");
    cluster.signal(pid, rustix::process::Signal::CONT);
    cluster.await_sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"), "0");
}

#[test]
fn one_session_alone_serves_for_all() {
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql("ALTER ROLE pgvigil CONNECTION LIMIT 1");
    let pack = "
long:
  interval: slow
  timeout: 5s
  query: SELECT 1 AS v FROM pg_sleep(2)
  metrics: [{v: {usage: GAUGE, metric: pg_long, description: Takes two seconds.}}]
";
    let watch = Watch::start(&cluster.monitor_dsn(), pack);
    let page = watch.settle();
    assert!(up(&page) && state(&page) == "ok");
    for query in &watch.collector.status()[0].queries {
        let reason = query.reason.unwrap().as_str();
        // There is no second session to go round the databases with.
        let no_place = query.message.as_ref().is_some_and(|m| m.contains("no connection is free"));
        let expected = match &*query.name {
            "long" => "timeout",
            _ if no_place => "connect",
            _ => "ok",
        };
        assert!(reason == expected || reason == "unavailable", "{query:?}");
    }
    assert_eq!(sessions(&cluster), 1);
    let notices = watch.collector.status()[0].notices.join("\n");
    assert!(notices.contains("no second session"), "{notices}");
    cluster.sql("ALTER ROLE pgvigil CONNECTION LIMIT 3");
    watch.await_scrape(Duration::from_secs(40), |page| {
        page.value("pgvigil_sessions", &[]) == Some(2.0)
    });
}

#[test]
fn a_server_that_accepts_and_never_answers_is_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            kept.push(stream);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let watch = Watch::start(&format!("postgresql://x@127.0.0.1:{port}/postgres"), "");
    black_hole(&watch, Duration::from_secs(20), &["timeout"]);
    let accepted = accepted.load(Ordering::Relaxed);
    assert!((1..=3).contains(&accepted), "{accepted} connections that nobody closed");
}

#[test]
fn an_address_that_swallows_packets_is_timeout() {
    // The kernel completes no handshake once a listener's queue is full: as behind a firewall.
    let socket = socket_without_room();
    let port = socket.local_addr().unwrap().port();
    let address = socket.local_addr().unwrap();
    let _fill: Vec<_> = (0..8)
        .filter_map(|_| {
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()
        })
        .collect();
    assert!(
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_err(),
        "the queue is not full"
    );
    let watch = Watch::start(&format!("postgresql://x@127.0.0.1:{port}/postgres"), "");
    black_hole(&watch, Duration::from_secs(10), &["timeout", "unreachable"]);
}

/// A listener that queues one connection.
fn socket_without_room() -> TcpListener {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&fd, &std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&fd, 0).unwrap();
    TcpListener::from(fd)
}

fn black_hole(watch: &Watch, time: Duration, reasons: &[&str]) {
    let (page, took) = watch.timed_scrape();
    assert!(!up(&page) && took < BOUND, "{took:?}");
    assert!(reasons.contains(&&*state(&page)), "{}", watch.told());
    let begin = Instant::now();
    while begin.elapsed() < time {
        let (page, took) = watch.timed_scrape();
        assert!(!up(&page) && took < KNOWN, "{took:?} {}", watch.told());
        assert!(reasons.contains(&&*state(&page)), "{}", watch.told());
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn nobody_listens() {
    let port = free_port();
    let watch = Watch::start(&format!("postgresql://x@127.0.0.1:{port}/postgres"), "");
    let (page, took) = watch.timed_scrape();
    assert!(!up(&page) && took < BOUND);
    assert_eq!(state(&page), "refused");
}

#[test]
fn who_is_not_let_in_is_told_why() {
    let options = Options::default().hba("host postgres pgvigil 127.0.0.1/32 scram-sha-256");
    let Some(cluster) = options.start(17) else { return };
    let url = |database: &str| {
        format!("postgresql://pgvigil:wrong@127.0.0.1:{}/{database}", cluster.port)
    };
    let watch = Watch::start(&url("postgres"), "");
    let (page, took) = watch.timed_scrape();
    assert!(!up(&page) && took < BOUND);
    assert_eq!(state(&page), "authentication");
    let told = watch.told();
    assert!(!told.contains("wrong"), "{told}");
}

#[test]
fn an_exclusive_lock_for_fifteen_seconds_is_survived() {
    // A dozen built-in queries read pg_database, and each waits half a second before the last is late.
    exclusive_lock(Duration::from_secs(15), Duration::from_millis(500));
}

#[test]
fn an_exclusive_lock_for_forty_seconds_is_survived() {
    exclusive_lock(Duration::from_secs(40), Duration::from_secs(2));
}

/// Another session locks a table that one query reads, and catalogs that several of the built-in
/// packs and every new session need.
fn exclusive_lock(held: Duration, gap: Duration) {
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql("CREATE TABLE public.t AS SELECT 1 AS v; GRANT SELECT ON public.t TO pgvigil");
    let pack = "
locked:
  interval: fast
  query: SELECT v FROM public.t
  metrics: [{v: {usage: GAUGE, metric: pg_locked, description: Behind the lock.}}]
";
    let watch = Watch::start(&cluster.monitor_dsn(), pack);
    watch.settle();
    let mut most = 0;
    let mut reasons = std::collections::BTreeSet::new();
    cluster.with_client("postgres", async |client| {
        client
            .batch_execute(
                "BEGIN; LOCK TABLE public.t, pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE",
            )
            .await
            .unwrap();
        let begin = Instant::now();
        while begin.elapsed() < held {
            // The scrape blocks this thread, which is what the lock's session does meanwhile.
            let (page, took) =
                std::thread::scope(|scope| scope.spawn(|| watch.timed_scrape()).join().unwrap());
            assert!(took < BOUND, "{took:?}");
            assert!(up(&page), "one late query never makes it down: {}", watch.told());
            reasons.insert(outcome(&page, "locked"));
            assert_eq!(outcome(&page, "pg_postmaster"), "ok");
            assert!(page.value("pg_postmaster_start_time_seconds", &[]).is_some());
            let rows = client.simple_query(SESSIONS).await.unwrap();
            let number = rows.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                _ => None,
            });
            most = most.max(number.unwrap_or(0));
            tokio::time::sleep(gap).await;
        }
        client.batch_execute("ROLLBACK").await.unwrap();
    });
    assert!((1..=3).contains(&most), "{most} sessions");
    assert!(
        reasons.iter().any(|reason| matches!(reason.as_str(), "lock_timeout" | "timeout")),
        "{reasons:?}"
    );
    watch.await_scrape(Duration::from_secs(30), |page| {
        watch.collector.status()[0].queries.iter().all(|query| {
            query.reason.is_some_and(|reason| matches!(reason.as_str(), "ok" | "unavailable"))
        }) && outcome(page, "locked") == "ok"
    });
    let (page, took) = watch.timed_scrape();
    assert!(up(&page) && took < Duration::from_secs(1), "{took:?}");
    assert!(sessions(&cluster) <= 3);
}

#[test]
fn a_scrape_without_patience_takes_what_there_is() {
    let Some(cluster) = Cluster::start(17) else { return };
    let watch = Watch::start(&cluster.monitor_dsn(), "");
    watch.settle();
    let (page, took) = watch.scrape_for(Duration::ZERO);
    assert!(up(&page) && took < Duration::from_millis(100), "{took:?}");
    cluster.freeze();
    std::thread::sleep(Duration::from_millis(1500));
    let (page, took) = watch.scrape_for(Duration::from_millis(200));
    assert!(!up(&page) && took < Duration::from_millis(400), "{took:?}");
    assert_eq!(state(&page), "timeout");
    cluster.thaw();
    watch.await_scrape(PATIENCE * 5, up);
}
