//! The traps of per-database statistics, each reproduced on real servers and walked around by the packs.

use std::time::{Duration, Instant};

use crate::support::monitor::{Monitor, Row, number, text};
use crate::support::postgres::{Cluster, Options, Stop, edges, majors};

/// Longer than a query that waits for nothing takes, shorter than `lock_timeout`.
const AT_ONCE: Duration = Duration::from_millis(400);

fn quiet() -> Options {
    Options::default().conf("autovacuum = off\nmax_prepared_transactions = 2")
}

fn of_table<'r>(rows: &'r [Row], name: &str) -> Option<&'r Row> {
    rows.iter().find(|row| text(row, "relname") == name)
}

/// 1,000 rows, 100 of them dead, and the server knows it.
fn load(cluster: &Cluster) {
    cluster.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    cluster.sql("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 1000) AS g");
    cluster.sql("VACUUM ANALYZE t");
    cluster.sql("DELETE FROM t WHERE id <= 100");
    cluster.await_sql("SELECT pg_stat_get_dead_tuples('t'::regclass)", "100");
}

#[test]
fn statistics_lost_by_a_crash_are_absent_and_not_old() {
    for major in edges() {
        let Some(mut cluster) = quiet().start(major) else { continue };
        load(&cluster);
        let rows = Monitor::connect(&cluster).query("pg_stat_user_tables_rows").expect("rows");
        let before = of_table(&rows, "t").expect("the table");
        assert_eq!(number(before, "n_dead_tup"), 100.0, "{major}");
        assert!(number(before, "last_vacuum") > 1e9 && before["last_autovacuum"].is_none());
        // What is committed must be on disk: these clusters do not wait for it.
        cluster.sql("CHECKPOINT");
        cluster.stop(Stop::Immediate);
        cluster.start_again();
        let monitor = Monitor::connect(&cluster);
        let rows = monitor.query("pg_stat_user_tables_rows").expect("rows");
        let after = of_table(&rows, "t").expect("the table");
        assert_eq!(number(after, "n_dead_tup"), 0.0, "{major}");
        assert_eq!((&after["last_vacuum"], &after["last_analyze"]), (&None, &None), "{major}");
        let totals = monitor.row("pg_tables");
        assert!(number(&totals, "never_vacuumed") > 1.0, "{major}: {totals:?}");
        // What tells a young statistic from an old quiet one: the later of the two.
        let young = monitor.rows(
            "SELECT coalesce(stats_reset >= pg_postmaster_start_time() - interval '5 s', true) AS young \
             FROM pg_stat_database WHERE datname = 'postgres'",
        );
        assert_eq!(number(&young[0], "young"), 1.0, "{major}");
    }
}

#[test]
fn temporary_tables_of_others_are_counted_and_not_shown() {
    for major in majors() {
        let Some(cluster) = quiet().start(major) else { continue };
        cluster.sql("CREATE TABLE mine (id int)");
        let monitor = Monitor::connect(&cluster);
        cluster.with_client("postgres", async |client| {
            let sql = "CREATE TEMP TABLE theirs AS SELECT 1 AS id";
            client.batch_execute(sql).await.expect("a table");
            let trap = "SELECT count(*) AS n FROM pg_stat_user_tables WHERE relname = 'theirs'";
            assert_eq!(number(&monitor.rows(trap)[0], "n"), 1.0, "{major}: the trap is not there");
            for query in [
                "pg_stat_user_tables",
                "pg_stat_user_tables_rows",
                "pg_statio_user_tables",
                "pg_table",
            ] {
                let rows = monitor.query(query).expect("rows");
                assert!(of_table(&rows, "mine").is_some(), "{major}: {query}");
                assert!(of_table(&rows, "theirs").is_none(), "{major}: {query}");
            }
            let temporary = monitor.row("pg_temporary_tables");
            assert_eq!((number(&temporary, "number"), number(&temporary, "orphaned")), (1.0, 0.0));
        });
    }
}

/// A crash leaves temporary tables behind. A new session may have the number of one that is gone, so
/// there are several.
#[test]
fn temporary_tables_that_no_session_owns_are_orphaned() {
    const TABLES: u32 = 6;
    for major in majors() {
        let Some(mut cluster) = quiet().start(major) else { continue };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let sessions: Vec<_> = (0..TABLES)
            .map(|n| {
                runtime.block_on(async {
                    let (client, connection) =
                        tokio_postgres::connect(&cluster.dsn(), tokio_postgres::NoTls)
                            .await
                            .expect("a session");
                    runtime.spawn(connection);
                    let sql = format!("CREATE TEMP TABLE left{n} (id int)");
                    client.batch_execute(&sql).await.expect("a table");
                    client
                })
            })
            .collect();
        // The server ends as in a crash, so that no session tidies up.
        cluster.sql("CHECKPOINT");
        cluster.stop(Stop::Immediate);
        drop(sessions);
        cluster.start_again();
        let temporary = Monitor::connect(&cluster).row("pg_temporary_tables");
        assert_eq!(number(&temporary, "number"), f64::from(TABLES), "{major}");
        assert!(number(&temporary, "orphaned") >= 4.0, "{major}: {temporary:?}");
    }
}

#[test]
fn a_standby_counts_its_own_scans_and_no_rows() {
    for major in edges() {
        let Some(primary) = quiet().start(major) else { continue };
        load(&primary);
        let standby = Cluster::standby_of(&primary, &quiet());
        standby.sql("SELECT count(*) FROM t");
        let monitor = Monitor::connect(&standby);
        let trap = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 't'";
        assert_eq!(number(&monitor.rows(trap)[0], "n_dead_tup"), 0.0, "the trap is not there");
        for query in ["pg_stat_user_tables_rows", "pg_tables", "pg_autovacuum", "pg_bloat"] {
            assert!(monitor.query(query).is_none(), "{query} runs on a standby");
        }
        standby.await_sql(
            "SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 't'",
            "1",
        );
        let rows = monitor.query("pg_stat_user_tables").expect("rows");
        let row = of_table(&rows, "t").expect("the table");
        assert_eq!(number(row, "seq_scan") + number(row, "idx_scan"), 1.0, "{major}");
    }
}

#[test]
fn sizes_do_not_wait_for_a_lock() {
    for major in majors() {
        let Some(cluster) = quiet().start(major) else { continue };
        load(&cluster);
        cluster.sql("CREATE TABLE other AS SELECT generate_series(1, 1000) AS id");
        let monitor = Monitor::connect(&cluster);
        cluster.with_client("postgres", async |client| {
            client.batch_execute("BEGIN; LOCK TABLE t").await.expect("a lock");
            let trap = "SELECT pg_table_size(oid) FROM pg_class WHERE relname = 't'";
            assert!(monitor.try_rows(trap).is_err(), "{major}: the trap is not there");
            let begin = Instant::now();
            let rows = monitor.query("pg_table").expect("rows");
            assert!(begin.elapsed() < AT_ONCE, "{major}: {:?}", begin.elapsed());
            let held = of_table(&rows, "t").expect("the table");
            assert_eq!((&held["size_bytes"], &held["indexes_size_bytes"]), (&None, &None));
            let other = of_table(&rows, "other").expect("the other table");
            assert!(number(other, "size_bytes") > 30_000.0, "{major}: {other:?}");
            for query in [
                "pg_autovacuum",
                "pg_indexes",
                "pg_schema",
                "pg_stat_user_indexes",
                "pg_stat_user_tables",
                "pg_stat_user_tables_rows",
                "pg_statio_user_tables",
                "pg_table_freeze",
                "pg_tables",
            ] {
                let begin = Instant::now();
                monitor.query(query);
                assert!(begin.elapsed() < AT_ONCE, "{major}: {query} waits");
            }
        });
        let rows = monitor.query("pg_table").expect("rows");
        let freed = of_table(&rows, "t").expect("the table");
        assert!(number(freed, "indexes_size_bytes") > 30_000.0, "{major}: {freed:?}");
    }
}

/// Its snapshot still shows the table when its files are gone.
#[test]
fn a_table_dropped_while_sizes_are_read_costs_nothing() {
    for major in edges() {
        let Some(cluster) = quiet().start(major) else { continue };
        load(&cluster);
        cluster.sql("CREATE TABLE gone AS SELECT generate_series(1, 1000) AS id");
        let monitor = Monitor::connect(&cluster);
        monitor.rows("BEGIN ISOLATION LEVEL REPEATABLE READ");
        monitor.rows("SELECT count(*) FROM pg_database");
        cluster.sql("DROP TABLE gone");
        let rows = monitor.query("pg_table").expect("rows");
        monitor.rows("ROLLBACK");
        assert_eq!(
            of_table(&rows, "gone").expect("in the snapshot")["size_bytes"],
            None,
            "{major}"
        );
        assert!(number(of_table(&rows, "t").expect("the table"), "size_bytes") > 0.0, "{major}");
    }
}

/// The thresholds of autovacuum, reckoned by hand.
#[test]
fn autovacuums_own_rule() {
    for major in majors() {
        let Some(cluster) = quiet().start(major) else { continue };
        load(&cluster);
        let monitor = Monitor::connect(&cluster);
        cluster.sql("VACUUM");
        cluster.sql("DELETE FROM t WHERE id <= 200");
        cluster.await_sql("SELECT pg_stat_get_dead_tuples('t'::regclass)", "100");
        let number_of_rows = cluster.sql("SELECT reltuples FROM pg_class WHERE relname = 't'");
        let number_of_rows: f64 = number_of_rows[0][0].parse().expect("a number");
        let row = monitor.row("pg_autovacuum");
        let expected = 100.0 / (50.0 + 0.2 * number_of_rows);
        let seen = number(&row, "vacuum_max");
        assert!((seen - expected).abs() < 1e-6, "{major}: {seen}, expected {expected}");
        assert_eq!(number(&row, "vacuum_backlog"), 0.0, "{major}");
        cluster.sql("ALTER TABLE t SET (autovacuum_vacuum_scale_factor = 0)");
        let row = monitor.row("pg_autovacuum");
        assert_eq!((number(&row, "vacuum_max"), number(&row, "vacuum_backlog")), (2.0, 1.0));
        if major >= 18 {
            cluster.sql("ALTER TABLE t SET (autovacuum_vacuum_max_threshold = 20)");
            assert_eq!(number(&monitor.row("pg_autovacuum"), "vacuum_max"), 5.0);
        }
        cluster.sql("ALTER TABLE t SET (autovacuum_enabled = off)");
        let row = monitor.row("pg_autovacuum");
        assert_eq!((number(&row, "disabled"), number(&row, "vacuum_backlog")), (1.0, 0.0));
    }
}

#[test]
fn a_chain_of_waiting_sessions_has_one_root() {
    for major in edges() {
        let Some(cluster) = quiet().start(major) else { continue };
        load(&cluster);
        let monitor = Monitor::connect(&cluster);
        assert_eq!(number(&monitor.row("pg_blocking"), "roots"), 0.0);
        let row = cluster.with_client("postgres", async |holder| {
            holder.batch_execute("BEGIN; LOCK TABLE t").await.expect("a lock");
            std::thread::scope(|scope| {
                let waiters = [0, 1].map(|_| scope.spawn(|| cluster.sql("BEGIN; LOCK TABLE t")));
                cluster.await_sql("SELECT count(*) FROM pg_locks WHERE NOT granted", "2");
                std::thread::sleep(Duration::from_millis(1100));
                let row = monitor.row("pg_blocking");
                // Before anything can fail: a waiter that waits for ever would hide it.
                for _ in waiters.iter() {
                    cluster.sql("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted");
                }
                for waiter in waiters {
                    drop(waiter.join());
                }
                row
            })
        });
        assert_eq!(
            (number(&row, "roots"), number(&row, "blocked")),
            (1.0, 2.0),
            "{major}: {row:?}"
        );
        assert_eq!((number(&row, "depth"), number(&row, "blocked_by_one")), (2.0, 2.0), "{row:?}");
        assert!(number(&row, "longest") > 1.0 && number(&row, "root_age") > 1.0, "{row:?}");
    }
}

#[test]
fn what_holds_back_vacuum_is_named() {
    let Some(cluster) = quiet().start(17) else { return };
    load(&cluster);
    let monitor = Monitor::connect(&cluster);
    let age = |holder: &str| {
        let rows = monitor.query("pg_xmin_horizon").expect("rows");
        number(rows.iter().find(|row| text(row, "holder") == holder).expect("every holder"), "age")
    };
    assert_eq!(age("prepared_transaction"), 0.0);
    cluster.sql("BEGIN; INSERT INTO t VALUES (5000, 'x'); PREPARE TRANSACTION 'one'");
    for _ in 0..5 {
        cluster.sql("INSERT INTO t SELECT max(id) + 1, 'y' FROM t");
    }
    assert!(age("prepared_transaction") >= 5.0);
    let row = monitor.row("pg_prepared_transactions");
    assert!(number(&row, "number") == 1.0 && number(&row, "oldest") > 0.0, "{row:?}");
}

#[test]
fn indexes_unused_invalid_and_twice_there() {
    for major in edges() {
        let Some(cluster) = quiet().start(major) else { continue };
        load(&cluster);
        cluster.sql("CREATE INDEX one ON t (v)");
        cluster.sql("CREATE INDEX two ON t (v)");
        cluster.sql("CREATE INDEX partly ON t (v) WHERE id > 5");
        let monitor = Monitor::connect(&cluster);
        let row = monitor.row("pg_indexes");
        assert_eq!(
            (number(&row, "duplicate"), number(&row, "unused")),
            (1.0, 3.0),
            "{major}: {row:?}"
        );
        assert_eq!(number(&row, "invalid"), 0.0);
        cluster.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'partly'::regclass");
        assert_eq!(number(&monitor.row("pg_indexes"), "invalid"), 1.0);
        assert_eq!(text(&monitor.row("pg_index_invalid"), "indexrelname"), "partly");
    }
}

#[test]
fn the_helper_functions_give_widths_and_sequences_and_no_data() {
    for major in edges() {
        let Some(cluster) = quiet().start(major) else { continue };
        let monitor = Monitor::connect(&cluster);
        assert!(monitor.query("pg_sequences").is_none(), "without the functions");
        let helpers = include_str!("../../../queries/helpers.sql");
        cluster.sql(helpers);
        cluster.sql(helpers);
        cluster.sql("CREATE SEQUENCE wide; CREATE TABLE s (id int DEFAULT nextval('wide'))");
        cluster.sql("ALTER SEQUENCE wide OWNED BY s.id; SELECT setval('wide', 1073741824)");
        cluster.sql("CREATE TABLE fat (id int, v text)");
        cluster
            .sql("INSERT INTO fat SELECT g, repeat('x', 90) FROM generate_series(1, 20000) AS g");
        cluster.sql("DELETE FROM fat WHERE id % 2 = 0");
        cluster.sql("VACUUM ANALYZE fat");
        let row = monitor.row("pg_sequences");
        assert!((number(&row, "used_ratio") - 0.5).abs() < 0.01, "the column ends first: {row:?}");
        let rows = monitor.query("pg_bloat").expect("rows");
        let ratio = number(of_table(&rows, "fat").expect("the table"), "ratio");
        assert!((0.4..0.6).contains(&ratio), "{major}: {ratio}");
        assert!(monitor.try_rows("SELECT stavalues1 FROM pg_statistic").is_err(), "it reads data");
    }
}
