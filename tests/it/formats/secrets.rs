//! The corpus of secrets in every format.

use std::fs;
use std::path::Path;
use std::time::Instant;

use pgvigil::logs::{Assembler, Key, Part, Prefix, Reading, Record, Severity};
use serde_json::{Map, Value};

use super::parse_masked;

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
