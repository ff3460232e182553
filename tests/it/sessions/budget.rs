//! At most three connections per agent and server, counted where they cannot lie: in the kernel.

use std::time::Duration;

use pgvigil::instances::{Connector, Limits};
use pgvigil::postgres::InstanceReason;
use pgvigil::task::Group;
use pgvigil::telemetry::Telemetry;
use tokio::time::Instant;

use super::{budgets, instance, limits, one, soon};
use crate::support::postgres::{Cluster, edges, majors};

/// Sockets of this machine that lead to `port`, whatever their state but closed ones: the client's
/// ends, and connections that the server has not taken yet.
fn sockets(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    let open = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        let (to, state) = (fields.next(), fields.next());
        // 06 TIME_WAIT, 07 CLOSE: what is left of a connection that both sides have closed.
        to == Some(remote.as_str()) && !matches!(state, Some("06" | "07"))
    };
    table.lines().filter(open).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_gets_no_fourth_connection() {
    for major in edges() {
        let Some(cluster) = Cluster::start(major) else { continue };
        // Two instances that name one server differently share its budget.
        let budgets = budgets();
        let connectors = ["127.0.0.1", "localhost"].map(|host| {
            let dsn = format!("host={host} port={} user=pgvigil dbname=postgres", cluster.port);
            Connector::new(&instance(&dsn), &budgets)
        });
        let mut session = connectors[0].connect(None, soon()).await.unwrap();
        assert_eq!(one(&mut session, "SELECT 1").await, "1");
        cluster.freeze();
        let mut reasons = Vec::new();
        for round in 0..4 {
            let short =
                Limits { deadline: Instant::now() + Duration::from_millis(200), ..limits() };
            let _ = session.run("SELECT 2", &short).await;
            let until = Instant::now() + Duration::from_millis(400);
            match connectors[round % 2].connect(None, until).await {
                Ok(_) => panic!("a frozen server let somebody in"),
                Err(error) => reasons.push(error.reason),
            }
            assert!(sockets(cluster.port) <= 3, "{} sockets", sockets(cluster.port));
        }
        assert!(session.is_closed());
        assert_eq!(reasons[0], InstanceReason::Timeout, "{reasons:?}");
        assert_eq!(reasons[3], InstanceReason::Budget, "{reasons:?}");
        assert_eq!(sockets(cluster.port), 3);
        cluster.thaw();
        // Given back as soon as the server has closed them.
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut again = loop {
            match connectors[0].connect(None, soon()).await {
                Ok(session) => break session,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        assert_eq!(one(&mut again, "SELECT 3").await, "3");
        cluster.await_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'pgvigil'", "1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_sessions_free_their_place_at_once() {
    let Some(cluster) = majors().last().and_then(|&m| Cluster::start(m)) else { return };
    let connector = Connector::new(&instance(&cluster.monitor_dsn()), &budgets());
    let mut held = vec![connector.connect(None, soon()).await.unwrap()];
    held.push(connector.connect(None, soon()).await.unwrap());
    // The third place is used over and over, as a visit of many databases does.
    for database in ["postgres", "template1"].repeat(10) {
        let session = connector.connect(Some(database), soon()).await;
        session.unwrap_or_else(|e| panic!("{e}")).close().await;
    }
    held.push(connector.connect(None, soon()).await.unwrap());
    assert_eq!(connector.connect(None, soon()).await.err().unwrap().reason, InstanceReason::Budget);
    // All places taken: a late statement cannot be cancelled, but ends by the server's own limit.
    let session = &mut held[0];
    let late = Limits {
        statement_timeout: Duration::from_millis(600),
        deadline: Instant::now() + Duration::from_millis(200),
        ..limits()
    };
    let error = session.run("SELECT pg_sleep(5)", &late).await.unwrap_err();
    assert!(!error.session_lost, "{error:?}");
    drop(held);
    cluster.await_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'pgvigil'", "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_waits_for_no_server() {
    let Some(cluster) = majors().last().and_then(|&m| Cluster::start(m)) else { return };
    let group = Group::new();
    let budgets = pgvigil::instances::Budgets::new(&group, &Telemetry::new());
    let connector = Connector::new(&instance(&cluster.monitor_dsn()), &budgets);
    let session = connector.connect(None, soon()).await.unwrap();
    cluster.freeze();
    drop(session);
    assert!(group.stop(Duration::from_secs(2), Duration::ZERO).await.is_empty());
}
