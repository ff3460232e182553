//! Every alert of `alerts/` fires when its trouble comes and clears when that is over: a real Prometheus
//! with the rules as they ship, but for the time that a trouble must last.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::{await_page, settled};
use crate::support::agent::{Agent, pgvigil, project};
use crate::support::loki::Stub;
use crate::support::pgbouncer::{APP, PooledClient, Pooler};
use crate::support::postgres::{Cluster, MONITOR, Options, Stop};
use crate::support::process::free_port;
use crate::support::prometheus::Prometheus;

/// A query whose table comes and goes.
const PACK: &str = "
wares:
  interval: fast
  query: SELECT count(*) AS rows FROM public.wares
  metrics: [{rows: {usage: GAUGE, metric: pg_wares, description: Wares.}}]
";

/// Long enough for what must last a minute, beside Prometheus's own pace.
const LONG: Duration = Duration::from_secs(100);
const SOON: Duration = Duration::from_secs(40);

/// The rules with every `for` of two seconds.
fn hastened(directory: &Path) -> (PathBuf, BTreeSet<String>) {
    let text = fs::read_to_string(project("alerts/pgvigil.yaml")).unwrap();
    let mut names = BTreeSet::new();
    let lines = text.lines().map(|line| {
        let (indent, word) = line.split_at(line.len() - line.trim_start().len());
        if let Some(name) = word.strip_prefix("- alert: ") {
            names.insert(name.to_owned());
        }
        if word.starts_with("for: ") { format!("{indent}for: 2s\n") } else { format!("{line}\n") }
    });
    let text: String = lines.collect();
    assert_eq!(text.matches("for: 2s").count(), names.len());
    let path = directory.join("rules.yaml");
    fs::write(&path, text).unwrap();
    (path, names)
}

/// What fires: the alert's name and the server that it is about, empty where it is about none.
type Firing = BTreeSet<(String, String)>;

struct Watched {
    prometheus: Prometheus,
    /// All that ever fired.
    seen: Firing,
    /// An alert that may fire or not while others are looked at.
    aside: Option<&'static str>,
}

impl Watched {
    fn firing(&mut self) -> Firing {
        let answer = self.prometheus.api("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let firing: Firing = firing
            .map(|alert| {
                let label = |name: &str| alert["labels"][name].as_str().unwrap_or("").to_owned();
                (label("alertname"), label("server"))
            })
            .collect();
        self.seen.extend(firing.iter().cloned());
        firing.into_iter().filter(|(name, _)| Some(&**name) != self.aside).collect()
    }

    /// Waits until exactly these fire.
    #[track_caller]
    fn until(&mut self, within: Duration, expected: &[(&str, &str)]) {
        let expected = firing(expected);
        let deadline = Instant::now() + within;
        loop {
            let firing = self.firing();
            if firing == expected {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "fires: {firing:?}, expected {expected:?}: {}",
                self.prometheus.api("/api/v1/alerts")
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Exactly these fire at every look.
    #[track_caller]
    fn stays(&mut self, time: Duration, expected: &[(&str, &str)]) {
        let begin = Instant::now();
        while begin.elapsed() < time {
            assert_eq!(self.firing(), firing(expected));
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

fn firing(alerts: &[(&str, &str)]) -> Firing {
    alerts.iter().map(|(name, server)| ((*name).to_owned(), (*server).to_owned())).collect()
}

const DAY: u64 = 86_400;

/// Backups by how long ago they ended, how they went and their size; written aside and renamed.
fn write_backups(file: &Path, backups: &[(u64, &str, u64)]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let line = |(ago, status, size): &(u64, &str, u64)| {
        format!("{{\"ended\": {}, \"status\": \"{status}\", \"size_bytes\": {size}}}", now - ago)
    };
    let lines: Vec<String> = backups.iter().map(line).collect();
    let aside = file.with_extension("new");
    fs::write(&aside, format!("[{}]", lines.join(",\n"))).unwrap();
    fs::rename(aside, file).unwrap();
}

#[test]
fn every_alert_fires_and_clears() {
    let directory = Arc::new(TempDir::new().unwrap());
    let (rules, names) = hastened(directory.path());
    let archiving = Options::default().log_to_file().conf(
        "archive_mode = on\narchive_command = 'true'\nlog_line_prefix = '%m [%p] '\nlog_checkpoints = on",
    );
    let Some(shop) = archiving.start(17) else { return };
    let mut stopped = Cluster::start(17).unwrap();
    let mut starting = Cluster::start(17).unwrap();
    let Some(mut pooler) = Pooler::start(&shop, "max_client_conn = 20") else { return };
    let create =
        "CREATE TABLE public.wares AS SELECT 1 AS v; GRANT SELECT ON public.wares TO pgvigil";
    shop.sql(create);
    fs::create_dir(directory.path().join("packs")).unwrap();
    fs::write(directory.path().join("packs/wares.yaml"), PACK).unwrap();
    let loki = ([127, 0, 0, 1], free_port()).into();
    let stub = Stub::start_at(loki);
    // The machine as files: what is beside the servers in truth is not ours to fill, and may be full.
    let journal = directory.path().join("machine/journal");
    fs::create_dir_all(&journal).unwrap();
    let memory = |available: u64| {
        let text = format!(
            "MemTotal: 100 kB\nMemFree: {available} kB\nMemAvailable: {available} kB\nInactive(file): 0 kB\n"
        );
        fs::write(directory.path().join("machine/meminfo"), text).unwrap();
    };
    memory(50);
    let backups = directory.path().join("backups.json");
    write_backups(&backups, &[(8 * DAY, "ok", 9), (60, "ok", 9)]);
    let file = directory.path().join("pgvigil.yml");
    fs::write(
        &file,
        format!(
            "cluster: c\nstate_directory: {0}/state\npacks: {{directories: [\"{0}/packs\"]}}\n\
             collection: {{intervals: {{fast: 1s, medium: 2s, slow: 2s}}}}\n\
             host: {{proc: {0}/machine, cgroup: {0}/machine, root: {0}/machine}}\ninstances:\n  \
             - {{name: shop, dsn: \"{1}\", storage: {{wal: {{path: {0}/machine/journal, size: 10MiB}}}}, backups: \
             [{{source: json, file: {0}/backups.json, schedule: \"@daily\", keep: 7d, interval: 1s}}]}}\n  \
             - {{name: stopped, dsn: \"{2}\", packs: {{exclude: [wares]}}}}\n  \
             - {{name: starting, dsn: \"{3}\", packs: {{exclude: [wares]}}}}\n  \
             - {{name: pool, dsn: \"{6}\", probe: {{database: shop, timeout: 700ms}}}}\n\
             logs: {{sources: [{{name: shop, files: [\"{4}/l*g/*.log\"]}}], loki: {{url: \"{5}\"}}, \
             routes: [{{name: admin, keep: 30d}}]}}\n",
            directory.path().display(),
            shop.dsn(),
            stopped.monitor_dsn(),
            starting.monitor_dsn(),
            shop.directory().display(),
            stub.url(),
            pooler.dsn(MONITOR, "pgbouncer"),
        ),
    )
    .unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let run = || {
        let mut command = pgvigil(&["run", "--listen", &listen, "--config"]);
        command.arg(&file);
        Agent::spawn(command, Arc::clone(&directory))
    };
    let agent = run();
    await_page(&agent, SOON, |page| {
        ["shop", "stopped", "starting", "pool"].iter().all(|server| settled(page, server))
    });
    let Some(prometheus) = Prometheus::start(&[agent.address], &[&rules]) else { return };
    let mut watched = Watched { prometheus, seen: Firing::new(), aside: None };
    let deadline = Instant::now() + SOON;
    while watched.prometheus.query("pg_up == 1 or pg_probe_success{via=\"pooler\"} == 1").len() < 4
    {
        let targets = watched.prometheus.api("/api/v1/targets");
        assert!(Instant::now() < deadline, "{targets}\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    // Healthy: the rules are asked for a while, and nothing fires.
    watched.stays(Duration::from_secs(6), &[]);

    // Loki is away while all the rest comes and goes: its alert takes a minute.
    stub.reject(500).for_ever();
    shop.sql("CHECKPOINT");
    watched.aside = Some("PgvigilLogBehind");

    starting.keep_starting();
    stopped.stop(Stop::Fast);
    let two = [("PostgresStarting", "starting"), ("PostgresDown", "stopped")];
    watched.until(SOON, &two);
    watched.stays(Duration::from_secs(4), &two);
    starting.end_starting();
    stopped.start_again();
    watched.until(SOON, &[]);

    fs::write(journal.join("segment"), vec![1; 19 << 19]).unwrap();
    watched.until(SOON, &[("PostgresSpaceLow", "shop")]);
    fs::remove_file(journal.join("segment")).unwrap();
    watched.until(SOON, &[]);
    memory(5);
    let all = ["shop", "starting", "stopped"].map(|server| ("PostgresMemoryLow", server));
    watched.until(SOON, &all);
    memory(50);
    watched.until(SOON, &[]);

    poolers_alerts(&mut watched, &mut pooler);

    // One that answers, but with an error; so do the queries that ask the same.
    let ping = |change: &str| {
        stopped.sql(&change.replace('#', "EXECUTE ON FUNCTION pg_catalog.pg_is_in_recovery()"));
    };
    ping("REVOKE # FROM PUBLIC");
    let both = ["PostgresProbeFailing", "PgvigilQueryFailing"].map(|name| (name, "stopped"));
    watched.until(SOON, &both);
    ping("GRANT # TO PUBLIC");
    watched.until(SOON, &[]);

    let archive = |command: &str| {
        shop.sql(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
        shop.sql("SELECT pg_reload_conf()");
        // Something to archive, whatever was archived before.
        shop.sql("CREATE TABLE IF NOT EXISTS public.filler (); DROP TABLE public.filler");
        shop.sql("SELECT pg_switch_wal()");
    };
    archive("false");
    shop.sql("DROP TABLE public.wares");
    watched.until(SOON, &[("PostgresArchiverFailing", "shop"), ("PgvigilQueryFailing", "shop")]);
    archive("true");
    shop.sql(create);
    watched.until(SOON, &[]);

    // An old one alone; then one that failed, in a file that breaks; then none; then one that is too small.
    write_backups(&backups, &[(3 * DAY, "ok", 9)]);
    let of_shop =
        |names: &[&'static str]| -> Vec<_> { names.iter().map(|n| (*n, "shop")).collect() };
    watched.until(SOON, &of_shop(&["PostgresBackupOverdue", "PostgresRecoveryWindowShort"]));
    write_backups(&backups, &[(8 * DAY, "ok", 9), (60, "ok", 9), (30, "failed", 9)]);
    watched.until(SOON, &of_shop(&["PostgresBackupFailed"]));
    fs::write(&backups, "[").unwrap();
    watched.until(SOON, &of_shop(&["PostgresBackupFailed", "PostgresBackupSourceFailing"]));
    write_backups(&backups, &[]);
    watched.until(SOON, &of_shop(&["PostgresBackupUnknown"]));
    write_backups(&backups, &[(8 * DAY, "ok", 9), (60, "ok", 4)]);
    watched.until(SOON, &of_shop(&["PostgresDumpDoubtful"]));
    write_backups(&backups, &[(8 * DAY, "ok", 9), (60, "ok", 9)]);
    watched.until(SOON, &[]);

    watched.aside = None;
    watched.until(LONG, &[("PgvigilLogBehind", "shop")]);
    stub.heal();
    // By now the agent waits for up to 45 s before it tries again.
    watched.until(LONG, &[]);

    drop(agent.kill());
    watched.until(SOON, &[("PgvigilAgentDown", "")]);
    // It comes back to a Loki that removes nothing, and again to one that does.
    let retention = |enabled: bool| {
        stub.show_config(&format!(
            "compactor: {{retention_enabled: {enabled}}}\nlimits_config: {{retention_period: 30d}}\n"
        ));
    };
    retention(false);
    let agent = run();
    watched.until(SOON, &[("PgvigilLokiRetention", "")]);
    retention(true);
    assert_eq!(agent.stop(), 0);
    let agent = run();
    watched.until(SOON, &[]);
    assert_eq!(agent.stop(), 0);

    let seen: BTreeSet<String> = watched.seen.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(seen, names, "an alert that was never seen to fire");
}

/// The pooler `pool` ends; lets nobody through; has one client wait; has nearly all that it takes.
fn poolers_alerts(watched: &mut Watched, pooler: &mut Pooler) {
    pooler.stop();
    watched.until(SOON, &[("PgBouncerDown", "pool")]);
    pooler.start_again();
    watched.until(SOON, &[]);

    pooler.console("PAUSE shop");
    watched.until(SOON, &[("PostgresProbeFailing", "pool")]);
    pooler.console("RESUME shop");
    watched.until(SOON, &[]);

    let holder = pooler.client(APP, "shop");
    holder.run("BEGIN");
    holder.run("SELECT 1");
    let waiter = pooler.client(APP, "shop");
    let waiting = waiter.send("SELECT 2");
    watched.until(SOON, &[("PgBouncerClientsWaiting", "pool")]);
    holder.run("COMMIT");
    assert!(waiter.wait(waiting));
    watched.until(SOON, &[]);

    // With the two above and the agent's own, 19 of 20; the probe has the last place.
    let crowd: Vec<PooledClient> = (0..16).map(|_| pooler.client(APP, "shop")).collect();
    watched.until(SOON, &[("PgBouncerClientsNearLimit", "pool")]);
    drop(crowd);
    watched.until(SOON, &[]);
}
