//! Every database of a server: found and forgotten as they come and go, never kept from being dropped or
//! copied, many of them at once, and sessions within their budget all the while.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pgvigil::packs;

use super::watch::{NAME, SESSIONS, Watch, sessions, up};
use crate::support::exposition::Parsed;
use crate::support::postgres::{Cluster, Options, majors};

const PACK: &str = "
here:
  scope: database
  interval: 1s
  query: SELECT count(*) AS v, current_database() AS there FROM pg_class
  metrics: [{there: {usage: LABEL, description: d}}, {v: {usage: GAUGE, metric: pg_here, description: d}}]
shops:
  scope: database
  databases: ['shop*']
  interval: 1s
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_shops, description: d}}]
";

const OFTEN: &str = "collection: {intervals: {medium: 2s}}\n";

fn databases(page: &Parsed, metric: &str) -> Vec<String> {
    let mut found: Vec<_> =
        page.series(metric).map(|sample| sample.label("datname").unwrap().to_owned()).collect();
    found.sort();
    found
}

#[test]
fn databases_come_and_go() {
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql("CREATE DATABASE shop");
    cluster.sql("CREATE DATABASE tmp_1");
    cluster.sql("CREATE DATABASE closed");
    cluster.sql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC");
    let filter = "databases: {exclude: ['tmp_*']}";
    let builtin: Vec<&str> = packs::builtin_names().collect();
    let alone = format!("{OFTEN}packs: {{exclude: [{}]}}\n", builtin.join(", "));
    let watch = Watch::of(
        &format!("[{{name: one, dsn: '{}', {filter}}}]", cluster.monitor_dsn()),
        PACK,
        &alone,
    );
    let within = Duration::from_secs(10);
    let page =
        watch.await_scrape(within, |page| databases(page, "pg_here") == ["postgres", "shop"]);
    assert!(page.series("pg_here").all(|s| s.label("there") == s.label("datname")));
    watch.await_scrape(within, |page| databases(page, "pg_shops") == ["shop"]);
    let page = watch.await_scrape(within, |page| {
        page.series("pgvigil_query_outcome")
            .any(|s| s.label("database") == Some("closed") && s.label("reason") == Some("connect"))
    });
    assert!(up(&page));
    assert_eq!(page.value("pgvigil_databases", &[("cluster", "c"), ("server", "one")]), Some(3.0));

    cluster.sql("CREATE DATABASE shop2");
    watch.await_scrape(within, |page| databases(page, "pg_shops") == ["shop", "shop2"]);
    cluster.sql("DROP DATABASE shop");
    watch.await_scrape(within, |page| databases(page, "pg_here") == ["postgres", "shop2"]);
}

#[test]
fn nothing_keeps_a_database_from_being_dropped_or_copied() {
    let slow = format!(
        "{PACK}sleeps: {{scope: database, databases: [shop], interval: 1s, timeout: 1m, query: SELECT 1 AS v FROM pg_sleep(60),\n  \
         metrics: [{{v: {{usage: GAUGE, metric: pg_slept, description: d}}}}]}}\n"
    );
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql("CREATE DATABASE shop");
    let watch = Watch::with(&cluster.monitor_dsn(), &slow, OFTEN);
    watch.await_scrape(Duration::from_secs(20), |page| {
        page.series("pgvigil_query_outcome").any(|s| {
            s.label("query") == Some("sleeps")
                && s.label("database") == Some("shop")
                && s.label("reason") == Some("timeout")
        })
    });
    // A statement that would sleep for a minute is in this database again and again.
    for copy in 0..3 {
        cluster.sql(&format!("CREATE DATABASE copy{copy} TEMPLATE shop"));
        cluster.sql(&format!("DROP DATABASE copy{copy}"));
    }
    cluster.sql("ALTER DATABASE shop RENAME TO store");
    cluster.sql("DROP DATABASE store");
    assert!(up(&watch.scrape()));
}

/// 500 databases, with the packs that come with the agent: all are visited in turn, the instance itself
/// is answered for all the while, and there are never more than two sessions.
#[test]
fn five_hundred_databases() {
    let quick = Options::default().conf("autovacuum = off\nmax_wal_size = 4GB");
    let Some(cluster) = quick.start(majors().last().copied().unwrap_or(18)) else { return };
    let began = Instant::now();
    let mut names = Vec::new();
    cluster.with_client("postgres", async |client| {
        for n in 0..500 {
            let strategy = if cluster.major >= 15 { "STRATEGY wal_log" } else { "" };
            let name = format!("db{n:03}");
            client.batch_execute(&format!("CREATE DATABASE {name} {strategy}")).await.expect("it");
            names.push(name);
        }
    });
    let created = began.elapsed();
    let ended = AtomicBool::new(false);
    let most = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            cluster.with_client("postgres", async |client| {
                while !ended.load(Ordering::Relaxed) {
                    let row = client.query_one(SESSIONS, &[]).await.expect("a row");
                    let now = usize::try_from(row.get::<_, i64>(0)).unwrap_or(usize::MAX);
                    most.fetch_max(now, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        });
        // One round is enough, however long the machine takes for it.
        let pack = PACK.replace("interval: 1s", "interval: 5m");
        let watch = Watch::start(&cluster.monitor_dsn(), &pack);
        let began = Instant::now();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let page = watch.await_scrape(Duration::from_secs(300), |page| {
                assert!(began.elapsed() < Duration::from_secs(3) || up(page), "{page:?}");
                page.series("pg_here").count() == 501
            });
            let mut told = String::new();
            let _ = write!(told, "created in {created:?}, seen in {:?}", began.elapsed());
            let (_, took) = watch.timed_scrape();
            assert!(took < Duration::from_secs(2), "a scrape takes {took:?}");
            let _ = write!(
                told,
                ", {} series",
                page.families.iter().map(|family| family.samples.len()).sum::<usize>()
            );
            told
        }));
        ended.store(true, Ordering::Relaxed);
        match seen {
            Ok(told) => println!("{told}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let most = most.load(Ordering::Relaxed);
    assert!((1..=2).contains(&most), "{most} sessions at once");
}

/// 10,000 tables: the largest one by one, the rest in totals, and no query is late.
#[test]
fn ten_thousand_tables() {
    let quick = Options::default().conf("autovacuum = off\nmax_locks_per_transaction = 20000");
    let Some(cluster) = quick.start(majors().last().copied().unwrap_or(18)) else { return };
    for batch in 0..10 {
        cluster.sql(&format!(
            "DO $$ BEGIN FOR n IN 1..1000 LOOP \
             EXECUTE format('CREATE TABLE t{batch}_%s (id int PRIMARY KEY)', n); END LOOP; END $$"
        ));
    }
    let watch = Watch::start(&cluster.monitor_dsn(), "");
    let most = AtomicUsize::new(0);
    let capped = [
        "pg_stat_user_indexes_idx_scan_total",
        "pg_stat_user_tables_n_live_tup",
        "pg_stat_user_tables_seq_scan",
        "pg_stat_user_tables_table_size_bytes",
        "pg_table_freeze_xid_age",
    ];
    // Long enough for a second round, where the machine is busy in the first.
    watch.await_scrape(Duration::from_secs(100), |page| {
        most.fetch_max(sessions(&cluster), Ordering::Relaxed);
        let fine = |reason: Option<&str>| matches!(reason, Some("ok" | "unavailable"));
        page.series("pg_tables").any(|sample| sample.value >= 10_000.0)
            && capped.iter().all(|name| page.series(name).count() == 200)
            && page.series("pgvigil_query_outcome").all(|sample| fine(sample.label("reason")))
    });
    let most = most.load(Ordering::Relaxed);
    assert!((1..=2).contains(&most), "{most} sessions at once");
    drop(watch);
    cluster.await_sql(SESSIONS, "0");

    // Without caps the server remembers all of them for the session, which is therefore replaced.
    let dsn = cluster.monitor_dsn();
    let alone = format!("[{{name: {NAME}, dsn: '{dsn}', databases: {{include: [postgres]}}}}]");
    let all = "collection: {tables: all, indexes: all, max_series: none}\n";
    let watch = Watch::of(&alone, "", all);
    let mut known = BTreeSet::new();
    let (deadline, mut most) = (Instant::now() + Duration::from_secs(60), 0);
    while known.len() < 3 {
        assert!(Instant::now() < deadline, "{known:?}");
        let pids = cluster.sql(&SESSIONS.replace("count(*)", "pid"));
        most = most.max(pids.len());
        known.extend(pids.into_iter().flatten());
        std::thread::sleep(Duration::from_millis(20));
    }
    watch.await_scrape(Duration::from_secs(60), |page| {
        page.series("pg_stat_user_tables_seq_scan").count() == 10_000
    });
    assert!(most <= 2, "{most} sessions at once");
}
