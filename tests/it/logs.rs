//! The log river against a stub of Loki and a real one: whole records, nothing lost, nothing twice.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::support::loki::{Entry, Stub};
use crate::support::river::{Bed, record};

const SOON: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(10);
const NOW: Duration = Duration::ZERO;

fn numbered(from: usize, to: usize) -> String {
    (from..to).map(|n| record(NOW, 7, "LOG", &format!("record {n}"))).collect()
}

/// The numbers of the entries that `numbered` made, with how often each is there.
fn numbers(entries: &[Entry]) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    for entry in entries {
        if let Some(number) = entry.line.strip_prefix("LOG:  record ") {
            *found.entry(number.parse().unwrap()).or_default() += 1;
        }
    }
    found
}

#[track_caller]
fn assert_each_once(entries: &[Entry], count: usize) {
    let found = numbers(entries);
    let missing: Vec<usize> = (0..count).filter(|n| !found.contains_key(n)).collect();
    let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    assert!(missing.is_empty(), "missing {} from {:?}", missing.len(), missing.first());
    assert!(twice.is_empty(), "twice {}: {:?}", twice.len(), twice.first());
}

#[test]
fn a_record_becomes_one_entry_with_its_labels_and_metadata() {
    let stub = Stub::start();
    let bed = Bed::new();
    bed.append("pg.log", &record(NOW, 41, "ERROR", "deadlock detected"));
    bed.append("pg.log", &record(NOW, 7, "LOG", "between"));
    let river = bed.river(&stub.url(), "");
    let entries = stub.await_entries("", 2, SOON);
    let deadlock = entries.iter().find(|e| e.line.starts_with("ERROR")).unwrap();
    assert_eq!(deadlock.line, "ERROR:  deadlock detected");
    let of = |name: &str| deadlock.metadata.get(name).map(String::as_str);
    assert_eq!((of("severity"), of("level")), (Some("ERROR"), Some("error")));
    assert_eq!((of("pid"), of("user"), of("dbname")), (Some("41"), Some("app"), Some("shop")));
    assert_eq!(
        stub.streams(),
        ["{cluster=\"s1\", environment=\"test\", route=\"admin\", server=\"s1\", \
          service_name=\"postgresql\"}"]
    );
    let identity = [("cluster", "s1"), ("server", "s1"), ("environment", "test")];
    let error = [&identity[..], &[("severity", "ERROR")]].concat();
    river.await_value("pg_log_records_total", &error, |value| value == 1.0);
    river.await_value("pgvigil_log_file_bytes_behind", &[("route", "admin")], |v| v == 0.0);
    assert_eq!(river.value("pgvigil_loki_entries_total", &[]), Some(2.0));
    assert!(river.stop(DRAIN));
}

#[test]
fn every_kind_of_rotation_loses_nothing() {
    let stub = Stub::start();
    let bed = Bed::new();
    bed.append("pg.log", &numbered(0, 100));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 100, SOON);
    // Renamed, with a last word for the old file after that.
    fs::rename(bed.log("pg.log"), bed.log("pg.log.1")).unwrap();
    bed.append("pg.log", &numbered(101, 200));
    bed.append("pg.log.1", &numbered(100, 101));
    stub.await_entries("", 200, SOON);
    // Renamed twice between two looks: the file between was never seen under its own name.
    fs::rename(bed.log("pg.log.1"), bed.log("pg.log.3")).unwrap();
    fs::rename(bed.log("pg.log"), bed.log("pg.log.2")).unwrap();
    bed.append("pg.log.1", &numbered(200, 300));
    bed.append("pg.log", &numbered(300, 400));
    stub.await_entries("", 400, SOON);
    // Copied and truncated, with records that only the copy has.
    bed.append("pg.log", &numbered(400, 500));
    fs::copy(bed.log("pg.log"), bed.log("pg.log.4")).unwrap();
    fs::write(bed.log("pg.log"), numbered(500, 520)).unwrap();
    stub.await_entries("", 520, SOON);
    // Truncated in place and written anew, longer than before, on the same inode.
    fs::write(bed.log("pg.log"), numbered(520, 700)).unwrap();
    stub.await_entries("", 700, SOON);
    // Deleted after it was read; another takes its name.
    fs::remove_file(bed.log("pg.log")).unwrap();
    bed.append("pg.log", &numbered(700, 720));
    // A new name, and one whose last line has no end yet.
    bed.append("next.log", &numbered(720, 800));
    bed.append("next.log", numbered(800, 801).trim_end());
    stub.await_entries("", 800, SOON);
    bed.append("next.log", "\n");
    stub.await_entries("", 801, SOON);
    assert_each_once(&stub.entries(""), 801);
    assert_eq!(stub.pushes().iter().map(|p| p.entries.len()).sum::<usize>(), 801, "sent once");
    assert_eq!(river.value("pgvigil_log_vanished_bytes_total", &[]), Some(0.0));
    assert!(river.stop(DRAIN));
}

#[test]
fn a_restart_goes_on_where_it_was_whatever_happened_meanwhile() {
    let stub = Stub::start();
    let bed = Bed::new();
    bed.append("pg.log", &numbered(0, 50));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 50, SOON);
    assert!(river.stop(DRAIN));
    // Written on, renamed, another between them, renamed again.
    bed.append("pg.log", &numbered(50, 60));
    fs::rename(bed.log("pg.log"), bed.log("pg.log.2")).unwrap();
    bed.append("pg.log.1", &numbered(60, 70));
    bed.append("pg.log", &numbered(70, 80));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 80, SOON);
    assert!(river.stop(DRAIN));
    // Copied and truncated.
    bed.append("pg.log", &numbered(80, 90));
    fs::copy(bed.log("pg.log"), bed.log("pg.log.0")).unwrap();
    fs::write(bed.log("pg.log"), numbered(90, 100)).unwrap();
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 100, SOON);
    assert!(river.stop(DRAIN));
    assert_each_once(&stub.entries(""), 100);
    assert_eq!(stub.pushes().iter().map(|p| p.entries.len()).sum::<usize>(), 100, "sent once");
}
