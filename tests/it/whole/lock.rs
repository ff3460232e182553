//! Somebody holds what nearly every query needs, for forty seconds.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::{SESSIONS, await_page, page, settled, up};
use crate::support::agent::Agent;
use crate::support::postgres::Cluster;

/// Reads the table that is locked.
const PACK: &str = "
orders:
  interval: fast
  query: SELECT count(*) AS rows FROM public.orders
  metrics: [{rows: {usage: GAUGE, metric: pg_orders, description: Orders.}}]
";

async fn sessions(client: &Client) -> usize {
    let rows = client.simple_query(SESSIONS).await.unwrap();
    let first = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    first.and_then(|count| count.parse().ok()).unwrap()
}

/// A table, and catalogs that other packs and every new session read.
#[test]
fn an_exclusive_lock_for_forty_seconds_is_survived() {
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql(
        "CREATE TABLE public.orders AS SELECT 1 AS id; GRANT SELECT ON public.orders TO pgvigil",
    );
    let packs = tempfile::tempdir().unwrap();
    std::fs::write(packs.path().join("orders.yaml"), PACK).unwrap();
    let agent = Agent::start(&format!(
        "instances: [{{name: s, dsn: \"{}\"}}]\npacks: {{directories: [\"{}\"]}}\n",
        cluster.monitor_dsn(),
        packs.path().display()
    ));
    let within = Duration::from_secs(30);
    await_page(&agent, within, |page| settled(page, "s") && page.value("pg_orders", &[]).is_some());

    let mut most = 0;
    let mut failed = 0;
    cluster.with_client("postgres", async |client| {
        let lock = "BEGIN; LOCK TABLE public.orders, pg_catalog.pg_database, pg_catalog.pg_class \
                    IN ACCESS EXCLUSIVE MODE";
        client.batch_execute(lock).await.unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(40) {
            // The scrape blocks this thread, whose session only sits on its lock.
            let page = page(&agent);
            most = most.max(sessions(client).await);
            let outcome = page
                .series("pgvigil_query_outcome")
                .find(|sample| sample.label("query") == Some("orders"))
                .and_then(|sample| sample.label("reason"))
                .unwrap();
            failed += usize::from(outcome != "ok");
            tokio::time::sleep(Duration::from_secs(2)).await;
            most = most.max(sessions(client).await);
        }
        client.batch_execute("ROLLBACK").await.unwrap();
    });
    assert!((1..=3).contains(&most), "{most} sessions");
    assert!(failed > 10, "the lock was not in the way: {failed}");
    // What goes round the databases comes back within its own minute.
    await_page(&agent, Duration::from_secs(150), |page| {
        up(page, "s") && settled(page, "s") && page.value("pg_orders", &[]) == Some(1.0)
    });
    let count: usize = cluster.sql(SESSIONS)[0][0].parse().unwrap();
    assert!((1..=3).contains(&count), "{count} sessions");
}
