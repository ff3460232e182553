//! Formats: what one server writes as text, csv and json at once becomes the same records, whatever is
//! put around its lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use pgvigil::logs::{Assembler, Key, Part, Prefix, Reading, Record, Severity};
use serde_json::{Map, Value};

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

/// A runtime's or operator's way to keep a log.
type Wrap = fn(&str) -> String;

/// Kubernetes: lines in parts of a few thousand bytes, another stream's between them.
fn cri(log: &str) -> String {
    let mut text = String::new();
    for (number, line) in log.split_terminator('\n').enumerate() {
        let mut rest = line;
        while rest.len() > 3000 {
            let cut = (3000..).find(|at| rest.is_char_boundary(*at)).unwrap();
            text.push_str(&format!(
                "2026-03-04T09:15:01.2{number:05}Z stderr P {}\n",
                &rest[..cut]
            ));
            if cut % 2 == 0 {
                text.push_str("2026-03-04T09:15:01.2Z stdout F noise\n");
            }
            rest = &rest[cut..];
        }
        text.push_str(&format!("2026-03-04T09:15:01.2{number:05}+00:00 stderr F {rest}\n"));
    }
    text
}

fn docker(log: &str) -> String {
    let mut text = String::new();
    let mut put = |part: &str| {
        let log = Value::from(part);
        text.push_str(&format!(
            "{{\"log\":{log},\"stream\":\"stderr\",\"time\":\"2026-03-04T09:15:01.2Z\"}}\n"
        ));
    };
    for line in log.split_terminator('\n') {
        let mut rest = line;
        while rest.len() > 16_384 {
            let cut = (16_384..).find(|at| rest.is_char_boundary(*at)).unwrap();
            put(&rest[..cut]);
            rest = &rest[cut..];
        }
        put(&format!("{rest}\n"));
    }
    text
}

fn pebble(log: &str) -> String {
    log.split_terminator('\n')
        .map(|line| format!("2026-03-04T09:15:01.207Z [postgresql] {line}\n"))
        .collect()
}

/// csvlog's columns as CloudNativePG names them.
fn cnpg(csv: &str) -> String {
    const NAMES: [&str; 26] = [
        "log_time",
        "user_name",
        "database_name",
        "process_id",
        "connection_from",
        "session_id",
        "session_line_num",
        "command_tag",
        "session_start_time",
        "virtual_transaction_id",
        "transaction_id",
        "error_severity",
        "sql_state_code",
        "message",
        "detail",
        "hint",
        "internal_query",
        "internal_query_pos",
        "context",
        "query",
        "query_pos",
        "location",
        "application_name",
        "backend_type",
        "leader_pid",
        "query_id",
    ];
    let mut text = String::new();
    let mut record = Map::new();
    let mut value = String::new();
    let (mut column, mut quoted) = (0, false);
    let mut letters = csv.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                value.push('"');
            }
            '"' => quoted = !quoted,
            ',' | '\n' if !quoted => {
                let value = std::mem::take(&mut value);
                if !value.is_empty() {
                    record.insert(NAMES[column].to_owned(), value.into());
                }
                column += 1;
                if letter == '\n' {
                    let record = Value::Object(std::mem::take(&mut record));
                    text.push_str(&format!(
                        "{{\"level\":\"info\",\"ts\":\"2026-03-04T09:15:01.2Z\",\"logger\":\"postgres\",\"msg\":\"record\",\"record\":{record}}}\n"
                    ));
                    column = 0;
                }
            }
            other => value.push(other),
        }
    }
    text
}

/// What a runtime or an operator puts around the lines changes nothing.
#[test]
fn wrapped_logs_are_the_same_records() {
    for written in WRITTEN.iter().filter(|written| matches!(written.major, 13 | 18)) {
        let prefix = Some(prefix(written.major));
        let bare = parse(&written.stderr, prefix).0;
        let csv = parse(&written.csv, None).0;
        let wraps: [(&str, Wrap); 4] = [
            ("cri", cri),
            ("docker", docker),
            ("pebble", pebble),
            ("pebble in cri", |log| cri(&pebble(log))),
        ];
        for (name, wrap) in wraps {
            for (log, wanted) in [(&written.stderr, &bare), (&written.csv, &csv)] {
                let (mut records, _) = parse(&wrap(log), prefix);
                records.retain(|record| record["line"] != "noise");
                same(name, wanted, &records);
            }
        }
        let records = parse(&cnpg(&written.csv), None).0;
        assert_eq!(csv.len(), records.len());
        for (a, b) in csv.iter().zip(&records) {
            // The wrapper leaves out what is empty.
            let line = a["line"].as_str().unwrap();
            assert_eq!(line.replace("\nDETAIL:  \n", "\n"), b["line"].as_str().unwrap());
            for key in a.keys().filter(|key| !matches!(key.as_str(), "line" | "start" | "end")) {
                assert_eq!(a[key], b[key], "{key}");
            }
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

/// A record as csvlog and as jsonlog, as far as the corpus of secrets needs it.
fn written_as(record: &Record) -> (String, Map<String, Value>) {
    let quoted = |text: Option<&str>| {
        text.map_or(String::new(), |text| format!("\"{}\"", text.replace('"', "\"\"")))
    };
    let field = |key: Key| quoted(record.field(key));
    let part = |part: Part| quoted(record.part(part));
    let severity = record.severity.map_or("LOG", Severity::as_str);
    let code = record.sqlstate.map_or("00000".to_owned(), |code| code.to_string());
    let columns = [
        "2026-03-04 09:15:01.207 UTC".to_owned(),
        field(Key::User),
        field(Key::Dbname),
        "4411".to_owned(),
        String::new(),
        "69a7f9b1.113b".to_owned(),
        "1".to_owned(),
        field(Key::Ps),
        "2026-03-04 09:10:25 UTC".to_owned(),
        String::new(),
        "0".to_owned(),
        severity.to_owned(),
        code.clone(),
        quoted(Some(record.message())),
        part(Part::Detail),
        part(Part::Hint),
        part(Part::Query),
        String::new(),
        part(Part::Context),
        part(Part::Statement),
        String::new(),
        part(Part::Location),
        field(Key::ApplicationName),
        "\"client backend\"".to_owned(),
        String::new(),
        "0".to_owned(),
    ];
    let mut json = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            json.insert(name.to_owned(), value.into());
        }
    };
    put("timestamp", Some("2026-03-04 09:15:01.207 UTC"));
    for key in [Key::User, Key::Dbname, Key::Ps, Key::ApplicationName] {
        put(key.as_str(), record.field(key));
    }
    put("error_severity", Some(severity));
    put("state_code", Some(&code));
    put("message", Some(record.message()));
    for (name, part) in [
        ("detail", Part::Detail),
        ("hint", Part::Hint),
        ("internal_query", Part::Query),
        ("context", Part::Context),
        ("statement", Part::Statement),
    ] {
        put(name, record.part(part));
    }
    (columns.join(","), json)
}

/// The corpus of secrets, written in the other formats: masked as in the text log, and none passes.
#[test]
fn secrets_are_masked_alike_in_every_format() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/logs/secrets");
    let folder = tempfile::TempDir::new().unwrap();
    let mut compared = 0;
    for name in ["connections", "roles", "values"] {
        let file = root.join(format!("{name}.log"));
        let text = fs::read_to_string(&file).unwrap();
        let prefix = Prefix::guess(text.as_bytes()).unwrap();
        let mut assembler = Assembler::new(Reading::new(Some(prefix.as_str()), None, None));
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let end = at + line.len() as u64;
            assembler.line(line.trim_end_matches('\n').as_bytes(), at..end, Instant::now());
            at = end;
        }
        assembler.finish();
        let records: Vec<Record> = std::iter::from_fn(|| assembler.ready())
            .filter(|record| !record.is_plain() && !record.is_late())
            .collect();
        let (mut csv, mut json, mut cnpg) = (String::new(), String::new(), String::new());
        for record in &records {
            let (columns, object) = written_as(record);
            csv.push_str(&format!("{columns}\n"));
            let object = Value::Object(object);
            json.push_str(&format!("{object}\n"));
            let names = [
                ("\"timestamp\"", "\"log_time\""),
                ("\"user\"", "\"user_name\""),
                ("\"dbname\"", "\"database_name\""),
                ("\"ps\"", "\"command_tag\""),
                ("\"state_code\"", "\"sql_state_code\""),
                ("\"statement\"", "\"query\""),
            ];
            let mut wrapped = Map::new();
            for (key, value) in object.as_object().unwrap() {
                let quoted = format!("\"{key}\"");
                let own = names
                    .iter()
                    .find(|(json, _)| *json == quoted)
                    .map(|(_, csv)| csv.trim_matches('"'));
                wrapped.insert(own.unwrap_or(key).to_owned(), value.clone());
            }
            let wrapped = Value::Object(wrapped);
            cnpg.push_str(&format!(
                "{{\"level\":\"info\",\"msg\":\"record\",\"record\":{wrapped}}}\n"
            ));
        }
        for level in ["credentials", "literals"] {
            let (all, _) = parse_masked(&file, Some(prefix.as_str()), level);
            let wanted: Vec<&str> = all
                .iter()
                .filter(|record| record.contains_key("severity"))
                .map(|record| record["line"].as_str().unwrap())
                .collect();
            assert_eq!(wanted.len(), records.len());
            for (format, text) in [("csv", &csv), ("json", &json), ("cnpg", &cnpg)] {
                let path = folder.path().join(format);
                fs::write(&path, text).unwrap();
                let (found, notes) = parse_masked(&path, None, level);
                assert_eq!(found.len(), wanted.len(), "{name} as {format}: {notes}");
                for (found, wanted) in found.iter().zip(&wanted) {
                    assert_eq!(found["line"].as_str(), Some(*wanted), "{name} as {format}");
                    let all = Value::from(found.clone()).to_string();
                    assert!(!all.contains("hunter2"), "{name} as {format}: {all}");
                    assert!(
                        level == "credentials" || !(all.contains("alice") || all.contains("4242")),
                        "{name} as {format}: {all}"
                    );
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 300, "{compared}");
}
