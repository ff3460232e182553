//! What a scrape shows and costs while all is well.

use std::time::Duration;

use super::watch::{Watch, outcome, sessions, state, up};
use crate::support::postgres::{Cluster, Options, majors};

const MARKED: &str = "
marked:
  interval: fast
  query: SELECT 1 AS v /* marked */
  metrics: [{v: {usage: GAUGE, metric: pg_marked, description: A marked query.}}]
";

fn runs(cluster: &Cluster) -> usize {
    // The server logs a statement's text once when it runs it; `prepare` alone is logged at debug.
    cluster.output().lines().filter(|line| line.contains("/* marked */")).count()
}

#[test]
fn every_query_of_every_major_answers_on_primary_and_standby() {
    for major in majors() {
        let Some(primary) = Cluster::start(major) else { continue };
        let standby = Cluster::standby_of(&primary, &Options::default());
        for cluster in [&primary, &standby] {
            let watch = Watch::start(&cluster.monitor_dsn(), "");
            let (page, took) = watch.timed_scrape();
            assert!(up(&page), "{major}: {}", watch.told());
            assert_eq!(state(&page), "ok");
            assert!(took < Duration::from_secs(3), "{took:?}");
            watch.settle();
            for query in &watch.collector.status()[0].queries {
                let reason = query.reason.unwrap().as_str();
                assert!(matches!(reason, "ok" | "unavailable"), "{major}: {query:?}");
            }
            let page = watch.scrape();
            let role = if std::ptr::eq(cluster, &primary) { "primary" } else { "standby" };
            assert_eq!(page.value("pgvigil_instance_info", &[("role", role)]), Some(1.0));
            assert_eq!(page.value("pgvigil_sessions", &[]), Some(2.0));
            assert_eq!(sessions(cluster), 2);
            for name in ["pgvigil_query_duration_seconds", "pgvigil_query_rows"] {
                assert!(page.value(name, &[("query", "pg_postmaster")]).is_some(), "{name}");
            }
            assert!(page.value("pgvigil_query_series", &[("query", "pg_postmaster")]) >= Some(1.0));
            let age = page.value("pgvigil_query_age_seconds", &[("query", "pg_postmaster")]);
            assert!(age < Some(2.0), "{age:?}");
        }
    }
}

#[test]
fn scrapes_at_once_cost_one_refresh_and_a_fresh_result_none() {
    let options = Options::default().conf("log_statement = 'all'");
    let Some(cluster) = options.start(17) else { return };
    let watch = Watch::alone(&cluster.dsn(), MARKED);
    watch.settle();
    std::thread::sleep(Duration::from_millis(1100));
    let before = runs(&cluster);
    watch.runtime.block_on(async {
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let collector = std::sync::Arc::clone(&watch.collector);
            set.spawn(async move { collector.scrape(Duration::from_secs(2), None).await.len() });
        }
        while let Some(families) = set.join_next().await {
            assert!(families.unwrap() > 5);
        }
    });
    assert_eq!(runs(&cluster) - before, 1, "{}", cluster.output());
    watch.scrape();
    assert_eq!(runs(&cluster) - before, 1, "a result of less than a second ago is fresh");
    std::thread::sleep(Duration::from_millis(1100));
    let page = watch.scrape();
    assert_eq!(runs(&cluster) - before, 2);
    assert_eq!(page.value("pg_marked", &[]), Some(1.0));
}

#[test]
fn scrapes_that_are_cancelled_leave_nothing() {
    let options = Options::default().conf("log_statement = 'all'");
    let Some(cluster) = options.start(17) else { return };
    let watch = Watch::alone(&cluster.dsn(), MARKED);
    watch.settle();
    let before = runs(&cluster);
    let begin = std::time::Instant::now();
    watch.runtime.block_on(async {
        for n in 0..3000u64 {
            let scrape = watch.collector.scrape(Duration::from_secs(2), None);
            let _ = tokio::time::timeout(Duration::from_micros(n % 700), scrape).await;
        }
    });
    // Whatever they asked for: at most one run a second.
    let most = usize::try_from(begin.elapsed().as_secs()).unwrap() + 2;
    assert!(runs(&cluster) - before <= most);
    std::thread::sleep(Duration::from_millis(1100));
    let (page, took) = watch.timed_scrape();
    assert!(up(&page) && took < Duration::from_secs(1));
    assert_eq!(sessions(&cluster), 2);
}

#[test]
fn unscraped_the_fast_queries_run_by_themselves() {
    let options = Options::default().conf("log_statement = 'all'");
    let Some(cluster) = options.start(17) else { return };
    let watch =
        Watch::with(&cluster.dsn(), MARKED, "collection: {intervals: {fast: 1s, medium: 2s}}\n");
    std::thread::sleep(Duration::from_secs(5));
    let runs = runs(&cluster);
    assert!((4..=7).contains(&runs), "{runs} runs in 5 s");
    drop(watch);
}

#[test]
fn a_promotion_changes_the_role_and_its_queries_at_once() {
    let Some(primary) = Cluster::start(17) else { return };
    let standby = Cluster::standby_of(&primary, &Options::default());
    let watch = Watch::start(
        &standby.monitor_dsn(),
        "
on_primary:
  interval: fast
  role: primary
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_on_primary, description: On primaries.}}]
on_standby:
  interval: fast
  role: standby
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_on_standby, description: On standbys.}}]
",
    );
    let page = watch.settle();
    assert_eq!(outcome(&page, "on_primary"), "unavailable");
    assert_eq!(page.value("pg_on_standby", &[]), Some(1.0));
    assert_eq!(page.value("pg_on_primary", &[]), None);
    standby.sql("SELECT pg_promote()");
    std::thread::sleep(Duration::from_millis(1100));
    watch.scrape();
    let page = watch.scrape();
    assert_eq!(page.value("pg_on_primary", &[]), Some(1.0), "{}", watch.told());
    assert_eq!(page.value("pg_on_standby", &[]), None);
    assert_eq!(outcome(&page, "on_standby"), "unavailable");
    assert_eq!(page.value("pgvigil_instance_info", &[("role", "primary")]), Some(1.0));
}

#[test]
fn the_servers_log_settings_are_told_and_followed() {
    let Some(cluster) = Cluster::start(16) else { return };
    cluster.sql("ALTER SYSTEM SET log_line_prefix = 'one %p '");
    cluster.sql("SELECT pg_reload_conf()");
    let more = "collection: {intervals: {medium: 1s}}\n";
    let watch = Watch::with(&cluster.monitor_dsn(), "", more);
    let mut settings = watch.collector.log_settings(0);
    let wait = |prefix: &'static str, settings: &mut tokio::sync::watch::Receiver<_>| {
        watch.runtime.block_on(async {
            tokio::time::timeout(
                Duration::from_secs(10),
                settings.wait_for(|known: &Option<pgvigil::postgres::LogSettings>| {
                    known.as_ref().is_some_and(|known| known.line_prefix == prefix)
                }),
            )
            .await
            .unwrap()
            .unwrap()
            .clone()
        })
    };
    let known = wait("one %p ", &mut settings).unwrap();
    assert_eq!((known.time_zone.as_str(), known.verbosity.as_str()), ("UTC", "default"));
    cluster.sql("ALTER SYSTEM SET log_line_prefix = 'two %p '");
    cluster.sql("SELECT pg_reload_conf()");
    wait("two %p ", &mut settings);
}

#[test]
fn a_stop_leaves_no_session_and_no_statement() {
    let Some(cluster) = Cluster::start(17) else { return };
    let watch = Watch::alone(
        &cluster.monitor_dsn(),
        "
sleeps:
  timeout: 60s
  query: SELECT 1 AS v FROM pg_sleep(60)
  metrics: [{v: {usage: GAUGE, metric: pg_slept, description: Never seen.}}]
",
    );
    cluster.await_sql(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' \
         AND pid <> pg_backend_pid() AND state = 'active'",
        "1",
    );
    assert!(watch.stop(Duration::from_secs(1), Duration::from_secs(2)));
    let begin = std::time::Instant::now();
    cluster.await_sql(super::watch::SESSIONS, "0");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn one_instance_that_is_down_costs_the_other_nothing() {
    let Some(cluster) = Cluster::start(17) else { return };
    let instances = format!(
        "[{{name: dead, dsn: 'postgresql://x@127.0.0.1:{}/postgres'}}, \
         {{name: one, dsn: '{}', labels: {{team: a}}}}]",
        crate::support::process::free_port(),
        cluster.monitor_dsn()
    );
    let watch = Watch::of(&instances, "", "labels: {environment: test, team: b}\n");
    watch.await_scrape(Duration::from_secs(20), |page| {
        page.value("pg_up", &[("server", "one")]) == Some(1.0)
    });
    std::thread::sleep(Duration::from_millis(1100));
    let (page, took) = watch.timed_scrape();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let value = |server, team| {
        page.value("pg_up", &[("server", server), ("team", team), ("environment", "test")])
    };
    assert_eq!((value("one", "a"), value("dead", "b")), (Some(1.0), Some(0.0)));

    let patience = Duration::from_secs(2);
    for (name, number) in [("one", 1), ("dead", 1), ("nobody", 0)] {
        let families = watch.runtime.block_on(watch.collector.scrape(patience, Some(name)));
        let up = families.iter().filter(|family| &*family.name == "pg_up");
        let servers: Vec<_> =
            up.flat_map(|f| &f.samples).map(|s| s.labels.get("server").unwrap()).collect();
        assert_eq!(servers, vec![name; number]);
    }
}
