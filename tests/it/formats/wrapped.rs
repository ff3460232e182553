//! What runtimes and operators put around the lines of a log.

use serde_json::{Map, Value};

use super::{WRITTEN, parse, prefix, same};

/// A runtime's or operator's way to keep a log.
type Wrap = fn(&str) -> String;

/// Kubernetes: lines in parts of a few thousand bytes, another stream's between them.
pub(super) fn cri(log: &str) -> String {
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
pub(super) fn cnpg(csv: &str) -> String {
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
