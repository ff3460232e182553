//! Queries of every bad kind: each costs itself alone, and says so.

use std::time::Duration;

use super::watch::{PATIENCE, Watch, outcome, sessions, up};
use crate::support::exposition::Parsed;
use crate::support::postgres::Cluster;

/// One of each, all fast, so that all of them stand in the way of the good one at the end.
const BAD: &str = "
sleeps:
  interval: fast
  timeout: 300ms
  query: SELECT 1 AS v FROM pg_sleep(60)
  metrics: [{v: {usage: GAUGE, metric: pg_slept, description: d}}]
sleeps_longer:
  interval: fast
  timeout: 3s
  query: SELECT 1 AS v FROM pg_sleep(60)
  metrics: [{v: {usage: GAUGE, metric: pg_slept_longer, description: d}}]
takes_its_time:
  interval: fast
  timeout: 5s
  query: SELECT 1 AS v FROM pg_sleep(1.2)
  metrics: [{v: {usage: GAUGE, metric: pg_took_its_time, description: d}}]
locks:
  interval: fast
  query: SELECT v FROM public.locked
  metrics: [{v: {usage: GAUGE, metric: pg_locks_itself, description: d}}]
endless:
  interval: fast
  query: SELECT generate_series(1, 1000000000) AS n, 1 AS v
  metrics: [{n: {usage: LABEL, description: d}}, {v: {usage: GAUGE, metric: pg_endless, description: d}}]
long_text:
  interval: fast
  query: SELECT 'short' AS l, 1 AS v UNION ALL SELECT repeat('x', 1048576), 2
  metrics: [{l: {usage: LABEL, description: d}}, {v: {usage: GAUGE, metric: pg_long_text, description: d}}]
nothing_special:
  interval: fast
  query: >
    SELECT l, v FROM (VALUES ('null', NULL), ('nan', 'NaN'::float8), ('inf', 'Infinity'), ('minf', '-Infinity'), ('one', 1)) AS t (l, v)
  metrics: [{l: {usage: LABEL, description: d}}, {v: {usage: GAUGE, metric: pg_special, description: d}}]
numerics:
  interval: fast
  query: >
    SELECT 12345678901234567890.5::numeric AS a, 'NaN'::numeric AS b, true AS c, '2024-05-01 12:34:56.5+00'::timestamptz AS d,
           '16/B374D848'::pg_lsn - '0/0'::pg_lsn AS e, 4294967295::oid AS f
  metrics:
    - a: {usage: GAUGE, metric: pg_numeric_a, description: d}
    - b: {usage: GAUGE, metric: pg_numeric_b, description: d}
    - c: {usage: GAUGE, metric: pg_numeric_c, description: d}
    - d: {usage: GAUGE, metric: pg_numeric_d, description: d}
    - e: {usage: GAUGE, metric: pg_numeric_e, description: d}
    - f: {usage: GAUGE, metric: pg_numeric_f, description: d}
twice:
  interval: fast
  query: SELECT 'a' AS l, v FROM generate_series(1, 3) AS v
  metrics: [{l: {usage: LABEL, description: d}}, {v: {usage: GAUGE, metric: pg_twice, description: d}}]
text:
  interval: fast
  query: SELECT 'hunter2' AS v, 5 AS w
  metrics: [{v: {usage: GAUGE, metric: pg_text, description: d}}, {w: {usage: GAUGE, metric: pg_text_w, description: d}}]
own_name:
  interval: fast
  query: SELECT 1 AS v, 2 AS w
  metrics: [{v: {usage: GAUGE, metric: pg_up, description: d}}, {w: {usage: GAUGE, metric: pg_own_w, description: d}}]
other_type:
  interval: fast
  query: SELECT 1 AS v
  metrics: [{v: {usage: COUNTER, metric: pg_special, description: d}}]
forbidden:
  interval: fast
  query: SELECT count(*) AS v FROM public.forbidden
  metrics: [{v: {usage: GAUGE, metric: pg_forbidden, description: d}}]
missing:
  interval: fast
  query: SELECT count(*) AS v FROM public.no_such_table
  metrics: [{v: {usage: GAUGE, metric: pg_missing, description: d}}]
fails:
  interval: fast
  query: SELECT 1 / 0 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_fails, description: d}}]
writes:
  interval: fast
  query: SELECT nextval('public.s') AS v
  metrics: [{v: {usage: GAUGE, metric: pg_writes, description: d}}]
needs:
  interval: fast
  requires: {extension: no_such_extension}
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_needs, description: d}}]
needs_function:
  interval: fast
  requires: {function: public.no_such_function}
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_needs_function, description: d}}]
good:
  interval: fast
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_good, description: d}}]
";

#[test]
fn every_bad_query_costs_itself_alone_and_says_so() {
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql(
        "CREATE TABLE public.locked AS SELECT 1 AS v; GRANT SELECT ON public.locked TO pgvigil;
         CREATE TABLE public.forbidden AS SELECT 1 AS v;
         CREATE SEQUENCE public.s; GRANT ALL ON public.s TO pgvigil",
    );
    let watch = cluster.with_client("postgres", async |client| {
        client.batch_execute("BEGIN; LOCK TABLE public.locked").await.unwrap();
        let watch = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let watch = Watch::start(&cluster.monitor_dsn(), BAD);
                    watch.settle();
                    judge(&watch);
                    watch
                })
                .join()
                .unwrap()
        });
        client.batch_execute("ROLLBACK").await.unwrap();
        watch
    });
    // The lock is gone: the query behind it comes back by itself.
    watch.await_scrape(Duration::from_secs(25), |page| outcome(page, "locks") == "ok");
    assert!(sessions(&cluster) <= 3);
}

fn judge(watch: &Watch) {
    let page = watch.scrape();
    for (query, reason) in [
        ("sleeps", "timeout"),
        ("sleeps_longer", "timeout"),
        ("takes_its_time", "ok"),
        ("locks", "lock_timeout"),
        ("endless", "truncated"),
        ("long_text", "truncated"),
        ("nothing_special", "ok"),
        ("numerics", "ok"),
        ("twice", "duplicate"),
        ("text", "type"),
        ("own_name", "duplicate"),
        ("other_type", "duplicate"),
        ("forbidden", "permission"),
        ("missing", "missing_object"),
        ("fails", "error"),
        ("writes", "error"),
        ("needs", "unavailable"),
        ("needs_function", "unavailable"),
        ("good", "ok"),
        ("pg_postmaster", "ok"),
    ] {
        assert_eq!(outcome(&page, query), reason, "{query}: {}", watch.told());
    }
    let value = |name: &str, labels: &[(&str, &str)]| page.value(name, labels);
    assert_eq!(value("pg_took_its_time", &[]), Some(1.0));
    assert_eq!(page.series("pg_endless").count(), 5000, "the cap of the configuration");
    assert_eq!(value("pg_long_text", &[]), Some(1.0), "the short one stays");
    assert_eq!(value("pg_special", &[("l", "null")]), None);
    assert!(value("pg_special", &[("l", "nan")]).unwrap().is_nan());
    assert_eq!(value("pg_special", &[("l", "inf")]), Some(f64::INFINITY));
    assert_eq!(value("pg_special", &[("l", "minf")]), Some(f64::NEG_INFINITY));
    assert_eq!(value("pg_numeric_a", &[]), Some(12_345_678_901_234_567_890.5));
    assert!(value("pg_numeric_b", &[]).unwrap().is_nan());
    assert_eq!(value("pg_numeric_c", &[]), Some(1.0));
    assert_eq!(value("pg_numeric_d", &[]), Some(1_714_566_896.5));
    assert_eq!(
        value("pg_numeric_e", &[]),
        Some(f64::from(0x16_u8) * 4_294_967_296.0 + 3_010_779_208.0)
    );
    assert_eq!(value("pg_numeric_f", &[]), Some(4_294_967_295.0));
    assert_eq!(value("pg_twice", &[]), Some(1.0));
    assert_eq!(value("pg_text_w", &[]), Some(5.0));
    assert_eq!(value("pg_own_w", &[]), Some(2.0));
    assert_eq!(value("pg_good", &[]), Some(1.0));
    assert_eq!(value("pgvigil_query_truncated", &[("query", "endless")]), Some(1.0));
    assert_eq!(value("pgvigil_query_dropped", &[("query", "twice")]), Some(2.0));
    assert!(up(&page));
    for query in &watch.collector.status()[0].queries {
        let reason = query.reason.unwrap();
        let message = query.message.clone().unwrap_or_default();
        assert!(reason.as_str() == "ok" || !message.is_empty(), "{query:?}");
        assert!(!message.contains("hunter2"), "a row's value is told: {message}");
    }
    // The late ones have given up their places: the others are fresh at each scrape, and quick.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(1100));
        let (page, took) = watch.timed_scrape();
        assert!(took < PATIENCE / 2, "{took:?}");
        assert!(fresh(&page, "good") && fresh(&page, "pg_postmaster"), "{}", watch.told());
    }
}

fn fresh(page: &Parsed, query: &str) -> bool {
    page.value("pgvigil_query_age_seconds", &[("query", query)]).is_some_and(|age| age < 1.0)
}

#[test]
fn bytes_that_are_no_text_cost_one_query() {
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql(
        "CREATE DATABASE raw ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    let pack = r#"
bytes:
  interval: fast
  query: "SELECT E'a\\xff\\xfeb' AS l, 1 AS v"
  metrics: [{l: {usage: LABEL, description: d}}, {v: {usage: GAUGE, metric: pg_bytes, description: d}}]
good:
  interval: fast
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_good, description: d}}]
"#;
    let dsn = format!("postgresql://pgvigil@127.0.0.1:{}/raw", cluster.port);
    let watch = Watch::start(&dsn, pack);
    let page = watch.settle();
    assert_eq!(outcome(&page, "good"), "ok");
    assert!(up(&page));
    match outcome(&page, "bytes").as_str() {
        "ok" => {
            let sample = page.series("pg_bytes").next().unwrap();
            assert_eq!(sample.label("l"), Some("a\u{fffd}\u{fffd}b"));
        }
        // The server itself refuses to send what is no UTF-8.
        other => assert_eq!(other, "error"),
    }
}

#[test]
fn a_table_that_goes_and_comes_back_takes_its_query_along() {
    let Some(cluster) = Cluster::start(17) else { return };
    let create = "CREATE TABLE public.t AS SELECT 7 AS v; GRANT SELECT ON public.t TO pgvigil";
    cluster.sql(create);
    let pack = "
t:
  interval: fast
  query: SELECT v FROM public.t
  metrics: [{v: {usage: GAUGE, metric: pg_t, description: d}}]
";
    let watch = Watch::alone(&cluster.monitor_dsn(), pack);
    let page = watch.settle();
    assert_eq!(page.value("pg_t", &[]), Some(7.0));
    cluster.sql("DROP TABLE public.t");
    let soon = Duration::from_secs(5);
    watch.await_scrape(soon, |page| outcome(page, "t") == "missing_object");
    // Another type than before: what was prepared once must not be trusted for ever.
    cluster.sql(
        "CREATE TABLE public.t AS SELECT 8.5::numeric AS v; GRANT SELECT ON public.t TO pgvigil",
    );
    let page = watch.await_scrape(soon, |page| outcome(page, "t") == "ok");
    assert_eq!(page.value("pg_t", &[]), Some(8.5));
}

#[test]
fn a_dropped_extension_takes_its_query_alone_along() {
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql("CREATE EXTENSION tablefunc");
    let pack = "
random:
  interval: fast
  requires: {extension: tablefunc}
  query: SELECT count(*) AS v FROM {schema}.normal_rand(3, 1, 1)
  metrics: [{v: {usage: GAUGE, metric: pg_random, description: d}}]
good:
  interval: fast
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_good, description: d}}]
";
    let watch = Watch::start(&cluster.monitor_dsn(), pack);
    assert_eq!(watch.settle().value("pg_random", &[]), Some(3.0));
    cluster.sql("DROP EXTENSION tablefunc");
    let gone =
        |page: &Parsed| ["missing_object", "unavailable"].contains(&&*outcome(page, "random"));
    let page = watch.await_scrape(Duration::from_secs(10), gone);
    assert_eq!(page.value("pg_good", &[]), Some(1.0));
    assert!(up(&page));
}
