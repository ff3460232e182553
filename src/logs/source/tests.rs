//! A source as time goes by: quiet files, and pods that go.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::files::{Files, Work};
use super::reader::{Desk, RouteSet, Taken};
use super::reading::Readings;
use super::track::Tracked;
use crate::config::Start;
use crate::logs::checkpoint::{Checkpoint, FileId, Mark};
use crate::logs::count::SourceCounts;
use crate::metric::Labels;
use crate::task::Group;
use crate::telemetry::Telemetry;

/// Whoever takes every record, or none when full; acknowledged when the test says so.
#[derive(Default)]
pub(super) struct Taker {
    pub(super) taken: Vec<(String, FileId, Mark)>,
    pub(super) full: bool,
    /// It is full after so many more.
    pub(super) room: Option<usize>,
    /// What is written to a file in the moment before it is read.
    pub(super) late: Option<(PathBuf, String)>,
}

impl Taker {
    fn is_full(&self) -> bool {
        self.full || self.room == Some(0)
    }
}

impl Desk for Taker {
    fn has_room(&self, _: RouteSet) -> bool {
        if let Some((path, text)) = &self.late {
            fs::write(path, text).unwrap();
        }
        !self.is_full()
    }

    fn take(&mut self, taken: &mut Taken, _: Instant) {
        if !self.is_full() {
            self.room = self.room.map(|room| room - 1);
            taken.routes.remove(0);
            self.taken.push((taken.record.message().to_owned(), taken.file, taken.mark));
        }
    }
}

pub(super) struct Bench {
    directory: tempfile::TempDir,
    pub(super) work: Work,
    pub(super) taker: Taker,
    now: Instant,
    group: Group,
}

impl Bench {
    pub(super) fn new(leaves: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("pod")).unwrap();
        let pattern = directory.path().join("pod/*.log").display().to_string();
        let state = directory.path().join("state");
        let (checkpoint, _) = Checkpoint::open(&state, &Telemetry::new()).unwrap();
        let group = Group::new();
        let files = files(vec![pattern], leaves, Arc::new(checkpoint), &group);
        let now = Instant::now();
        Self { directory, work: Work::new(files, now), taker: Taker::default(), now, group }
    }

    /// Another run on the same checkpoint, with what is configured now.
    pub(super) fn restart(&mut self, line_prefix: Option<&str>, time_zone: Option<&str>) {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let old = &self.work.files;
        let patterns = old.patterns.read().unwrap().clone();
        let mut files = files(patterns, old.leaves, Arc::clone(&old.checkpoint), &self.group);
        files.readings = Readings::new(None, own(line_prefix), own(time_zone));
        self.work = Work::new(files, self.now);
        self.taker = Taker::default();
    }

    /// Another run in the same state directory.
    pub(super) fn reload(&mut self) {
        let state = self.directory.path().join("state");
        let old = &self.work.files;
        let patterns = old.patterns.read().unwrap().clone();
        let (checkpoint, _) = Checkpoint::open(&state, &Telemetry::new()).unwrap();
        let files = files(patterns, old.leaves, Arc::new(checkpoint), &self.group);
        self.work = Work::new(files, self.now);
        self.taker = Taker::default();
    }

    pub(super) fn vanished(&self) -> u64 {
        self.work.files.counts.vanished_bytes.get()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("pod").join(name)
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        let file = fs::OpenOptions::new().create(true).append(true).open(self.path(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// A turn between two looks at the directories.
    pub(super) fn turn(&mut self) {
        self.now += Duration::from_millis(200);
        assert!(self.work.step(&mut self.taker, self.now).is_some());
    }

    /// Lets the time go by in steps of a second; false when the source has left.
    pub(super) fn pass(&mut self, seconds: u64) -> bool {
        (0..seconds).all(|_| {
            self.now += Duration::from_secs(1);
            // Each reads, closes what is whole, and gives it out.
            (0..4).all(|_| self.work.step(&mut self.taker, self.now).is_some())
        })
    }

    pub(super) fn acknowledge(&self) {
        self.work.files.checkpoint.change(|state| {
            for (_, file, mark) in &self.taker.taken {
                state.acknowledge(*file, "admin", *mark);
            }
        });
    }

    pub(super) fn messages(&self) -> Vec<&str> {
        self.taker.taken.iter().map(|(message, ..)| message.as_str()).collect()
    }
}

fn files(patterns: Vec<String>, leaves: bool, checkpoint: Arc<Checkpoint>, group: &Group) -> Files {
    Files {
        source: "s".to_owned(),
        patterns: Arc::new(RwLock::new(patterns)),
        leaves,
        start: Start::Beginning,
        routes: vec!["admin".to_owned()],
        readings: Readings::new(None, None, None),
        checkpoint,
        counts: Arc::new(SourceCounts::new("s", Labels::default())),
        stop: group.signal(),
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn line(message: &str) -> String {
    format!("2026-03-04 09:15:01.207 UTC [7] LOG:  {message}\n")
}

#[tokio::test]
async fn a_first_look_is_saved_as_one() {
    let mut bench = Bench::new(false);
    bench.append("a.log", "");
    bench.append("b.log", "");
    let checkpoint = Arc::clone(&bench.work.files.checkpoint);
    // Whoever is killed behind a save that knows half of it takes the rest for older than the agent.
    bench.work.scan(Instant::now());
    assert!(!checkpoint.was_hurried().await);
    bench.turn();
    assert!(checkpoint.was_hurried().await);
    assert_eq!(checkpoint.read(|state| state.files.len()), 2);
    bench.turn();
    assert!(!checkpoint.was_hurried().await);
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

#[test]
fn what_went_before_it_was_sent_is_counted() {
    let mut bench = Bench::new(false);
    let text = line("one") + &line("two");
    bench.append("0.log", &text);
    bench.append("1.log", &line("other"));
    assert!(bench.pass(2));
    // Both records are in memory; Loki has not taken them when the agent is killed.
    bench.restart(None, None);
    fs::remove_file(bench.path("0.log")).unwrap();
    assert!(bench.pass(3));
    assert_eq!(bench.vanished(), 0, "it may be about to come back");
    assert!(bench.pass(10));
    assert_eq!(bench.vanished(), text.len() as u64);
    // Once is enough, also over a restart.
    bench.restart(None, None);
    assert!(bench.pass(100));
    assert_eq!(bench.vanished(), 0);
}

#[test]
fn what_was_truncated_while_nobody_looked_is_counted() {
    let mut bench = Bench::new(false);
    bench.append("0.log", &line("one"));
    assert!(bench.pass(2));
    bench.acknowledge();
    let text = line("two") + &line("three");
    bench.append("0.log", &text);
    assert!(bench.pass(2));
    bench.restart(None, None);
    // Longer than before, on the same inode.
    fs::write(bench.path("0.log"), line("four").repeat(20)).unwrap();
    assert!(bench.pass(10));
    assert_eq!(bench.messages(), ["four"; 20]);
    assert_eq!(bench.vanished(), text.len() as u64);
}

#[test]
fn what_was_truncated_while_it_was_read_is_in_memory() {
    let mut bench = Bench::new(false);
    bench.append("0.log", &line("one"));
    assert!(bench.pass(2));
    fs::write(bench.path("0.log"), line("two").repeat(20)).unwrap();
    assert!(bench.pass(60));
    assert_eq!(bench.vanished(), 0, "it was read");
    assert_eq!(bench.messages().len(), 21);
    // Killed before Loki has it, it is lost after all.
    bench.restart(None, None);
    assert!(bench.pass(10));
    assert_eq!(bench.vanished(), line("one").len() as u64);
}

#[tokio::test]
async fn after_a_lost_checkpoint_rotated_files_are_read_too() {
    let mut bench = Bench::new(false);
    // What was rotated before the agent has ever run is nobody's.
    bench.append("0.log.1", &line("old"));
    bench.append("0.log", &line("one"));
    let old = fs::File::open(bench.path("0.log.1")).unwrap();
    old.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    assert!(bench.pass(2));
    bench.acknowledge();
    assert!(bench.work.files.checkpoint.save().await);
    for (from, to) in [("0.log.1", "0.log.2"), ("0.log", "0.log.1")] {
        fs::rename(bench.path(from), bench.path(to)).unwrap();
    }
    let last = fs::File::open(bench.path("0.log.1")).unwrap();
    last.set_modified(std::time::SystemTime::now() - Duration::from_secs(30)).unwrap();
    bench.append("0.log", &line("two"));
    fs::remove_file(bench.directory.path().join("state/checkpoint.json")).unwrap();
    bench.reload();
    assert!(bench.work.files.checkpoint.is_lost_to("s"));
    assert!(bench.pass(5));
    let mut messages = bench.messages();
    messages.sort_unstable();
    assert_eq!(messages, ["old", "one", "two"]);
}

#[test]
fn another_prefix_shapes_what_nobody_has_seen_yet() {
    let mut bench = Bench::new(false);
    let old = |text: &str| format!("2026-03-04 09:15:01.207 UTC [7] a@b LOG:  {text}\n");
    let new = |text: &str| format!("<7> 2026-03-04 09:15:01.207 UTC LOG:  {text}\n");
    bench.restart(Some("%m [%p] %u@%d "), None);
    bench.append("0.log", &(old("one") + &old("two")));
    assert!(bench.pass(2));
    let before = bench.taker.taken.clone();
    // Nothing is acknowledged, so it is sent again, in the same form.
    bench.restart(Some("<%p> %m "), None);
    bench.append("0.log", &new("three"));
    assert!(bench.pass(2));
    assert_eq!(bench.taker.taken[..2], before);
    assert_eq!(bench.messages(), ["one", "two", "three"]);
    // Nor does a change of the time zone alone do more.
    bench.restart(Some("<%p> %m "), Some("Europe/Rome"));
    assert!(bench.pass(2));
    assert_eq!(bench.messages(), ["one", "two", "three"]);
}

#[test]
fn nothing_is_read_ahead_of_full_queues() {
    let mut bench = Bench::new(false);
    bench.append("0.log", &line("one"));
    assert!(bench.pass(2));
    let read = |bench: &Bench| bench.work.tracked[0].most_end();
    let before = read(&bench);
    bench.taker.full = true;
    bench.append("0.log", &line("two"));
    assert!(bench.pass(3));
    assert_eq!(read(&bench), before);
    bench.taker.full = false;
    assert!(bench.pass(2));
    assert_eq!(bench.messages(), ["one", "two"]);
}

#[test]
fn a_file_that_waited_has_been_quiet_since_it_was_written() {
    let mut bench = Bench::new(false);
    bench.taker.full = true;
    bench.append("0.log", &line("before"));
    bench.append("1.log", "");
    assert!(bench.pass(2));
    bench.append("1.log", &line("one"));
    fs::rename(bench.path("1.log"), bench.path("1.log.1")).unwrap();
    bench.append("1.log", "");
    assert!(bench.pass(10));
    // Nobody waits for further lines of its last record: else each of a thousand such files holds one.
    bench.taker.full = false;
    bench.turn();
    assert_eq!(bench.messages(), ["one"]);
    assert!(bench.pass(1));
    assert_eq!(bench.messages(), ["one", "before"]);
}

#[test]
fn the_compressed_copy_of_a_file_that_waits_is_no_other_file() {
    let mut bench = Bench::new(false);
    bench.append("0.log", "");
    assert!(bench.pass(2));
    bench.taker.full = true;
    bench.append("0.log", &line("one"));
    let written = SystemTime::now() - Duration::from_secs(3);
    let file = fs::File::options().append(true).open(bench.path("0.log")).unwrap();
    file.set_modified(written).unwrap();
    assert!(bench.pass(2));
    // Rotated and compressed before any of it was read; gzip keeps the time.
    fs::write(bench.path("0.log.1.gz"), gzip(line("one").as_bytes())).unwrap();
    let packed = fs::File::options().append(true).open(bench.path("0.log.1.gz")).unwrap();
    packed.set_modified(written).unwrap();
    fs::remove_file(bench.path("0.log")).unwrap();
    bench.append("0.log", &line("two"));
    assert!(bench.pass(2));
    bench.taker.full = false;
    assert!(bench.pass(5));
    assert_eq!(bench.messages(), ["one", "two"]);
}

#[test]
fn a_file_whose_inode_another_one_has_is_forgotten() {
    let mut bench = Bench::new(false);
    bench.append("0.log", &line("one"));
    assert!(bench.pass(2));
    bench.acknowledge();
    bench.append("1.log", &line("two"));
    fs::remove_file(bench.path("0.log")).unwrap();
    // It is left half a minute later.
    assert!(bench.pass(40));
    bench.work.files.checkpoint.change(|state| {
        assert_eq!(state.files.len(), 2);
        let next = state.files.values().find(|file| file.end.is_none()).unwrap().inode;
        state.files.values_mut().for_each(|file| file.inode = next);
    });
    assert!(bench.pass(80));
    assert_eq!(bench.work.files.checkpoint.read(|state| state.files.len()), 1);
}

#[test]
fn a_stop_ends_a_turn_between_two_files() {
    let mut bench = Bench::new(false);
    for name in ["0.log", "1.log"] {
        bench.append(name, &line(name));
    }
    assert!(bench.pass(2));
    bench.append("0.log", &line("late"));
    let group = std::mem::take(&mut bench.group);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(group.stop(Duration::ZERO, Duration::ZERO));
    assert!(bench.pass(2));
    assert_eq!(bench.messages(), ["0.log", "1.log"]);
}

#[test]
fn what_has_waited_longest_goes_first_where_there_is_not_room_for_all() {
    none_waits_for_a_hot_one(2);
}

#[test]
fn a_file_that_is_never_read_to_its_end_holds_up_no_other() {
    none_waits_for_a_hot_one(0);
}

/// One of three files gets more than is taken, from so many seconds after it was met.
fn none_waits_for_a_hot_one(quiet: u64) {
    let mut bench = Bench::new(false);
    for name in ["0.log", "1.log", "2.log"] {
        bench.append(name, &line("first"));
    }
    assert!(bench.pass(quiet));
    let seconds = 60;
    for second in 0..seconds {
        (0..10).for_each(|_| bench.append("0.log", &line(&format!("hot {second}"))));
        bench.append("1.log", &line(&format!("one {second}")));
        bench.append("2.log", &line(&format!("two {second}")));
        bench.now += Duration::from_secs(1);
        for _ in 0..4 {
            bench.taker.room = Some(2);
            bench.work.step(&mut bench.taker, bench.now);
        }
    }
    let messages = bench.messages();
    let at = |text: String| messages.iter().position(|message| *message == text);
    let last = (0..seconds).rev().find(|second| at(format!("hot {second}")).is_some()).unwrap();
    assert!(last > seconds / 2, "{last}");
    for second in 0..last - 4 {
        let later = at(format!("hot {}", second + 4)).unwrap();
        for name in ["one", "two"] {
            let own = at(format!("{name} {second}"));
            assert!(own.is_some_and(|own| own < later), "{name} {second} waits behind {later}");
        }
    }
}
