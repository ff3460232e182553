//! Our own shape, for any tool that has none of its own, and for scripts.
//!
//! One object for each backup, in a list, under `backups`, or one after the other (a script may add a
//! line to a file for each run):
//!
//! ```json
//! {"ended": "2026-03-01T00:10:00Z", "started": 1772323200, "status": "ok", "type": "full",
//!  "size_bytes": 1000000, "server": "shop", "repository": "s3"}
//! ```
//!
//! Only a time is needed. `status` is `ok` (the default), `failed` or `running`; `type` is `full` (the
//! default), `differential`, `incremental`, `snapshot`, `dump` or anything else, which is `other`.
//! Times are Unix seconds or RFC 3339. Beside `backups`, `recovery_window_start` tells the first moment
//! that can be restored to.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::wanted::Wanted;
use super::words::{Loose, choose};
use crate::backups::fault::{Fault, Reason};
use crate::backups::findings::{Findings, Kind, Outcome, Taken};

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Many(Vec<Backup>),
    Whole { backups: Vec<Backup>, recovery_window_start: Option<Loose> },
    One(Box<Backup>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    #[serde(alias = "end", alias = "stopped", alias = "finished")]
    ended: Option<Loose>,
    #[serde(alias = "start", alias = "began")]
    started: Option<Loose>,
    status: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(alias = "size", alias = "bytes")]
    size_bytes: Option<Loose>,
    server: Option<String>,
    repository: Option<String>,
    /// For people.
    #[allow(dead_code, reason = "taken so that it is no unknown field")]
    name: Option<serde::de::IgnoredAny>,
    #[allow(dead_code, reason = "taken so that it is no unknown field")]
    error: Option<serde::de::IgnoredAny>,
}

pub(super) fn parse(text: &[u8], wanted: &Wanted<'_>) -> Result<Findings, Fault> {
    let mut findings = Findings { listed: true, ..Findings::default() };
    let mut backups = Vec::new();
    for part in serde_json::Deserializer::from_slice(text).into_iter::<Text>() {
        match part.map_err(|error| Fault::of_json(&error))? {
            Text::Many(list) => backups.extend(list),
            Text::One(backup) => backups.push(*backup),
            Text::Whole { backups: list, recovery_window_start } => {
                backups.extend(list);
                findings.window_start =
                    recovery_window_start.and_then(|time| time.time(wanted.zone));
            }
        }
    }
    let servers: BTreeSet<&str> = backups.iter().filter_map(|b| b.server.as_deref()).collect();
    let chosen = choose("server", &servers, wanted)?;
    for backup in &backups {
        if backup.server.is_some() && backup.server != chosen {
            continue;
        }
        if wanted.repository.is_some() && backup.repository.as_deref() != wanted.repository {
            continue;
        }
        findings.repositories.extend(backup.repository.clone());
        findings.taken.push(taken(backup, wanted)?);
    }
    Ok(findings)
}

fn taken(backup: &Backup, wanted: &Wanted<'_>) -> Result<Taken, Fault> {
    let outcome = match backup.status.as_deref().unwrap_or("ok") {
        "ok" | "success" | "done" | "completed" => Outcome::Done,
        "failed" | "error" => Outcome::Failed,
        "running" => Outcome::Running,
        other => {
            let other: String = other.chars().take(20).collect();
            return Err(Fault::new(
                Reason::Shape,
                format!("a backup's status is {other:?}; write ok, failed or running"),
            ));
        }
    };
    let time = |time: &Option<Loose>| time.as_ref().and_then(|time| time.time(wanted.zone));
    let (began, ended) = (time(&backup.started), time(&backup.ended));
    if ended.is_none() && (outcome == Outcome::Done || began.is_none()) {
        return Err(Fault::new(
            Reason::Shape,
            "a backup has no time; write `ended` as Unix seconds or as 2026-03-01T00:10:00Z",
        ));
    }
    Ok(Taken {
        kind: Kind::of(backup.kind.as_deref()),
        outcome,
        repository: backup.repository.clone(),
        began,
        ended,
        bytes: backup.size_bytes.as_ref().and_then(Loose::number),
        listed: true,
    })
}
