//! A thousand files of which every moment one is deleted, right behind its last line, while another one
//! comes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Arrivals, Length, MEMORY, MIB, Usage, all_logs, value};
use crate::support::agent::Agent;
use crate::support::loki::Stub;
use crate::support::river::{append, record};

/// So many are there at every moment.
const FILES: usize = 1_000;
/// One comes and one goes so often. What is deleted may still be written to, and is left half a minute later.
const PAUSE: Duration = Duration::from_millis(40);
/// So many may be there whose first line has not arrived.
const NEW: usize = 200;
/// What the agent may have open at rest beside the files.
const OPEN_FILES: usize = 40;

/// Whoever makes the files, writes to them and deletes them.
struct Writer {
    directory: Arc<TempDir>,
    written: usize,
    made: usize,
    /// Oldest first, each with the number of its first record.
    files: VecDeque<(PathBuf, usize)>,
    arrivals: Arrivals,
}

impl Writer {
    fn line(&mut self) -> String {
        self.written += 1;
        let message = format!("number {} {}", self.written - 1, "x".repeat(200));
        record(Duration::ZERO, 100, "LOG", &message)
    }

    fn come(&mut self) {
        let path = self.directory.path().join(format!("pg-{:06}.log", self.made));
        let first = self.written;
        self.made += 1;
        append(&path, &self.line());
        self.files.push_back((path, first));
    }

    /// A slow machine takes longer: its agent is not left behind.
    fn wait(&mut self, agent: &Agent) {
        let first = self.files[FILES - NEW].1;
        if !self.arrivals.has(first) {
            self.arrivals.await_record(agent, first, Duration::from_secs(60));
        }
    }

    /// The oldest file gets its last line and goes. The agent has it open, for its first line has arrived.
    fn go(&mut self, agent: &Agent) {
        let (path, first) = self.files.pop_front().unwrap();
        assert!(self.arrivals.has(first), "{first} is read\n{}", agent.log());
        append(&path, &self.line());
        std::fs::remove_file(path).unwrap();
    }

    /// One of those that stay is written to.
    fn go_on(&mut self) {
        let line = self.line();
        append(&self.files[self.written % FILES].0, &line);
    }
}

#[test]
fn files_come_and_go_and_leave_no_trace() {
    let length = Length::wanted();
    let changes = match length {
        Length::Short => 500,
        Length::Whole => 5_000,
        Length::Long => 15_000,
    };
    let directory = Arc::new(TempDir::new().unwrap());
    let stub = Stub::start();
    let configuration = all_logs(directory.path(), &stub);
    let mut writer = Writer {
        directory: Arc::clone(&directory),
        written: 0,
        made: 0,
        files: VecDeque::new(),
        arrivals: Arrivals::new(&stub),
    };
    (0..FILES).for_each(|_| writer.come());
    let agent = Agent::start_in(directory, &configuration, &[]);
    writer.arrivals.await_all(&agent, writer.written, Duration::from_secs(60));
    let before = Usage::of(&agent);
    before.print(&format!("{FILES} files"));

    let started = Instant::now();
    let mut during = Vec::new();
    for change in 1..=changes {
        writer.come();
        writer.go(&agent);
        writer.go_on();
        writer.arrivals.look();
        writer.wait(&agent);
        if change % (changes / 4) == 0 {
            let usage = Usage::of(&agent);
            usage.print(&format!("{change} have come and gone"));
            during.push(usage);
        }
        let next = started + PAUSE * u32::try_from(change).unwrap();
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    writer.arrivals.await_all(&agent, writer.written, Duration::from_secs(60));
    assert!(during.iter().all(|usage| usage.own < MEMORY), "{before:?} {during:?}");
    // Those that were deleted in the last half minute are open, and the checkpoint knows them a little longer.
    let lately = usize::try_from(45_000 / PAUSE.as_millis()).unwrap();
    let most = during.iter().map(|usage| usage.open_files).max().unwrap();
    assert!(most < FILES + lately + OPEN_FILES, "{most} open files");

    // All is as it was: what is gone is closed, and forgotten a minute later at the latest.
    let known = before.checkpoint + before.checkpoint / 4;
    let page = agent.await_metrics(Duration::from_secs(150), |page| {
        let usage = Usage::of(&agent);
        value(page, "pgvigil_log_file_bytes_behind") == 0.0
            && usage.open_files < FILES + OPEN_FILES
            && usage.checkpoint < known
    });
    let after = Usage::of(&agent);
    after.print("at rest");
    assert_eq!(value(&page, "pgvigil_log_files"), FILES as f64);
    assert_eq!(value(&page, "pgvigil_log_vanished_bytes_total"), 0.0);
    assert_eq!(value(&page, "pg_log_records_total"), writer.written as f64, "{}", agent.log());
    assert!(writer.arrivals.repeated.is_empty(), "{:?}", writer.arrivals.repeated);
    // The short run is over before as many go as come.
    let last = during.last().unwrap().own;
    let grows = length != Length::Short && last > during[1].own + 4.0 * MIB;
    assert!(!grows, "{before:?} {during:?} {after:?}");
    assert_eq!(agent.stop(), 0);
}
