//! The log river against a stub of Loki and a real one: whole records, nothing lost, nothing twice.

mod store;

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

/// Between two looks, and up to beyond the place that was reached, where the bytes are the same.
#[test]
fn a_file_written_anew_is_seen_although_the_bytes_before_the_place_are_the_same() {
    let stub = Stub::start();
    let bed = Bed::new();
    let long = |number: usize, size: usize| numbered(number, number + 1) + "\t" + &"x".repeat(size);
    bed.append("pg.log", &(numbered(0, 1) + &long(1, 5_000)));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 1, SOON);
    fs::write(bed.log("pg.log"), long(2, 9_000) + "\n" + &numbered(3, 4)).unwrap();
    let entries = stub.await_entries("", 4, SOON);
    let second = entries.iter().find(|entry| entry.line.starts_with("LOG:  record 2")).unwrap();
    assert_eq!(second.line.matches('x').count(), 9_000);
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

#[test]
fn a_damaged_checkpoint_costs_a_repeat_that_nobody_sees() {
    let stub = Stub::start();
    let bed = Bed::new();
    bed.append("pg.log", &numbered(0, 40));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 40, SOON);
    assert!(river.stop(DRAIN));
    bed.append("pg.log", &numbered(40, 50));
    // The newest generation is damaged: the one before it serves.
    fs::write(bed.state().join("checkpoint.json"), [0; 4096]).unwrap();
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 50, SOON);
    let damaged = "pgvigil_checkpoint_damaged_total";
    assert_eq!(river.value(damaged, &[("used", "previous")]), Some(1.0));
    assert!(river.stop(DRAIN));
    // Both are: all is sent again, each entry as it was.
    for name in ["checkpoint.json", "checkpoint.previous.json"] {
        fs::write(bed.state().join(name), "{").unwrap();
    }
    let before = stub.pushes().len();
    let river = bed.river(&stub.url(), "");
    river.await_value("pgvigil_loki_entries_total", &[], |sent| sent >= 50.0);
    assert_eq!(river.value(damaged, &[("used", "none")]), Some(1.0));
    assert!(river.stop(DRAIN));
    assert!(stub.pushes().len() > before);
    assert_each_once(&stub.entries(""), 50);
}

#[test]
fn a_second_agent_on_the_same_state_is_refused() {
    let stub = Stub::start();
    let bed = Bed::new();
    let logs = format!(
        "{{sources: [{{name: pg, files: [\"{}\"]}}], loki: {{url: \"{}\"}}}}",
        bed.log("*.log").display(),
        stub.url()
    );
    let first = bed.river_of(&logs);
    let refusal = bed.try_river(&logs).err().unwrap();
    assert!(refusal.contains("another agent") && refusal.contains("; stop it"), "{refusal}");
    let shipper = std::sync::Arc::clone(&first.shipper);
    assert!(first.stop(DRAIN));
    // Stopped is stopped, also where somebody still looks at it.
    assert!(bed.river_of(&logs).stop(DRAIN));
    drop(shipper);
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_holds_up_nothing() {
    let stub = Stub::start();
    let bed = Bed::new();
    // Nobody can open it, not even root.
    std::os::unix::fs::symlink(bed.log("bad.log"), bed.log("bad.log")).unwrap();
    bed.append("pg.log", &numbered(0, 10));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 10, SOON);
    river.await_value("pgvigil_log_unreadable_files", &[("server", "s1")], |count| count == 1.0);
    let status = river.shipper.status();
    let [problem] = &status.sources[0].problems[..] else { panic!("{status:?}") };
    assert!(problem.contains("bad.log") && problem.contains("; let the agent's user"), "{problem}");
    fs::remove_file(bed.log("bad.log")).unwrap();
    bed.append("bad.log", &numbered(10, 20));
    stub.await_entries("", 20, SOON);
    river.await_value("pgvigil_log_unreadable_files", &[], |count| count == 0.0);
    assert!(river.stop(DRAIN));
}

#[test]
fn equal_records_of_one_moment_are_all_kept() {
    let stub = Stub::start();
    let bed = Bed::new();
    let same = record(NOW, 7, "LOG", "the same");
    bed.append("pg.log", &same.repeat(500));
    // Lines without a time take their predecessor's; equal ones stay apart as well.
    bed.append("pg.log", &"cp: cannot stat 'x'\n".repeat(500));
    let river = bed.river(&stub.url(), "");
    let entries = stub.await_entries("", 1000, SOON);
    assert!(river.stop(DRAIN));
    let times: std::collections::BTreeSet<i64> = entries.iter().map(|entry| entry.ns).collect();
    assert_eq!((entries.len(), times.len()), (1000, 1000));
    assert!(times.last().unwrap() - times.first().unwrap() == 999, "within a microsecond");
}

#[test]
fn routes_share_a_file_and_a_stuck_one_holds_up_itself_alone() {
    let stub = Stub::start();
    let bed = Bed::new();
    let routes = ", routes: [\
         {name: admin, tenant: dba}, \
         {name: developer, tenant: dev, redact: literals, databases: [shop], \
          exclude_events: [authentication]}]";
    // 6 MiB, far more than a lane holds; the developers' tenant is refused.
    let filler = "x".repeat(900);
    let text: String =
        (0..6000).map(|n| record(NOW, 7, "LOG", &format!("record {n} {filler}"))).collect();
    bed.append("pg.log", &text);
    stub.reject_tenant("dev", 429);
    let river = bed.river(&stub.url(), routes);
    stub.await_entries("route=\"admin\"", 6000, SOON);
    assert!(stub.entries("route=\"developer\"").is_empty());
    river.await_value("pgvigil_log_file_bytes_behind", &[("route", "admin")], |v| v == 0.0);
    let stuck = river.value("pgvigil_log_file_bytes_behind", &[("route", "developer")]);
    assert!(stuck.is_some_and(|bytes| bytes > 5e6), "{stuck:?}");
    let status = river.shipper.status();
    let lane = status.lanes.iter().find(|lane| lane.route == "developer").unwrap();
    assert!(lane.standing.problem.as_ref().is_some_and(|p| p.contains("tenant dev")), "{lane:?}");
    stub.accept_tenants();
    stub.await_entries("route=\"developer\"", 6000, Duration::from_secs(90));
    let tenants: std::collections::BTreeSet<_> =
        stub.pushes().into_iter().map(|p| (p.labels.contains("admin"), p.tenant)).collect();
    let expected = [(false, Some("dev".to_owned())), (true, Some("dba".to_owned()))];
    assert_eq!(tenants.into_iter().collect::<Vec<_>>(), expected);
    assert!(river.stop(DRAIN));
    // Each was counted once, though it was read twice.
    assert_eq!(stub.entries("route=\"developer\"").len(), 6000);
    assert_eq!(stub.most_in_flight(), 1);
}

#[test]
fn late_records_go_to_the_backfill_stream_and_stay_there() {
    let stub = Stub::start();
    let bed = Bed::new();
    let hours = |n: u64| Duration::from_secs(n * 3600);
    bed.append("a.log", &record(NOW, 7, "LOG", "today"));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 1, SOON);
    // A file that turns up later, and is older.
    let old: String = (0..5).map(|n| record(hours(5), 8, "LOG", &format!("old {n}"))).collect();
    bed.append("b.log", &old);
    stub.reset();
    let late = stub.await_entries("backfill=\"true\"", 5, SOON);
    assert!(late.iter().all(|entry| entry.line.starts_with("LOG:  old")));
    river.await_value("pgvigil_log_late_records_total", &[], |count| count == 5.0);
    // The answer was lost, so they are sent twice, and as the same.
    river.await_value("pgvigil_log_file_bytes_behind", &[], |bytes| bytes == 0.0);
    assert!(river.stop(DRAIN));
    assert_eq!(stub.entries("").len(), 6);
}
