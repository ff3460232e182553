//! A record: one event of the server's log, whole, in whatever format it was written.

use std::ops::Range;

/// PostgreSQL's severities, in English whatever `lc_messages` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Debug,
    Log,
    Info,
    Notice,
    Warning,
    Error,
    Fatal,
    Panic,
}

impl Severity {
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Log,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Fatal,
        Self::Panic,
    ];

    /// The server's own word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Log => "LOG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
        }
    }

    /// Loki's word: the metadata `level`.
    pub fn level(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Log | Self::Info | Self::Notice => "info",
            Self::Warning => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Panic => "critical",
        }
    }
}

/// One record. Text is UTF-8 (what was not is replaced); continuation TABs are undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Bytes of the file, from the start of its first line to the end of its last. Where processes
    /// write at once, ranges of records overlap.
    pub bytes: Range<u64>,
    /// Nanoseconds since 1970 as the record says; none where no line of it holds a time.
    pub time: Option<i64>,
    /// None: no PostgreSQL record, a line kept as it stands (`format="plain"`).
    pub severity: Option<Severity>,
    pub sqlstate: Option<String>,
    pub message: String,
    /// The cursor position, which stderr appends to the message as ` at character N`.
    pub position: Option<u64>,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// QUERY: the internal query (of a function) that failed.
    pub query: Option<String>,
    pub context: Option<String>,
    pub location: Option<String>,
    pub backtrace: Option<String>,
    pub statement: Option<String>,
    /// The prefix's fields under PostgreSQL's jsonlog keys (`pid`, `user`, `dbname`, …), in the
    /// order in which they are sent.
    pub fields: Vec<(&'static str, String)>,
    /// Cut at the size cap; what was left out is counted.
    pub cut: bool,
}

impl Record {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }
}
