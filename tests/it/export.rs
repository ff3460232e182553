//! `pgvigil export`: what it prints, tried on the programs that it is for.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::agent::{get, pgvigil};
use crate::support::loki::Loki;
use crate::support::postgres::{Cluster, majors};
use crate::support::process::component;

/// Stdout of a run that ends well.
#[track_caller]
fn exported(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = pgvigil(&["export"]);
    let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a script as the superuser; what psql says.
#[track_caller]
fn psql(cluster: &Cluster, database: &str, script: &str) -> String {
    let program = component("PG_CLIENT").unwrap().join("psql");
    let mut child = Command::new(program)
        .args(["-X", "-q", "-U", "postgres", "-d", database, "-p", &cluster.port.to_string(), "-h"])
        .arg(cluster.directory())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "psql on {}: {said}", cluster.major);
    said
}

#[test]
fn grants_make_a_role_that_every_pack_runs_with() {
    if component("PG_CLIENT").is_none() {
        return;
    }
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { return };
        cluster.sql("CREATE DATABASE closed");
        cluster.sql(
            "REVOKE CONNECT ON DATABASE closed FROM PUBLIC; \
             CREATE TABLE public.t (id serial PRIMARY KEY, word text); \
             INSERT INTO public.t (word) SELECT repeat('x', 50) FROM generate_series(1, 5000)",
        );
        cluster.sql("VACUUM ANALYZE public.t");
        let dsn = format!("postgresql://the%20watch:hunter2@127.0.0.1:{}/postgres", cluster.port);
        let script = exported(&["grants"], &[("DATA_SOURCE_NAME", &dsn)]);
        assert!(script.contains("\"the watch\"") && !script.contains("hunter2"), "{script}");
        for _ in 0..2 {
            assert_eq!(psql(&cluster, "postgres", &script), "", "{major}");
        }
        // As the comment says: in each further database for the functions there.
        psql(&cluster, "closed", &script);

        let role = "SELECT rolconnlimit, rolsuper, rolcanlogin, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'the watch'";
        assert_eq!(cluster.sql(role), [["5", "f", "t", "f", "f"]]);
        let member = "SELECT string_agg(r.rolname, ' ') FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = '\"the watch\"'::regrole";
        assert_eq!(cluster.sql(member), [["pg_monitor"]]);
        let others = "SELECT has_function_privilege('pg_read_all_stats', 'pgvigil.column_width()', 'EXECUTE')";
        assert_eq!(cluster.sql(others), [["f"]]);

        for database in ["postgres", "closed"] {
            let dsn = format!("postgresql://the%20watch@127.0.0.1:{}/{database}", cluster.port);
            let output = pgvigil(&["query", "bloat", "--strict", "--dsn", &dsn]).output().unwrap();
            let (page, table) = (
                String::from_utf8_lossy(&output.stdout).into_owned(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            );
            assert!(output.status.success() && !table.contains("unavailable"), "{major}: {table}");
            if database == "postgres" {
                assert!(page.contains("relname=\"t\"") && page.contains("pg_sequence"), "{page}");
            }
        }
    }
}

#[test]
fn grants_never_tie_a_superuser() {
    if component("PG_CLIENT").is_none() {
        return;
    }
    let script = exported(&["grants"], &[("DATA_SOURCE_NAME", "postgresql://postgres@db/x")]);
    assert!(script.contains("\"pgvigil\"") && !script.contains("\"postgres\""), "{script}");
    // A role of another name that turns out to be one is left as it is.
    let Some(cluster) = Cluster::start(17) else { return };
    cluster.sql("CREATE ROLE boss LOGIN SUPERUSER");
    let script = exported(&["grants"], &[("DATA_SOURCE_NAME", "postgresql://boss@db/x")]);
    let program = component("PG_CLIENT").unwrap().join("psql");
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("grants.sql");
    fs::write(&file, script).unwrap();
    let output = Command::new(program)
        .args(["-X", "-q", "-U", "postgres", "-d", "postgres", "-p", &cluster.port.to_string()])
        .arg("-h")
        .arg(cluster.directory())
        .arg("-f")
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("boss is a superuser; name another"),
        "{said}"
    );
    assert_eq!(cluster.sql("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'boss'"), [["-1"]]);
    assert!(cluster.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'pgvigil'").is_empty());
}

#[test]
fn each_role_has_a_script_of_its_own() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pgvigil.yaml");
    let instances = "instances:\n  - {name: a, dsn: 'host=a user=one password=hunter2'}\n  \
                     - {name: b, dsn: 'host=b user=two'}\n  - {name: c, dsn: 'host=c user=one'}\n";
    fs::write(&file, instances).unwrap();
    let config = file.to_str().unwrap();
    let to = directory.path().join("out");
    exported(&["grants", "--config", config, "--to", to.to_str().unwrap()], &[]);
    let one = fs::read_to_string(to.join("grants-one.sql")).unwrap();
    assert!(one.contains("instances: a, c") && !one.contains("hunter2"), "{one}");
    let two = exported(&["grants", "--config", config, "--instance", "b"], &[]);
    assert_eq!(two, fs::read_to_string(to.join("grants-two.sql")).unwrap());
    let output = pgvigil(&["export", "grants", "--config", config, "--instance", "d"]).output();
    assert_eq!(output.unwrap().status.code(), Some(64));
}

const RENAMED: &str = "identity: {cluster_label: pg_cluster, server_label: pg_server}\n";

#[test]
fn rules_follow_the_labels_names_and_stay_rules() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pgvigil.yaml");
    fs::write(&file, RENAMED).unwrap();
    let plain = exported(&["alerts"], &[]);
    assert!(plain.contains("by (cluster, server)"), "{plain}");
    let fitted = exported(&["alerts", "--config", file.to_str().unwrap()], &[]);
    assert!(fitted.contains("by (pg_cluster, pg_server)"), "{fitted}");
    assert!(fitted.contains("{{ $labels.pg_server }}"), "{fitted}");
    for old in ["(cluster", " server)", "$labels.server", "$labels.cluster", "{server", "{cluster"]
    {
        assert!(!fitted.contains(old), "{old} in {fitted}");
    }
    let out = directory.path().join("rules.yaml");
    fs::write(&out, &fitted).unwrap();
    for promtool in ["PROMTOOL", "PROMTOOL_OLD"].into_iter().filter_map(component) {
        let checked = Command::new(promtool).args(["check", "rules"]).arg(&out).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    let to = directory.path().join("rules");
    let arguments = ["alerts", "--config", file.to_str().unwrap(), "--to"];
    exported(&[&arguments[..], &[to.to_str().unwrap()]].concat(), &[]);
    assert_eq!(fs::read_to_string(to.join("pgvigil.yaml")).unwrap(), fitted);
    // In its own directory the configuration has the name of the rules.
    let mut command = pgvigil(&["export"]);
    let output = command.args(arguments).arg(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(fs::read_to_string(&file).unwrap(), RENAMED);
}

/// Every expression of a board, and every legend.
fn queries<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) if matches!(key, "expr" | "query" | "definition" | "legendFormat") => {
            found.push(text);
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, key, found)),
        Value::Object(map) => map.iter().for_each(|(key, item)| queries(item, key, found)),
        _ => {}
    }
}

#[test]
fn boards_follow_the_labels_names() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pgvigil.yaml");
    fs::write(&file, RENAMED).unwrap();
    let (config, to) = (file.to_str().unwrap(), directory.path().join("boards"));
    exported(&["dashboards", "--config", config, "--to", to.to_str().unwrap()], &[]);
    let mut boards = 0;
    for entry in fs::read_dir(&to).unwrap() {
        let path = entry.unwrap().path();
        let board: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(board["uid"], path.file_stem().unwrap().to_str().unwrap());
        let mut found = Vec::new();
        queries(&board, "", &mut found);
        assert!(found.iter().any(|query| query.contains("pg_cluster=~\"$cluster\"")));
        for query in found {
            for old in ["{cluster", "{server", ",cluster", ",server", " server)", "(cluster"] {
                assert!(!query.contains(old), "{}: {query}", path.display());
            }
        }
        boards += 1;
    }
    assert!(boards > 0);
    let printed: Value = serde_json::from_str(&exported(&["dashboards"], &[])).unwrap();
    assert_eq!(printed.as_array().map_or(1, Vec::len), boards);
}

const ROUTES: &str = "logs:\n  sources: [{name: s, files: [\"/nowhere/*.log\"]}]\n  routes:\n    \
                      - {name: admin, keep: 30d, tenant: dba}\n    \
                      - {name: developer, keep: 7d, tenant: dev}\n    \
                      - {name: audit, tenant: dba}\n";

/// Loki's configuration with a piece of it merged in, as `Loki::start_with` takes it.
fn merged(piece: &str, more: &str) -> &'static [(&'static str, &'static str)] {
    let (limits, compactor) = piece.split_once("\ncompactor:").unwrap();
    let (_, limits) = limits.split_once("\nlimits_config:\n").unwrap();
    let text = format!("compactor:{compactor}\n{more}\nlimits_config:\n{limits}");
    Box::leak(Box::new([
        ("limits_config:", &*text.leak()),
        ("auth_enabled: false", "auth_enabled: true"),
    ]))
}

#[test]
fn a_real_loki_keeps_what_the_routes_say() {
    if component("LOKI").is_none() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pgvigil.yaml");
    fs::write(&file, ROUTES).unwrap();
    let text = exported(&["loki-retention", "--config", file.to_str().unwrap()], &[]);
    let (piece, overrides) = text.split_once("---\n").unwrap();
    let runtime = directory.path().join("overrides.yaml");
    fs::write(&runtime, overrides).unwrap();
    let more = format!("runtime_config: {{file: {}, period: 1s}}\n", runtime.display());
    let Some(loki) = Loki::start_with(merged(piece, &more)) else { return };
    let config = get(loki.address, "/config", &[]).body;
    assert!(config.contains("retention_enabled: true"), "{config}");
    assert!(config.contains("delete_request_store: filesystem"), "{config}");
    for expected in ["selector: '{route=\"admin\"}'", "period: 30d", "period: 1w"] {
        assert!(config.contains(expected), "{expected} is not in force: {config}");
    }
    let sharding = config.split_once("shard_streams:").unwrap().1;
    assert!(sharding.trim_start().starts_with("enabled: false"), "{sharding}");
    for (tenant, route, period) in [("dba", "admin", "30d"), ("dev", "developer", "1w")] {
        let limits = get(loki.address, "/config/tenant/v1/limits", &[("X-Scope-OrgID", tenant)]);
        let (_, rules) = limits.body.split_once("retention_stream:").unwrap();
        let (rules, _) = rules.split_once("\nretention_").unwrap_or((rules, ""));
        assert!(rules.contains(&format!("route=\"{route}\"")), "{tenant}: {rules}");
        assert!(rules.contains(&format!("period: {period}")), "{tenant}: {rules}");
        assert_eq!(rules.matches("selector:").count(), 1, "{tenant}: {rules}");
    }
}

#[test]
fn no_period_is_told_and_nothing_printed() {
    let output = pgvigil(&["export", "loki-retention"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.is_empty() && said.contains("; add `keep: 30d`"), "{said}");
}
