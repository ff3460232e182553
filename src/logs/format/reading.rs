//! What must be known to read a server's text log.

use super::{Prefix, Zone};
use crate::config::LogFormat;
use crate::logs::record::SqlState;
use crate::postgres::LogSettings;

/// `log_error_verbosity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    Terse,
    Default,
    /// `SQLSTATE: ` stands before each message, and a LOCATION behind it.
    Verbose,
}

/// How to read a file's lines: from a session, the configuration, or inferred. What a record
/// becomes depends on it, so it stands in the checkpoint, with the offset from which it holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// None: every line is plain, unless it has one of the well-known prefixes.
    pub prefix: Option<Prefix>,
    pub zone: Zone,
    /// None: seen from the lines.
    pub verbosity: Option<Verbosity>,
    /// Which formats there may be; what is written otherwise is plain.
    pub format: LogFormat,
}

impl Reading {
    pub fn new(
        line_prefix: Option<&str>,
        time_zone: Option<&str>,
        verbosity: Option<&str>,
    ) -> Self {
        Self {
            prefix: line_prefix.map(Prefix::compile),
            zone: Zone::new(time_zone),
            verbosity: match verbosity {
                Some("terse") => Some(Verbosity::Terse),
                Some("default") => Some(Verbosity::Default),
                Some("verbose") => Some(Verbosity::Verbose),
                _ => None,
            },
            format: LogFormat::Auto,
        }
    }

    /// The same for one format alone.
    #[must_use]
    pub fn of(self, format: LogFormat) -> Self {
        Self { format, ..self }
    }
}

impl From<&LogSettings> for Reading {
    fn from(settings: &LogSettings) -> Self {
        Self::new(Some(&settings.line_prefix), Some(&settings.time_zone), Some(&settings.verbosity))
    }
}

/// The SQLSTATE that verbose logs write before a message, and the message behind it. Where the
/// verbosity is unknown, only a code of one of PostgreSQL's own classes is taken for one.
pub(in crate::logs) fn verbose(
    text: &[u8],
    verbosity: Option<Verbosity>,
) -> Option<(SqlState, &[u8])> {
    if matches!(verbosity, Some(Verbosity::Terse | Verbosity::Default)) {
        return None;
    }
    let rest = text.get(5..)?.strip_prefix(b": ")?;
    let code = SqlState::parse(&text[..5])?;
    let sure = verbosity.is_some() || SqlState::CLASSES.contains(&code.class());
    sure.then_some((code, rest))
}
