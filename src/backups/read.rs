//! One reading of one source: its input fetched within its time, its text understood.

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fault::{Fault, Reason};
use super::findings::Findings;
use super::results::{Wanted, dumps, parse};
use super::{command, file, listing};
use crate::config::{Backup, BackupInput, Instance};

/// What a reading gave.
pub(crate) struct Told {
    pub(crate) findings: Findings,
    /// When the file was written, where it is one.
    pub(crate) written: Option<Timestamp>,
}

type Blocking = JoinHandle<Result<Told, Fault>>;

/// Reads one source, one reading at a time.
pub(crate) struct Reader {
    backup: Backup,
    server: String,
    cluster: String,
    /// A reading that a file system has not let go of; none is begun beside it.
    stuck: Option<Blocking>,
}

impl Reader {
    pub(crate) fn new(instance: &Instance, backup: &Backup) -> Self {
        Self {
            backup: backup.clone(),
            server: instance.name.clone(),
            cluster: instance.cluster.clone(),
            stuck: None,
        }
    }

    /// What the source tells now; ends within its `timeout`.
    pub(crate) async fn read(&mut self) -> Result<Told, Fault> {
        let deadline = Instant::now() + self.backup.timeout;
        match &self.backup.input {
            None => Err(Fault::new(
                Reason::Unconfigured,
                "nothing tells of these backups; add `file`, `files` or `command`",
            )),
            Some(BackupInput::Command(program)) => {
                let text = command::run(program, deadline).await?;
                Ok(Told {
                    findings: understand(&self.backup, &self.names(), &text)?,
                    written: None,
                })
            }
            Some(BackupInput::File(_) | BackupInput::Dumps(_)) => self.files(deadline).await,
        }
    }

    fn names(&self) -> [String; 2] {
        [self.server.clone(), self.cluster.clone()]
    }

    async fn files(&mut self, deadline: Instant) -> Result<Told, Fault> {
        let (backup, names) = (self.backup.clone(), self.names());
        let mut reading = self
            .stuck
            .take()
            .unwrap_or_else(|| tokio::task::spawn_blocking(move || look(&backup, &names)));
        match tokio::time::timeout_at(deadline, &mut reading).await {
            Ok(Ok(told)) => told,
            Ok(Err(_)) => {
                Err(Fault::new(Reason::Error, "the reading was broken off; see the agent's log"))
            }
            Err(_) => {
                self.stuck = Some(reading);
                Err(Fault::new(
                    Reason::Timeout,
                    "the file system did not answer in time; see to it, or set `timeout`",
                ))
            }
        }
    }
}

/// Reads files. Blocks.
fn look(backup: &Backup, names: &[String; 2]) -> Result<Told, Fault> {
    match &backup.input {
        Some(BackupInput::Dumps(patterns)) => {
            let (found, space) = listing::find(patterns)?;
            let findings = dumps(&found, space, backup.settle, Timestamp::now());
            Ok(Told { findings, written: None })
        }
        Some(BackupInput::File(path)) => {
            let (text, written) = file::read(path)?;
            let findings = understand(backup, names, &text).map_err(|fault| Fault {
                sentence: format!("{}: {}", path.display(), fault.sentence),
                ..fault
            })?;
            Ok(Told { findings, written: Some(written) })
        }
        Some(BackupInput::Command(_)) | None => {
            Err(Fault::new(Reason::Unconfigured, "there is no file to read; add `file`"))
        }
    }
}

fn understand(backup: &Backup, names: &[String; 2], text: &[u8]) -> Result<Findings, Fault> {
    let wanted = Wanted {
        server: backup.server.as_deref(),
        repository: backup.repository.as_deref(),
        probable: [&names[0], &names[1]],
        zone: &backup.time_zone,
    };
    parse(backup.source, text, &wanted)
}
