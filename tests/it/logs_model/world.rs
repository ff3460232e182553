//! One schedule: what happens, step by step, and what must have come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::container::Runtime;
use super::damage::State;
use super::files::{Files, Names};
use super::ledger::Ledger;
use super::random::Random;
use super::writer::{Form, Writer, numbers};
use crate::support::agent::{Agent, pgvigil, sample};
use crate::support::loki::Stub;
use crate::support::river::append;

pub(super) const ADMIN: &str = "admin";
pub(super) const DEVELOPER: &str = "developer";
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
pub(super) enum Trouble {
    None,
    /// Files are deleted and truncated before they are read.
    Losses,
    /// The checkpoint is damaged between a kill and the next start.
    Damage,
    /// The configured prefix and time zone change between a kill and the next start.
    Settings,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    form: Form,
    runtime: Option<Runtime>,
    names: Names,
    pub(super) trouble: Trouble,
    routes: bool,
}

impl Shape {
    fn new(seed: u64, random: &mut Random) -> Self {
        let form = [Form::Text, Form::Text, Form::Csv, Form::Json][random.below(4)];
        let names = [Names::One, Names::One, Names::Several, Names::Weekdays][random.below(4)];
        let troubles = [Trouble::None, Trouble::Losses, Trouble::Damage, Trouble::Settings];
        let trouble = troubles[random.below(4)];
        // With a wrong prefix nobody knows whose record it is.
        let routes = random.once_in(3) && trouble != Trouble::Settings;
        Self { form, runtime: Runtime::of(seed), names, trouble, routes }
    }

    pub(super) fn routes(&self) -> &'static [&'static str] {
        if self.routes { &[ADMIN, DEVELOPER, OTHERS] } else { &[ADMIN] }
    }
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) random: Random,
    pub(super) shape: Shape,
    pub(super) directory: Arc<TempDir>,
    pub(super) agent: Option<Agent>,
    pub(super) stub: Stub,
    /// What came of what was sent, by route.
    pub(super) ledgers: BTreeMap<&'static str, Ledger>,
    pub(super) files: Files,
    pub(super) state: State,
    pub(super) writer: Writer,
    pub(super) settings: &'static str,
    pub(super) told: Vec<String>,
    /// What was deleted or truncated.
    pub(super) destroyed: BTreeSet<usize>,
    pub(super) destroyed_bytes: u64,
    /// By route what of it the agent had tried to send and Loki had not stored: of these it knew.
    pub(super) tried: BTreeMap<&'static str, BTreeSet<usize>>,
    /// Bytes that agents which have ended had counted as lost.
    pub(super) counted: f64,
    /// What agents that have ended told.
    pub(super) logs: String,
    /// The checkpoint was damaged: what only it knew is forgotten.
    pub(super) forgot: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shape = Shape::new(seed, &mut random);
        let directory = Arc::new(directory());
        let mut world = Self {
            seed,
            random,
            shape,
            files: Files::new(directory.path().to_owned(), shape.names),
            state: State::new(directory.path().join("state")),
            directory,
            agent: None,
            stub: Stub::start(),
            ledgers: shape.routes().iter().map(|route| (*route, Ledger::default())).collect(),
            writer: Writer::new(shape.form, shape.runtime, seed),
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

    /// The file that is written to has a new content.
    fn renewed(&mut self) {
        // Of several, the others go on.
        match self.shape.names {
            Names::Several => self.writer.unsettle(),
            Names::One | Names::Weekdays => self.writer.begin(),
        }
    }

    fn rotate(&mut self) {
        if self.files.is_by_weekday() {
            return self.next_day();
        }
        let log = self.files.pick(&mut self.random);
        self.tell("rotate");
        self.files.rotate(&log);
        self.renewed();
    }

    fn rotate_twice(&mut self) {
        if self.files.is_by_weekday() {
            return self.next_day();
        }
        let log = self.files.pick(&mut self.random);
        self.tell("rotate twice");
        self.files.rotate(&log);
        self.renewed();
        for _ in 0..=self.random.below(5) {
            self.add(&log);
        }
        self.files.rotate(&log);
        self.renewed();
    }

    fn compress(&mut self, at_once: bool) {
        if self.files.is_by_weekday() {
            return self.next_day();
        }
        let log = self.files.pick(&mut self.random);
        self.tell(if at_once { "rotate and compress" } else { "compress" });
        if at_once {
            self.files.rotate(&log);
            self.renewed();
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
        self.renewed();
        self.rename_at_once(&log);
    }

    /// At times what was truncated is renamed too, before anybody has looked.
    fn rename_at_once(&mut self, log: &Path) {
        if !self.random.once_in(4) {
            return;
        }
        self.tell("and rotate");
        for _ in 0..self.random.below(30) {
            self.add(log);
        }
        self.files.rotate(log);
        self.renewed();
    }

    /// A week is long: unless losses are asked for, what the day's file holds is delivered by then.
    fn next_day(&mut self) {
        let holds = self.files.next_day_holds();
        let found = numbers(&String::from_utf8_lossy(&holds));
        self.look();
        let owed = |route: &str, ledger: &Ledger| {
            found.iter().any(|n| self.owes(route, *n) && !ledger.is_settled(*n))
        };
        let delivered = !self.ledgers.iter().any(|(route, ledger)| owed(route, ledger));
        if !delivered && self.shape.trouble != Trouble::Losses {
            return self.tell("no day passes");
        }
        self.destroy(&holds);
        let remove = self.random.once_in(3);
        self.tell(if remove { "next day, made anew" } else { "next day" });
        self.files.next_day(remove);
        self.renewed();
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
        self.renewed();
        // At times it is as long as before by the next look.
        let wanted = if self.random.once_in(2) { 2 * gone.len() as u64 } else { 0 };
        while fs::metadata(&log).unwrap().len() < wanted {
            self.add(&log);
        }
        self.rename_at_once(&log);
    }

    /// Notes what is gone, and what of it the agent had tried to send in vain.
    fn destroy(&mut self, gone: &[u8]) {
        let found = numbers(&String::from_utf8_lossy(gone));
        self.destroyed_bytes += gone.len() as u64;
        self.look();
        for (route, ledger) in &self.ledgers {
            let own = found.iter().filter(|n| ledger.shapes.contains_key(n)).copied();
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
        match self.random.below(8) {
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
            6 => self.stub.masked().times(1),
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
}

/// In memory where there is such a place: a killed process loses no page, and the checkpoints of so many
/// agents keep a disk busy for seconds.
fn directory() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

impl Drop for World {
    fn drop(&mut self) {
        self.agent = None;
        self.stub.close();
    }
}

/// The bytes that an agent's own log tells as lost.
pub(super) fn lost(log: &str) -> f64 {
    let told = log.lines().filter(|line| line.contains("before all of it was"));
    told.filter_map(|line| {
        let (_, rest) = line.split_once("bytes=")?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    })
    .sum()
}

pub(super) fn vanished(page: &str) -> f64 {
    sample(page, "pgvigil_log_vanished_bytes_total", &[]).unwrap_or(0.0)
}
