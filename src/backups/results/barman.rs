//! Barman 2.12 and newer: `barman -f json list-backups SERVER`, `barman -f json show-backup SERVER ID`
//! and `barman-cloud-backup-list --format json`.
//!
//! Failed and running backups are in the lists, some with nothing but their id, which is the local
//! time when they began. The cloud's list has times in words without a zone, in newer versions also
//! in ISO 8601 beside them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::wanted::Wanted;
use super::words::{Loose, choose};
use crate::backups::fault::Fault;
use crate::backups::findings::{Findings, Kind, Outcome, Taken};

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Cloud { backups_list: Vec<Backup> },
    Server(BTreeMap<String, Told>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    List(Vec<Backup>),
    One(Box<Backup>),
}

/// A backup as any of the three commands writes it.
#[derive(Deserialize)]
struct Backup {
    backup_id: Option<String>,
    server_name: Option<String>,
    status: String,
    backup_type: Option<String>,
    mode: Option<String>,
    parent_backup_id: Option<String>,
    begin_time_timestamp: Option<Loose>,
    end_time_timestamp: Option<Loose>,
    begin_time_iso: Option<Loose>,
    end_time_iso: Option<Loose>,
    begin_time: Option<Loose>,
    end_time: Option<Loose>,
    size_bytes: Option<Loose>,
    size: Option<Loose>,
    deduplicated_size: Option<Loose>,
    base_backup_information: Option<Base>,
}

/// What `show-backup` puts one level down.
#[derive(Deserialize)]
struct Base {
    begin_time_timestamp: Option<Loose>,
    end_time_timestamp: Option<Loose>,
    disk_usage_bytes: Option<Loose>,
    backup_type: Option<String>,
}

pub(super) fn parse(text: &[u8], wanted: &Wanted<'_>) -> Result<Findings, Fault> {
    let text: Text = serde_json::from_slice(text).map_err(|error| Fault::of_json(&error))?;
    let mut findings = Findings { listed: true, ..Findings::default() };
    match text {
        Text::Cloud { backups_list } => {
            let servers: BTreeSet<&str> =
                backups_list.iter().filter_map(|backup| backup.server_name.as_deref()).collect();
            let chosen = choose("server", &servers, wanted)?;
            // What the cloud's times leave out is in all versions the server's own zone, which is
            // hardly ever anything but UTC there.
            findings.taken = backups_list
                .iter()
                .filter(|b| b.server_name.is_none() || b.server_name == chosen)
                .filter_map(|backup| taken(backup, &TimeZone::UTC))
                .collect();
        }
        Text::Server(servers) => {
            let names: BTreeSet<&str> = servers.keys().map(String::as_str).collect();
            match choose("server", &names, wanted)?.and_then(|name| servers.get(&name)) {
                Some(Told::List(list)) => {
                    let taken = list.iter().filter_map(|backup| taken(backup, wanted.zone));
                    findings.taken = taken.collect();
                }
                Some(Told::One(backup)) => {
                    // One of many, so nothing can be counted.
                    findings.listed = false;
                    findings.taken = taken(backup, wanted.zone).into_iter().collect();
                    findings.taken.iter_mut().for_each(|taken| taken.listed = false);
                }
                None => {}
            }
        }
    }
    Ok(findings)
}

fn taken(backup: &Backup, zone: &TimeZone) -> Option<Taken> {
    let outcome = match backup.status.as_str() {
        // The copy is there; the WAL that makes it consistent is on its way.
        "DONE" | "WAITING_FOR_WALS" => Outcome::Done,
        "STARTED" | "SYNCING" => Outcome::Running,
        "FAILED" => Outcome::Failed,
        // EMPTY: nothing was begun.
        _ => return None,
    };
    let base = backup.base_backup_information.as_ref();
    let first = |times: [Option<&Loose>; 4]| -> Option<Timestamp> {
        times.into_iter().flatten().find_map(|time| time.time(zone))
    };
    let began = first([
        base.and_then(|base| base.begin_time_timestamp.as_ref()),
        backup.begin_time_timestamp.as_ref(),
        backup.begin_time_iso.as_ref(),
        backup.begin_time.as_ref(),
    ]);
    let id = || backup.backup_id.clone().and_then(|id| Loose::Text(id).time(zone));
    let ended = first([
        base.and_then(|base| base.end_time_timestamp.as_ref()),
        backup.end_time_timestamp.as_ref(),
        backup.end_time_iso.as_ref(),
        backup.end_time.as_ref(),
    ]);
    let kind =
        backup.backup_type.as_deref().or_else(|| base.and_then(|base| base.backup_type.as_deref()));
    let mode = backup.mode.as_deref().unwrap_or_default();
    let kind = match kind {
        Some(word) => Kind::of(Some(word)),
        None if mode.starts_with("snapshot") => Kind::Snapshot,
        None if backup.parent_backup_id.is_some() => Kind::Incremental,
        None => Kind::Full,
    };
    let bytes = [
        base.and_then(|base| base.disk_usage_bytes.as_ref()),
        backup.size_bytes.as_ref(),
        backup.deduplicated_size.as_ref(),
        backup.size.as_ref(),
    ];
    Some(Taken {
        kind,
        outcome,
        repository: None,
        // By Barman's own clock, which may be of another zone: good for saying that it did not work, not
        // for saying how long it took.
        began: if outcome == Outcome::Done { began } else { began.or_else(id) },
        ended: if outcome == Outcome::Running { None } else { ended },
        bytes: bytes.into_iter().flatten().find_map(Loose::number),
        listed: true,
    })
}
