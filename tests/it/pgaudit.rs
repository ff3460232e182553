//! The real pgaudit: its records in every format, what kind they are, and what of them is masked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::agent::pgvigil;
use crate::support::postgres::{Cluster, Options, Stop};
use crate::support::process::component;

/// The only major that its package is for here.
const MAJOR: u32 = 15;

/// What is to be masked beside names; longer than a port, a process id or a fraction of a second, which
/// may hold any few digits.
const NUMBER: i32 = 1_928_374_655;

const ROUTES: &str = "
  routes:
    - {name: admin}
    - {name: audit, include_events: [audit]}
    - {name: ddl, include_events: [ddl]}
    - {name: role, include_events: [role]}
    - {name: developer, redact: literals, exclude_events: [audit, role]}
    - {name: all_masked, redact: literals}
";

fn audited() -> Option<Cluster> {
    let library = component("PGAUDIT")?;
    let cluster = Options::default()
        .log_to_file()
        .conf(&format!(
            "shared_preload_libraries = '{}'\npgaudit.log = 'all'\npgaudit.log_catalog = off\n\
             pgaudit.log_parameter = on\npgaudit.log_rows = on\n\
             log_destination = 'stderr,csvlog,jsonlog'\nlog_line_prefix = '%m [%p] %e %q%u@%d %r %a '\n\
             log_connections = on",
            library.display()
        ))
        .start(MAJOR)?;
    cluster.with_client("postgres", async |client| {
        let select = format!("SELECT 'alice, \"the first\"' AS a,\n\t{NUMBER} AS b\n  FROM people");
        let block = format!("DO $$ BEGIN INSERT INTO people VALUES ('alice''s', {NUMBER}); END $$");
        for statement in [
            "CREATE ROLE bob PASSWORD 'hunter2'",
            "CREATE TABLE people (name text, number int)",
            "GRANT SELECT ON people TO bob",
            &select,
            &block,
        ] {
            client.batch_execute(statement).await.unwrap();
        }
        let insert = "INSERT INTO people VALUES ($1, $2)";
        client.execute(insert, &[&"alice, \"a\"\nb", &NUMBER]).await.unwrap();
        // One number alone looks like the count of rows that stands behind it.
        client.query("SELECT name FROM people WHERE number = $1", &[&NUMBER]).await.unwrap();
        client.batch_execute("TRUNCATE people; DROP TABLE people").await.unwrap();
    });
    Some(cluster)
}

/// What a route lets through of a log: records, and all that was printed.
fn parse(directory: &Path, log: &str, route: &str) -> (Vec<Map<String, Value>>, String) {
    let (file, config) = (directory.join("x.log"), directory.join("pgvigil.yaml"));
    fs::write(&file, log).unwrap();
    fs::write(&config, format!("logs:\n  sources: [{{files: [/x]}}]{ROUTES}")).unwrap();
    let output = pgvigil(&["logs", "parse", "--format", "json", "--route", route, "--config"])
        .arg(&config)
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), text)
}

fn audits(records: &[Map<String, Value>]) -> Vec<&str> {
    let lines = records.iter().map(|record| record["line"].as_str().unwrap());
    lines.filter(|line| line.starts_with("LOG:  AUDIT: ")).collect()
}

/// The fields of comma-separated values.
fn fields(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                found.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            letter => found.last_mut().unwrap().push(letter),
        }
    }
    found
}

/// jsonlog as CloudNativePG wraps it: pgaudit's own text is taken apart, empty values are left out.
fn cnpg(jsonlog: &str) -> String {
    const NAMES: [&str; 10] = [
        "audit_type",
        "statement_id",
        "substatement_id",
        "class",
        "command",
        "object_type",
        "object_name",
        "statement",
        "parameter",
        "rows",
    ];
    let mut text = String::new();
    for line in jsonlog.lines() {
        let record: Map<String, Value> = serde_json::from_str(line).unwrap();
        let told = |key: &str| record.get(key).cloned().unwrap_or_default();
        let mut inner = json!({
            "log_time": told("timestamp"), "process_id": told("pid").to_string(),
            "error_severity": told("error_severity"), "sql_state_code": "00000",
        });
        let message = told("message").as_str().unwrap_or_default().to_owned();
        let logger = match message.strip_prefix("AUDIT: ") {
            Some(audit) => {
                let pairs = NAMES.into_iter().zip(fields(audit));
                let pairs = pairs.filter(|(_, value)| !value.is_empty());
                inner["audit"] =
                    pairs.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
                "pgaudit"
            }
            None => {
                inner["message"] = message.into();
                "postgres"
            }
        };
        let outer = json!({"level": "info", "ts": "2026-03-04T09:15:01.2Z", "logger": logger,
            "msg": "record", "record": inner, "logging_pod": "shop-db-1"});
        text.push_str(&format!("{outer}\n"));
    }
    text
}

#[test]
fn audits_are_the_same_in_every_format_and_are_masked() {
    let Some(mut cluster) = audited() else { return };
    // `check` sees by the library's path that it is loaded.
    let directory = TempDir::new().unwrap();
    let config = directory.path().join("check.yaml");
    let text = format!(
        "instances: [{{name: shop, dsn: \"{}?sslmode=disable\"}}]\nlogs:\n  sources: [{{files: [\"{}/log/*\"]}}]{ROUTES}",
        cluster.monitor_dsn(),
        cluster.directory().display()
    );
    fs::write(&config, text).unwrap();
    let output = pgvigil(&["check", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!said.contains("pgaudit") && !said.contains("log_statement"), "{said}");

    // The collector writes all that it has.
    cluster.stop(Stop::Fast);
    let read = |ending: &str| {
        let path = cluster.directory().join(format!("log/postgresql.{ending}"));
        fs::read_to_string(path).unwrap()
    };
    let (stderr, csv, json) = (read("log"), read("csv"), read("json"));
    let wrapped = cnpg(&json);
    let number = NUMBER.to_string();
    let mut seen: Vec<Vec<String>> = Vec::new();
    for (format, log) in [("stderr", &stderr), ("csv", &csv), ("json", &json), ("cnpg", &wrapped)] {
        let of = |route: &str| parse(directory.path(), log, route);
        let (records, text) = of("audit");
        let all = audits(&records);
        assert_eq!(all.len(), records.len(), "{format}: audits alone");
        assert_eq!(all.len(), json.matches("\"AUDIT: ").count(), "{format}: all of them");
        // pgaudit itself does not tell a role's password; if it did, we would not.
        assert!(!text.contains("hunter2"), "{format}");
        assert!(text.contains("alice") && text.contains(&number), "{format}: told to auditors");
        let classes: BTreeSet<&str> =
            all.iter().filter_map(|line| line.split(',').nth(3)).collect();
        for class in ["READ", "WRITE", "DDL", "ROLE", "FUNCTION"] {
            assert!(classes.contains(class), "{format}: {classes:?}");
        }
        seen.push(all.iter().map(|line| (*line).to_owned()).collect());

        let (records, _) = of("ddl");
        let ddl = audits(&records);
        assert!(ddl.iter().all(|line| line.contains(",DDL,")), "{format}: {ddl:?}");
        assert!(ddl.iter().any(|line| line.contains("DROP TABLE")), "{format}: {ddl:?}");
        let (records, _) = of("role");
        let role = audits(&records);
        assert_eq!(role.len(), 2, "{format}: {role:?}");
        assert!(role[0].contains("CREATE ROLE") && role[1].contains("GRANT"), "{format}: {role:?}");
        let (records, _) = of("developer");
        assert!(audits(&records).is_empty() && !records.is_empty(), "{format}");

        let (records, text) = of("all_masked");
        for secret in ["alice", &number, "hunter2"] {
            assert!(!text.contains(secret), "{format}: {secret} in {text}");
        }
        // What was done is told, and how many rows it met.
        let masked = audits(&records);
        let insert = masked.iter().find(|line| line.contains("VALUES ($1, $2)"));
        assert!(insert.is_some_and(|line| line.ends_with(",1")), "{format}: {masked:?}");
    }
    for other in &seen[1..] {
        assert_eq!(*other, seen[0]);
    }
}
