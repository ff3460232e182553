//! A thousand files in one directory: all are read, at rest they cost next to nothing, what they hold
//! waits on disk while Loki is away, and a kill in the middle of their writing loses nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Arrivals, MEMORY, Usage, all_logs};
use crate::support::agent::{Agent, sample};
use crate::support::loki::Stub;
use crate::support::river::{append, record};

const FILES: usize = 1_000;
/// What is written to each file while Loki is away, bytes.
const BACKLOG: usize = 64 * 1024;
/// For so long it is watched while nothing is written, seconds.
const IDLE: u64 = 5;

#[test]
fn a_thousand_files_are_read_and_cost_little_at_rest() {
    let directory = Arc::new(TempDir::new().unwrap());
    let stub = Stub::start();
    let configuration = all_logs(directory.path(), &stub);
    let mut written = 0;
    let mut round = |files: usize, size: usize| {
        for file in 0..files {
            let text = format!("number {written} {}", "x".repeat(size));
            let text = record(Duration::ZERO, 100, "LOG", &text);
            append(&directory.path().join(format!("pg-{file:04}.log")), &text);
            written += 1;
        }
        written
    };
    let all = round(FILES, 0);
    let agent = Agent::start_in(Arc::clone(&directory), &configuration, &[]);
    let started = Instant::now();
    let mut arrivals = Arrivals::new(&stub);
    arrivals.await_all(&agent, all, Duration::from_secs(60));
    let usage = Usage::of(&agent);
    usage.print(&format!("{FILES} files in {:.1} s", started.elapsed().as_secs_f64()));
    assert!(usage.own < MEMORY, "{usage:?}");
    assert!(usage.open_files < FILES + 40, "{usage:?}");
    let (soft, hard) = open_files_limits(agent.pid());
    assert!(soft >= hard.min(65_536), "a few more files would not be opened: {soft} of {hard}");
    std::thread::sleep(Duration::from_secs(IDLE));
    let rested = Usage::of(&agent);
    rested.print(&format!("{IDLE} s at rest took {:.2} s of CPU", rested.cpu - usage.cpu));

    // Loki is away while all of them are written to: they wait, and not in memory.
    stub.reject(500).for_ever();
    let mut all = 0;
    for _ in 0..8 {
        all = round(FILES, BACKLOG / 8);
    }
    std::thread::sleep(Duration::from_secs(3));
    let waiting = Usage::of(&agent);
    waiting.print(&format!("{} MiB wait", (FILES * BACKLOG) >> 20));
    assert!(waiting.own < MEMORY, "{waiting:?}");
    stub.heal();
    arrivals.await_all(&agent, all, Duration::from_secs(60));

    // Killed while all of them are written to.
    round(FILES, 0);
    let more = round(FILES / 2, 0);
    agent.kill();
    stub.abandon();
    let agent = Agent::start_in(Arc::clone(&directory), &configuration, &[]);
    arrivals.await_all(&agent, more, Duration::from_secs(60));
    let page = agent.metrics();
    assert_eq!(sample(&page, "pgvigil_log_files", &[]), Some(FILES as f64), "{page}");
    let usage = Usage::of(&agent);
    usage.print("after a kill");
    assert!(usage.own < MEMORY, "{usage:?}");
    assert_eq!(agent.stop(), 0);
}

/// How many files a process may open, and how many more it may ask for.
fn open_files_limits(pid: u32) -> (u64, u64) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut limits = line.split_whitespace().map(|limit| limit.parse().unwrap_or(u64::MAX));
    (limits.next().unwrap(), limits.next().unwrap())
}
