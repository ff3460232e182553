//! A log that is rotated all the time, in every way, while old files are deleted as soon as they have
//! been read; in the middle Loki is away.

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::{Arrivals, Length, MEMORY, MIB, Usage, value};
use crate::support::agent::{Agent, sample};
use crate::support::loki::Stub;
use crate::support::river::{append, one_source, record};

/// Records in each file.
const RECORDS: usize = 8;
/// Of every so many rotations one is a copy and a truncation, and one rotated file is compressed.
const COPIED: usize = 20;
const COMPRESSED: usize = 10;
/// Rotated files that are left beside the log, though they have been read.
const LEFT: usize = 5;
/// What all lanes hold at most beside what is being sent, and what one more batch may hold.
const IN_HAND: f64 = 4.0 * MIB;

/// What the agent may have open at rest: the log, its state, its sockets and its runtime.
const OPEN_FILES: usize = 40;
/// What the checkpoint may hold at rest: some dozen files that were left lately, and those on disk.
const CHECKPOINT: u64 = 64 * 1024;

/// The log's writer, and whoever rotates it.
struct Writer {
    directory: Arc<TempDir>,
    written: usize,
    bytes: usize,
    rotations: usize,
    /// Rotated files, oldest first, and the number of records before their end.
    rotated: VecDeque<(PathBuf, usize)>,
    arrivals: Arrivals,
}

impl Writer {
    fn log(&self) -> PathBuf {
        self.directory.path().join("pg.log")
    }

    /// Writes some records, `size` bytes long each, and rotates.
    fn round(&mut self, size: usize) {
        let mut text = String::new();
        for _ in 0..RECORDS {
            let message = format!("number {} {}", self.written, "x".repeat(size));
            text.push_str(&record(Duration::ZERO, 100, "LOG", &message));
            self.written += 1;
        }
        self.bytes += text.len();
        append(&self.log(), &text);
        self.rotations += 1;
        let path = self.directory.path().join(format!("pg.log-{:06}", self.rotations));
        if self.rotations.is_multiple_of(COPIED) {
            fs::copy(self.log(), &path).unwrap();
            fs::File::create(self.log()).unwrap();
        } else {
            fs::rename(self.log(), &path).unwrap();
            append(&self.log(), "");
        }
        self.rotated.push_back((path, self.written));
        if self.rotations.is_multiple_of(COMPRESSED) {
            self.compress();
        }
        self.delete();
    }

    /// Compresses the file before the last one, as `delaycompress` has it done.
    fn compress(&mut self) {
        let Some(at) = self.rotated.len().checked_sub(2) else { return };
        let path = &mut self.rotated[at].0;
        let modified = fs::metadata(&*path).unwrap().modified().unwrap();
        let packed = PathBuf::from(format!("{}.gz", path.display()));
        let file = fs::File::create(&packed).unwrap();
        let mut encoder = GzEncoder::new(file, Compression::fast());
        encoder.write_all(&fs::read(&*path).unwrap()).unwrap();
        encoder.finish().unwrap().set_modified(modified).unwrap();
        fs::remove_file(&*path).unwrap();
        *path = packed;
    }

    /// Deletes what has arrived, but for the last few files.
    fn delete(&mut self) {
        self.arrivals.look();
        while self.rotated.len() > LEFT {
            let first = self.rotated[0].1 - RECORDS;
            if !(first..first + RECORDS).all(|number| self.arrivals.has(number)) {
                break;
            }
            let (path, _) = self.rotated.pop_front().unwrap();
            fs::remove_file(path).unwrap();
        }
    }
}

/// Rotates so many times, one every `pause`, and returns the usage as it was in between.
fn rotate(writer: &mut Writer, agent: &Agent, times: usize, pause: Duration) -> Vec<Usage> {
    let started = Instant::now();
    let mut usages = Vec::new();
    for time in 1..=times {
        writer.round(200);
        if time % (times / 4) == 0 {
            let usage = Usage::of(agent);
            usage.print(&format!("{} rotations, {} files", writer.rotations, writer.rotated.len()));
            usages.push(usage);
        }
        let next = started + pause * u32::try_from(time).unwrap();
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    usages
}

#[test]
fn rotations_and_an_outage_lose_nothing_and_leave_no_trace() {
    // Seconds of the outage, and the rotations within it.
    let (rotations, outage, meanwhile) = match Length::wanted() {
        Length::Short => (1_000, 8, 80),
        Length::Whole => (10_000, 60, 600),
        Length::Long => (20_000, 600, 1_200),
    };
    let directory = Arc::new(TempDir::new().unwrap());
    let stub = Stub::start();
    let configuration = one_source(&directory.path().join("pg.log"), &stub.url());
    append(&directory.path().join("pg.log"), "");
    let agent = Agent::start_in(Arc::clone(&directory), &configuration, &[]);
    agent.await_metrics(Duration::from_secs(10), |page| {
        sample(page, "pgvigil_checkpoint_saves_total", &[]).is_some_and(|saves| saves > 0.0)
    });
    let mut writer = Writer {
        directory,
        written: 0,
        bytes: 0,
        rotations: 0,
        rotated: VecDeque::new(),
        arrivals: Arrivals::new(&stub),
    };
    let pause = Duration::from_millis(20);
    let before = rotate(&mut writer, &agent, rotations / 2, pause);
    writer.arrivals.await_all(&agent, writer.written, Duration::from_secs(30));

    // Loki is away: the queue fills, then the files wait.
    let (acknowledged, written) = (writer.bytes, writer.written);
    stub.reject(500).for_ever();
    for _ in 0..meanwhile {
        writer.round(14_000);
        std::thread::sleep(Duration::from_secs(outage) / meanwhile);
    }
    let page = agent.metrics();
    let during = Usage::of(&agent);
    during.print(&format!(
        "outage of {outage} s at least, {} MiB written",
        (writer.bytes - acknowledged) >> 20
    ));
    let read = value(&page, "pgvigil_log_read_bytes_total");
    let waiting = (writer.bytes - acknowledged) as f64;
    assert!(waiting > 2.0 * IN_HAND, "too little was written for a queue to be full");
    assert!(
        read - acknowledged as f64 <= IN_HAND,
        "{read} bytes are read, {acknowledged} were before the outage: nothing holds it back"
    );
    assert!(value(&page, "pgvigil_log_oldest_unsent_seconds") > 1.0, "{page}");
    assert_eq!(writer.arrivals.look(), written, "Loki was away");

    stub.heal();
    let started = Instant::now();
    writer.arrivals.await_all(&agent, writer.written, Duration::from_secs(120));
    println!("caught up in {:.1} s", started.elapsed().as_secs_f64());
    let after = rotate(&mut writer, &agent, rotations / 2, pause);
    writer.arrivals.await_all(&agent, writer.written, Duration::from_secs(30));

    writer.delete();
    // All is as it was at the start. What is left for good is forgotten some seconds later.
    let page = agent.await_metrics(Duration::from_secs(60), |page| {
        let usage = Usage::of(&agent);
        value(page, "pgvigil_log_file_bytes_behind") == 0.0
            && value(page, "pgvigil_log_files") == 1.0
            && usage.open_files < OPEN_FILES
            && usage.checkpoint < CHECKPOINT
    });
    assert_eq!(value(&page, "pgvigil_log_vanished_bytes_total"), 0.0);
    let read = value(&page, "pg_log_records_total");
    writer.arrivals.look();
    let twice = &writer.arrivals.repeated;
    assert_eq!(read, writer.written as f64, "read twice: {twice:?}\n{}", agent.log());
    Usage::of(&agent).print("at rest");
    println!(
        "{} records, {} MiB, {} rotations",
        writer.written,
        writer.bytes >> 20,
        writer.rotations
    );
    let all = || before.iter().chain([&during]).chain(&after);
    // A file is left some seconds after its rotation, or after the outage: until then it is open.
    let most = all().map(|usage| usage.open_files).max().unwrap();
    assert!(most < 1_000.max(meanwhile as usize + 400), "{most} open files");
    let own = |usages: &[Usage]| usages.last().unwrap().own;
    assert!(all().all(|usage| usage.own < MEMORY), "{before:?} {during:?} {after:?}");
    assert!(own(&after) < own(&before) + 8.0 * MIB, "grows: {before:?} {after:?}");
    assert_eq!(agent.stop(), 0);
}
