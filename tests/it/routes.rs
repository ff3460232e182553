//! Routes over a real server's log: who reads what, and what the users' own patterns mask.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::agent::pgvigil;
use crate::support::loki::{Entry, Stub};
use crate::support::postgres::{Options, Stop, edges};
use crate::support::river::Bed;

/// The documented three, with a pattern on all and one more on the developer's.
const ROUTES: &str = r##", patterns: [{pattern: "card \\d{4}-(\\d{4})", replace: "card ****-$$1"}],
    routes: [
      {name: admin},
      {name: developer, redact: literals, exclude_events: [authentication, audit, role],
       patterns: [{pattern: "\\bps?ql\\b"}, {pattern: "secret_[a-z]+", replace: "a table"}]},
      {name: audit, include_events: [audit, ddl, role, connection, authentication], keep: 365d}]"##;

#[test]
fn who_did_what_goes_to_those_who_ask() {
    for major in edges() {
        let hba = "host all nobody 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 trust";
        let Some(mut cluster) = Options::default()
            .hba(hba)
            .log_to_file()
            .conf(
                "log_line_prefix = '%m [%p] %q%u@%d/%a '\nlog_statement = 'ddl'\nlog_connections = on\n\
                 log_min_duration_statement = 0",
            )
            .start(major)
        else {
            return;
        };
        for statement in [
            "CREATE TABLE people (name text)",
            "INSERT INTO people VALUES ('card 1234-5678')",
            "SELECT 'a; DROP TABLE b'",
            "CREATE TABLE secret_plans ()",
            "TRUNCATE people",
            "CREATE ROLE bob PASSWORD 'hunter2'",
            "GRANT SELECT ON people TO bob",
            "ALTER TABLE people OWNER TO bob",
            "SELECT 1; DROP TABLE people; SELECT 2",
        ] {
            cluster.sql(statement);
        }
        let refused = cluster.dsn().replace("postgres@", "nobody@");
        let denied = tokio::runtime::Runtime::new().unwrap().block_on(async {
            tokio_postgres::connect(&refused, tokio_postgres::NoTls).await.is_err()
        });
        assert!(denied);
        cluster.sql("SELECT 'last words'");
        // The collector writes all that it has.
        cluster.stop(Stop::Fast);
        let mut log =
            std::fs::read_to_string(cluster.directory().join("log/postgresql.log")).unwrap();
        log.push_str(
            "2026-03-04 09:15:01.207 UTC [7] app@shop/psql LOG:  AUDIT: SESSION,1,1,READ,SELECT,,,\"SELECT 'card 9999-0000', 1\",<not logged>\n",
        );
        let stub = Stub::start();
        let bed = Bed::new();
        bed.append("pg.log", &log);
        let river = bed.river(&stub.url(), ROUTES);
        let holds = |entries: &[Entry], part: &str| entries.iter().any(|e| e.line.contains(part));
        let records =
            log.lines().filter(|line| line.contains(" LOG:  ") || line.contains(" FATAL:  "));
        river.await_done(records.count());
        let [admin, developer, audit] = ["admin", "developer", "audit"]
            .map(|route| stub.entries(&format!("route=\"{route}\"")));
        for (part, by_admin, by_developer, by_audit) in [
            ("CREATE TABLE people", true, true, true),
            ("CREATE TABLE secret_plans", true, false, true),
            ("CREATE TABLE a table", false, true, false),
            ("INSERT INTO people", true, true, false),
            ("'a; DROP TABLE b'", true, false, false),
            ("TRUNCATE people", true, true, true),
            ("CREATE ROLE bob PASSWORD '***'", true, false, true),
            ("GRANT SELECT", true, false, true),
            ("OWNER TO bob", true, false, true),
            ("DROP TABLE people", true, true, true),
            ("connection authorized", true, true, true),
            ("pg_hba.conf rejects", true, false, true),
            ("AUDIT: ", true, false, true),
            ("checkpoint starting", true, true, false),
            ("database system is ready", true, true, false),
            ("last words", true, false, false),
            ("hunter2", false, false, false),
            ("1234-5678", false, false, false),
            ("card ****-5678", true, false, false),
            ("card ****-0000", true, false, true),
        ] {
            if part == "checkpoint starting" && !log.contains(part) {
                continue;
            }
            let found = [&admin, &developer, &audit].map(|entries| holds(entries, part));
            assert_eq!(found, [by_admin, by_developer, by_audit], "{major}: {part}");
        }
        let masked = river.value("pgvigil_log_redacted_total", &[("kind", "patterns")]);
        assert!(masked.is_some_and(|masked| masked >= 4.0), "{masked:?}");
        assert!(river.stop(Duration::from_secs(10)));
    }
}

/// `pgvigil logs parse` with these arguments behind a sample: its code, stdout and stderr.
fn parse(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let sample = directory.join("sample.log");
    let prefix = "2026-03-04 09:15:01.207 UTC [7] app@";
    let lines = [
        "shop LOG:  statement: INSERT INTO cards VALUES ('1234-5678', 7)",
        "shop LOG:  connection authorized: user=app database=shop",
        "crm LOG:  statement: ALTER ROLE app PASSWORD 'hunter2' -- 1111-2222",
    ];
    let text: String = lines.map(|line| format!("{prefix}{line}\n")).concat();
    fs::write(&sample, text).unwrap();
    let output =
        pgvigil(&["logs", "parse"]).args(arguments).arg(&sample).output().expect("a program");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn masks_and_filters_are_tried_on_a_sample() {
    let directory = TempDir::new().unwrap();
    let parse = |arguments: &[&str]| parse(directory.path(), arguments);
    let pattern = r"\b(\d{4})-\d{4}\b";
    let (code, out, notes) = parse(&["--pattern", pattern, "--pattern", "app"]);
    assert_eq!(code, 0, "{notes}");
    assert!(out.contains("VALUES ('***', 7)") && out.contains("user=***"), "{out}");
    assert!(
        out.contains("PASSWORD '***' -- ***") && out.contains("[1 credentials masked]"),
        "{out}"
    );
    assert!(!out.contains("app"), "{out}");
    assert!(notes.contains("3 records") && notes.contains("places masked by patterns"), "{notes}");

    let file = directory.path().join("pgvigil.yaml");
    let config = format!(
        "logs:\n  sources: [{{files: [/x/*.log]}}]\n  patterns: [{{pattern: '{pattern}', replace: '$$1-####'}}]\n  \
         routes:\n    - name: admin\n    - {{name: developer, redact: literals, databases: [shop], \
         exclude_events: [connection]}}\n    - {{name: audit, include_events: [role]}}\n"
    );
    fs::write(&file, config).unwrap();
    let file = file.display().to_string();
    let (_, out, notes) = parse(&["--config", &file, "--format", "json"]);
    assert!(out.contains("VALUES ('1234-####', 7)") && out.contains("'***' -- 1111-####"), "{out}");
    assert!(out.contains("\"redacted_patterns\":1"), "{out}");
    assert!(notes.contains("3 records,"), "{notes}");
    let (_, out, notes) = parse(&["--config", &file, "--route", "developer"]);
    assert!(out.contains("VALUES ('?', ?)") && !out.contains("hunter2"), "{out}");
    assert!(
        notes.contains("1 records,") && notes.contains("2 records that the route leaves out"),
        "{notes}"
    );
    let (_, out, _) = parse(&["--config", &file, "--route", "audit"]);
    assert!(out.contains("ALTER ROLE") && !out.contains("INSERT"), "{out}");

    // One format alone: there is no csv here.
    let (_, out, notes) = parse(&["--input-format", "csv"]);
    assert!(notes.contains("3 lines that are no records") && !out.contains("severity="), "{notes}");

    for (arguments, words) in [
        (&["--pattern", "(x"][..], "the pattern "),
        (&["--route", "audit"], "--config"),
        (
            &["--config", &file, "--route", "odit"],
            "has no route odit; ask for one of: admin, developer, audit",
        ),
        (&["--input-format", "xml"], "possible values"),
    ] {
        let (code, _, notes) = parse(arguments);
        assert_eq!(code, 64, "{arguments:?}");
        assert!(notes.contains(words), "{arguments:?}: {notes}");
    }
}
