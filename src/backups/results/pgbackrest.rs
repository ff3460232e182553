//! pgBackRest: `pgbackrest --output=json info`, 2.30 and newer.
//!
//! It lists the backups that succeeded; one that was broken off is in no list. One with `error` ended,
//! but pages did not fit their checksums: it is counted as failed. Times are Unix seconds.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::wanted::Wanted;
use super::words::{Loose, choose};
use crate::backups::fault::Fault;
use crate::backups::findings::{Findings, Kind, Outcome, Taken};

/// The stanza has no backup yet: no error of the tool, but what one wants to know.
const NO_BACKUP: i64 = 2;

#[derive(Deserialize)]
struct Stanza {
    name: String,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    repo: Vec<Repository>,
    #[serde(default)]
    backup: Vec<Backup>,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    lock: Locks,
}

#[derive(Deserialize, Default)]
struct Locks {
    #[serde(default)]
    backup: Lock,
}

#[derive(Deserialize, Default)]
struct Lock {
    #[serde(default)]
    held: bool,
}

#[derive(Deserialize)]
struct Repository {
    key: u32,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Backup {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    error: Option<bool>,
    #[serde(default)]
    database: Database,
    #[serde(default)]
    info: Info,
    timestamp: Times,
}

#[derive(Deserialize, Default)]
struct Database {
    #[serde(rename = "repo-key")]
    repository: Option<u32>,
}

#[derive(Deserialize, Default)]
struct Info {
    delta: Option<Loose>,
    #[serde(default)]
    repository: Stored,
}

#[derive(Deserialize, Default)]
struct Stored {
    delta: Option<Loose>,
}

#[derive(Deserialize)]
struct Times {
    start: Option<Loose>,
    stop: Option<Loose>,
}

pub(super) fn parse(text: &[u8], wanted: &Wanted<'_>) -> Result<Findings, Fault> {
    let stanzas: Vec<Stanza> =
        serde_json::from_slice(text).map_err(|error| Fault::of_json(&error))?;
    let names: BTreeSet<&str> = stanzas.iter().map(|stanza| stanza.name.as_str()).collect();
    let chosen = choose("stanza", &names, wanted)?;
    let mut findings = Findings { listed: true, ..Findings::default() };
    let chosen = chosen.and_then(|name| stanzas.iter().find(|stanza| stanza.name == name));
    let Some(stanza) = chosen else { return Ok(findings) };

    let asked = |key: &str| wanted.repository.is_none_or(|wanted| wanted == key);
    let mut wrong = None;
    for repository in &stanza.repo {
        let key = repository.key.to_string();
        if !asked(&key) {
            continue;
        }
        if !matches!(repository.status.code, 0 | NO_BACKUP) {
            wrong = Some(format!("repository {key}: {}", repository.status.message));
        }
        findings.repositories.insert(key);
    }
    // Before 2.32 there was one repository, and no list of them.
    if stanza.repo.is_empty() && !matches!(stanza.status.code, 0 | NO_BACKUP) {
        wrong = Some(stanza.status.message.clone());
    }
    if let Some(key) = wanted.repository.filter(|_| findings.repositories.is_empty()) {
        wrong = Some(format!("repository {key} is not among those it tells of"));
    }
    findings.complaint = wrong;
    findings.running = stanza.status.lock.backup.held;
    for backup in &stanza.backup {
        let repository = backup.database.repository.map(|key| key.to_string());
        if repository.as_deref().is_some_and(|key| !asked(key)) {
            continue;
        }
        let bytes = backup.info.repository.delta.as_ref().or(backup.info.delta.as_ref());
        let time = |time: &Option<Loose>| time.as_ref().and_then(|time| time.time(wanted.zone));
        findings.taken.push(Taken {
            kind: Kind::of(backup.kind.as_deref()),
            outcome: if backup.error == Some(true) { Outcome::Failed } else { Outcome::Done },
            repository,
            began: time(&backup.timestamp.start),
            ended: time(&backup.timestamp.stop),
            bytes: bytes.and_then(Loose::number),
            listed: true,
        });
    }
    Ok(findings)
}
