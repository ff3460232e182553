//! The example of a user's own pack, as its README tells it: tables, pack, agent, alert.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::agent::{Agent, pgvigil, project, sample};
use crate::support::postgres::{Cluster, edges};
use crate::support::process::component;

/// The first block of that language in the README.
fn block(language: &str, after: &str) -> String {
    let text = fs::read_to_string(project("queries/examples/README.md")).expect("the README");
    let (_, rest) = text.split_once(after).expect("the heading");
    let (_, rest) = rest.split_once(&format!("```{language}\n")).expect("a block");
    rest.split("```").next().unwrap_or_default().to_owned()
}

#[test]
fn a_change_log() {
    let file = project("queries/examples/changelog.yaml").display().to_string();
    for major in edges() {
        let Some(cluster) = Cluster::start(major) else { continue };
        cluster.sql("CREATE DATABASE shop");
        cluster.sql_in("shop", &block("sql", "## The tables"));
        cluster.sql_in(
            "shop",
            "INSERT INTO app.change_log (written_at, change)
             SELECT clock_timestamp() - make_interval(mins => 10 - i), '{}' FROM generate_series(1, 5) AS i;
             INSERT INTO app.change_log_consumer VALUES
               ('search', 5, clock_timestamp() - interval '1 minute'),
               ('warehouse', 2, clock_timestamp() - interval '1 hour'), ('new', 0, NULL)",
        );
        let dsn = cluster.monitor_dsn().replace("/postgres", "/shop");
        let output = pgvigil(&["query", &file, "--dsn", &dsn]).output().expect("the binary runs");
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        let advice = told
            .lines()
            .filter(|line| line.contains("changelog.yaml:") && !line.contains("read as"));
        assert_eq!(advice.count(), 0, "{told}");
        let shop = ("datname", "shop");
        let of = |name: &str, consumer: &str| {
            let labels = [shop, ("consumer", consumer)];
            sample(&page, &format!("app_change_log_consumer_{name}"), &labels)
        };
        assert_eq!(sample(&page, "app_change_log_rows", &[shop]), Some(5.0), "{told}");
        // Row 1 is nine minutes old, and only `new` has not read it; row 3 is seven.
        let oldest = sample(&page, "app_change_log_oldest_unread_age_seconds", &[shop]);
        assert!(oldest.is_some_and(|age| (540.0..720.0).contains(&age)), "{oldest:?}");
        assert_eq!(
            (of("unread_rows", "search"), of("unread_rows", "warehouse")),
            (Some(0.0), Some(3.0))
        );
        assert_eq!(of("oldest_unread_age_seconds", "search"), Some(0.0));
        let behind = of("oldest_unread_age_seconds", "warehouse");
        assert!(behind.is_some_and(|age| (420.0..540.0).contains(&age)), "{behind:?}");
        assert!(of("age_seconds", "search").is_some_and(|age| (60.0..180.0).contains(&age)));
        assert!(of("age_seconds", "warehouse").is_some_and(|age| (3600.0..3720.0).contains(&age)));
        assert_eq!(of("age_seconds", "new"), None, "who never read has no age");
    }
}

#[test]
fn the_agent_runs_it_where_its_database_is() {
    let Some(major) = edges().pop() else { return };
    let Some(cluster) = Cluster::start(major) else { return };
    cluster.sql("CREATE DATABASE shop");
    cluster.sql("CREATE DATABASE other");
    cluster.sql_in("shop", &block("sql", "## The tables"));
    let packs = block("yaml", "## The agent");
    let folder = project("queries/examples").display().to_string();
    let agent = Agent::start(&format!(
        "instances: [{{name: one, dsn: '{}'}}]\n{}",
        cluster.monitor_dsn(),
        packs.replace("/etc/pgvigil/queries.d", &folder),
    ));
    let labels = [("server", "one"), ("datname", "shop")];
    let page = agent.await_metrics(Duration::from_secs(30), |page| {
        sample(page, "app_change_log_rows", &labels).is_some()
    });
    assert_eq!(sample(&page, "app_change_log_oldest_unread_age_seconds", &labels), Some(0.0));
    assert_eq!(page.matches("\napp_change_log_rows{").count(), 1, "nowhere else");
    let outcome = [("server", "one"), ("query", "app_change_log"), ("reason", "ok")];
    assert_eq!(sample(&page, "pgvigil_query_outcome", &outcome), Some(1.0), "{}", agent.log());
}

#[test]
fn its_alert_is_one() {
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = directory.path().join("rules.yaml");
    fs::write(&file, block("yaml", "## The alert")).expect("a file");
    for promtool in ["PROMTOOL", "PROMTOOL_OLD"].into_iter().filter_map(component) {
        let output = Command::new(promtool).args(["check", "rules"]).arg(&file).output();
        let output = output.expect("promtool runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
