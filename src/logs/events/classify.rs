//! From a record to the kind of its event.

use super::figures;
use super::kind::{Event, EventKind};
use super::numbers::{behind, foreign_duration, foreign_elapsed, last_number, micros};
use super::wording::beginnings;
use crate::logs::record::{Format, Record, Severity, SqlState};

/// The kind, by SQLSTATE where it tells (no language does), else by the message's beginning; and the
/// duration that the message holds.
pub fn classify(record: &Record) -> Event {
    let known = record.severity.filter(|_| record.format != Format::Pgbouncer);
    let Some(severity) = known else { return Event::default() };
    let message = record.message();
    let kind = record
        .sqlstate
        .filter(|sqlstate| *sqlstate != SqlState::SUCCESS)
        .and_then(|sqlstate| by_sqlstate(sqlstate, severity, message))
        .or_else(|| by_message(severity, message));
    Event { kind, duration_us: kind.and_then(|kind| duration(kind, message)) }
}

fn by_sqlstate(sqlstate: SqlState, severity: Severity, message: &str) -> Option<EventKind> {
    Some(match sqlstate.as_str() {
        "40P01" => EventKind::Deadlock,
        // A lock that could not be had at once; with a time limit the statement is canceled.
        "55P03" if message.starts_with("canceling") => EventKind::Cancel,
        "55P03" => EventKind::LockWait,
        "57014" if message.starts_with("canceling authentication") => EventKind::Authentication,
        "57014" => EventKind::Cancel,
        "57P01" if message.starts_with("terminating walsender") => EventKind::Replication,
        // idle in transaction, idle session, transaction timeout, administrator, crash of another
        "25P03" | "57P05" | "25P04" | "57P01" | "57P02" => EventKind::Terminate,
        "57P03" => EventKind::Connection,
        "28P01" | "28000" => EventKind::Authentication,
        "XX001" | "XX002" => EventKind::Corruption,
        "3D000" if severity == Severity::Fatal => EventKind::Connection,
        _ if severity == Severity::Panic => EventKind::Crash,
        _ => match sqlstate.class() {
            "53" => EventKind::Resource,
            "08" => return by_message(severity, message).or(Some(EventKind::Connection)),
            _ => return None,
        },
    })
}

fn by_message(severity: Severity, message: &str) -> Option<EventKind> {
    // Those that may fit begin with the same letters, and the longest stands last.
    let known = beginnings(message).iter().rev().find(|(words, _)| message.starts_with(words));
    match known {
        Some((words, _)) if *words == "process " => {
            lock_wait(message).then_some(EventKind::LockWait)
        }
        Some((_, Some(kind))) => Some(*kind),
        _ if severity == Severity::Panic => Some(EventKind::Crash),
        Some((_, None)) => None,
        None => within(severity, message),
    }
}

/// `process 4711 still waiting for ShareLock on transaction 742 after 1000.123 ms`
fn lock_wait(message: &str) -> bool {
    let rest = message["process ".len()..].trim_start_matches(|c: char| c.is_ascii_digit());
    [
        " still waiting for ",
        " acquired ",
        " avoided deadlock ",
        " detected deadlock ",
        " could not obtain ",
    ]
    .iter()
    .any(|words| rest.starts_with(words))
}

/// Messages that begin with a name or a number.
fn within(severity: Severity, message: &str) -> Option<EventKind> {
    // Names are short; statements in messages are long.
    let mut end = message.len().min(400);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let text = &message[..end];
    if severity == Severity::Log {
        let ended = [") was terminated by signal", ") was terminated by exception"];
        let died = ended.iter().any(|words| text.contains(words))
            || (text.starts_with("server process (PID") && text.contains("exited with exit code"));
        return died.then_some(EventKind::Crash).or_else(|| foreign(message));
    }
    if severity == Severity::Fatal
        && (text.contains("authentication failed for user")
            || (text.starts_with("role \"")
                && (text.ends_with("\" does not exist")
                    || text.ends_with("not permitted to log in"))))
    {
        return Some(EventKind::Authentication);
    }
    if severity == Severity::Fatal && text.starts_with("database \"") {
        return Some(EventKind::Connection);
    }
    if text.starts_with("database ") && text.contains("must be vacuumed within")
        || text.contains("database is not accepting commands")
    {
        return Some(EventKind::Autovacuum);
    }
    let worse = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if worse(&[
        "No space left on device",
        "Cannot allocate memory",
        "Too many open files",
        "Disk quota",
    ]) {
        return Some(EventKind::Resource);
    }
    if worse(&[
        "contains unexpected zero page",
        "contains corrupted page",
        "from before relfrozenxid",
        "from before relminmxid",
        "left-link doesn't match",
        "could not read block",
        "Structure needs cleaning",
        "Input/output error",
    ]) {
        return Some(EventKind::Corruption);
    }
    None
}

/// Messages of other languages whose numbers or names tell what they are.
fn foreign(message: &str) -> Option<EventKind> {
    if foreign_duration(message).is_some() {
        Some(EventKind::Duration)
    } else if figures::complete(message).is_some() {
        Some(EventKind::Checkpoint)
    } else if message.contains("pgsql_tmp") && last_number(message).is_some() {
        Some(EventKind::TempFile)
    } else {
        foreign_elapsed(message).map(|_| EventKind::Autovacuum)
    }
}

/// Microseconds that a message tells.
fn duration(kind: EventKind, message: &str) -> Option<u64> {
    match kind {
        EventKind::Duration => match message.strip_prefix("duration: ") {
            Some(rest) => micros(rest, " ms"),
            None => foreign_duration(message),
        },
        EventKind::LockWait => micros(behind(message, " after ")?, " ms"),
        EventKind::Checkpoint => micros(behind(message, " total=")?, " s"),
        EventKind::Autovacuum => match behind(message, "elapsed: ") {
            Some(rest) => micros(rest, " s"),
            None => foreign_elapsed(message).map(of_seconds),
        },
        EventKind::Connection if message.starts_with("connection ready") => {
            micros(behind(message, "setup total=")?, " ms")
        }
        EventKind::Connection if message.starts_with("disconnection: ") => session_time(message),
        _ => None,
    }
}

/// `disconnection: session time: 0:00:01.234 user=…`
fn session_time(message: &str) -> Option<u64> {
    let rest = message.strip_prefix("disconnection: session time: ")?;
    let mut parts = rest.split(' ').next()?.splitn(3, ':');
    let mut next = || parts.next()?.parse::<f64>().ok().filter(|part| *part >= 0.0);
    Some(of_seconds(next()? * 3600.0 + next()? * 60.0 + next()?))
}

/// What no server writes is as long as can be told.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn of_seconds(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}
