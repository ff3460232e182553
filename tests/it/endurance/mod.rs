//! Endurance of the log river: thousands of rotations, a thousand files, long outages of Loki. Nothing
//! is lost, and memory, open files and the checkpoint stay as small as they were.
//!
//! Counts and bytes are asserted; what depends on the machine is printed. The usual run is short.
//! `PGVIGIL_TEST_ENDURANCE=1`, which CI sets, asks for the 10,000 rotations and the outage of a minute;
//! with `PGVIGIL_TEST_LONG=1` it is twice as much, and the outage is of ten minutes. Most of that is
//! waiting, and tests are begun in the order of their names: these run beside most of the others.

mod churn; // a thousand files that come and go
mod files; // a thousand files at once
mod rotations; // rotations by the thousand, with an outage in the middle
mod slow; // one file that is too much for Loki, beside a thousand

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::agent::{Agent, sample};
use crate::support::loki::{Entry, Stub};

const MIB: f64 = 1024.0 * 1024.0;
/// What the agent may take of memory of its own, even when it was built without optimisation.
const MEMORY: f64 = 30.0 * MIB;

/// A configuration that reads all of a directory's logs.
fn all_logs(directory: &Path, stub: &Stub) -> String {
    format!(
        "logs:\n  sources: [{{name: pg, files: [\"{}\"], server: s1, start: beginning}}]\n  loki: \
         {{url: \"{}\"}}\n",
        directory.join("*.log").display(),
        stub.url()
    )
}

/// What the agent takes of the machine at one moment.
#[derive(Clone, Copy, Debug)]
struct Usage {
    /// Memory of its own, bytes: what of the program's file is mapped is shared, and differs by build.
    own: f64,
    /// All of its resident memory, bytes.
    resident: f64,
    open_files: usize,
    checkpoint: u64,
    /// Processor time so far, seconds.
    cpu: f64,
}

impl Usage {
    fn of(agent: &Agent) -> Self {
        let process = Path::new("/proc").join(agent.pid().to_string());
        let status = fs::read_to_string(process.join("status")).unwrap();
        let kib = |name: &str| -> f64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
        };
        let stat = fs::read_to_string(process.join("stat")).unwrap();
        // Behind the command's name: the 12th and 13th are user and system time, in 1/100 s.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|text| text.parse::<f64>().unwrap()).sum();
        let checkpoint = agent.directory.path().join("state/checkpoint.json");
        Self {
            own: kib("RssAnon:"),
            resident: kib("VmRSS:"),
            open_files: fs::read_dir(process.join("fd")).unwrap().count(),
            checkpoint: fs::metadata(checkpoint).map_or(0, |meta| meta.len()),
            cpu: ticks / 100.0,
        }
    }

    fn print(&self, when: &str) {
        println!(
            "{when}: {:.1} MiB ({:.1} MiB resident), {} open files, checkpoint of {} KiB, {:.1} s of CPU",
            self.own / MIB,
            self.resident / MIB,
            self.open_files,
            self.checkpoint / 1024,
            self.cpu
        );
    }
}

/// Which of the records with numbers have come to Loki, each in one form.
struct Arrivals {
    stub: Stub,
    looked: usize,
    seen: Vec<Option<(String, Entry)>>,
    /// By number: how many had come before.
    places: Vec<usize>,
    count: usize,
    /// Numbers that were stored again.
    repeated: Vec<usize>,
}

impl Arrivals {
    fn new(stub: &Stub) -> Self {
        Self {
            stub: stub.clone(),
            looked: 0,
            seen: Vec::new(),
            places: Vec::new(),
            count: 0,
            repeated: Vec::new(),
        }
    }

    /// Takes in what was pushed since the last call; returns how many records have come in all.
    fn look(&mut self) -> usize {
        for push in self.stub.pushes_from(self.looked) {
            self.looked += 1;
            for (at, entry) in push.entries.into_iter().enumerate() {
                let Some(number) = number(&entry) else { panic!("whose is {entry:?}?") };
                if self.seen.len() <= number {
                    self.seen.resize(number + 1, None);
                    self.places.resize(number + 1, 0);
                }
                let stored = push.status == 204 && at >= push.refused;
                match &self.seen[number] {
                    Some((labels, known)) => {
                        assert_eq!((labels, known), (&push.labels, &entry), "sent in two forms");
                        self.repeated.extend(stored.then_some(number));
                    }
                    None if stored => {
                        self.seen[number] = Some((push.labels.clone(), entry));
                        self.places[number] = self.count;
                        self.count += 1;
                    }
                    None => {}
                }
            }
        }
        self.count
    }

    fn has(&self, number: usize) -> bool {
        self.seen.get(number).is_some_and(Option::is_some)
    }

    /// Waits for all of the first `count` numbers.
    fn await_all(&mut self, agent: &Agent, count: usize, within: Duration) {
        self.await_that(agent, count, within, |arrivals| arrivals.count >= count);
    }

    fn await_record(&mut self, agent: &Agent, number: usize, within: Duration) {
        self.await_that(agent, number + 1, within, |arrivals| arrivals.has(number));
    }

    fn await_that(
        &mut self,
        agent: &Agent,
        count: usize,
        within: Duration,
        found: impl Fn(&Self) -> bool,
    ) {
        let deadline = Instant::now() + within;
        loop {
            self.look();
            if found(self) {
                return;
            }
            if Instant::now() > deadline {
                let missing: Vec<usize> = (0..count).filter(|n| !self.has(*n)).take(50).collect();
                panic!(
                    "{} of {count} records, without {missing:?}…\n{}\n{}",
                    self.count,
                    agent.metrics(),
                    agent.log()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn number(entry: &Entry) -> Option<usize> {
    let (_, rest) = entry.line.split_once("number ")?;
    rest.split([' ', '\n']).next()?.parse().ok()
}

/// A series of the agent's page, summed over its labels.
fn value(page: &str, name: &str) -> f64 {
    let series = page.lines().filter(|line| sample(line, name, &[]).is_some());
    series.filter_map(|line| sample(line, name, &[])).sum()
}

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// Beside everything else, on anybody's machine.
    Short,
    /// As much as is promised.
    Whole,
    Long,
}

impl Length {
    fn wanted() -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some();
        if is_set("PGVIGIL_TEST_LONG") {
            Self::Long
        } else if is_set("PGVIGIL_TEST_ENDURANCE") {
            Self::Whole
        } else {
            Self::Short
        }
    }
}
