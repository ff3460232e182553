//! The numbers that a record tells beyond its kind: by the server's English words, and by their place
//! among the other numbers where the words are another language's. What cannot be told is absent.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::kind::{Event, EventKind};
use super::numbers::{behind, last_number, numbers};
use crate::logs::record::Record;

/// A sum that records add to: one series each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::logs) enum Figure {
    CheckpointsByTime,
    CheckpointsByWal,
    CheckpointsOther,
    CheckpointsDone,
    RestartpointsDone,
    CheckpointBuffers,
    CheckpointWrite,
    CheckpointSync,
    CheckpointTotal,
    WalAdded,
    WalRemoved,
    WalRecycled,
    Vacuums,
    Analyzes,
    VacuumSeconds,
    AnalyzeSeconds,
    VacuumPages,
    VacuumTuples,
    TempFileBytes,
    LockWaits,
    LocksAcquired,
    LockSeconds,
    Sessions,
    SessionSeconds,
    SetupSeconds,
    Archived,
    ArchiveFailures,
    BackupsStarted,
    BackupsAborted,
}

/// Name, help, and the label that tells figures of one name apart.
type Described = (&'static str, &'static str, Option<(&'static str, &'static str)>);

impl Figure {
    pub(in crate::logs) const ALL: [Self; 29] = [
        Self::CheckpointsByTime,
        Self::CheckpointsByWal,
        Self::CheckpointsOther,
        Self::CheckpointsDone,
        Self::RestartpointsDone,
        Self::CheckpointBuffers,
        Self::CheckpointWrite,
        Self::CheckpointSync,
        Self::CheckpointTotal,
        Self::WalAdded,
        Self::WalRemoved,
        Self::WalRecycled,
        Self::Vacuums,
        Self::Analyzes,
        Self::VacuumSeconds,
        Self::AnalyzeSeconds,
        Self::VacuumPages,
        Self::VacuumTuples,
        Self::TempFileBytes,
        Self::LockWaits,
        Self::LocksAcquired,
        Self::LockSeconds,
        Self::Sessions,
        Self::SessionSeconds,
        Self::SetupSeconds,
        Self::Archived,
        Self::ArchiveFailures,
        Self::BackupsStarted,
        Self::BackupsAborted,
    ];

    pub(in crate::logs) fn described(self) -> Described {
        let started = |cause| {
            (
                "pg_log_checkpoints_started_total",
                "Checkpoints and restartpoints that the log tells the start of, by cause.",
                Some(("cause", cause)),
            )
        };
        let done = |kind| {
            (
                "pg_log_checkpoints_completed_total",
                "Checkpoints and restartpoints that the log tells the end of.",
                Some(("kind", kind)),
            )
        };
        let wal = |action| {
            (
                "pg_log_checkpoint_wal_files_total",
                "WAL files that logged checkpoints added, removed and recycled.",
                Some(("action", action)),
            )
        };
        let runs = |operation| {
            (
                "pg_log_autovacuum_runs_total",
                "Runs of autovacuum that the log tells of.",
                Some(("operation", operation)),
            )
        };
        let seconds = |operation| {
            (
                "pg_log_autovacuum_seconds_total",
                "How long logged runs of autovacuum took.",
                Some(("operation", operation)),
            )
        };
        let locks = |outcome| {
            (
                "pg_log_lock_waits_total",
                "Waits for locks beyond deadlock_timeout that the log tells of: begun, and ended with the lock.",
                Some(("outcome", outcome)),
            )
        };
        let archive = |outcome| {
            (
                "pg_log_archived_total",
                "WAL files that the log tells the archiving of.",
                Some(("outcome", outcome)),
            )
        };
        let backups = |outcome| {
            (
                "pg_log_base_backups_total",
                "Base backups that the log tells of (log_replication_commands, log_statement).",
                Some(("outcome", outcome)),
            )
        };
        match self {
            Self::CheckpointsByTime => started("time"),
            Self::CheckpointsByWal => started("wal"),
            Self::CheckpointsOther => started("other"),
            Self::CheckpointsDone => done("checkpoint"),
            Self::RestartpointsDone => done("restartpoint"),
            Self::CheckpointBuffers => (
                "pg_log_checkpoint_buffers_written_total",
                "Buffers that logged checkpoints wrote.",
                None,
            ),
            Self::CheckpointWrite => (
                "pg_log_checkpoint_write_seconds_total",
                "How long logged checkpoints wrote.",
                None,
            ),
            Self::CheckpointSync => (
                "pg_log_checkpoint_sync_seconds_total",
                "How long logged checkpoints synced files.",
                None,
            ),
            Self::CheckpointTotal => {
                ("pg_log_checkpoint_seconds_total", "How long logged checkpoints took.", None)
            }
            Self::WalAdded => wal("added"),
            Self::WalRemoved => wal("removed"),
            Self::WalRecycled => wal("recycled"),
            Self::Vacuums => runs("vacuum"),
            Self::Analyzes => runs("analyze"),
            Self::VacuumSeconds => seconds("vacuum"),
            Self::AnalyzeSeconds => seconds("analyze"),
            Self::VacuumPages => (
                "pg_log_autovacuum_pages_removed_total",
                "Pages that logged runs of autovacuum removed.",
                None,
            ),
            Self::VacuumTuples => (
                "pg_log_autovacuum_tuples_removed_total",
                "Tuples that logged runs of autovacuum removed.",
                None,
            ),
            Self::TempFileBytes => {
                ("pg_log_temp_file_bytes_total", "Bytes of logged temporary files.", None)
            }
            Self::LockWaits => locks("waiting"),
            Self::LocksAcquired => locks("acquired"),
            Self::LockSeconds => (
                "pg_log_lock_wait_seconds_total",
                "How long was waited for locks, as logged when they were acquired.",
                None,
            ),
            Self::Sessions => {
                ("pg_log_sessions_total", "Sessions that the log tells the end of.", None)
            }
            Self::SessionSeconds => {
                ("pg_log_session_seconds_total", "How long those sessions lasted.", None)
            }
            Self::SetupSeconds => (
                "pg_log_connection_setup_seconds_total",
                "How long it took until logged connections were ready (from PostgreSQL 18 on).",
                None,
            ),
            Self::Archived => archive("archived"),
            Self::ArchiveFailures => archive("failed"),
            Self::BackupsStarted => backups("started"),
            Self::BackupsAborted => backups("aborted"),
        }
    }
}

/// Gives what a record adds to each figure.
pub(in crate::logs) fn figures(record: &Record, event: &Event, mut give: impl FnMut(Figure, f64)) {
    let message = record.message();
    let seconds = event.duration_us.map(|micros| micros as f64 / 1e6);
    match event.kind {
        Some(EventKind::Checkpoint) => checkpoint(message, &mut give),
        Some(EventKind::Autovacuum) => autovacuum(message, seconds, &mut give),
        Some(EventKind::TempFile) => {
            if let Some(bytes) = last_number(message) {
                give(Figure::TempFileBytes, bytes);
            }
        }
        Some(EventKind::LockWait) if message.starts_with("process ") => {
            if message.contains(" still waiting for ") {
                give(Figure::LockWaits, 1.0);
            } else if let Some(seconds) = seconds.filter(|_| message.contains(" acquired ")) {
                give(Figure::LocksAcquired, 1.0);
                give(Figure::LockSeconds, seconds);
            }
        }
        Some(EventKind::Connection) => {
            if let Some(seconds) = seconds {
                if message.starts_with("disconnection") {
                    give(Figure::Sessions, 1.0);
                    give(Figure::SessionSeconds, seconds);
                } else {
                    give(Figure::SetupSeconds, seconds);
                }
            }
        }
        Some(EventKind::Archive) => {
            if message.starts_with("archived ") {
                give(Figure::Archived, 1.0);
            } else if message.starts_with("archive command ") {
                give(Figure::ArchiveFailures, 1.0);
            }
        }
        _ => backup(message, &mut give),
    }
}

fn checkpoint(message: &str, give: &mut impl FnMut(Figure, f64)) {
    if let Some(causes) = behind(message, "point starting:") {
        let has = |cause: &str| causes.split(' ').any(|word| word == cause);
        give(
            match (has("time"), has("wal")) {
                (true, _) => Figure::CheckpointsByTime,
                (_, true) => Figure::CheckpointsByWal,
                _ => Figure::CheckpointsOther,
            },
            1.0,
        );
        return;
    }
    let Some(complete) = complete(message) else { return };
    if message.starts_with("checkpoint complete") {
        give(Figure::CheckpointsDone, 1.0);
    } else if message.starts_with("restartpoint complete") {
        give(Figure::RestartpointsDone, 1.0);
    }
    let figures = [
        Figure::CheckpointBuffers,
        Figure::WalAdded,
        Figure::WalRemoved,
        Figure::WalRecycled,
        Figure::CheckpointWrite,
        Figure::CheckpointSync,
        Figure::CheckpointTotal,
    ];
    for (figure, value) in figures.into_iter().zip(complete) {
        give(figure, value);
    }
}

/// `… complete: wrote 311 buffers (1.9%), wrote 2 SLRU buffers; 0 WAL file(s) added, 0 removed, 1
/// recycled; write=31.201 s, sync=0.004 s, total=31.270 s; …`: buffers, the three kinds of files, the
/// three times in seconds. In every language the parts stand in this order.
pub(super) fn complete(message: &str) -> Option<[f64; 7]> {
    let mut parts = message.splitn(4, ';');
    let (buffers, files, times) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next()?;
    if times.matches('=').count() != 3 || !buffers.contains('(') {
        return None;
    }
    let mut files = numbers(files);
    let mut times = numbers(times);
    let next = |numbers: &mut dyn Iterator<Item = f64>| numbers.next();
    let found = [
        numbers(buffers).next()?,
        next(&mut files)?,
        next(&mut files)?,
        next(&mut files)?,
        next(&mut times)?,
        next(&mut times)?,
        next(&mut times)?,
    ];
    (files.next().is_none() && times.next().is_none()).then_some(found)
}

fn autovacuum(message: &str, seconds: Option<f64>, give: &mut impl FnMut(Figure, f64)) {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or("");
    // The table of a run, and how often its indexes were read, which an analyze does not tell.
    let vacuum = first.ends_with(|c: char| c.is_ascii_digit()) && first.contains(": ");
    let Some(seconds) = seconds else { return };
    let (runs, time) = if vacuum {
        (Figure::Vacuums, Figure::VacuumSeconds)
    } else {
        (Figure::Analyzes, Figure::AnalyzeSeconds)
    };
    give(runs, 1.0);
    give(time, seconds);
    if vacuum {
        for figure in [Figure::VacuumPages, Figure::VacuumTuples] {
            if let Some(value) = lines.next().and_then(|line| numbers(line).next()) {
                give(figure, value);
            }
        }
    }
}

/// Every logged statement is looked at for it.
static BACKUP: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"backup"));

fn backup(message: &str, give: &mut impl FnMut(Figure, f64)) {
    if let Some(command) = message.strip_prefix("received replication command: ") {
        if command.starts_with("BASE_BACKUP") {
            give(Figure::BackupsStarted, 1.0);
        }
    } else if message.starts_with("aborting backup due to")
        || message.starts_with("base backup could not")
    {
        give(Figure::BackupsAborted, 1.0);
    } else if let Some(statement) = message.strip_prefix("statement: ") {
        let head = &statement.as_bytes()[..statement.len().min(200)];
        let holds = |words: &[u8]| memchr::memmem::find(head, words).is_some();
        if BACKUP.find(head).is_some() && (holds(b"pg_backup_start") || holds(b"pg_start_backup")) {
            give(Figure::BackupsStarted, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::record::{Severity, SqlState};

    fn of(message: &str) -> Vec<(Figure, f64)> {
        let mut record = Record::new(Severity::Log, message);
        record.sqlstate = Some(SqlState::SUCCESS);
        let event = super::super::classify::classify(&record);
        let mut found = Vec::new();
        figures(&record, &event, |figure, value| found.push((figure, value)));
        found
    }

    #[test]
    fn checkpoints_of_every_version_and_language() {
        let thirteen = "checkpoint complete: wrote 311 buffers (1.9%); 0 WAL file(s) added, 2 removed, 1 recycled; write=31.201 s, sync=0.004 s, total=31.270 s; sync files=41, longest=0.002 s, average=0.001 s; distance=5012 kB, estimate=7440 kB";
        let eighteen = "restartpoint complete: wrote 311 buffers (1.9%), wrote 2 SLRU buffers; 0 WAL file(s) added, 2 removed, 1 recycled; write=31.201 s, sync=0.004 s, total=31.270 s; sync files=41, longest=0.002 s, average=0.001 s; distance=5012 kB, estimate=7440 kB; lsn=3/9A001230, redo lsn=3/99FFF0A8";
        let german = "Checkpoint abgeschlossen: 311 Puffer geschrieben (1.9%); 0 WAL-Datei(en) hinzugefügt, 2 entfernt, 1 wiederverwendet; Schreiben=31,201 s, Sync=0,004 s, gesamt=31,270 s; sync. Dateien=41, längste=0,002 s, Durchschnitt=0,001 s; Entfernung=5012 kB, Schätzung=7440 kB";
        let wanted = [
            (Figure::CheckpointBuffers, 311.0),
            (Figure::WalAdded, 0.0),
            (Figure::WalRemoved, 2.0),
            (Figure::WalRecycled, 1.0),
            (Figure::CheckpointWrite, 31.201),
            (Figure::CheckpointSync, 0.004),
            (Figure::CheckpointTotal, 31.27),
        ];
        for (message, first) in [
            (thirteen, Some(Figure::CheckpointsDone)),
            (eighteen, Some(Figure::RestartpointsDone)),
            (german, None),
        ] {
            let mut found = of(message);
            if let Some(first) = first {
                assert_eq!(found.remove(0), (first, 1.0));
            }
            assert_eq!(found, wanted, "{message}");
        }
        assert_eq!(of("checkpoint starting: time"), [(Figure::CheckpointsByTime, 1.0)]);
        assert_eq!(of("checkpoint starting: wal"), [(Figure::CheckpointsByWal, 1.0)]);
        assert_eq!(
            of("checkpoint starting: immediate force wait"),
            [(Figure::CheckpointsOther, 1.0)]
        );
    }

    #[test]
    fn autovacuum_of_every_version_and_language() {
        let usage = "system usage: CPU: user: 0.01 s, system: 0.00 s, elapsed: 0.12 s";
        for message in [
            format!(
                "automatic vacuum of table \"a.b.c\": index scans: 1\npages: 7 removed, 3 remain, 0 skipped due to pins, 0 skipped frozen\ntuples: 90 removed, 4 remain, 0 are dead\n{usage}"
            ),
            format!(
                "automatic aggressive vacuum to prevent wraparound of table \"a.b.c\": index scans: 0\npages: 7 removed, 3 remain, 10 scanned (100.00% of total), 0 eagerly scanned\ntuples: 90 removed, 4 remain\nremovable cutoff: 742, which was 0 XIDs old when operation ended\n{usage}"
            ),
            "automatisches Vacuum der Tabelle »a.b.c«: Index-Scans: 1\nSeiten: 7 entfernt, 3 verbleiben\nTupel: 90 entfernt, 4 verbleiben\nSystembenutzung: CPU: Benutzer: 0,01 s, System: 0,00 s, verstrichen: 0,12 s".to_owned(),
        ] {
            assert_eq!(
                of(&message),
                [
                    (Figure::Vacuums, 1.0),
                    (Figure::VacuumSeconds, 0.12),
                    (Figure::VacuumPages, 7.0),
                    (Figure::VacuumTuples, 90.0),
                ],
                "{message}"
            );
        }
        for message in [
            format!("automatic analyze of table \"a.b.c\" {usage}"),
            format!("automatic analyze of table \"a.b.c\"\navg read rate: 1.0 MB/s\n{usage}"),
        ] {
            assert_eq!(of(&message), [(Figure::Analyzes, 1.0), (Figure::AnalyzeSeconds, 0.12)]);
        }
    }

    #[test]
    fn the_rest() {
        let temp = |bytes| vec![(Figure::TempFileBytes, bytes)];
        assert_eq!(
            of("temporary file: path \"base/pgsql_tmp/pgsql_tmp77.0\", size 14000000"),
            temp(14_000_000.0)
        );
        assert_eq!(
            of("temporäre Datei: Pfad »base/pgsql_tmp/pgsql_tmp77.0«, Größe 14000000"),
            temp(14_000_000.0)
        );
        assert_eq!(
            of("process 12 still waiting for ShareLock on transaction 742 after 1000.107 ms"),
            [(Figure::LockWaits, 1.0)]
        );
        assert_eq!(
            of("process 12 acquired ShareLock on transaction 742 after 4000.500 ms"),
            [(Figure::LocksAcquired, 1.0), (Figure::LockSeconds, 4.0005)]
        );
        assert_eq!(
            of("disconnection: session time: 0:00:01.500 user=a database=b host=[local]"),
            [(Figure::Sessions, 1.0), (Figure::SessionSeconds, 1.5)]
        );
        assert_eq!(of("connection received: host=[local]"), []);
        assert_eq!(of("archive command failed with exit code 1"), [(Figure::ArchiveFailures, 1.0)]);
        assert_eq!(
            of("received replication command: BASE_BACKUP ( LABEL 'x' )"),
            [(Figure::BackupsStarted, 1.0)]
        );
        assert_eq!(
            of("statement: SELECT pg_backup_start('x', true)"),
            [(Figure::BackupsStarted, 1.0)]
        );
        assert_eq!(of("hello"), []);
    }
}
