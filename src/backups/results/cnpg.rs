//! CloudNativePG: objects as `kubectl get … -o json` writes them, one or a List of several kinds.
//!
//! `Backup` objects are the list. A `Cluster` (where the operator itself makes backups, before 1.31)
//! and the Barman Cloud plugin's `ObjectStore` tell the first moment that can be restored to, the last
//! success and the last failure, and are taken beside them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use serde::Deserialize;

use super::wanted::Wanted;
use super::words::{Loose, choose};
use crate::backups::fault::{Fault, Reason};
use crate::backups::findings::{Findings, Kind, Outcome, Taken};

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    items: Vec<Object>,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(rename = "creationTimestamp")]
    created: Option<Loose>,
}

#[derive(Deserialize, Default)]
struct Spec {
    cluster: Option<Named>,
    method: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    method: Option<String>,
    started_at: Option<Loose>,
    stopped_at: Option<Loose>,
    #[serde(flatten)]
    window: Window,
    #[serde(default)]
    server_recovery_window: BTreeMap<String, Window>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Window {
    first_recoverability_point: Option<Loose>,
    #[serde(alias = "lastSuccessfulBackupTime")]
    last_successful_backup: Option<Loose>,
    #[serde(alias = "lastFailedBackupTime")]
    last_failed_backup: Option<Loose>,
}

impl Object {
    fn all(&self) -> Vec<&Self> {
        match self.kind.as_str() {
            "Backup" | "Cluster" | "ObjectStore" => vec![self],
            // `List`, or `BackupList` as the API itself answers.
            _ => self.items.iter().collect(),
        }
    }

    fn cluster(&self) -> Option<&str> {
        match self.kind.as_str() {
            "Cluster" => Some(&self.metadata.name),
            _ => self.spec.cluster.as_ref().map(|cluster| cluster.name.as_str()),
        }
    }
}

pub(super) fn parse(text: &[u8], wanted: &Wanted<'_>) -> Result<Findings, Fault> {
    let root: Object = serde_json::from_slice(text).map_err(|error| Fault::of_json(&error))?;
    if root.kind.is_empty() {
        return Err(Fault::new(
            Reason::Shape,
            "the JSON is no Kubernetes object; write what `kubectl get backups -o json` prints",
        ));
    }
    let objects = root.all();
    let clusters: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object.cluster())
        .chain(
            objects.iter().flat_map(|o| o.status.server_recovery_window.keys().map(String::as_str)),
        )
        .collect();
    let chosen = choose("cluster", &clusters, wanted)?;
    let mut findings = Findings::default();
    for object in objects {
        // The API's own list names the kind once, above its items.
        let kind = if object.kind.is_empty() { "Backup" } else { object.kind.as_str() };
        match kind {
            "Backup" if object.cluster() == chosen.as_deref() => {
                findings.listed = true;
                findings.taken.extend(backup(object));
            }
            "Cluster" if object.cluster() == chosen.as_deref() => {
                window(&object.status.window, &mut findings);
            }
            "ObjectStore" => {
                for (server, told) in &object.status.server_recovery_window {
                    if Some(server.as_str()) == chosen.as_deref() {
                        window(told, &mut findings);
                    }
                }
            }
            _ => {}
        }
    }
    // A list of nothing is a list.
    findings.listed |= findings.taken.is_empty();
    Ok(findings)
}

fn backup(object: &Object) -> Option<Taken> {
    let status = &object.status;
    let outcome = match status.phase.as_deref().unwrap_or("pending") {
        "completed" => Outcome::Done,
        "failed" | "invalid backup definition" => Outcome::Failed,
        "started" | "running" | "finalizing" => Outcome::Running,
        // `pending` has not begun; `walArchivingFailing` waits for the archiver, which is told of
        // elsewhere.
        _ => return None,
    };
    let time = |time: &Option<Loose>| time.as_ref().and_then(|time| time.time(&TimeZone::UTC));
    let method = status.method.as_deref().or(object.spec.method.as_deref());
    Some(Taken {
        kind: match method {
            Some("volumeSnapshot") => Kind::Snapshot,
            _ => Kind::Full,
        },
        outcome,
        repository: None,
        // One that failed before it began has only the time when it was asked for.
        began: time(&status.started_at).or_else(|| time(&object.metadata.created)),
        ended: time(&status.stopped_at),
        bytes: None,
        listed: true,
    })
}

fn window(told: &Window, findings: &mut Findings) {
    let time = |time: &Option<Loose>| time.as_ref().and_then(|time| time.time(&TimeZone::UTC));
    findings.window_start =
        findings.window_start.or_else(|| time(&told.first_recoverability_point));
    let ends = [
        (Outcome::Done, time(&told.last_successful_backup)),
        (Outcome::Failed, time(&told.last_failed_backup)),
    ];
    for (outcome, ended) in ends {
        findings.taken.extend(ended.map(|ended| Taken {
            kind: Kind::Full,
            outcome,
            repository: None,
            began: None,
            ended: Some(ended),
            bytes: None,
            listed: false,
        }));
    }
}
