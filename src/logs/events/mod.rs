//! What kind of event a record tells of, by SQLSTATE first and by the server's English wording else.

use super::{Record, Severity, SqlState};

/// The closed list of kinds: values of the metadata `event` and of metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    Deadlock,
    LockWait,
    Cancel,
    Terminate,
    Authentication,
    Connection,
    Checkpoint,
    Autovacuum,
    TempFile,
    Duration,
    Crash,
    Archive,
    Replication,
    Corruption,
    Resource,
}

impl EventKind {
    pub const ALL: [Self; 15] = [
        Self::Deadlock,
        Self::LockWait,
        Self::Cancel,
        Self::Terminate,
        Self::Authentication,
        Self::Connection,
        Self::Checkpoint,
        Self::Autovacuum,
        Self::TempFile,
        Self::Duration,
        Self::Crash,
        Self::Archive,
        Self::Replication,
        Self::Corruption,
        Self::Resource,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::LockWait => "lock_wait",
            Self::Cancel => "cancel",
            Self::Terminate => "terminate",
            Self::Authentication => "authentication",
            Self::Connection => "connection",
            Self::Checkpoint => "checkpoint",
            Self::Autovacuum => "autovacuum",
            Self::TempFile => "temp_file",
            Self::Duration => "duration",
            Self::Crash => "crash",
            Self::Archive => "archive",
            Self::Replication => "replication",
            Self::Corruption => "corruption",
            Self::Resource => "resource",
        }
    }
}

/// What a record tells beyond its text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Event {
    pub kind: Option<EventKind>,
    /// Milliseconds, where the record logs how long something took.
    pub duration_ms: Option<f64>,
}

/// The kind, by SQLSTATE where it tells (no language does), else by the message's beginning; and the
/// duration that the message holds.
pub fn classify(record: &Record) -> Event {
    let Some(severity) = record.severity else { return Event::default() };
    let message = record.message();
    let kind = record
        .sqlstate
        .filter(|sqlstate| *sqlstate != SqlState::SUCCESS)
        .and_then(|sqlstate| by_sqlstate(sqlstate, severity, message))
        .or_else(|| by_message(severity, message));
    Event { kind, duration_ms: kind.and_then(|kind| duration(kind, message)) }
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
    let at = BEGINNINGS.partition_point(|(words, _)| *words <= message);
    // The beginning that fits stands before it, with others in between that share its first letters.
    let known = BEGINNINGS[..at]
        .iter()
        .rev()
        .take_while(|(words, _)| words.as_bytes().first() == message.as_bytes().first())
        .find(|(words, _)| message.starts_with(words));
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
        return died.then_some(EventKind::Crash);
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

/// Milliseconds that a message tells.
fn duration(kind: EventKind, message: &str) -> Option<f64> {
    let milliseconds = |from: &str, unit: &str| {
        let rest = &message[message.find(from)? + from.len()..];
        rest[..rest.find(unit)?].trim_start().parse::<f64>().ok()
    };
    let value = match kind {
        EventKind::Duration => milliseconds("duration: ", " ms"),
        EventKind::LockWait => milliseconds(" after ", " ms"),
        EventKind::Checkpoint => milliseconds(" total=", " s").map(|s| s * 1000.0),
        EventKind::Autovacuum => milliseconds("elapsed: ", " s").map(|s| s * 1000.0),
        EventKind::Connection if message.starts_with("connection ready") => {
            milliseconds("setup total=", " ms")
        }
        EventKind::Connection if message.starts_with("disconnection: ") => session_time(message),
        _ => None,
    }?;
    // A thousandth of a millisecond is what the server writes; multiplication leaves dust.
    let value = (value * 1000.0).round() / 1000.0;
    (value.is_finite() && value >= 0.0).then_some(value)
}

/// `disconnection: session time: 0:00:01.234 user=…`
fn session_time(message: &str) -> Option<f64> {
    let rest = message.strip_prefix("disconnection: session time: ")?;
    let mut parts = rest.split(' ').next()?.splitn(3, ':');
    let mut next = || parts.next()?.parse::<f64>().ok();
    Some((next()? * 3600.0 + next()? * 60.0 + next()?) * 1000.0)
}

/// How messages begin, in the wording of PostgreSQL 13 to 18, in the order of bytes. Those without a
/// kind are frequent ones of which nothing more is to be found out.
const BEGINNINGS: &[(&str, Option<EventKind>)] = &[
    ("AUDIT: ", None),
    ("GSSAPI authentication", Some(EventKind::Authentication)),
    ("LDAP login failed", Some(EventKind::Authentication)),
    ("SSL connection has been closed", Some(EventKind::Connection)),
    ("SSL error", Some(EventKind::Connection)),
    ("abnormal database system shutdown", Some(EventKind::Crash)),
    ("aborted contrecord", Some(EventKind::Replication)),
    ("aborting startup due to", Some(EventKind::Crash)),
    ("acquired logical replication", Some(EventKind::Replication)),
    ("acquired physical replication", Some(EventKind::Replication)),
    ("all server processes terminated", Some(EventKind::Crash)),
    ("archive command", Some(EventKind::Archive)),
    ("archive_cleanup_command", Some(EventKind::Archive)),
    ("archive_mode enabled", Some(EventKind::Archive)),
    ("archived transaction log file", Some(EventKind::Archive)),
    ("archived write-ahead log file", Some(EventKind::Archive)),
    ("archiving write-ahead log file", Some(EventKind::Archive)),
    ("automatic aggressive vacuum", Some(EventKind::Autovacuum)),
    ("automatic analyze", Some(EventKind::Autovacuum)),
    ("automatic vacuum", Some(EventKind::Autovacuum)),
    ("autovacuum", Some(EventKind::Autovacuum)),
    ("bind ", None),
    ("bypassing nonessential maintenance", Some(EventKind::Autovacuum)),
    ("calculated CRC checksum", Some(EventKind::Corruption)),
    ("can no longer get changes", Some(EventKind::Replication)),
    ("canceling authentication", Some(EventKind::Authentication)),
    ("canceling autovacuum task", Some(EventKind::Cancel)),
    ("canceling parallel", Some(EventKind::Cancel)),
    ("canceling statement", Some(EventKind::Cancel)),
    ("canceling wait for", Some(EventKind::Cancel)),
    ("checkpoint complete:", Some(EventKind::Checkpoint)),
    ("checkpoint request failed", Some(EventKind::Checkpoint)),
    ("checkpoint starting:", Some(EventKind::Checkpoint)),
    ("checkpoints are occurring too frequently", Some(EventKind::Checkpoint)),
    ("column ", None),
    ("compressed lz4 data is corrupt", Some(EventKind::Corruption)),
    ("compressed pglz data is corrupt", Some(EventKind::Corruption)),
    ("connection authenticated:", Some(EventKind::Connection)),
    ("connection authorized:", Some(EventKind::Connection)),
    ("connection ready:", Some(EventKind::Connection)),
    ("connection received:", Some(EventKind::Connection)),
    ("connection requires a valid client certificate", Some(EventKind::Authentication)),
    ("connection to client lost", Some(EventKind::Connection)),
    ("consistent recovery state reached", Some(EventKind::Replication)),
    ("could not accept SSL connection", Some(EventKind::Connection)),
    ("could not accept new connection", Some(EventKind::Connection)),
    ("could not access status of transaction", Some(EventKind::Corruption)),
    ("could not connect to the primary", Some(EventKind::Replication)),
    ("could not connect to the publisher", Some(EventKind::Replication)),
    ("could not create shared memory", Some(EventKind::Resource)),
    ("could not extend file", Some(EventKind::Resource)),
    ("could not find logical decoding", Some(EventKind::Replication)),
    ("could not locate a valid checkpoint", Some(EventKind::Corruption)),
    ("could not locate required checkpoint", Some(EventKind::Corruption)),
    ("could not obtain lock", Some(EventKind::LockWait)),
    ("could not perform initial LDAP bind", Some(EventKind::Authentication)),
    ("could not read block", Some(EventKind::Corruption)),
    ("could not receive data from WAL stream", Some(EventKind::Replication)),
    ("could not receive data from client", Some(EventKind::Connection)),
    ("could not resize shared memory", Some(EventKind::Resource)),
    ("could not restore file", Some(EventKind::Archive)),
    ("could not send data to WAL stream", Some(EventKind::Replication)),
    ("could not send data to client", Some(EventKind::Connection)),
    ("could not serialize access", None),
    ("could not start WAL streaming", Some(EventKind::Replication)),
    ("could not synchronize", Some(EventKind::Replication)),
    ("current transaction is aborted", None),
    ("cutoff for removing and freezing tuples", Some(EventKind::Autovacuum)),
    ("database system identifier differs", Some(EventKind::Replication)),
    ("database system is ready", None),
    ("database system is shut down", None),
    ("database system was interrupted", Some(EventKind::Crash)),
    ("database system was not properly shut down", Some(EventKind::Crash)),
    ("deadlock detected", Some(EventKind::Deadlock)),
    ("disconnection:", Some(EventKind::Connection)),
    ("division by zero", None),
    ("duplicate key", None),
    ("duration: ", Some(EventKind::Duration)),
    ("ending log output", None),
    ("entering standby mode", Some(EventKind::Replication)),
    ("execute ", None),
    ("failed to archive", Some(EventKind::Archive)),
    ("fetching timeline history", Some(EventKind::Replication)),
    ("function ", None),
    ("hostname ", None),
    ("incomplete message from client", Some(EventKind::Connection)),
    ("incomplete startup packet", Some(EventKind::Connection)),
    ("incorrect checksum", Some(EventKind::Corruption)),
    ("insert or update on table", None),
    ("invalid checkpoint record", Some(EventKind::Corruption)),
    ("invalid input syntax", None),
    ("invalid length of startup packet", Some(EventKind::Connection)),
    ("invalid page in block", Some(EventKind::Corruption)),
    ("invalid primary checkpoint", Some(EventKind::Corruption)),
    ("invalid record length", Some(EventKind::Replication)),
    ("invalid startup packet", Some(EventKind::Connection)),
    ("invalidating", Some(EventKind::Replication)),
    ("issuing SIGKILL", Some(EventKind::Crash)),
    ("listening on", None),
    ("logical decoding found", Some(EventKind::Replication)),
    ("logical replication", Some(EventKind::Replication)),
    ("memory exhausted", Some(EventKind::Resource)),
    ("missing chunk number", Some(EventKind::Corruption)),
    ("must be owner", None),
    ("new row for relation", None),
    ("newly created slot", Some(EventKind::Replication)),
    ("no PostgreSQL user name specified", Some(EventKind::Connection)),
    ("no match in usermap", Some(EventKind::Authentication)),
    ("no pg_hba.conf entry", Some(EventKind::Authentication)),
    ("null value in column", None),
    ("number of requested standby connections", Some(EventKind::Replication)),
    ("oldest multixact is far in the past", Some(EventKind::Autovacuum)),
    ("oldest xmin is far in the past", Some(EventKind::Autovacuum)),
    ("operator does not exist", None),
    ("out of file descriptors", Some(EventKind::Resource)),
    ("out of memory", Some(EventKind::Resource)),
    ("out of shared memory", Some(EventKind::Resource)),
    ("page verification failed", Some(EventKind::Corruption)),
    ("pam_authenticate failed", Some(EventKind::Authentication)),
    ("parameter ", None),
    ("parse ", None),
    ("password authentication failed", Some(EventKind::Authentication)),
    ("pausing at the end of recovery", Some(EventKind::Replication)),
    ("permission denied", None),
    ("pg_hba.conf rejects", Some(EventKind::Authentication)),
    ("primary server contains no more", Some(EventKind::Replication)),
    ("process ", Some(EventKind::LockWait)),
    ("promote trigger file", Some(EventKind::Replication)),
    ("provided user name (", Some(EventKind::Authentication)),
    ("received SIGHUP", None),
    ("received direct SSL connection", Some(EventKind::Connection)),
    ("received fast shutdown", None),
    ("received immediate shutdown", None),
    ("received promote request", Some(EventKind::Replication)),
    ("received smart shutdown", None),
    ("record with incorrect prev-link", Some(EventKind::Replication)),
    ("recovery finished waiting", Some(EventKind::LockWait)),
    ("recovery has paused", Some(EventKind::Replication)),
    ("recovery restart point at", Some(EventKind::Checkpoint)),
    ("recovery still waiting", Some(EventKind::LockWait)),
    ("recovery_end_command", Some(EventKind::Archive)),
    ("redirecting log output", None),
    ("redo done at", None),
    ("redo starts at", None),
    ("relation ", None),
    ("released logical replication", Some(EventKind::Replication)),
    ("released physical replication", Some(EventKind::Replication)),
    ("remaining connection slots", Some(EventKind::Resource)),
    ("replication connection authorized:", Some(EventKind::Connection)),
    ("replication slot", Some(EventKind::Replication)),
    ("replication terminated by primary", Some(EventKind::Replication)),
    ("requested WAL segment", Some(EventKind::Replication)),
    ("requested starting point", Some(EventKind::Replication)),
    ("restarted WAL streaming", Some(EventKind::Replication)),
    ("restartpoint complete:", Some(EventKind::Checkpoint)),
    ("restartpoint starting:", Some(EventKind::Checkpoint)),
    ("restore_command failed", Some(EventKind::Archive)),
    ("restored log file", Some(EventKind::Archive)),
    ("selected new timeline", Some(EventKind::Replication)),
    ("shutting down", None),
    ("skipping analyze of", Some(EventKind::LockWait)),
    ("skipping restartpoint", Some(EventKind::Checkpoint)),
    ("skipping vacuum of", Some(EventKind::LockWait)),
    ("slot sync", Some(EventKind::Replication)),
    ("slotsync", Some(EventKind::Replication)),
    ("sorry, too many clients", Some(EventKind::Resource)),
    (r#"standby ""#, Some(EventKind::Replication)),
    ("started streaming WAL", Some(EventKind::Replication)),
    ("starting PostgreSQL", None),
    ("starting logical decoding", Some(EventKind::Replication)),
    ("starting slot synchronization", Some(EventKind::Replication)),
    ("statement: ", None),
    ("syntax error", None),
    ("temporary file size exceeds", Some(EventKind::Resource)),
    ("temporary file: path", Some(EventKind::TempFile)),
    ("terminating any other active server processes", Some(EventKind::Crash)),
    ("terminating autovacuum", Some(EventKind::Terminate)),
    ("terminating background worker", Some(EventKind::Terminate)),
    ("terminating connection", Some(EventKind::Terminate)),
    ("terminating logical replication worker", Some(EventKind::Replication)),
    ("terminating logical replication worker due to administrator", Some(EventKind::Terminate)),
    ("terminating parallel worker", Some(EventKind::Terminate)),
    ("terminating slotsync worker", Some(EventKind::Terminate)),
    ("terminating walreceiver", Some(EventKind::Replication)),
    ("terminating walsender", Some(EventKind::Replication)),
    ("the cluster is not accepting", Some(EventKind::Connection)),
    ("the database system is", Some(EventKind::Connection)),
    ("there is already a transaction in progress", None),
    ("there is no transaction in progress", None),
    ("there is no unique", None),
    ("too many connections", Some(EventKind::Resource)),
    ("too many open files", Some(EventKind::Resource)),
    ("unexpected EOF on client connection", Some(EventKind::Connection)),
    ("unexpected EOF on standby connection", Some(EventKind::Connection)),
    ("unexpected EOF within message", Some(EventKind::Connection)),
    ("unexpected chunk", Some(EventKind::Corruption)),
    ("unsupported authentication", Some(EventKind::Authentication)),
    ("unsupported frontend protocol", Some(EventKind::Connection)),
    ("update or delete on table", None),
    ("using stale statistics", Some(EventKind::Autovacuum)),
    ("value too long", None),
    ("waiting for WAL to become available", Some(EventKind::Replication)),
    ("worker took too long to start", Some(EventKind::Autovacuum)),
    ("wrong key in cancel request", Some(EventKind::Connection)),
];

#[cfg(test)]
mod tests;
