//! Verdicts as families.

use jiff::Timestamp;

use super::fault::Reason;
use super::findings::{Findings, Kind};
use super::judge::{Known, State, Verdict};
use crate::config::{Backup, BackupSource};
use crate::metric::{Family, Kind as Type, Labels};

/// The names that this room writes, beside those that begin with `pgvigil_`.
pub const OWN: &[&str] = &[
    "pg_backup_state",
    "pg_backup_last_success_timestamp_seconds",
    "pg_backup_last_failure_timestamp_seconds",
    "pg_backup_last_size_bytes",
    "pg_backup_last_size_ratio",
    "pg_backup_last_duration_seconds",
    "pg_backups_successful",
    "pg_backups_failed",
    "pg_backup_recovery_window_start_timestamp_seconds",
    "pg_backup_recovery_window_seconds",
    "pg_backup_keep_seconds",
    "pg_backup_running",
    "pg_backup_offsite",
    "pg_backup_last_scheduled_timestamp_seconds",
    "pg_backup_next_scheduled_timestamp_seconds",
    "pg_backup_space_available_bytes",
];

/// One source's labels: its instance's, `source`, and `name` where it has one.
pub(crate) fn labels(base: &Labels, backup: &Backup) -> Labels {
    let mut own = vec![("source", backup.source.as_str())];
    own.extend(backup.name.as_deref().map(|name| ("name", name)));
    base.over(&Labels::new(own))
}

/// A page of families under construction: each name once, whatever the number of sources.
pub(crate) struct Report {
    families: Vec<Family>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let gauge = |name: &str, help: &str| Family::new(name, help, Type::Gauge);
        let families = vec![
            gauge("pg_backup_state", "1 for each state that holds: ok, or what is to be seen to."),
            gauge(
                "pg_backup_last_success_timestamp_seconds",
                "When the last successful backup of the type ended, as Unix time; absent for never.",
            ),
            gauge(
                "pg_backup_last_failure_timestamp_seconds",
                "When the last backup of the type that failed ended, as Unix time; absent for never.",
            ),
            gauge(
                "pg_backup_last_size_bytes",
                "Bytes that the last successful backup of the type takes where it lies.",
            ),
            gauge(
                "pg_backup_last_size_ratio",
                "Size of the last successful backup to that of the one before of its type.",
            ),
            gauge(
                "pg_backup_last_duration_seconds",
                "How long the last successful backup of the type took.",
            ),
            gauge("pg_backups_successful", "Successful backups that the source lists."),
            gauge("pg_backups_failed", "Failed backups that the source lists."),
            gauge(
                "pg_backup_recovery_window_start_timestamp_seconds",
                "The first moment that can be gone back to, as Unix time: the end of the oldest backup, \
                 or what the tool itself says.",
            ),
            gauge("pg_backup_recovery_window_seconds", "How far one can go back."),
            gauge("pg_backup_keep_seconds", "How far one shall be able to go back, as configured."),
            gauge("pg_backup_running", "1 while a backup runs, as far as the source tells."),
            gauge("pg_backup_offsite", "1 where a copy lies elsewhere, as configured."),
            gauge(
                "pg_backup_last_scheduled_timestamp_seconds",
                "The last moment of the schedule, as Unix time.",
            ),
            gauge(
                "pg_backup_next_scheduled_timestamp_seconds",
                "The next moment of the schedule, as Unix time.",
            ),
            gauge(
                "pg_backup_space_available_bytes",
                "Bytes free for the next dump, in the file system of the last one.",
            ),
            gauge(
                "pgvigil_backup_source_outcome",
                "Always 1: the reason says how the last reading of the source ended.",
            ),
            gauge(
                "pgvigil_backup_source_read_timestamp_seconds",
                "When the source last told something, as Unix time; absent for never.",
            ),
            gauge(
                "pgvigil_backup_source_written_timestamp_seconds",
                "When the file that the source is was last written, as Unix time.",
            ),
        ];
        Self { families }
    }

    fn push(&mut self, name: &str, labels: Labels, value: f64) {
        if let Some(family) = self.families.iter_mut().find(|family| &*family.name == name) {
            family.push(labels, value);
        }
    }

    pub(crate) fn add(
        &mut self,
        labels: &Labels,
        backup: &Backup,
        known: &Known<'_>,
        verdict: &Verdict,
        now: Timestamp,
    ) {
        for state in State::ALL {
            let own = labels.over(&Labels::new([("state", state.as_str())]));
            self.push("pg_backup_state", own, flag(verdict.states.contains(&state)));
        }
        self.push("pg_backup_offsite", labels.clone(), flag(backup.offsite));
        if let Some(keep) = backup.keep {
            self.push("pg_backup_keep_seconds", labels.clone(), keep.as_secs_f64());
        }
        if let Some((last, next)) = verdict.scheduled {
            self.push("pg_backup_last_scheduled_timestamp_seconds", labels.clone(), unix(last));
            self.push("pg_backup_next_scheduled_timestamp_seconds", labels.clone(), unix(next));
        }
        let reason = labels.over(&Labels::new([("reason", known.reason.as_str())]));
        self.push("pgvigil_backup_source_outcome", reason, 1.0);
        if let Some(read) = known.read {
            let name = "pgvigil_backup_source_read_timestamp_seconds";
            self.push(name, labels.clone(), unix(read));
        }
        if let Some(written) = known.written {
            let name = "pgvigil_backup_source_written_timestamp_seconds";
            self.push(name, labels.clone(), unix(written));
        }
        if let Some(findings) = known.findings {
            self.push("pg_backup_running", labels.clone(), flag(verdict.running));
            if let Some(space) = findings.space {
                #[expect(clippy::cast_precision_loss, reason = "a file system's free bytes")]
                self.push("pg_backup_space_available_bytes", labels.clone(), space as f64);
            }
            self.lasts(labels, backup, findings, verdict);
            for (repository, start) in &verdict.window {
                let own = labels.over(&place(repository.as_deref()));
                let name = "pg_backup_recovery_window_start_timestamp_seconds";
                self.push(name, own.clone(), unix(*start));
                let back = now.duration_since(*start).as_secs_f64().max(0.0);
                self.push("pg_backup_recovery_window_seconds", own, back);
            }
        } else if known.reason == Reason::Unconfigured {
            self.push("pg_backup_running", labels.clone(), 0.0);
        }
    }

    fn lasts(&mut self, labels: &Labels, backup: &Backup, findings: &Findings, verdict: &Verdict) {
        // Where there is none at all, the counts say so.
        let lacking = findings.places().into_iter().filter(|place| {
            findings.listed && !verdict.last.keys().any(|(repository, _)| repository == place)
        });
        for repository in lacking {
            let kind = match backup.source {
                BackupSource::Dump => Kind::Dump,
                _ => Kind::Full,
            };
            let own = labels
                .over(&place(repository.as_deref()))
                .over(&Labels::new([("type", kind.as_str())]));
            self.push("pg_backups_successful", own.clone(), 0.0);
            self.push("pg_backups_failed", own, 0.0);
        }
        for ((repository, kind), last) in &verdict.last {
            let own = labels
                .over(&place(repository.as_deref()))
                .over(&Labels::new([("type", kind.as_str())]));
            if findings.listed {
                #[expect(clippy::cast_precision_loss, reason = "counts of backups")]
                let counts = (last.successful as f64, last.failed as f64);
                self.push("pg_backups_successful", own.clone(), counts.0);
                self.push("pg_backups_failed", own.clone(), counts.1);
            }
            let values = [
                ("pg_backup_last_success_timestamp_seconds", last.success.map(unix)),
                ("pg_backup_last_failure_timestamp_seconds", last.failure.map(unix)),
                ("pg_backup_last_size_bytes", last.bytes),
                ("pg_backup_last_size_ratio", last.ratio),
                ("pg_backup_last_duration_seconds", last.duration),
            ];
            for (name, value) in values {
                if let Some(value) = value {
                    self.push(name, own.clone(), value);
                }
            }
        }
    }

    /// Those that have samples.
    pub(crate) fn families(self) -> impl Iterator<Item = Family> {
        self.families.into_iter().filter(|family| !family.samples.is_empty())
    }
}

fn place(repository: Option<&str>) -> Labels {
    Labels::new(repository.map(|repository| ("repository", repository)))
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn unix(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
