//! Traps of what lies on disk: WAL that a standby still needs, tablespaces, the age of every database.

use pgvigil::packs::{self, select};
use rustix::process::Signal;

use crate::support::monitor::{Monitor, Row, number, text};
use crate::support::postgres::{Cluster, Options, edges, majors, own};

fn named<'r>(rows: &'r [Row], column: &str, name: &str) -> &'r Row {
    rows.iter()
        .find(|row| text(row, column) == name)
        .unwrap_or_else(|| panic!("no {name}: {rows:?}"))
}

/// Its walsender streams and no slot is at risk, and yet what it needs is being removed.
#[test]
fn a_standby_without_a_slot_that_falls_off_the_kept_wal_is_seen_before() {
    for major in edges() {
        let options = || {
            Options::default().conf(
                "wal_keep_size = 128MB\nmin_wal_size = 32MB\nmax_wal_size = 32MB\nwal_sender_timeout = 0\n\
                 wal_receiver_timeout = 0",
            )
        };
        let Some(primary) = options().start(major) else { continue };
        let standby = Cluster::standby_of(&primary, &options());
        let (sender, receiver) = (Monitor::connect(&primary), Monitor::connect(&standby));
        let margin = || number(&sender.row("pg_stat_replication_wal"), "margin_bytes");
        assert!(margin() >= 0.0, "{major}: it has all that it needs");
        let process = standby.sql("SELECT pid FROM pg_stat_wal_receiver")[0][0].clone();
        let process = process.parse().expect("a process id");
        standby.signal(process, Signal::STOP);
        for _ in 0..4 {
            primary.sql("CREATE TABLE IF NOT EXISTS t (id int); INSERT INTO t VALUES (1)");
            primary.sql("SELECT pg_switch_wal()");
        }
        primary.sql("ALTER SYSTEM SET wal_keep_size = 0");
        primary.sql("SELECT pg_reload_conf()");
        primary.await_sql("SHOW wal_keep_size", "0");
        primary.sql("CHECKPOINT");
        let trap =
            "SELECT count(*) FROM pg_stat_replication WHERE state IN ('streaming', 'catchup')";
        assert_eq!(primary.sql(trap)[0][0], "1", "{major}: the trap is not there");
        let left = margin();
        // Both sides alone tell it too, for the standby that is not connected.
        let has = number(&receiver.row("pg_wal_position"), "bytes_total");
        let kept = number(&sender.row("pg_wal"), "oldest_kept_bytes");
        standby.signal(process, Signal::CONT);
        assert!(left < 0.0, "{major}: {left} bytes left");
        assert!(has < kept, "{major}: the standby ends at {has}, the primary keeps {kept}");
    }
}

#[test]
fn the_oldest_kept_wal_is_where_the_server_says() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let monitor = Monitor::connect(&cluster);
        let oldest = number(&monitor.row("pg_wal"), "oldest_kept_bytes");
        let name =
            cluster.sql("SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'");
        // The position at a segment's begin belongs to the segment before it, so one byte more.
        let within = oldest as u64 + 1;
        let lsn = format!("{:X}/{:X}", within >> 32, within & 0xFFFF_FFFF);
        let walfile = cluster.sql(&format!("SELECT pg_walfile_name('{lsn}')"));
        assert_eq!(walfile, name, "{major}: {lsn}");
    }
}

/// The oldest rows of a server may lie where nobody may connect.
#[test]
fn the_age_of_template0_counts() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        cluster.sql(
            "DO $$ BEGIN FOR i IN 1..500 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$",
        );
        for database in ["postgres", "template1"] {
            cluster.sql_in(database, "VACUUM (FREEZE)");
        }
        let trap = "SELECT max(age(datfrozenxid)) < 100 FROM pg_database WHERE datallowconn";
        assert_eq!(cluster.sql(trap)[0][0], "t", "{major}: the trap is not there");
        let rows = Monitor::connect(&cluster).query("pg_database_wraparound").expect("rows");
        let age = number(named(&rows, "datname", "template0"), "xid_age");
        assert!(age >= 500.0, "{major}: {age}");
    }
}

#[test]
fn a_tablespace_dropped_while_sizes_are_read_costs_nothing() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let monitor = Monitor::connect(&cluster);
        let make = |name: &str| {
            let place = cluster.directory().join(name);
            std::fs::create_dir(&place).expect("a directory");
            own(&place);
            cluster.sql(&format!("CREATE TABLESPACE {name} LOCATION '{}'", place.display()));
        };
        make("kept");
        make("gone");
        cluster.sql("CREATE TABLE t TABLESPACE kept AS SELECT generate_series(1, 10000) AS id");
        // This snapshot still shows the tablespace when its directory is gone.
        monitor.rows("BEGIN ISOLATION LEVEL REPEATABLE READ");
        monitor.rows("SELECT count(*) FROM pg_tablespace");
        cluster.sql("DROP TABLESPACE gone");
        let rows = monitor.query("pg_tablespace").expect("rows");
        monitor.rows("ROLLBACK");
        assert_eq!(named(&rows, "spcname", "gone")["size_bytes"], None, "{major}");
        assert!(number(named(&rows, "spcname", "kept"), "size_bytes") > 300_000.0, "{major}");
        assert!(number(named(&rows, "spcname", "pg_default"), "size_bytes") > 1e6, "{major}");
    }
}

/// Before 15 statistics come through a file that a transaction reads once: a session that kept one
/// open would tell the same numbers for ever.
#[test]
fn statistics_are_read_anew_by_every_query() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        cluster.sql("CREATE TABLE t (id int)");
        let monitor = Monitor::connect(&cluster);
        let seen = || {
            let rows = monitor.query("pg_stat_user_tables_rows").expect("rows");
            number(named(&rows, "relname", "t"), "n_tup_ins")
        };
        monitor.rows("BEGIN");
        assert_eq!(seen(), 0.0);
        cluster.sql("INSERT INTO t VALUES (1), (2), (3)");
        cluster.await_sql("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 't'", "3");
        if major < 15 {
            assert_eq!(seen(), 0.0, "{major}: the trap is not there");
        }
        monitor.rows("COMMIT");
        assert_eq!(seen(), 3.0, "{major}");
    }
}

#[test]
fn a_database_dropped_while_sizes_are_read_costs_nothing() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let monitor = Monitor::connect(&cluster);
        let packs = packs::builtin();
        let query = packs.queries.iter().find(|q| &*q.name == "pg_database").expect("a pack");
        let sql = select(query, &monitor.facts).expect("a statement");
        // This snapshot still shows the database when its files are gone.
        let stale = |sql: &str, name: &str| {
            cluster.sql(&format!("CREATE DATABASE {name}"));
            monitor.rows("BEGIN ISOLATION LEVEL REPEATABLE READ");
            monitor.rows("SELECT count(*) FROM pg_database");
            cluster.sql(&format!("DROP DATABASE {name}"));
            let result = monitor.try_rows(sql);
            monitor.rows("ROLLBACK");
            result
        };
        let trap = stale("SELECT datname, pg_database_size(oid) FROM pg_database", "one");
        assert!(trap.is_err(), "{major}: the trap is not there");
        let rows = stale(&sql, "two").unwrap_or_else(|e| panic!("{major}: {e:?}"));
        assert!(rows.iter().all(|row| text(row, "datname") != "two"), "{major}: half dropped");
        // Where the mark of an interrupted DROP comes too late to be seen.
        let (guarded, mark) = sql.rsplit_once("WHERE").expect("a condition");
        assert!(mark.contains("datconnlimit"));
        let rows = stale(guarded, "three").unwrap_or_else(|e| panic!("{major}: {e:?}"));
        let three = rows.iter().find(|row| text(row, "datname") == "three").expect("a row");
        assert_eq!(three["size_bytes"], None);
        let one = rows.iter().find(|row| text(row, "datname") == "postgres").expect("a row");
        assert!(number(one, "size_bytes") > 1e6);
    }
}

#[test]
fn the_shared_catalogs_have_their_row() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let rows = Monitor::connect(&cluster).query("pg_stat_database").expect("rows");
        let shared = rows.iter().find(|row| text(row, "datid") == "0").expect("a row of datid 0");
        assert_eq!(shared["datname"], None);
        assert!(number(shared, "blks_hit") >= 0.0);
    }
}
