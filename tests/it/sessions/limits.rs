//! What bounds a statement: caps, deadlines, locks; and what is no text.

use std::time::Duration;

use pgvigil::instances::Limits;
use pgvigil::postgres::QueryReason as Reason;
use pgvigil::task::Group;
use rustix::process::Signal;
use tokio::time::Instant;

use super::{connector, limits, one, session, soon};
use crate::support::postgres::{Cluster, edges, majors};

/// Statements of the agent's role that run now.
fn running(cluster: &Cluster) -> usize {
    let sql =
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'pgvigil' AND state = 'active'";
    cluster.sql(sql)[0][0].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_have_columns_types_and_text() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        cluster.sql("CREATE TYPE public.mood AS ENUM ('fine', 'gloomy')");
        let mut session = session(&cluster.monitor_dsn()).await;
        let sql = "SELECT 1::int8 AS a, NULL::text AS b, 1.50::numeric AS c, ARRAY['x','y z'] AS d, \
                   'fine'::public.mood AS e, '0/16'::pg_lsn AS f, true AS g, 'NaN'::float8 AS h -- end";
        for _ in 0..2 {
            let rows = session.run(sql, &limits()).await.unwrap();
            let names: Vec<_> = rows.columns.iter().map(|c| c.name.as_str()).collect();
            assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g", "h"]);
            let types: Vec<_> = rows.columns.iter().map(|c| c.type_oid).collect();
            assert_eq!([types[0], types[1], types[2], types[6]], [20, 25, 1700, 16]);
            assert!(types[4] > 16_000, "the enum's own");
            let values: Vec<_> =
                rows.rows[0].iter().map(|v| v.as_deref().unwrap_or("NULL")).collect();
            assert_eq!(values, ["1", "NULL", "1.50", "{x,\"y z\"}", "fine", "0/16", "t", "NaN"]);
            assert!(!rows.truncated && rows.rows.len() == 1);
        }
        for (sql, reason, words) in [
            ("SELECT 1; SELECT 2", Reason::Error, "multiple commands"),
            ("SET datestyle = ISO", Reason::Error, "gives no columns"),
            ("SELECT $1::int", Reason::Error, "has parameters"),
            ("SELECT 1 FROM nowhere", Reason::MissingObject, "nowhere"),
            ("SELECT nothing()", Reason::MissingObject, "restrict it"),
            ("SELECT * FROM pg_authid", Reason::Permission, "grant"),
            ("SELECT 1/0 AS a", Reason::Error, "division by zero"),
            ("CREATE TABLE public.x()", Reason::Error, "no columns"),
        ] {
            let error = session.run(sql, &limits()).await.unwrap_err();
            assert_eq!(error.reason, reason, "{sql}: {error:?}");
            assert!(error.message.contains(words) && !error.session_lost, "{sql}: {error:?}");
        }
        assert_eq!(one(&mut session, "SELECT 42").await, "42");
        // What a statement changes with its text is seen: columns of a view, for instance.
        cluster.sql("CREATE VIEW public.v AS SELECT 1 AS a; GRANT SELECT ON public.v TO pgvigil");
        assert_eq!(one(&mut session, "SELECT * FROM public.v").await, "1");
        cluster.sql("DROP VIEW public.v; CREATE VIEW public.v AS SELECT 2 AS b, 3 AS c; GRANT SELECT ON public.v TO pgvigil");
        assert!(session.run("SELECT * FROM public.v", &limits()).await.is_err());
        assert_eq!(one(&mut session, "SELECT * FROM public.v").await, "2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_result_stops_at_the_caps() {
    for major in edges() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let mut session = session(&cluster.monitor_dsn()).await;
        for (limits, sql) in [
            (Limits { max_rows: 5000, ..limits() }, "SELECT generate_series(1, 50000000), 'abc'"),
            (
                Limits { max_rows: usize::MAX, max_bytes: 100_000, ..limits() },
                "SELECT repeat('x', 1000), generate_series(1, 50000000)",
            ),
        ] {
            let started = Instant::now();
            let rows = session.run(sql, &limits).await.unwrap();
            assert!(rows.truncated, "{major}");
            assert!(rows.rows.len() == 5000 || rows.rows.len() == 99, "{}", rows.rows.len());
            assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
            assert!(!session.is_closed());
            assert_eq!(one(&mut session, "SELECT 42").await, "42");
        }
        // A few rows too many are read to their end: no cancel request, which the server would log.
        let before = cluster.output().matches("canceling statement").count();
        let few = Limits { max_rows: 10, ..limits() };
        let rows = session.run("SELECT generate_series(1, 20)", &few).await.unwrap();
        assert!(rows.truncated && rows.rows.len() == 10);
        assert_eq!(cluster.output().matches("canceling statement").count(), before);
        // One row beyond all bounds costs the session, not the memory.
        let small = Limits { max_bytes: 100_000, ..limits() };
        let error = session.run("SELECT repeat('x', 100000000)", &small).await.unwrap_err();
        assert_eq!(error.reason, Reason::Truncated, "{error:?}");
        assert!(error.session_lost && session.is_closed());
        cluster.await_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'pgvigil'", "0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_late_is_cancelled() {
    for major in edges() {
        let Some(cluster) = Cluster::start(major) else { continue };
        cluster.sql("CREATE TABLE public.t (a int); GRANT SELECT ON public.t TO pgvigil");
        let mut session = session(&cluster.monitor_dsn()).await;
        let short = || Limits {
            statement_timeout: Duration::from_secs(20),
            deadline: Instant::now() + Duration::from_millis(300),
            ..limits()
        };
        let started = Instant::now();
        let error = session.run("SELECT pg_sleep(10)", &short()).await.unwrap_err();
        assert_eq!(error.reason, Reason::Timeout, "{error:?}");
        assert!(!error.session_lost, "{error:?}");
        assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
        assert_eq!(running(&cluster), 0);
        // Late in the midst of its rows.
        let endless = Limits { max_rows: usize::MAX, max_bytes: usize::MAX >> 8, ..short() };
        let error =
            session.run("SELECT generate_series(1, 500000000)", &endless).await.unwrap_err();
        assert_eq!((error.reason, error.session_lost), (Reason::Timeout, false), "{error:?}");
        assert_eq!(one(&mut session, "SELECT 42").await, "42");
        // The server's own limits.
        let quick = Limits { statement_timeout: Duration::from_millis(100), ..limits() };
        let error = session.run("SELECT pg_sleep(11)", &quick).await.unwrap_err();
        assert_eq!((error.reason, error.sqlstate.as_deref()), (Reason::Timeout, Some("57014")));
        let (locker, connection) =
            tokio_postgres::connect(&cluster.dsn(), tokio_postgres::NoTls).await.unwrap();
        let group = Group::new();
        group.spawn("locker", async { drop(connection.await) });
        locker.batch_execute("BEGIN; LOCK TABLE public.t").await.unwrap();
        let lock = session.run("SELECT a FROM public.t", &limits()).await.unwrap_err();
        assert_eq!((lock.reason, lock.session_lost), (Reason::LockTimeout, false), "{lock:?}");
        assert_eq!(one(&mut session, "SELECT 43").await, "43");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_hangs_is_given_up() {
    let Some(cluster) = majors().last().and_then(|&m| Cluster::start(m)) else { return };
    let connector = connector(&cluster.monitor_dsn());
    let mut session = connector.connect(None, soon()).await.unwrap();
    let pid: u32 = one(&mut session, "SELECT pg_backend_pid()").await.parse().unwrap();
    cluster.signal(pid, Signal::STOP);
    let started = Instant::now();
    let short = Limits { deadline: Instant::now() + Duration::from_millis(300), ..limits() };
    let error = session.run("SELECT 1 AS hangs", &short).await.unwrap_err();
    assert_eq!((error.reason, error.session_lost), (Reason::Timeout, true), "{error:?}");
    assert!(session.is_closed() && started.elapsed() < Duration::from_secs(3));
    let error = session.run("SELECT 1", &limits()).await.unwrap_err();
    assert_eq!((error.reason, error.session_lost), (Reason::Disconnected, true));
    // It counts still: two more fit beside it.
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(connector.connect(None, soon()).await.unwrap_or_else(|e| panic!("{e}")));
    }
    let error = connector.connect(None, soon()).await.err().unwrap();
    assert_eq!(error.reason.as_str(), "budget");
    cluster.signal(pid, Signal::CONT);
    others.push(connector.connect(None, soon()).await.unwrap_or_else(|e| panic!("{e}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_are_kept_as_well_as_can_be() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        cluster.sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        cluster.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        // A name that a database in Latin-1 has given: other databases show its bytes as they are.
        cluster.sql_in("latin", "CREATE ROLE \"caf\u{e9}\"");
        cluster.sql_in("ascii", "CREATE TABLE public.t AS SELECT 'caf' || chr(233) || '\\' AS a, 7 AS n, ARRAY['x' || chr(233)] AS d, true AS b; GRANT SELECT ON public.t TO pgvigil");
        for database in ["postgres", "ascii"] {
            let mut session =
                connector(&cluster.monitor_dsn()).connect(Some(database), soon()).await.unwrap();
            for _ in 0..2 {
                let sql = "SELECT oid > 0 AS known, rolname FROM pg_roles WHERE rolname NOT LIKE 'p%' ORDER BY oid; ";
                let rows = session
                    .run(sql, &limits())
                    .await
                    .unwrap_or_else(|e| panic!("{major} {database}: {e:?}"));
                assert_eq!(rows.columns[1].name, "rolname");
                let row: Vec<_> = rows.rows[0].iter().map(|v| v.as_deref().unwrap()).collect();
                assert_eq!(row, ["t", "caf\u{fffd}"], "{major} {database}");
            }
            if database == "ascii" {
                let rows = session.run("SELECT a, n, d, b FROM public.t", &limits()).await.unwrap();
                let row: Vec<_> = rows.rows[0].iter().map(|v| v.as_deref().unwrap()).collect();
                assert_eq!(row, ["caf\u{fffd}\\", "7", "{x\u{fffd}}", "t"]);
            }
        }
        let mut latin =
            connector(&cluster.monitor_dsn()).connect(Some("latin"), soon()).await.unwrap();
        assert_eq!(
            one(&mut latin, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'caf%'").await,
            "caf\u{e9}"
        );
    }
}
