//! `pgvigil logs cat`: reads the local log store, while the agent writes it or after.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::args::{Cat, Format, When};
use super::logs_parse::visible;
use super::process::coloured;
use crate::app::Failure;
use crate::config::{self, Flags, Lookup, Settings};
use crate::logs::store::{self, Query, Row};

/// How often the store is looked at for what is new.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Shows what the store holds.
///
/// # Errors
/// When there is no store, no such route in it, or it may not be read.
pub(super) fn run(args: &Cat, environment: Lookup<'_>) -> Result<(), Failure> {
    let flags = Flags { state_directory: args.state_directory.clone(), ..Flags::default() };
    let input = config::Input {
        file: args.config.clone(),
        flags,
        environment,
        host_name: config::host_name(),
    };
    // What else may be wrong in the configuration is no matter here.
    let settings = config::examine(&input).settings;
    let route = route(args, &settings)?;
    let query = query(args, SystemTime::now());
    let json = args.format == Format::Json;
    let colour = !json && coloured(&io::stdout());
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut rows = store::cat(&settings.state_directory, &route, query);
    loop {
        let mut written = Ok(());
        let read = rows.each(|row| {
            let text = if json { as_json(&row) } else { as_text(&row, colour) };
            written = out.write_all(text.as_bytes());
            written.is_ok()
        });
        read.map_err(|e| unreadable(&settings.state_directory, &route, &e))?;
        match written.and_then(|()| out.flush()) {
            Ok(()) => {}
            // `| head` has seen enough.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(e) => return Err(Failure::Internal(format!("cannot print: {e}"))),
        }
        if !args.follow {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_EVERY);
    }
}

/// The route asked for, else the first one configured, else the first one stored.
fn route(args: &Cat, settings: &Settings) -> Result<String, Failure> {
    let stored = store::routes(&settings.state_directory);
    if let Some(asked) = &args.route {
        if stored.is_empty() || stored.contains(asked) {
            return Ok(asked.clone());
        }
        return Err(Failure::Unavailable(format!(
            "no records of the route {asked} are stored in {}; ask for one of: {}",
            settings.state_directory.display(),
            stored.join(", ")
        )));
    }
    let configured = settings.logs.iter().flat_map(|logs| &logs.routes).map(|route| &route.name);
    let first = configured.into_iter().find(|name| stored.contains(name)).or(stored.first());
    first.cloned().ok_or_else(|| {
        let directory: PathBuf = settings.state_directory.clone();
        unreadable(&directory, "admin", &io::Error::from(ErrorKind::NotFound))
    })
}

fn unreadable(state_directory: &Path, route: &str, error: &io::Error) -> Failure {
    let directory = state_directory.display();
    Failure::Unavailable(match error.kind() {
        ErrorKind::NotFound => format!(
            "there is no local log store in {directory}; the agent keeps one where logs.destination \
             is local, name its directory by --state-directory or --config"
        ),
        ErrorKind::PermissionDenied => format!(
            "this user may not read the records of the route {route} in {directory}; ask for another \
             --route, or run as the agent's user or in its group"
        ),
        _ => format!(
            "cannot read the local log store in {directory}: {error}; look at the disk it lies on"
        ),
    })
}

fn query(args: &Cat, now: SystemTime) -> Query {
    let at = |when: When| {
        let since = when.from(now).duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    };
    Query {
        since: args.since.map(at),
        until: args.until.map(at),
        severity: args.severity,
        database: args.database.clone(),
        sqlstate: args.sqlstate.clone(),
        text: args.grep.clone(),
    }
}

fn time(row: &Row) -> String {
    Timestamp::from_nanosecond(i128::from(row.ns))
        .map_or_else(|_| "-".to_owned(), |time| format!("{time:.3}"))
}

fn as_json(row: &Row) -> String {
    let quoted = |value: &str| serde_json::Value::from(value).to_string();
    let mut text = format!("{{\"time\":{}", quoted(&time(row)));
    for (name, value) in &row.metadata {
        let _ = write!(text, ",{}:{}", quoted(name), quoted(value));
    }
    let _ = writeln!(text, ",\"line\":{},\"stream\":{}}}", quoted(&row.line), quoted(&row.labels));
    text
}

/// A line of what is known about the record, and its own lines, indented.
fn as_text(row: &Row, colour: bool) -> String {
    let paint = |code: &'static str| if colour { code } else { "" };
    let severity = row.metadata.iter().find(|(name, _)| name == "severity");
    let strong = match severity.map_or("", |(_, word)| word.as_str()) {
        "ERROR" => "\x1b[31m",
        "FATAL" | "PANIC" => "\x1b[1;31m",
        "WARNING" => "\x1b[33m",
        _ => "\x1b[36m",
    };
    let mut text = format!("{}{}", paint("\x1b[2m"), time(row));
    for (name, value) in &row.metadata {
        let _ = write!(text, " {name}={}", visible(value, colour));
    }
    text.push_str(paint("\x1b[0m"));
    text.push('\n');
    for (number, line) in row.line.split('\n').enumerate() {
        let code = if number == 0 { strong } else { "" };
        let line = visible(line, colour);
        let _ = writeln!(text, "  {}{line}{}", paint(code), paint("\x1b[0m"));
    }
    text
}
