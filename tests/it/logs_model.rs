//! The log river under random schedules of what can happen to files, agents and Loki: everything
//! that was written arrives, and what is sent again is the same to the byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::support::agent::{Agent, sample};
use crate::support::loki::{Entry, Push, Stub};
use crate::support::river::{append, record};

/// Schedules in one run of the tests; `PGVIGIL_TEST_SCHEDULES` asks for more.
const SCHEDULES: u64 = 24;
/// Schedules in a long run: some minutes.
const SCHEDULES_LONG: u64 = 240;
/// Steps in each.
const STEPS: usize = 40;
/// How many run at once: most of a schedule is waiting.
const AT_ONCE: usize = 8;

/// A small generator: the same seed, the same schedule.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).unwrap()
    }

    fn sleep(&mut self, most: usize) {
        std::thread::sleep(Duration::from_millis(self.below(most) as u64));
    }
}

/// `0–4, 7`
fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match runs.last_mut().filter(|run| run.1 + 1 == *number) {
            Some(run) => run.1 = *number,
            None => runs.push((*number, *number)),
        }
    }
    let text = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}–{last}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join(", ")
}

struct World {
    random: Random,
    directory: Arc<TempDir>,
    configuration: String,
    agent: Option<Agent>,
    stub: Stub,
    written: usize,
    copies: usize,
    told: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let directory = Arc::new(TempDir::new().unwrap());
        let stub = Stub::start();
        let configuration = format!(
            "logs:\n  sources: [{{name: pg, files: [\"{}\"], server: s1}}]\n  loki: {{url: \"{}\"}}\n",
            directory.path().join("pg.log").display(),
            stub.url()
        );
        append(&directory.path().join("pg.log"), "");
        let agent = Agent::start_in(Arc::clone(&directory), &configuration, &[]);
        // What is rotated before the agent has ever seen its name is nobody's.
        agent.await_metrics(Duration::from_secs(10), |page| {
            sample(page, "pgvigil_checkpoint_saves_total", &[]).is_some_and(|saves| saves > 0.0)
        });
        let random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (agent, told) = (Some(agent), Vec::new());
        Self { random, directory, configuration, agent, stub, written: 0, copies: 0, told }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("pg.log")
    }

    fn rotated(&self, n: usize) -> PathBuf {
        self.directory.path().join(format!("pg.log.{n}"))
    }

    /// A record with a number of its own, as some process writes it.
    fn text(&mut self) -> String {
        let number = self.written;
        self.written += 1;
        let pid = 100 + u32::try_from(self.random.below(5)).unwrap();
        let head = record(Duration::ZERO, pid, "ERROR", &format!("number {number} failed"));
        let prefix = head.split("ERROR:").next().unwrap().to_owned();
        match self.random.below(4) {
            0 => format!("{head}{prefix}DETAIL:  of {number}\n{prefix}STATEMENT:  SELECT\n\t1\n"),
            1 => format!("number {number} of another program\n"),
            2 => format!("{head}{prefix}STATEMENT:  {}\n", "x".repeat(self.random.below(20_000))),
            _ => head,
        }
    }

    fn write(&mut self) {
        for _ in 0..=self.random.below(60) {
            let text = self.text();
            append(&self.log(), &text);
        }
    }

    /// A record that comes in two pieces with a pause between them, cut anywhere.
    fn write_torn(&mut self) {
        let text = self.text();
        let cut = self.random.below(text.len());
        append(&self.log(), &text[..cut]);
        self.random.sleep(700);
        append(&self.log(), &text[cut..]);
    }

    fn packed(&self, n: usize) -> PathBuf {
        self.directory.path().join(format!("pg.log.{n}.gz"))
    }

    fn rotate(&mut self) {
        let free = |n: &usize| {
            !self.rotated(*n).try_exists().unwrap() && !self.packed(*n).try_exists().unwrap()
        };
        let last = (1..).find(free).unwrap();
        for n in (1..last).rev() {
            for path in [Self::rotated, Self::packed] {
                let _ = fs::rename(path(self, n), path(self, n + 1));
            }
        }
        fs::rename(self.log(), self.rotated(1)).unwrap();
        append(&self.log(), "");
    }

    /// As gzip does it: the time is the original's, which goes at the end.
    fn compress(&mut self) {
        let plain = |n: &usize| self.rotated(*n).try_exists().unwrap();
        let Some(n) = (1..20).find(plain) else { return };
        let path = self.rotated(n);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::File::create(self.packed(n)).unwrap();
        let mut encoder = GzEncoder::new(file, Compression::fast());
        encoder.write_all(&fs::read(&path).unwrap()).unwrap();
        encoder.finish().unwrap().set_modified(modified).unwrap();
        fs::remove_file(path).unwrap();
    }

    fn copy_and_truncate(&mut self) {
        self.copies += 1;
        let copy = self.directory.path().join(format!("pg.log-{}", self.copies));
        fs::copy(self.log(), copy).unwrap();
        fs::File::create(self.log()).unwrap();
    }

    fn kill(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.kill();
            self.stub.abandon();
        }
    }

    fn start(&mut self) {
        let directory = Arc::clone(&self.directory);
        self.agent = Some(Agent::start_in(directory, &self.configuration, &[]));
    }

    fn step(&mut self) {
        let done = match self.random.below(13) {
            7 => {
                self.compress();
                "compress"
            }
            0 | 1 => {
                self.write_torn();
                "torn"
            }
            2 => {
                self.rotate();
                "rotate"
            }
            3 => {
                self.copy_and_truncate();
                "copytruncate"
            }
            4 => {
                self.kill();
                // While nobody looks, anything may happen.
                for _ in 0..self.random.below(3) {
                    self.write();
                    match self.random.below(4) {
                        0 => {
                            self.told.push(format!("(rotate {})", self.written));
                            self.rotate();
                        }
                        1 => {
                            self.told.push(format!("(copytruncate {})", self.written));
                            self.copy_and_truncate();
                        }
                        2 => {
                            self.told.push(format!("(rotate and compress {})", self.written));
                            self.rotate();
                            self.compress();
                        }
                        _ => {}
                    }
                }
                self.start();
                "kill"
            }
            5 => {
                match self.random.below(6) {
                    0 => self.stub.reject(500).times(2),
                    4 => {
                        let refused = self.random.below(5);
                        self.stub.partial(refused).times(1);
                    }
                    1 => self.stub.reject(429).times(1),
                    2 => self.stub.reset().times(1),
                    3 => self.stub.slow(Duration::from_millis(400)).times(1),
                    _ => self.stub.reject(413).times(1),
                }
                "fault"
            }
            6 => {
                self.random.sleep(1500);
                "sleep"
            }
            _ => {
                self.write();
                "write"
            }
        };
        self.told.push(format!("{done} {}", self.written));
        self.random.sleep(150);
    }

    fn number(entry: &Entry) -> Option<usize> {
        let (_, rest) = entry.line.split_once("number ")?;
        rest.split(' ').next()?.parse().ok()
    }

    /// Which numbers lie in which file.
    fn holdings(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.directory.path()).unwrap().map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("pg.log") {
                continue;
            }
            let meta = entry.metadata().unwrap();
            let content = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
            let numbers = content.split("number ").skip(1);
            let numbers: Vec<usize> =
                numbers.filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect();
            let age = meta.modified().unwrap().elapsed().unwrap_or_default();
            text += &format!("{name}: {} (inode {}, {age:?} old)\n", ranges(&numbers), meta.ino());
        }
        text
    }

    fn arrived(&self) -> BTreeSet<usize> {
        self.stub.entries("").iter().filter_map(Self::number).collect()
    }

    /// What Loki has refused for good: the agent has nothing left to do about it but to count it.
    fn refused(&self) -> BTreeSet<usize> {
        let pushes = self.stub.pushes();
        let for_good = |push: &&Push| match push.status {
            400 => true,
            // Until only one entry is left, halves are tried.
            413 => push.entries.len() == 1,
            _ => false,
        };
        let refused = pushes.iter().filter(for_good).flat_map(|p| p.entries.iter().take(p.refused));
        refused.filter_map(Self::number).collect()
    }

    fn missing(&self) -> Vec<usize> {
        let (arrived, refused) = (self.arrived(), self.refused());
        (0..self.written).filter(|n| !arrived.contains(n) && !refused.contains(n)).collect()
    }

    fn finish(mut self, seed: u64) {
        self.stub.heal();
        let deadline = Instant::now() + Duration::from_secs(40);
        while !self.missing().is_empty() {
            if Instant::now() > deadline {
                let missing = self.missing();
                let log = self.agent.as_ref().map(Agent::log).unwrap_or_default();
                panic!(
                    "seed {seed}: missing {}\n{}\n{:?}\n{log}",
                    ranges(&missing),
                    self.holdings(),
                    self.told
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if let Some(agent) = self.agent.take() {
            agent.stop();
        }
        // Every sending of a record was the same.
        let mut seen: BTreeMap<usize, (String, Entry)> = BTreeMap::new();
        for push in self.stub.pushes() {
            for entry in push.entries {
                let Some(number) = Self::number(&entry) else { continue };
                let first = seen.entry(number).or_insert((push.labels.clone(), entry.clone()));
                assert_eq!(
                    (&first.0, &first.1),
                    (&push.labels, &entry),
                    "seed {seed}: number {number} was sent in two forms\n{:?}",
                    self.told
                );
            }
        }
        let kept = self.stub.entries("").iter().filter_map(Self::number).count();
        assert_eq!(
            kept,
            self.arrived().len(),
            "seed {seed}: something shows twice\n{:?}",
            self.told
        );
        assert_eq!(self.stub.most_in_flight(), 1);
    }
}

#[test]
fn nothing_is_lost_and_repeats_are_the_same() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    let long = std::env::var_os("PGVIGIL_TEST_LONG").is_some();
    let usual = if long { SCHEDULES_LONG } else { SCHEDULES };
    let schedules = number("PGVIGIL_TEST_SCHEDULES").unwrap_or(usual);
    let first: u64 = number("PGVIGIL_TEST_SEED").unwrap_or(0);
    let seeds: Vec<u64> = (first..first + schedules).collect();
    for seeds in seeds.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for seed in seeds {
                scope.spawn(|| {
                    let mut world = World::new(*seed);
                    for _ in 0..STEPS {
                        world.step();
                    }
                    world.finish(*seed);
                });
            }
        });
    }
}
