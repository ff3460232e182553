//! The status page's rows, from what the rivers say of themselves.

use std::time::{Duration, SystemTime};

use super::rivers::Rivers;
use crate::backups::{BackupStatus, State};
use crate::collect::{InstanceStatus, QueryStatus};
use crate::config::Problem;
use crate::http::{
    BackupRow, CertificateRow, DestinationRow, InstanceRow, LogRow, ProblemRow, QueryRow,
    RetentionRow, Status, Tone,
};
use crate::instances::SESSIONS;
use crate::logs::LogStatus;
use crate::loki::retention::{Finding, Period, Verdict, span};
use crate::postgres::{InstanceReason, QueryReason};

/// Everything that the page shows.
pub(super) fn status(rivers: &Rivers) -> Status {
    let mut status =
        Status { problems: rivers.problems().map(problem).collect(), ..Status::default() };
    for found in rivers.collector.status() {
        status.certificates.extend(found.certificates.iter().map(|(usage, expires)| {
            CertificateRow { of: found.name.clone(), usage: usage.clone(), expires: *expires }
        }));
        status.queries.extend(found.queries.iter().map(|query| query_row(&found.name, query)));
        status.instances.push(instance_row(found));
    }
    status.backups = rivers.backups.status().iter().map(backup).collect();
    if let Some(shipper) = &rivers.shipper {
        logs(&mut status, &shipper.status(), rivers);
    }
    let retention = rivers.retention.as_ref().and_then(|watch| watch.standing());
    let found = retention.into_iter().flat_map(|standing| standing.routes);
    status.retention = found.map(retention_row).collect();
    status
}

fn retention_row(found: Finding) -> RetentionRow {
    RetentionRow {
        tone: match found.verdict {
            Verdict::Ok => Tone::Good,
            Verdict::Unset => Tone::Quiet,
            Verdict::TooLong | Verdict::Unknown => Tone::Warn,
            Verdict::TooShort | Verdict::Disabled | Verdict::NotApplied => Tone::Bad,
        },
        verdict: found.verdict.as_str().replace('_', " "),
        configured: found.keep.map(span),
        effective: found.effective.map(Period::words),
        message: match found.remedy {
            "" => found.what,
            remedy => format!("{}; {remedy}", found.what),
        },
        route: found.route,
    }
}

fn logs(status: &mut Status, found: &LogStatus, rivers: &Rivers) {
    for source in &found.sources {
        let server = rivers
            .settings
            .logs
            .iter()
            .flat_map(|logs| &logs.sources)
            .find(|configured| configured.name == source.name)
            .map(|configured| configured.server.clone())
            .unwrap_or_default();
        status.logs.extend(source.files.iter().map(|file| LogRow {
            file: file.path.clone(),
            source: source.name.clone(),
            server: server.clone(),
            tone: Tone::Good,
            state: "following".to_owned(),
            size: file.bytes,
            behind: file.behind.iter().map(|(_, bytes)| *bytes).max(),
            ..LogRow::default()
        }));
        status.problems.extend(source.problems.iter().map(|problem| told(&source.name, problem)));
    }
    status
        .problems
        .extend(found.checkpoint_problem.iter().map(|problem| told("checkpoint", problem)));
    let target = rivers.settings.logs.as_ref().and_then(|logs| logs.loki.as_ref());
    for lane in &found.lanes {
        let standing = &lane.standing;
        status.destinations.push(DestinationRow {
            route: lane.route.clone(),
            server: lane.labels.get(&rivers.settings.server_label).unwrap_or_default().to_owned(),
            place: target.map_or_else(|| "local store".to_owned(), |loki| loki.url.clone()),
            tone: match (&standing.problem, standing.outcome) {
                (Some(_), _) => Tone::Bad,
                (None, Some(_)) => Tone::Good,
                (None, None) => Tone::Quiet,
            },
            state: standing.outcome.unwrap_or("nothing sent yet").to_owned(),
            message: standing.problem.clone(),
            entries: lane.settled,
            last: standing.last_stored.and_then(|at| SystemTime::now().duration_since(at).ok()),
        });
    }
}

/// A problem that a river tells in one sentence, `what; what to do`.
fn told(place: &str, sentence: &str) -> ProblemRow {
    let (what, remedy) = sentence.split_once("; ").unwrap_or((sentence, ""));
    ProblemRow {
        place: place.to_owned(),
        tone: Tone::Bad,
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn instance_row(found: InstanceStatus) -> InstanceRow {
    InstanceRow {
        name: found.name,
        cluster: found.cluster,
        tone: match found.reason {
            InstanceReason::Ok => Tone::Good,
            InstanceReason::Starting => Tone::Warn,
            _ => Tone::Bad,
        },
        state: found.reason.as_str().to_owned(),
        since: SystemTime::now().duration_since(found.since).ok(),
        message: found.message,
        version: found.version.map(|version| version.to_string()),
        role: found.role.map(|role| role.as_str().to_owned()),
        sessions: Some((found.sessions, SESSIONS)),
        notices: found.notices,
        ..InstanceRow::default()
    }
}

fn query_row(instance: &str, query: &QueryStatus) -> QueryRow {
    QueryRow {
        instance: instance.to_owned(),
        database: None,
        name: query.name.clone(),
        pack: query.pack.clone(),
        interval: interval(query.interval),
        tone: match query.reason {
            None | Some(QueryReason::Unavailable) => Tone::Quiet,
            Some(QueryReason::Ok) => Tone::Good,
            Some(QueryReason::Truncated | QueryReason::Duplicate) => Tone::Warn,
            Some(_) => Tone::Bad,
        },
        outcome: query.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        message: query.message.clone(),
        age: query.age,
        took: query.duration,
        series: query.series,
    }
}

fn backup(found: &BackupStatus) -> BackupRow {
    let tone = |state: &State| match state {
        State::Ok => Tone::Good,
        State::WindowShort | State::Stale | State::Shrunken => Tone::Warn,
        _ => Tone::Bad,
    };
    let words: Vec<&str> = found.states.iter().map(|state| state.as_str()).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in bytes")]
    let size = found.bytes.map(|bytes| bytes as u64);
    let last = found.last_success.and_then(|at| SystemTime::try_from(at).ok());
    BackupRow {
        server: found.server.clone(),
        source: found.source.clone(),
        tone: found.states.iter().map(tone).max().unwrap_or_default(),
        state: if words.is_empty() { "not yet read".to_owned() } else { words.join(", ") },
        message: found.message.clone(),
        last: last.and_then(|at| SystemTime::now().duration_since(at).ok()),
        size,
    }
}

fn interval(every: Duration) -> String {
    let seconds = every.as_secs();
    match seconds {
        0..60 => format!("{} s", every.as_secs_f64()),
        60..3600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ => format!("{seconds} s"),
    }
}

fn problem(problem: &Problem) -> ProblemRow {
    ProblemRow {
        place: problem.place.to_string(),
        tone: if problem.fatal { Tone::Bad } else { Tone::Warn },
        what: problem.what.clone(),
        remedy: problem.remedy.clone(),
    }
}
