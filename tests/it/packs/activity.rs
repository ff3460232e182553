//! Sessions: how many, how many more, and who waits for whom.

use std::time::Duration;

use super::some_majors;
use crate::support::monitor::{Monitor, Row, number, text};
use crate::support::postgres::{Cluster, MONITOR, Options};

#[test]
fn who_waits_for_a_lock_and_how_long() {
    for major in some_majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let monitor = Monitor::connect(&cluster);
        cluster.sql("CREATE TABLE t (id int)");
        let waiting = |monitor: &Monitor| {
            let rows = monitor.query("pg_locks_waiting").expect("rows");
            rows.into_iter().find(|row| text(row, "datname") == "postgres").expect("a row")
        };
        assert_eq!(number(&waiting(&monitor), "sessions"), 0.0);
        assert_eq!(number(&waiting(&monitor), "longest_seconds"), 0.0);
        let (row, locks) = cluster.with_client("postgres", async |holder| {
            holder.batch_execute("BEGIN; LOCK TABLE t").await.expect("a lock");
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| cluster.sql("SELECT count(*) FROM t"));
                cluster.await_sql("SELECT count(*) FROM pg_locks WHERE NOT granted", "1");
                std::thread::sleep(Duration::from_millis(1100));
                let seen = (waiting(&monitor), monitor.query("pg_locks").expect("rows"));
                // Before anything can fail: a waiter that waits for ever would hide it.
                cluster.sql("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted");
                drop(waiter.join());
                seen
            })
        });
        assert_eq!(number(&row, "sessions"), 1.0);
        match major {
            13 => assert_eq!(row["longest_seconds"], None),
            _ => assert!(number(&row, "longest_seconds") > 1.0, "{row:?}"),
        }
        let exclusive = locks.iter().find(|row| {
            text(row, "datname") == "postgres" && text(row, "mode") == "accessexclusivelock"
        });
        assert_eq!(number(exclusive.expect("every mode"), "count"), 1.0, "{major}");
    }
}

#[test]
fn connections_by_state_and_how_many_more_there_can_be() {
    let reserving = Options::default().conf("superuser_reserved_connections = 2");
    let Some(cluster) = reserving.conf("reserved_connections = 3").start(18) else { return };
    cluster.sql("CREATE DATABASE shop CONNECTION LIMIT 4");
    let monitor = Monitor::connect(&cluster);
    let before = monitor.row("pg_connections");
    assert_eq!((number(&before, "limit"), number(&before, "reserved")), (20.0, 5.0));
    cluster.with_client("shop", async |client| {
        client.batch_execute("BEGIN").await.expect("a transaction");
        let row = monitor.row("pg_connections");
        assert_eq!(number(&row, "available"), number(&before, "available") - 1.0);
        let rows = monitor.query("pg_stat_activity").expect("rows");
        let idle: Vec<_> = rows
            .iter()
            .filter(|row| {
                text(row, "datname") == "shop" && text(row, "state") == "idle in transaction"
            })
            .collect();
        assert_eq!(idle.len(), 1, "{rows:?}");
        assert_eq!((number(idle[0], "count"), text(idle[0], "usename")), (1.0, "postgres"));
        let disabled =
            rows.iter().find(|row| text(row, "state") == "disabled").expect("every state");
        assert_eq!(number(disabled, "count"), 0.0);
        let of = |rows: &[Row], label: &str, value: &str| {
            rows.iter().find(|row| text(row, label) == value).expect("a row").clone()
        };
        let shop = of(&monitor.query("pg_database_connections").expect("rows"), "datname", "shop");
        assert_eq!((number(&shop, "limit"), number(&shop, "available")), (4.0, 3.0));
        let role = of(&monitor.query("pg_roles_connections").expect("rows"), "rolname", MONITOR);
        assert_eq!((number(&role, "limit"), number(&role, "used")), (5.0, 1.0));
    });
}
