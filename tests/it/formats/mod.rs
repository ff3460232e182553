//! Formats: what one server writes as text, csv and json at once becomes the same records, whatever is
//! put around its lines.

mod secrets;
mod wrapped;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Map, Value};

use self::wrapped::{cnpg, cri};
use crate::support::loki::Stub;
use crate::support::postgres::{Cluster, Options, Stop, majors};
use crate::support::river::Bed;

/// Every field that the version knows.
fn prefix(major: u32) -> &'static str {
    match major {
        13 => "%m [%p] u=%u|d=%d|a=%a|r=%r|b=%b|c=%c|s=%s|v=%v|x=%x|e=%e|i=%i|l=%l> ",
        _ => "%m [%p] u=%u|d=%d|a=%a|r=%r|b=%b|c=%c|s=%s|v=%v|x=%x|e=%e|i=%i|Q=%Q|P=%P|l=%l> ",
    }
}

/// Everything that one server logged of a workload, by format.
struct Written {
    major: u32,
    stderr: String,
    csv: String,
    json: Option<String>,
}

/// The same workload on every major; made once for all tests here.
static WRITTEN: LazyLock<Vec<Written>> =
    LazyLock::new(|| majors().into_iter().filter_map(written).collect());

fn written(major: u32) -> Option<Written> {
    let destinations = if major >= 15 { "stderr,csvlog,jsonlog" } else { "stderr,csvlog" };
    let mut cluster = Options::default()
        .log_to_file()
        .conf(&format!(
            "log_destination = '{destinations}'\nlog_line_prefix = '{}'\nlog_connections = on\n\
             log_disconnections = on\nlog_statement = all\nlog_lock_waits = on\ndeadlock_timeout = 60ms\n\
             log_temp_files = 0\nlog_min_duration_statement = 0\nlog_checkpoints = on\n\
             log_autovacuum_min_duration = 0\n\
             autovacuum_naptime = 1s\nautovacuum_vacuum_threshold = 10\nlc_messages = 'C'",
            prefix(major)
        ))
        .start(major)?;
    work(&cluster);
    cluster.stop(Stop::Fast);
    let read = |ending: &str| {
        let path = cluster.directory().join(format!("log/postgresql.{ending}"));
        String::from_utf8(fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
            .unwrap()
    };
    let json = (major >= 15).then(|| read("json"));
    Some(Written { major, stderr: read("log"), csv: read("csv"), json })
}

fn work(cluster: &Cluster) {
    cluster.sql("CREATE TABLE dead AS SELECT generate_series(1, 500) AS a");
    cluster.sql("DELETE FROM dead");
    cluster.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, total numeric CHECK (total > 0), note text);
         INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, 'b');",
    );
    cluster.sql("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT 1 FRO x'; RETURN 1; END $$");
    cluster.sql("CREATE DATABASE \"Sh\"\"op é, ünd 'mehr'\"");
    let long = format!("SELECT '{}\n{}' FRO", "x".repeat(90_000), "y,\"z\"\n".repeat(9000));
    let bad = [
        "INSERT INTO orders VALUES (1, 3, 'x')",
        "INSERT INTO orders VALUES (7, -3, 'with \"quotes\", commas,\nlines\r\n\tand é')",
        "SELECT lenght('x')",
        "SELECT *\n\n  FROM nothing\n\twhere \"a\" = 'b'",
        "SELECT f()",
        "SELECT 'x'::int",
        "DO $$ BEGIN RAISE LOG E'many\\nlines, \"quoted\"' USING DETAIL = E'd\\n\\te', HINT = 'h', ERRCODE = 'P0042'; END $$",
        "DO $$ BEGIN RAISE WARNING 'größer \\ \u{1}' USING DETAIL = ''; END $$",
        "SET log_error_verbosity = verbose",
        "SELECT 1/0",
        "RESET log_error_verbosity",
        "SET log_error_verbosity = terse",
        "RESET log_error_verbosity",
        "SET application_name = 'LOG:  fake, \"name\" | x'",
        "SELECT nothing",
        "SET work_mem = '64kB'",
        "SELECT count(*) FROM (SELECT g FROM generate_series(1, 30000) g ORDER BY md5(g::text)) x",
        "ALTER SYSTEM SET log_min_messages = 'warning; x'",
        "COPY orders FROM PROGRAM 'echo x'",
        &long,
    ];
    for database in ["postgres", "Sh\"op é, ünd 'mehr'"] {
        cluster.with_client(database, async |client| {
            for statement in bad {
                let _ = client.batch_execute(statement).await;
            }
            let _ = client.query("SELECT $1::int + 1, $2::text", &[&7_i32, &"it's \"x\"\n2"]).await;
        });
    }
    // Its end is cut off only once every row of it is gone.
    cluster.await_sql(
        "SELECT autovacuum_count > 0 AND autoanalyze_count > 0 AND pg_relation_size(relid) = 0
         FROM pg_stat_user_tables WHERE relname = 'dead'",
        "t",
    );
    deadlock(cluster);
    for statement in ["DELETE FROM orders", "VACUUM orders", "CHECKPOINT"] {
        cluster.sql(statement);
    }
}

/// Two sessions wait for each other; a third waits a while for a lock.
fn deadlock(cluster: &Cluster) {
    cluster.with_client("postgres", async |a| {
        let (b, connection) = tokio_postgres::Config::new()
            .host_path(cluster.directory())
            .port(cluster.port)
            .user("postgres")
            .dbname("postgres")
            .connect(tokio_postgres::NoTls)
            .await
            .unwrap();
        let work = async {
            a.batch_execute("BEGIN; UPDATE orders SET note = 'a' WHERE id = 1").await.unwrap();
            b.batch_execute("BEGIN; UPDATE orders SET note = 'b' WHERE id = 2").await.unwrap();
            let (x, y) = tokio::join!(
                a.batch_execute("UPDATE orders SET note = 'a' WHERE id = 2"),
                b.batch_execute("UPDATE orders SET note = 'b' WHERE id = 1"),
            );
            assert!(x.is_err() || y.is_err(), "no deadlock");
            let _ = a.batch_execute("ROLLBACK").await;
            let _ = b.batch_execute("ROLLBACK").await;
            a.batch_execute("BEGIN; LOCK orders").await.unwrap();
            let release = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                a.batch_execute("COMMIT").await.unwrap();
            };
            let (waited, ()) = tokio::join!(b.batch_execute("SELECT * FROM orders"), release);
            waited.unwrap();
        };
        tokio::select! {
            () = work => {}
            _ = connection => panic!("the session ended"),
        }
    });
}

/// What `pgvigil logs parse` makes of a text: records as JSON objects, and its sentence.
fn parse(text: &str, prefix: Option<&str>) -> (Vec<Map<String, Value>>, String) {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("x.log");
    fs::write(&file, text).unwrap();
    parse_file(&file, prefix)
}

fn parse_file(file: &Path, prefix: Option<&str>) -> (Vec<Map<String, Value>>, String) {
    parse_masked(file, prefix, "credentials")
}

fn parse_masked(
    file: &Path,
    prefix: Option<&str>,
    redact: &str,
) -> (Vec<Map<String, Value>>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgvigil"));
    command.args(["logs", "parse", "--format", "json", "--redact", redact]).arg(file);
    if let Some(prefix) = prefix {
        command.args(["--line-prefix", prefix]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let records = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| match serde_json::from_str(line).unwrap() {
            Value::Object(object) => object,
            other => panic!("{other}"),
        })
        .collect();
    (records, String::from_utf8(output.stderr).unwrap())
}

/// By process: what an entry holds, without what is a matter of the file.
fn entries(records: &[Map<String, Value>]) -> BTreeMap<String, Vec<Map<String, Value>>> {
    let mut by_process: BTreeMap<String, Vec<Map<String, Value>>> = BTreeMap::new();
    for record in records {
        let mut record = record.clone();
        // The text log counts its lines, the others their records.
        for own in ["start", "end", "line_num", "redacted_credentials"] {
            record.remove(own);
        }
        let pid = record.get("pid").map_or("", |pid| pid.as_str().unwrap()).to_owned();
        by_process.entry(pid).or_default().push(record);
    }
    by_process
}

fn same(what: &str, a: &[Map<String, Value>], b: &[Map<String, Value>]) {
    let (a, b) = (entries(a), entries(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}");
    for (pid, a) in &a {
        for (number, (a, b)) in a.iter().zip(&b[pid]).enumerate() {
            for key in a.keys().chain(b.keys()) {
                assert_eq!(
                    a.get(key),
                    b.get(key),
                    "{what}: record {number} of {pid}: {key}\n{a:?}"
                );
            }
        }
        assert_eq!(a.len(), b[pid].len(), "{what}: {pid}");
    }
}

#[test]
fn three_formats_of_one_run_are_equal_records() {
    for written in WRITTEN.iter() {
        let major = written.major;
        let (stderr, notes) = parse(&written.stderr, Some(prefix(major)));
        assert!(stderr.len() > 100, "{major}: {notes}");
        assert!(!notes.contains("no records"), "{major}: {notes}");
        let (csv, notes) = parse(&written.csv, None);
        assert!(!notes.contains("no records") && !notes.contains("torn"), "{major}: {notes}");
        same(&format!("{major}: stderr and csv"), &stderr, &csv);
        if let Some(json) = &written.json {
            let (json, notes) = parse(json, None);
            assert!(!notes.contains("no records"), "{major}: {notes}");
            same(&format!("{major}: csv and json"), &csv, &json);
        }
        let all: Vec<&str> = csv.iter().map(|record| record["line"].as_str().unwrap()).collect();
        for part in [
            "\nDETAIL:  Process ",
            "\nHINT:  ",
            "\nQUERY:  SELECT 1 FRO x\nCONTEXT:  PL/pgSQL function f()",
            "\nLOCATION:  int4div, int.c:",
            " at character ",
            "still waiting for",
            "temporary file: path",
            "checkpoint complete",
            "automatic vacuum of table",
            "automatic analyze of table",
            "deadlock detected",
            "[cut: ",
            "größer",
        ] {
            assert!(all.iter().any(|line| line.contains(part)), "{major}: {part}");
        }
    }
}

/// The agent counts the same in each format, and says where records are missing.
#[test]
fn figures_are_the_same_in_each_format() {
    for written in WRITTEN.iter().filter(|written| matches!(written.major, 13 | 18)) {
        let stub = Stub::start();
        let bed = Bed::new();
        bed.append("text.log", &written.stderr);
        bed.append("csv.log", &written.csv);
        bed.append("cri.log", &cri(&written.stderr));
        bed.append("cnpg.log", &cnpg(&written.csv));
        let mut sources = vec!["text", "csv", "cri", "cnpg"];
        if let Some(json) = &written.json {
            bed.append("json.log", json);
            sources.push("json");
        }
        // A record of the middle lost, another one doubled.
        let lines: Vec<&str> = written.csv.split_inclusive('\n').collect();
        let checkpoints: Vec<usize> =
            (0..lines.len()).filter(|at| lines[*at].contains("connection authorized")).collect();
        let [lost, doubled] = [checkpoints[0], checkpoints[1]];
        let mut damaged: Vec<&str> = lines.clone();
        damaged.insert(doubled, lines[doubled]);
        damaged.remove(lost);
        bed.append("damaged.log", &damaged.concat());
        sources.push("damaged");
        let list: Vec<String> = sources
            .iter()
            .map(|name| {
                let prefix = Value::from(prefix(written.major));
                format!(
                    "{{name: {name}, files: [\"{}\"], line_prefix: {prefix}}}",
                    bed.log(&format!("{name}.log")).display()
                )
            })
            .collect();
        let river = bed.river_of(&format!(
            "{{sources: [{}], loki: {{url: \"{}\"}}}}",
            list.join(", "),
            stub.url()
        ));
        river.await_done(parse(&written.csv, None).0.len() * sources.len());
        let of = |source: &str, name: &str, labels: &[(&str, &str)]| {
            river.value(name, &[&[("server", source)], labels].concat()).unwrap_or(-1.0)
        };
        let records = of("csv", "pg_log_records_total", &[]);
        assert!(records > 100.0, "{records}");
        let figures: [(&str, &[(&str, &str)]); 18] = [
            ("pg_log_autovacuum_runs_total", &[("operation", "vacuum")]),
            ("pg_log_autovacuum_runs_total", &[("operation", "analyze")]),
            ("pg_log_autovacuum_tuples_removed_total", &[]),
            ("pg_log_autovacuum_pages_removed_total", &[]),
            ("pg_log_records_total", &[("severity", "ERROR")]),
            ("pg_log_events_total", &[("event", "duration")]),
            ("pg_log_events_total", &[("event", "deadlock")]),
            ("pg_log_errors_total", &[("severity", "ERROR"), ("sqlstate_class", "42")]),
            ("pg_log_errors_total", &[("severity", "ERROR"), ("sqlstate_class", "40")]),
            ("pg_log_checkpoints_started_total", &[("cause", "other")]),
            ("pg_log_checkpoints_completed_total", &[("kind", "checkpoint")]),
            ("pg_log_checkpoint_buffers_written_total", &[]),
            ("pg_log_checkpoint_seconds_total", &[]),
            ("pg_log_temp_file_bytes_total", &[]),
            ("pg_log_lock_waits_total", &[("outcome", "waiting")]),
            ("pg_log_lock_wait_seconds_total", &[]),
            ("pg_log_sessions_total", &[]),
            ("pg_log_session_seconds_total", &[]),
        ];
        for (name, labels) in figures {
            let value = of("csv", name, labels);
            assert!(value > 0.0, "{}: {name} {labels:?} is {value}", written.major);
            for source in &sources[..sources.len() - 1] {
                let other = of(source, name, labels);
                assert_eq!(other, value, "{}: {name} {labels:?} of {source}", written.major);
            }
        }
        let missing = "pgvigil_log_session_missing_records_total";
        let repeated = "pgvigil_log_session_repeated_records_total";
        for source in &sources[..sources.len() - 1] {
            assert_eq!(
                (of(source, missing, &[]), of(source, repeated, &[])),
                (0.0, 0.0),
                "{source}"
            );
        }
        assert_eq!((of("damaged", missing, &[]), of("damaged", repeated, &[])), (1.0, 1.0));
        assert!(river.stop(Duration::from_secs(10)));
    }
}
