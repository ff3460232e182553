//! A source as time goes by: quiet files, and pods that go.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::files::{Files, Work};
use super::reader::{Desk, Taken};
use super::reading::Readings;
use super::track::Tracked;
use crate::config::Start;
use crate::logs::checkpoint::{Checkpoint, FileId, Mark};
use crate::logs::count::SourceCounts;
use crate::metric::Labels;
use crate::telemetry::Telemetry;

/// Whoever takes every record; acknowledged when the test says so.
#[derive(Default)]
struct Taker(Vec<(String, FileId, Mark)>);

impl Desk for Taker {
    fn take(&mut self, taken: &mut Taken) {
        taken.routes.remove(0);
        self.0.push((taken.record.message().to_owned(), taken.file, taken.mark));
    }
}

struct Bench {
    directory: tempfile::TempDir,
    work: Work,
    taker: Taker,
    now: Instant,
}

impl Bench {
    fn new(leaves: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("pod")).unwrap();
        let pattern = directory.path().join("pod/*.log").display().to_string();
        let state = directory.path().join("state");
        let (checkpoint, _) = Checkpoint::open(&state, &Telemetry::new()).unwrap();
        let files = Files {
            source: "s".to_owned(),
            patterns: Arc::new(RwLock::new(vec![pattern])),
            leaves,
            start: Start::Beginning,
            routes: vec!["admin".to_owned()],
            readings: Readings::new(None, None, None),
            checkpoint: Arc::new(checkpoint),
            counts: Arc::new(SourceCounts::new("s", Labels::default())),
        };
        let now = Instant::now();
        Self { directory, work: Work::new(files, now), taker: Taker::default(), now }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("pod").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        use std::io::Write as _;
        let file = fs::OpenOptions::new().create(true).append(true).open(self.path(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Lets the time go by in steps of a second; false when the source has left.
    fn pass(&mut self, seconds: u64) -> bool {
        (0..seconds).all(|_| {
            self.now += Duration::from_secs(1);
            // Each reads, closes what is whole, and gives it out.
            (0..4).all(|_| self.work.step(&mut self.taker, self.now).is_some())
        })
    }

    fn acknowledge(&self) {
        self.work.files.checkpoint.change(|state| {
            for (_, file, mark) in &self.taker.0 {
                state.acknowledge(*file, "admin", *mark);
            }
        });
    }

    fn messages(&self) -> Vec<&str> {
        self.taker.0.iter().map(|(message, ..)| message.as_str()).collect()
    }
}

fn line(message: &str) -> String {
    format!("2026-03-04 09:15:01.207 UTC [7] LOG:  {message}\n")
}

#[test]
fn a_source_leaves_ten_minutes_after_its_last_file_and_what_it_sent() {
    let mut bench = Bench::new(true);
    bench.append("0.log", &line("one"));
    assert!(bench.pass(2));
    fs::remove_file(bench.path("0.log")).unwrap();
    // However long Loki takes, the source stays until all of it is acknowledged.
    assert!(bench.pass(3000));
    assert_eq!(bench.messages(), ["one"]);
    bench.acknowledge();
    assert!(bench.pass(590), "it may come back");
    bench.append("1.log", &line("two"));
    assert!(bench.pass(900), "it came back");
    assert_eq!(bench.messages(), ["one", "two"]);
    bench.acknowledge();
    // Closed for its quiet by now, and gone with its directory.
    assert!(bench.pass(2) && bench.work.tracked.iter().all(Tracked::is_asleep));
    fs::remove_dir_all(bench.path("")).unwrap();
    assert!(bench.pass(590));
    assert!(!bench.pass(20), "gone for good");
}

#[test]
fn a_file_that_others_follow_does_not_leave() {
    let mut bench = Bench::new(false);
    bench.append("0.log", &line("one"));
    assert!(bench.pass(2));
    bench.acknowledge();
    fs::remove_file(bench.path("0.log")).unwrap();
    assert!(bench.pass(3000));
    assert!(bench.work.tracked.is_empty());
}

#[test]
fn a_quiet_file_that_is_renamed_is_read_on() {
    let mut bench = Bench::new(false);
    bench.append("0.log", &line("one"));
    assert!(bench.pass(2));
    bench.acknowledge();
    assert!(bench.pass(400) && bench.work.tracked[0].is_asleep());
    fs::rename(bench.path("0.log"), bench.path("0.log.20260304-091501")).unwrap();
    assert!(bench.pass(2));
    // The runtime has not opened the new file yet.
    bench.append("0.log.20260304-091501", &line("two"));
    assert!(bench.pass(2));
    bench.append("0.log", &line("three"));
    assert!(bench.pass(60));
    assert_eq!(bench.messages(), ["one", "two", "three"]);
    bench.acknowledge();
    assert!(bench.pass(400));
    assert_eq!(bench.work.tracked.len(), 1, "the old one is left");
}
