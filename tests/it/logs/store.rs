//! The local store, and standard input, which waits in it.

use std::fs;
use std::time::Duration;

use super::{DRAIN, NOW, SOON, numbered};
use crate::support::loki::Stub;
use crate::support::river::{Bed, record};

fn cat(bed: &Bed, arguments: &[&str]) -> Vec<serde_json::Value> {
    let state = bed.state().display().to_string();
    let output = crate::support::agent::pgvigil(&["logs", "cat", "--format", "json"])
        .args(["--state-directory", &state])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn local(bed: &Bed, more: &str) -> String {
    format!("{{sources: [{{name: pg, files: [\"{}\"]}}]{more}}}", bed.log("*.log").display())
}

#[test]
fn the_local_store_keeps_and_shows_each_record_once() {
    let bed = Bed::new();
    bed.append("pg.log", &numbered(0, 100));
    bed.append("pg.log", &record(NOW, 9, "ERROR", "relation \"x\" does not exist"));
    let routes = ", routes: [{name: admin}, {name: developer, redact: literals}]";
    let river = bed.river_of(&local(&bed, routes));
    river.await_done(101);
    // Killed: the checkpoint may be older than the store, which knows better.
    river.abandon();
    bed.append("pg.log", &numbered(100, 200));
    let river = bed.river_of(&local(&bed, routes));
    river.await_done(100);
    assert!(river.stop(DRAIN));
    for route in ["admin", "developer"] {
        let rows = cat(&bed, &["--route", route]);
        let mut lines: Vec<_> = rows.iter().filter_map(|row| row["line"].as_str()).collect();
        lines.sort_unstable();
        let count = lines.len();
        lines.dedup();
        assert_eq!((count, lines.len()), (201, 201), "{route}");
    }
    let lines = |arguments: &[&str]| cat(&bed, arguments).len();
    assert_eq!(lines(&["--severity", "error"]), 1);
    assert_eq!(lines(&["--grep", "record 19"]), 11);
    assert_eq!(lines(&["--database", "shop", "--since", "1h"]), 201);
    assert_eq!(lines(&["--database", "other"]), 0);
    assert_eq!(lines(&["--until", "1h"]), 0);
    let mode = |route: &str| {
        use std::os::unix::fs::PermissionsExt;
        let segment = fs::read_dir(bed.state().join("store").join(route)).unwrap().next();
        segment.unwrap().unwrap().metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("admin"), mode("developer")), (0o600, 0o640));
}

#[test]
fn the_local_store_stays_within_its_bytes() {
    let bed = Bed::new();
    let noise: Vec<String> = (0..20_000u64)
        .map(|n| {
            let hash = |salt: u64| (n + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
            let text: String = (0..12).map(|salt| format!("{:016x}", hash(salt * 77))).collect();
            record(NOW, 7, "LOG", &format!("record {n} {text}"))
        })
        .collect();
    bed.append("pg.log", &noise.concat());
    let river = bed.river_of(&local(&bed, ", store: {max_bytes: 1MiB}"));
    river.await_done(20_000);
    let dropped = river.value("pgvigil_log_store_dropped_entries_total", &[]).unwrap();
    assert!(river.stop(DRAIN));
    let shelf = bed.state().join("store/admin");
    let bytes: u64 =
        fs::read_dir(shelf).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    let rows = cat(&bed, &[]);
    assert!(bytes <= 1024 * 1024, "{bytes}");
    assert_eq!(rows.len() as f64 + dropped, 20_000.0, "what is gone is counted");
    assert!(rows.last().unwrap()["line"].as_str().unwrap().contains("record 19999 "));
}

/// A file system of one MiB at the river's state directory; none where that cannot be had.
struct Small {
    path: std::path::PathBuf,
}

impl Small {
    fn mount(path: std::path::PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path);
        if command.status().is_ok_and(|status| status.success()) {
            return Some(Self { path });
        }
        println!("skipped: only root can mount a small file system");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.path).status();
    }
}

#[test]
fn a_full_disk_holds_the_reading_up_and_says_so() {
    let bed = Bed::new();
    let Some(_small) = Small::mount(bed.state()) else { return };
    let ballast = bed.state().join("ballast");
    fs::write(&ballast, vec![1; 900 * 1024]).unwrap();
    // 3 MiB, which snappy makes so small that it fits once the ballast is gone.
    let filler = "x".repeat(900);
    let text: String =
        (0..3000).map(|n| record(NOW, n, "LOG", &format!("record {n} {filler}"))).collect();
    bed.append("pg.log", &text);
    let river = bed.river_of(&local(&bed, ""));
    let deadline = std::time::Instant::now() + SOON;
    let problem = loop {
        let standing = river.shipper.status().lanes[0].standing.clone();
        if let Some(problem) = standing.problem {
            break problem;
        }
        assert!(std::time::Instant::now() < deadline, "no problem is told: {standing:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(problem.contains("No space left") && problem.contains("; make room"), "{problem}");
    fs::remove_file(&ballast).unwrap();
    river.await_done(3000);
    assert_eq!(river.shipper.status().lanes[0].standing.problem, None);
    assert!(river.stop(DRAIN));
    assert_eq!(cat(&bed, &[]).len(), 3000);
    drop(_small);
}

/// An agent that reads what is written into the pipe.
fn agent_on_a_pipe(
    directory: &std::sync::Arc<tempfile::TempDir>,
    logs: &str,
) -> (crate::support::agent::Agent, std::io::PipeWriter) {
    let file = directory.path().join("pgvigil.yml");
    let state = directory.path().join("state");
    let text = format!(
        "logs: {logs}\nhttp: {{listen: [\"127.0.0.1:0\"]}}\nstate_directory: {}\n",
        state.display()
    );
    fs::write(&file, text).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = crate::support::agent::pgvigil(&["run", "--config"]);
    command.arg(&file).stdin(reader);
    let agent = crate::support::agent::Agent::spawn(command, std::sync::Arc::clone(directory));
    (agent, writer)
}

#[test]
fn standard_input_waits_for_loki_on_disk() {
    use std::io::Write;
    let address = ([127, 0, 0, 1], crate::support::process::free_port()).into();
    let directory = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    let logs =
        format!("{{sources: [{{name: pg, stdin: true}}], loki: {{url: \"http://{address}\"}}}}");
    let (agent, mut pipe) = agent_on_a_pipe(&directory, &logs);
    // Far more than a pipe and the memory for it hold, while nobody takes it.
    let filler = "x".repeat(1000);
    for n in 0..12_000 {
        let line = record(NOW, 7, "LOG", &format!("record {n} {filler}"));
        pipe.write_all(line.as_bytes()).unwrap();
    }
    agent.await_metrics(SOON, |page| {
        let read =
            crate::support::agent::sample(page, "pg_log_records_total", &[("severity", "LOG")]);
        read == Some(12_000.0)
    });
    // What is read is on disk within a second or so, and survives the end.
    std::thread::sleep(Duration::from_millis(2500));
    agent.kill();
    drop(pipe);
    let stub = Stub::start_at(address);
    let (agent, mut pipe) = agent_on_a_pipe(&directory, &logs);
    pipe.write_all(record(NOW, 7, "LOG", "record 12000 ").as_bytes()).unwrap();
    let entries = stub.await_entries("", 12_001, Duration::from_secs(60));
    drop(pipe);
    assert_eq!(agent.stop(), 0);
    let mut found: Vec<usize> = entries
        .iter()
        .map(|entry| entry.line.split(' ').nth(3).unwrap().parse().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, (0..=12_000).collect::<Vec<_>>());
    let spool = directory.path().join("state/spool");
    let left: u64 = fs::read_dir(spool)
        .unwrap()
        .flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap())
        .map(|segment| segment.unwrap().metadata().unwrap().len())
        .sum();
    assert!(left < 1024 * 1024, "what is sent goes: {left}");
}

#[test]
fn standard_input_never_stops_for_a_full_disk() {
    use std::io::Write;
    let directory = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    let Some(_small) = Small::mount(directory.path().join("state")) else { return };
    let (agent, mut pipe) =
        agent_on_a_pipe(&directory, "{sources: [{name: pg, stdin: true}], destination: local}");
    let mut x = 1u64;
    for n in 0..5000 {
        // Eight times what the disk holds, and nothing that snappy could make smaller.
        let mut text = String::new();
        for _ in 0..100 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(&format!("{:016x}", x ^ x >> 29));
        }
        pipe.write_all(record(NOW, 7, "LOG", &format!("record {n} {text}")).as_bytes()).unwrap();
    }
    let page = agent.await_metrics(SOON, |page| {
        let read =
            crate::support::agent::sample(page, "pg_log_records_total", &[("severity", "LOG")]);
        read == Some(5000.0)
    });
    let dropped = crate::support::agent::sample(
        &page,
        "pgvigil_log_store_dropped_entries_total",
        &[("reason", "disk_full")],
    );
    assert!(dropped.is_some_and(|count| count > 0.0), "{page}");
    drop(pipe);
    assert_eq!(agent.stop(), 0);
}
