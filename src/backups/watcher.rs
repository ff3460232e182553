//! The room's face: sources read by their clocks, scrapes answered, the state of each told.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::fault::{Fault, Reason};
use super::findings::Findings;
use super::judge::{Known, State, judge};
use super::read::{Reader, Told};
use super::report::{Report, labels};
use crate::config::{Backup, Instance, Settings};
use crate::metric::{Family, Labels};
use crate::task::{Group, Stop};

/// Commands and readings at one time: the agent is a guest on its machine.
const AT_ONCE: usize = 2;

/// What is known of one source.
struct Source {
    /// The instance's name.
    server: String,
    labels: Labels,
    backup: Backup,
    memory: Mutex<Memory>,
}

struct Memory {
    findings: Option<Arc<Findings>>,
    read: Option<Timestamp>,
    written: Option<Timestamp>,
    reason: Reason,
    sentence: Option<String>,
}

impl Memory {
    fn new() -> Self {
        Self { findings: None, read: None, written: None, reason: Reason::Unread, sentence: None }
    }

    fn known<'a>(&self, findings: Option<&'a Findings>) -> Known<'a> {
        Known { findings, read: self.read, written: self.written, reason: self.reason }
    }

    /// Takes in one reading. What a failed one does not tell stays as it was.
    fn take(&mut self, told: Result<Told, Fault>, now: Timestamp) {
        match told {
            Ok(Told { findings, written }) => {
                (self.reason, self.sentence) = match &findings.complaint {
                    Some(complaint) => {
                        let sentence = format!("the tool reports: {complaint}; see its own log");
                        (Reason::Tool, Some(sentence))
                    }
                    None => (Reason::Ok, None),
                };
                self.findings = Some(Arc::new(findings));
                self.read = Some(now);
                self.written = written;
            }
            Err(fault) => {
                self.reason = fault.reason;
                self.sentence = Some(fault.sentence);
            }
        }
    }
}

/// One source as the status page shows it.
#[derive(Clone, Debug)]
pub struct BackupStatus {
    /// The instance's name.
    pub server: String,
    /// The source's word and, where it has one, its name.
    pub source: String,
    /// Those that hold; empty before the first reading.
    pub states: Vec<State>,
    /// What is wrong and what to do, one sentence.
    pub message: Option<String>,
    /// The end of the last success, and the bytes of the newest of each type.
    pub last_success: Option<Timestamp>,
    pub bytes: Option<f64>,
    /// When the source last told something.
    pub read: Option<Timestamp>,
}

/// Watches the backups of all instances.
pub struct Watcher {
    sources: Vec<Arc<Source>>,
}

impl Watcher {
    /// Begins to read every configured source by its own clock; ends with `group`.
    pub fn start(settings: &Settings, group: &Group) -> Arc<Self> {
        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let mut sources = Vec::new();
        for instance in &settings.instances {
            let base = settings.labels_of(instance);
            for backup in &instance.backups {
                let source = Arc::new(Source {
                    server: instance.name.clone(),
                    labels: labels(&base, backup),
                    backup: backup.clone(),
                    memory: Mutex::new(Memory::new()),
                });
                let reader = Reader::new(instance, backup);
                let work = follow(Arc::clone(&source), reader, Arc::clone(&gate), group.signal());
                group.spawn("backups", work);
                sources.push(source);
            }
        }
        Arc::new(Self { sources })
    }

    /// What is known now, of all instances or of the one named.
    pub fn families(&self, instance: Option<&str>) -> Vec<Arc<Family>> {
        let now = Timestamp::now();
        let mut report = Report::new();
        for source in &self.sources {
            if instance.is_none_or(|name| name == source.server) {
                source.report(&mut report, now);
            }
        }
        report.families().map(Arc::new).collect()
    }

    /// One row for each source, in the order of the configuration.
    pub fn status(&self) -> Vec<BackupStatus> {
        let now = Timestamp::now();
        self.sources.iter().map(|source| source.status(now)).collect()
    }
}

impl Source {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, report: &mut Report, now: Timestamp) {
        let memory = self.memory();
        let findings = memory.findings.clone();
        let known = memory.known(findings.as_deref());
        drop(memory);
        let verdict = judge(&self.backup, &known, now);
        report.add(&self.labels, &self.backup, &known, &verdict, now);
    }

    fn status(&self, now: Timestamp) -> BackupStatus {
        let memory = self.memory();
        status(&self.server, &self.backup, &memory, now)
    }

    fn take(&self, told: Result<Told, Fault>) {
        let mut memory = self.memory();
        let before = memory.reason;
        memory.take(told, Timestamp::now());
        if memory.reason == before {
            return;
        }
        let (server, source) = (&self.server, self.backup.source.as_str());
        match &memory.sentence {
            Some(sentence) => tracing::warn!(server, source, "backups: {sentence}"),
            None if before != Reason::Unread => {
                tracing::info!(server, source, "backups: the source tells again");
            }
            None => {}
        }
    }
}

fn status(server: &str, backup: &Backup, memory: &Memory, now: Timestamp) -> BackupStatus {
    let findings = memory.findings.clone();
    let verdict = judge(backup, &memory.known(findings.as_deref()), now);
    let last_success = verdict.last_success();
    let last = verdict.last.values().find(|last| last.success == last_success);
    BackupStatus {
        server: server.to_owned(),
        source: match &backup.name {
            Some(name) => format!("{} {name}", backup.source.as_str()),
            None => backup.source.as_str().to_owned(),
        },
        message: memory.sentence.clone(),
        last_success,
        bytes: last.and_then(|last| last.bytes),
        read: memory.read,
        states: verdict.states,
    }
}

async fn follow(source: Arc<Source>, mut reader: Reader, gate: Arc<Semaphore>, stop: Stop) {
    loop {
        let read = async {
            // Whoever holds a place lets go of it within its own timeout.
            let _place = gate.acquire().await;
            reader.read().await
        };
        let told = tokio::select! {
            told = read => told,
            () = stop.draining() => return,
        };
        source.take(told);
        tokio::select! {
            () = tokio::time::sleep(source.backup.interval) => {}
            () = stop.draining() => return,
        }
    }
}

/// Reads one source once, as `check` does.
pub async fn look(instance: &Instance, backup: &Backup) -> BackupStatus {
    let mut memory = Memory::new();
    let told = Reader::new(instance, backup).read().await;
    let now = Timestamp::now();
    memory.take(told, now);
    status(&instance.name, backup, &memory, now)
}
