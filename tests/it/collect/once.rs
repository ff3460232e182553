//! `pgvigil query`, by the built binary.

use std::fs;
use std::process::Output;

use tempfile::TempDir;

use crate::support::agent::pgvigil;
use crate::support::exposition::{Parsed, parse_text};
use crate::support::postgres::{Cluster, Options, PASSWORD};
use crate::support::process::free_port;

const PACK: &str = "
good:
  query: SELECT 'a' AS l, 1 AS v
  metrics: [{l: {usage: LABEL, description: d}}, {v: {usage: GAUGE, metric: pg_good, description: A value.}}]
divides:
  query: SELECT 1/0 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_divides, description: A value.}}]
needs:
  requires: {extension: no_such_extension}
  query: SELECT 1 AS v
  metrics: [{v: {usage: GAUGE, metric: pg_needs, description: A value.}}]
";

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, Parsed, String) {
    let Output { status, stdout, stderr } = pgvigil(&[&["query"], arguments].concat())
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    let stdout = String::from_utf8(stdout).unwrap();
    let page = parse_text(&stdout).unwrap_or_else(|e| panic!("{e}\n{stdout}\n{stderr}"));
    (status.code().unwrap(), page, stderr)
}

/// The line of the table that speaks of `query`, split.
fn line<'t>(table: &'t str, query: &str) -> Vec<&'t str> {
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|words| words.first() == Some(&query)).unwrap_or_else(|| panic!("{table}"))
}

#[test]
fn stdout_is_a_page_and_stderr_a_table() {
    let Some(cluster) = Cluster::start(17) else { return };
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("own.yaml");
    fs::write(&file, PACK).unwrap();
    let file = file.to_str().unwrap();
    let dsn = cluster.monitor_dsn();

    let (code, page, table) = run(&["locks", file, "--dsn", &dsn], &[]);
    assert_eq!(code, 0, "{table}");
    assert_eq!(page.value("pg_good", &[("l", "a")]), Some(1.0));
    assert!(page.series("pg_locks_count").count() > 5);
    assert_eq!(page.value("pg_up", &[]), None, "what the packs measure, and nothing else");
    assert_eq!(line(&table, "good")[1..4], ["ok", "1", "1"]);
    assert_eq!(line(&table, "divides")[1..4], ["error", "0", "0"]);
    assert_eq!(line(&table, "needs")[1], "unavailable");
    assert!(table.contains("division by zero"), "{table}");

    let (code, page, table) = run(&[file, "--dsn", &dsn, "--strict"], &[]);
    assert_eq!(code, 69, "{table}");
    assert_eq!(page.value("pg_good", &[]), Some(1.0), "what there is is printed all the same");

    // A directory, and the server from the environment.
    let folder = directory.path().to_str().unwrap();
    let (code, page, table) = run(&[folder], &[("DATA_SOURCE_NAME", &dsn)]);
    assert_eq!((code, page.value("pg_good", &[])), (0, Some(1.0)), "{table}");
    fs::write(directory.path().join("none.yaml"), "# comments alone\n").unwrap();
    let (code, _, table) = run(&[folder], &[("DATA_SOURCE_NAME", &dsn)]);
    assert_eq!(code, 0, "{table}");
}

#[test]
fn a_foreign_dialect_is_told_or_detected() {
    let Some(cluster) = Cluster::start(17) else { return };
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("queries.yaml");
    let text =
        "q: {query: 'SELECT 1 AS v, 2 AS extra', metrics: [{v: {usage: GAUGE, description: d}}]}";
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let dsn = cluster.monitor_dsn();
    let (code, page, table) = run(&[file, "--dsn", &dsn, "--dialect", "postgres_exporter"], &[]);
    assert_eq!(code, 0, "{table}");
    assert_eq!(page.value("q_extra", &[]), Some(2.0));
    assert_eq!(page.family("q_extra").unwrap().kind, "untyped");
    let (code, page, table) = run(&[file, "--dsn", &dsn, "--dialect", "cnpg"], &[]);
    assert_eq!(code, 0, "{table}");
    assert!(page.families.is_empty(), "two columns, one of them named");
    assert_eq!(line(&table, "q")[1], "type");
}

#[test]
fn what_cannot_be_run_is_told_by_the_exit_code() {
    let directory = TempDir::new().unwrap();
    let broken = directory.path().join("broken.yaml");
    fs::write(&broken, "q: [").unwrap();
    let broken = broken.to_str().unwrap();
    let nowhere = format!("postgresql://x@127.0.0.1:{}/postgres", free_port());

    let (code, _, said) = run(&["no_such_pack", "--dsn", &nowhere], &[]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("no_such_pack") && said.contains("locks"), "{said}");
    let (code, _, said) = run(&[broken, "--dsn", &nowhere], &[]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("broken.yaml:1:"), "{said}");
    let (code, _, said) = run(&["locks", "--dsn", &nowhere], &[]);
    assert_eq!(code, 69, "{said}");
    assert_eq!(said.lines().count(), 1, "one clear sentence: {said}");
}

#[test]
fn an_instance_of_the_configuration_is_asked_and_its_password_is_not_told() {
    let options = Options::default().hba("host all all 127.0.0.1/32 scram-sha-256");
    let Some(cluster) = options.start(17) else { return };
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pgvigil.yml");
    let text = format!(
        "instances:\n  - {{name: dead, dsn: 'postgresql://x@127.0.0.1:{}/postgres'}}\n  \
         - {{name: shop, dsn: 'postgresql://pgvigil:{PASSWORD}@127.0.0.1:{}/postgres'}}\n",
        free_port(),
        cluster.port
    );
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (code, page, said) = run(&["instance", "--config", file, "--instance", "shop"], &[]);
    assert_eq!(code, 0, "{said}");
    let info = page.series("pgvigil_instance_info").next().unwrap();
    assert_eq!(info.label("server"), Some("shop"));
    assert!(!said.contains(PASSWORD));
    let (code, _, said) = run(&["instance", "--config", file, "--instance", "other"], &[]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("shop") && !said.contains(PASSWORD), "{said}");
}

const DOUBTFUL: &str = "
planned:
  query: SELECT datname, count(*) AS n FROM pg_stat_activity GROUP BY datname
  metrics:
    - datname: {usage: LABEL, description: d}
    - n: {usage: COUNTER, metric: pg_sessions_total, description: Sessions.}
shown:
  query: SHOW server_version_num
  metrics: [{server_version_num: {usage: GAUGE, metric: pg_version_number, description: A number.}}]
slow:
  timeout: 100ms
  query: SELECT pg_sleep(5) IS NULL AS v
  metrics: [{v: {usage: GAUGE, metric: pg_slow, description: A value.}}]
broken:
  query: SELECT nothing AS v
  metrics: [{v: {usage: GAUGE, metric: pg_broken, description: A value.}}]
falling:
  query: SELECT -3 AS v, now() AS since, '0/0'::pg_lsn AS place
  metrics:
    - v: {usage: COUNTER, metric: pg_falling_total, description: A value.}
    - since: {usage: LABEL, description: d}
    - place: {usage: LABEL, description: d}
";

#[test]
fn an_author_sees_what_a_query_costs_and_what_is_doubtful() {
    let Some(cluster) = Cluster::start(17) else { return };
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("doubtful.yaml");
    fs::write(&file, DOUBTFUL).unwrap();
    let dsn = cluster.monitor_dsn();
    let (code, _, table) = run(&[file.to_str().unwrap(), "--dsn", &dsn], &[]);
    assert_eq!(code, 0, "{table}");
    let cost = |query| *line(&table, query).last().unwrap();
    assert!(cost("planned").parse::<f64>().is_ok_and(|cost| cost > 0.0), "{table}");
    assert!(cost("slow").parse::<f64>().is_ok(), "what is too slow has a plan too: {table}");
    assert_eq!((cost("shown"), cost("broken")), ("-", "-"), "{table}");
    assert_eq!(line(&table, "shown")[1], "ok");
    for (place, what) in [
        ("6:7", "`pg_sessions_total` is a COUNTER, but count() goes down too"),
        ("20:7", "`pg_falling_total` is a COUNTER, but came out negative"),
        ("21:7", "label `since` of query `falling` is a time, and has no bound"),
        ("22:7", "label `place` of query `falling` is a position in the WAL, and has no bound"),
    ] {
        let told =
            table.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{table}"));
        assert!(told.contains(&format!("doubtful.yaml:{place}: ")), "{told}");
    }
    assert!(!table.contains('\x1b'), "no colour in a pipe");
    let log = cluster.output();
    let errors = log.lines().filter(|line| line.contains("ERROR:")).count();
    assert_eq!(errors, 2, "EXPLAIN adds none: {log}");

    // Labels and counters of other programs' files are told here too.
    let foreign = directory.path().join("foreign.yaml");
    let text = "f:\n  master: true\n  query: SELECT 1::text AS pid, count(*) AS n\n  metrics:\n    \
                - pid: {usage: LABEL}\n    - n: {usage: COUNTER}\n";
    fs::write(&foreign, text).unwrap();
    let (_, _, table) = run(&[foreign.to_str().unwrap(), "--dsn", &dsn], &[]);
    assert!(table.contains("foreign.yaml:5:7: label `pid`"), "{table}");
    assert!(table.contains("foreign.yaml:6:7: `f_n` is a COUNTER"), "{table}");
}

#[test]
fn the_built_in_packs_leave_nothing_to_say() {
    let Some(cluster) = Cluster::start(17) else { return };
    let dsn = cluster.monitor_dsn();
    let mut arguments: Vec<&str> = pgvigil::packs::builtin_names().collect();
    arguments.extend(["--dsn", &dsn]);
    let (code, _, told) = run(&arguments, &[]);
    assert_eq!(code, 0, "{told}");
    assert!(!told.contains(".yaml:"), "{told}");
}
