//! One schedule: what happens, step by step, and what must have come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::damage::State;
use super::files::{Files, Names};
use super::random::{Random, ranges};
use super::writer::{Form, Writer, numbers};
use crate::support::agent::{Agent, pgvigil, sample};
use crate::support::loki::{Entry, Push, Stub};
use crate::support::river::append;

/// For how long all that is owed may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

const ADMIN: &str = "admin";
const DEVELOPER: &str = "developer";
const OTHERS: &str = "others";

/// A route with a filter and a redaction, one with another filter, each with a tenant of its own.
const ROUTES: &str = "  routes:\n  - {name: admin}\n  - {name: developer, tenant: dev, redact: literals, \
                      databases: [shop]}\n  - {name: others, tenant: oth, databases: [other]}\n";

/// How the source's lines may be configured to be read, rightly or wrongly.
const SETTINGS: [&str; 5] = [
    "",
    ", line_prefix: \"%m [%p] %q%u@%d \"",
    ", line_prefix: \"%m [%p] \"",
    ", line_prefix: \"%t %u \", time_zone: Europe/Rome",
    ", time_zone: America/St_Johns",
];

/// What goes wrong in a schedule beside kills, rotations and Loki's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Files are deleted and truncated before they are read.
    Losses,
    /// The checkpoint is damaged between a kill and the next start.
    Damage,
    /// The configured prefix and time zone change between a kill and the next start.
    Settings,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    form: Form,
    names: Names,
    trouble: Trouble,
    routes: bool,
}

impl Shape {
    fn new(random: &mut Random) -> Self {
        let form = [Form::Text, Form::Text, Form::Csv, Form::Json][random.below(4)];
        let names = [Names::One, Names::One, Names::Several, Names::Weekdays][random.below(4)];
        let troubles = [Trouble::None, Trouble::Losses, Trouble::Damage, Trouble::Settings];
        let trouble = troubles[random.below(4)];
        // With a wrong prefix nobody knows whose record it is.
        let routes = random.once_in(3) && trouble != Trouble::Settings;
        Self { form, names, trouble, routes }
    }

    fn routes(&self) -> &'static [&'static str] {
        if self.routes { &[ADMIN, DEVELOPER, OTHERS] } else { &[ADMIN] }
    }
}

pub(super) struct World {
    seed: u64,
    random: Random,
    shape: Shape,
    directory: Arc<TempDir>,
    agent: Option<Agent>,
    stub: Stub,
    files: Files,
    state: State,
    writer: Writer,
    settings: &'static str,
    told: Vec<String>,
    /// What was deleted or truncated.
    destroyed: BTreeSet<usize>,
    destroyed_bytes: u64,
    /// By route what of it the agent had tried to send and Loki had not stored: of these it knew.
    tried: BTreeMap<&'static str, BTreeSet<usize>>,
    /// Bytes that agents which have ended had counted as lost.
    counted: f64,
    /// What agents that have ended told.
    logs: String,
    /// The checkpoint was damaged: what only it knew is forgotten.
    forgot: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shape = Shape::new(&mut random);
        let directory = Arc::new(TempDir::new().unwrap());
        let mut world = Self {
            seed,
            random,
            shape,
            files: Files::new(directory.path().to_owned(), shape.names),
            state: State::new(directory.path().join("state")),
            directory,
            agent: None,
            stub: Stub::start(),
            writer: Writer::new(shape.form),
            settings: "",
            told: Vec::new(),
            destroyed: BTreeSet::new(),
            destroyed_bytes: 0,
            tried: BTreeMap::new(),
            counted: 0.0,
            logs: String::new(),
            forgot: false,
        };
        world.start();
        // What is rotated before the agent has ever seen its name is nobody's.
        world.agent.as_ref().unwrap().await_metrics(Duration::from_secs(20), |page| {
            sample(page, "pgvigil_checkpoint_saves_total", &[]).is_some_and(|saves| saves > 0.0)
        });
        world
    }

    fn configuration(&self) -> String {
        format!(
            "logs:\n  sources: [{{name: pg, files: [\"{}\"], server: s1{}}}]\n  loki: {{url: \"{}\"}}\n{}",
            self.files.pattern(),
            self.settings,
            self.stub.url(),
            if self.shape.routes { ROUTES } else { "" },
        )
    }

    fn tell(&mut self, what: &str) {
        self.told.push(format!("{what} {}", self.writer.count()));
    }

    // What is written.

    fn add(&mut self, log: &Path) {
        // In which file of several its predecessor stands is not followed here.
        if self.shape.names == Names::Several {
            self.writer.unsettle();
        }
        let text = self.writer.next(&mut self.random);
        append(log, &text);
    }

    fn write(&mut self) {
        for _ in 0..=self.random.below(60) {
            let log = self.files.pick(&mut self.random);
            self.add(&log);
        }
    }

    /// A record that comes in two pieces with a pause between them, cut anywhere.
    fn write_torn(&mut self) {
        let log = self.files.pick(&mut self.random);
        let from = self.writer.count();
        let text = self.writer.next(&mut self.random);
        self.writer.tore(from);
        let cut = self.random.below(text.len());
        append(&log, &text[..cut]);
        self.random.sleep(700);
        append(&log, &text[cut..]);
    }

    // What becomes of the files.

    fn rotate(&mut self) {
        if self.files.is_by_weekday() {
            return self.next_day();
        }
        let log = self.files.pick(&mut self.random);
        self.tell("rotate");
        self.files.rotate(&log);
        self.writer.unsettle();
    }

    fn rotate_twice(&mut self) {
        if self.files.is_by_weekday() {
            return self.next_day();
        }
        let log = self.files.pick(&mut self.random);
        self.tell("rotate twice");
        self.files.rotate(&log);
        self.writer.unsettle();
        for _ in 0..=self.random.below(5) {
            self.add(&log);
        }
        self.files.rotate(&log);
        self.writer.unsettle();
    }

    fn compress(&mut self, at_once: bool) {
        if self.files.is_by_weekday() {
            return self.next_day();
        }
        let log = self.files.pick(&mut self.random);
        self.tell(if at_once { "rotate and compress" } else { "compress" });
        if at_once {
            self.files.rotate(&log);
            self.writer.unsettle();
        }
        self.files.compress(&log, &mut self.random);
    }

    fn copy_and_truncate(&mut self) {
        if self.files.is_by_weekday() {
            return self.next_day();
        }
        let log = self.files.pick(&mut self.random);
        self.tell("copytruncate");
        self.files.copy_and_truncate(&log);
        self.writer.unsettle();
    }

    /// A week is long: unless losses are asked for, what the day's file holds is delivered by then.
    fn next_day(&mut self) {
        let holds = self.files.next_day_holds();
        let found = numbers(&String::from_utf8_lossy(&holds));
        let arrived = |route: &&str| {
            let (arrived, refused) = (self.arrived(route), self.refused(route));
            found
                .iter()
                .all(|n| !self.owes(route, *n) || arrived.contains(n) || refused.contains(n))
        };
        let delivered = self.shape.routes().iter().all(arrived);
        if !delivered && self.shape.trouble != Trouble::Losses {
            return self.tell("no day passes");
        }
        self.destroy(&holds);
        let remove = self.random.once_in(3);
        self.tell(if remove { "next day, made anew" } else { "next day" });
        self.files.next_day(remove);
        self.writer.unsettle();
    }

    /// Deletes or truncates what may not be read yet.
    fn lose(&mut self) {
        if self.files.is_by_weekday() {
            return self.next_day();
        }
        let log = self.files.pick(&mut self.random);
        if self.random.once_in(2) {
            self.tell("delete");
            let gone = self.files.delete(&log);
            return self.destroy(&gone);
        }
        self.tell("truncate");
        let gone = self.files.truncate(&log);
        self.destroy(&gone);
        self.writer.unsettle();
        // At times it is as long as before by the next look.
        let wanted = if self.random.once_in(2) { 2 * gone.len() as u64 } else { 0 };
        while fs::metadata(&log).unwrap().len() < wanted {
            self.add(&log);
        }
    }

    /// Notes what is gone, and what of it the agent had tried to send in vain.
    fn destroy(&mut self, gone: &[u8]) {
        let found = numbers(&String::from_utf8_lossy(gone));
        self.destroyed_bytes += gone.len() as u64;
        for route in self.shape.routes() {
            let pushed = self.pushed(route);
            let own = found.iter().filter(|n| pushed.contains(n)).copied();
            self.tried.entry(route).or_default().extend(own);
        }
        self.destroyed.extend(found);
    }

    // What becomes of the agent and of Loki.

    fn kill(&mut self) {
        let Some(agent) = self.agent.take() else { return };
        if self.random.once_in(6) {
            let page = agent.metrics();
            let log = agent.stop_and_tell();
            self.counted += lost(&log).max(vanished(&page));
            self.logs += &(log + "stopped\n");
        } else {
            let log = agent.kill_and_tell();
            self.counted += lost(&log);
            self.logs += &(log + "killed\n");
        }
        self.stub.abandon();
    }

    fn start(&mut self) {
        let directory = Arc::clone(&self.directory);
        self.agent = Some(Agent::start_in(directory, &self.configuration(), &[]));
    }

    /// Killed, and started again when much else has happened.
    fn restart(&mut self) {
        self.tell("kill");
        self.kill();
        // While nobody looks, anything may happen.
        for _ in 0..self.random.below(3) {
            self.write();
            match self.random.below(6) {
                0 => self.rotate(),
                1 => self.copy_and_truncate(),
                2 => self.compress(true),
                3 => self.rotate_twice(),
                4 if self.shape.trouble == Trouble::Losses => self.lose(),
                _ => {}
            }
        }
        match self.shape.trouble {
            Trouble::Damage if self.random.once_in(6) => self.deny(),
            Trouble::Damage if self.random.below(3) > 0 => {
                let what = self.state.damage(&mut self.random);
                self.tell(what);
                self.forgot = true;
            }
            Trouble::Settings => {
                self.settings = SETTINGS[self.random.below(SETTINGS.len())];
                self.tell(self.settings);
            }
            _ => {}
        }
        self.start();
        self.tell("start");
    }

    /// The checkpoint cannot be read: the agent does not begin anew, it says so and ends.
    fn deny(&mut self) {
        let current = self.state.current();
        let aside = current.with_extension("aside");
        if fs::rename(&current, &aside).is_err() {
            return;
        }
        // A directory in its place is what nobody can read, not even root.
        fs::create_dir(&current).unwrap();
        let mut command = pgvigil(&["run", "--config"]);
        command.arg(self.directory.path().join("pgvigil.yml"));
        let output = command.stdout(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && told.contains("cannot use the state directory"),
            "{told}"
        );
        fs::remove_dir(&current).unwrap();
        fs::rename(aside, current).unwrap();
        self.tell("denied");
    }

    fn fault(&mut self) {
        match self.random.below(7) {
            0 => self.stub.reject(500).times(2),
            1 => self.stub.reject(429).times(1),
            2 => self.stub.reset().times(1),
            3 => self.stub.slow(Duration::from_millis(400)).times(1),
            4 => {
                let refused = self.random.below(5);
                self.stub.partial(refused).times(1);
            }
            5 if self.shape.routes => {
                let tenant = ["dev", "oth"][self.random.below(2)];
                self.stub.reject_tenant(tenant, 429);
            }
            _ => self.stub.reject(413).times(1),
        }
        self.tell("fault");
    }

    pub(super) fn step(&mut self) {
        if self.random.once_in(8) {
            self.state.keep();
        }
        match self.random.below(16) {
            0 | 1 => {
                self.tell("torn");
                self.write_torn();
            }
            2 => self.rotate(),
            3 => self.copy_and_truncate(),
            4 => self.restart(),
            5 => self.fault(),
            6 => {
                self.random.sleep(1500);
                self.stub.accept_tenants();
            }
            7 => self.compress(false),
            8 => self.rotate_twice(),
            9 => self.compress(true),
            10 | 11 if self.shape.trouble == Trouble::Losses => {
                if self.random.once_in(2) {
                    self.stub.reject(500).times(3);
                    self.write();
                    self.random.sleep(1000);
                }
                self.lose();
                if self.random.once_in(2) {
                    self.restart();
                }
            }
            _ => self.write(),
        }
        self.random.sleep(150);
    }

    // What has come of it.

    /// Whether the route's readers must get the record.
    fn owes(&self, route: &str, number: usize) -> bool {
        let known = &self.writer.known[number];
        match route {
            ADMIN => true,
            // A half of a record may not say whose it is.
            DEVELOPER => known.database == Some("shop") && !known.torn,
            _ => known.database == Some("other") && !known.torn,
        }
    }

    fn arrived(&self, route: &str) -> BTreeSet<usize> {
        let entries = self.stub.entries(&format!("route=\"{route}\""));
        entries.iter().filter_map(number).collect()
    }

    fn pushes(&self, route: &str) -> Vec<Push> {
        let part = format!("route=\"{route}\"");
        self.stub.pushes().into_iter().filter(|push| push.labels.contains(&part)).collect()
    }

    fn pushed(&self, route: &str) -> BTreeSet<usize> {
        self.pushes(route).iter().flat_map(|p| p.entries.iter().filter_map(number)).collect()
    }

    /// What Loki has refused for good: the agent has nothing left to do about it but to count it.
    fn refused(&self, route: &str) -> BTreeSet<usize> {
        let pushes = self.pushes(route);
        let for_good = |push: &&Push| match push.status {
            400 => true,
            // Until only one entry is left, halves are tried.
            413 => push.entries.len() == 1,
            _ => false,
        };
        let refused = pushes.iter().filter(for_good).flat_map(|p| p.entries.iter().take(p.refused));
        refused.filter_map(number).collect()
    }

    /// What is not there: of that which still could be, and the bytes of that which the agent knew.
    fn missing(&self, route: &str) -> (Vec<usize>, u64) {
        let (arrived, refused) = (self.arrived(route), self.refused(route));
        let not_there = (0..self.writer.count())
            .filter(|n| self.owes(route, *n) && !arrived.contains(n) && !refused.contains(n));
        let held: BTreeSet<usize> = if self.destroyed.is_empty() {
            BTreeSet::new()
        } else {
            self.files.held().into_iter().collect()
        };
        let (lost, missing): (Vec<usize>, Vec<usize>) =
            not_there.partition(|n| self.destroyed.contains(n) && !held.contains(n));
        let tried = self.tried.get(route);
        let known = lost.iter().filter(|n| tried.is_some_and(|tried| tried.contains(n)));
        (missing, known.map(|n| self.writer.known[*n].bytes).sum())
    }

    fn counted(&self) -> f64 {
        self.counted + self.agent.as_ref().map_or(0.0, |agent| vanished(&agent.metrics()))
    }

    /// Waits until nothing is owed any more, and looks at all that was sent.
    pub(super) fn finish(mut self) {
        self.stub.heal();
        self.stub.accept_tenants();
        let deadline = Instant::now() + PATIENCE;
        let mut counted;
        for route in self.shape.routes() {
            loop {
                let (missing, lost) = self.missing(route);
                counted = self.counted();
                if missing.is_empty() && counted >= lost as f64 {
                    break;
                }
                if Instant::now() > deadline {
                    let log = self.agent.as_ref().map(Agent::log).unwrap_or_default();
                    panic!(
                        "{}: route {route} misses {}; {lost} bytes are known to be lost, {counted} \
                         are counted\n{}\n{}{log}",
                        self.story(),
                        ranges(missing),
                        self.files.holdings(),
                        self.logs,
                    );
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        counted = self.counted();
        if let Some(agent) = self.agent.take() {
            let page = agent.metrics();
            let log = agent.stop_and_tell();
            assert!(
                lost(&log) >= vanished(&page),
                "{}: what is counted is told\n{log}",
                self.story()
            );
            self.logs += &log;
        }
        assert!(
            counted <= self.destroyed_bytes as f64,
            "{}: {counted} bytes are counted as lost, and {} were gone\n{}\n{}",
            self.story(),
            self.destroyed_bytes,
            self.files.holdings(),
            self.logs
        );
        self.assert_repeats();
        assert_eq!(self.stub.most_in_flight(), 1, "{}", self.story());
    }

    /// Every sending of a record was the same, and it shows once.
    fn assert_repeats(&self) {
        for route in self.shape.routes() {
            let mut seen: BTreeMap<usize, (String, Entry)> = BTreeMap::new();
            for push in self.pushes(route) {
                for entry in push.entries {
                    let Some(number) = number(&entry) else { continue };
                    let known = self.writer.known[number];
                    let forgotten = self.forgot && known.unsettled;
                    let now = (push.labels.clone(), entry);
                    let first = seen.entry(number).or_insert_with(|| now.clone());
                    let same = match forgotten {
                        true => known.torn || first.1.line == now.1.line,
                        false => *first == now,
                    };
                    assert!(
                        same,
                        "{}: number {number} was sent in two forms to {route}\n{first:?}\n{now:?}\n{}\n{}",
                        self.story(),
                        self.files.holdings(),
                        self.logs
                    );
                }
            }
            let mut times: BTreeMap<usize, usize> = BTreeMap::new();
            for entry in self.stub.entries(&format!("route=\"{route}\"")) {
                if let Some(number) = number(&entry) {
                    *times.entry(number).or_default() += 1;
                }
            }
            let twice = times.into_iter().filter(|(n, times)| {
                *times > 1 && !(self.forgot && self.writer.known[*n].unsettled)
            });
            let twice: Vec<usize> = twice.map(|(n, _)| n).collect();
            assert!(twice.is_empty(), "{}: {} show twice", self.story(), ranges(twice));
        }
    }

    fn story(&self) -> String {
        format!("seed {} {:?} {:?}", self.seed, self.shape, self.told)
    }
}

fn number(entry: &Entry) -> Option<usize> {
    let (_, rest) = entry.line.split_once("number ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The bytes that an agent's own log tells as lost.
fn lost(log: &str) -> f64 {
    let told = log.lines().filter(|line| line.contains("before all of it was"));
    told.filter_map(|line| {
        let (_, rest) = line.split_once("bytes=")?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    })
    .sum()
}

fn vanished(page: &str) -> f64 {
    sample(page, "pgvigil_log_vanished_bytes_total", &[]).unwrap_or(0.0)
}
