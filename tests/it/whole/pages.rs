//! The page of a real agent for servers of every major, primaries and standbys: read by a strict parser
//! of our own, by promtool, and by the oldest and the newest Prometheus.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;

use super::{await_page, page, settled, state, up};
use crate::support::agent::Agent;
use crate::support::exposition::{Parsed, parse_openmetrics, parse_text};
use crate::support::postgres::{Cluster, Options, edges, majors};
use crate::support::process::component;
use crate::support::prometheus::Prometheus;

/// Names taken over from postgres_exporter because boards and rules know them, though a lint of today
/// complains. Nothing new may come in here.
const INHERITED: &[&str] = &[
    "pg_locks_count",
    "pg_stat_activity_count",
    "pg_stat_archiver_archived_count",
    "pg_stat_archiver_failed_count",
    "pg_stat_database_blk_read_time",
    "pg_stat_database_blk_write_time",
    "pg_stat_database_blks_hit",
    "pg_stat_database_blks_read",
    "pg_stat_database_conflicts",
    "pg_stat_database_conflicts_confl_bufferpin",
    "pg_stat_database_conflicts_confl_deadlock",
    "pg_stat_database_conflicts_confl_lock",
    "pg_stat_database_conflicts_confl_snapshot",
    "pg_stat_database_conflicts_confl_tablespace",
    "pg_stat_database_deadlocks",
    "pg_stat_database_temp_bytes",
    "pg_stat_database_temp_files",
    "pg_stat_database_tup_deleted",
    "pg_stat_database_tup_fetched",
    "pg_stat_database_tup_inserted",
    "pg_stat_database_tup_returned",
    "pg_stat_database_tup_updated",
    "pg_stat_database_xact_commit",
    "pg_stat_database_xact_rollback",
];

/// What these begin is named as the view's columns are.
const VIEWS: &[&str] = &["pg_stat_user_tables_", "pg_statio_user_tables_"];

const OPEN: (&str, &str) = ("Accept", "application/openmetrics-text;version=1.0.0");

/// A server each of every major, and a standby of the oldest and the newest.
fn servers() -> Vec<(String, Cluster)> {
    let mut servers = Vec::new();
    for major in majors() {
        let archiving = Options::default().conf("archive_mode = on\narchive_command = 'true'");
        let primary = archiving.start(major).expect("an installed major");
        primary.sql("CREATE TABLE t AS SELECT 1 AS v; SELECT pg_switch_wal()");
        if edges().contains(&major) {
            primary.sql("SELECT pg_create_physical_replication_slot('standby')");
            let options = Options::default().conf("primary_slot_name = 'standby'");
            servers.push((format!("standby-{major}"), Cluster::standby_of(&primary, &options)));
        }
        servers.push((format!("primary-{major}"), primary));
    }
    servers
}

#[test]
fn every_reader_takes_the_page_of_every_major() {
    let servers = servers();
    if servers.is_empty() {
        return;
    }
    let mut configuration = "cluster: c\ninstances:\n".to_owned();
    for (name, cluster) in &servers {
        let dsn = cluster.monitor_dsn();
        configuration.push_str(&format!("  - {{name: {name}, dsn: \"{dsn}\"}}\n"));
    }
    let agent = Agent::start(&configuration);
    await_page(&agent, Duration::from_secs(60), |page| {
        servers.iter().all(|(name, _)| settled(page, name))
    });
    let whole = page(&agent);
    for (name, cluster) in &servers {
        assert!(up(&whole, name) && state(&whole, name) == "ok", "{name}");
        let version = cluster.major.to_string();
        let info = whole
            .series("pgvigil_instance_info")
            .find(|sample| sample.label("server") == Some(name))
            .unwrap_or_else(|| panic!("no word of {name}"));
        assert!(info.label("version").unwrap().starts_with(&version), "{info:?}");
        assert_eq!(info.label("role"), name.split('-').next());
        let own = agent.get(&format!("/probe?target={name}"));
        let own = parse_text(&own.body).unwrap_or_else(|e| panic!("{name}: {e}"));
        let other = own.families.iter().flat_map(|family| &family.samples);
        let other = other.filter(|sample| sample.label("server").is_some_and(|s| s != name));
        assert_eq!(other.count(), 0, "{name}: a probe tells of others");
        assert!(up(&own, name));
    }
    assert_eq!(
        whole.series("pgvigil_http_dropped_series_total").map(|s| s.value).sum::<f64>(),
        0.0
    );

    formats_agree(&agent);
    lint(&agent);
    scraped(agent.address, servers.len());
}

/// Name and labels of all samples.
fn series(page: &Parsed) -> BTreeSet<String> {
    let samples = page.families.iter().flat_map(|family| &family.samples);
    samples
        .map(|sample| {
            let mut labels = sample.labels.clone();
            labels.sort();
            format!("{}{labels:?}", sample.name)
        })
        .collect()
}

/// Holds within a few tries: series come and go with what the servers do meanwhile.
#[track_caller]
fn soon(what: &str, mut holds: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(found) = holds() {
        assert!(Instant::now() < deadline, "{what}: {found}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn formats_agree(agent: &Agent) {
    let gzip = ("Accept-Encoding", "gzip");
    let unpacked = |headers: &[(&str, &str)]| {
        let reply = agent.ask("/metrics", headers);
        assert!(reply.headers.to_ascii_lowercase().contains("content-encoding: gzip"));
        let mut text = String::new();
        GzDecoder::new(&reply.bytes[..]).read_to_string(&mut text).unwrap();
        text
    };
    let reply = agent.ask("/metrics", &[OPEN]);
    assert!(reply.headers.contains("application/openmetrics-text; version=1.0.0"));
    soon("the formats differ", || {
        let text = series(&page(agent));
        let pages = [
            series(&parse_openmetrics(&agent.ask("/metrics", &[OPEN]).body).unwrap()),
            series(&parse_text(&unpacked(&[gzip])).unwrap()),
            series(&parse_openmetrics(&unpacked(&[OPEN, gzip])).unwrap()),
        ];
        for other in pages {
            let odd: Vec<_> = text.symmetric_difference(&other).take(5).collect();
            if !odd.is_empty() {
                return Err(format!("{odd:?}"));
            }
        }
        Ok(())
    });
}

/// promtool reads the page, and complains of inherited names alone.
fn lint(agent: &Agent) {
    for variable in ["PROMTOOL", "PROMTOOL_OLD"] {
        let Some(promtool) = component(variable) else { continue };
        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(agent.metrics().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        // 1: the page can't be read; 3: a lint complains.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{variable}: {said}");
        let complaints: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let names: BTreeSet<&str> =
            complaints.iter().map(|line| line.split_whitespace().next().unwrap()).collect();
        let new: Vec<_> = complaints
            .iter()
            .filter(|line| {
                let name = line.split_whitespace().next().unwrap();
                let of_view = VIEWS.iter().any(|view| name.starts_with(view));
                !INHERITED.contains(&name) && !of_view
            })
            .collect();
        assert!(new.is_empty(), "{variable} complains of new names: {new:#?}");
        for name in INHERITED {
            assert!(names.contains(name), "{variable} has nothing against {name}");
        }
    }
}

/// The newest Prometheus takes text and OpenMetrics, the oldest what it asks for, and all find the
/// same series.
fn scraped(address: SocketAddr, servers: usize) {
    let newest = component("PROMETHEUS").map(|program| {
        let job = |name: &str, protocol: &str| {
            format!(
                "- job_name: {name}\n  scrape_protocols: [{protocol}]\n  \
                 static_configs: [{{targets: [\"{address}\"]}}]\n"
            )
        };
        let text = job("text", "PrometheusText0.0.4");
        let open = job("open", "OpenMetricsText1.0.0");
        let plain =
            format!("- job_name: asked\n  static_configs: [{{targets: [\"{address}\"]}}]\n");
        Prometheus::start_configured(
            &program,
            &format!("global: {{scrape_interval: 2s}}\nscrape_configs:\n{text}{open}{plain}"),
        )
    });
    let oldest = component("PROMETHEUS_OLD").map(|program| {
        Prometheus::start_configured(
            &program,
            &format!(
                "global: {{scrape_interval: 2s}}\nscrape_configs:\n- job_name: asked\n  \
                 static_configs: [{{targets: [\"{address}\"]}}]\n"
            ),
        )
    });
    let runs = [(newest, 3), (oldest, 1)];
    for (prometheus, jobs) in &runs {
        let Some(prometheus) = prometheus else { continue };
        soon("not scraped", || {
            let up = prometheus.query("up == 1");
            if up.len() != *jobs {
                return Err(prometheus.api("/api/v1/targets").to_string());
            }
            let servers_up = prometheus.query("count by (job) (pg_up == 1)");
            let all = servers_up.iter().filter(|(_, count)| *count == servers as f64).count();
            if all == *jobs { Ok(()) } else { Err(format!("{servers_up:?}")) }
        });
        // A sample that is refused counts as scraped, not as added.
        assert_eq!(
            prometheus.query("scrape_samples_scraped - scrape_samples_post_metric_relabeling != 0"),
            []
        );
    }
    soon("the formats have different series in Prometheus", || {
        let mut counts = Vec::new();
        for (prometheus, _) in runs.iter().filter_map(|(p, n)| p.as_ref().map(|p| (p, n))) {
            counts.extend(prometheus.query("count by (job) ({__name__=~\"pg.+\"})"));
        }
        let numbers: BTreeSet<u64> = counts.iter().map(|(_, count)| *count as u64).collect();
        // More than a page without packs would have.
        let all = numbers.len() == 1 && numbers.iter().all(|number| *number > 100);
        if all { Ok(()) } else { Err(format!("{counts:?}")) }
    });
}
