//! A record: one event of the server's log, whole, in whatever format it was written.
//!
//! Its text is kept as the line of the entry that is sent, its parts are spans of that line, and the
//! prefix's fields lie beside it as the entry's metadata: a record costs two allocations, not fifteen.

use std::fmt;
use std::ops::Range;

use crate::loki::Metadata;

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

/// Five characters, digits and capital letters (manual, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SqlState([u8; 5]);

impl SqlState {
    pub const SUCCESS: Self = Self(*b"00000");

    /// PostgreSQL's own classes (manual, appendix A).
    pub const CLASSES: [&str; 44] = [
        "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21",
        "22", "23", "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D",
        "3F", "40", "42", "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX",
    ];

    /// None where the bytes are no SQLSTATE.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let code: [u8; 5] = text.try_into().ok()?;
        code.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()).then_some(Self(code))
    }

    pub fn as_str(&self) -> &str {
        // ASCII by construction.
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }

    /// The first two characters: the class.
    pub fn class(&self) -> &str {
        &self.as_str()[..2]
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a record was written; its entry is the same in all of PostgreSQL's formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    #[default]
    Stderr,
    Csv,
    Json,
    /// csvlog's columns in CloudNativePG's objects.
    Cnpg,
    /// Not PostgreSQL's, but PgBouncer's log.
    Pgbouncer,
}

/// The parts of a record's text, in the order in which the server writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// With its ` at character N`, where the server says one.
    Message,
    Detail,
    Hint,
    /// The internal query (of a function) that failed.
    Query,
    Context,
    Location,
    Backtrace,
    Statement,
}

impl Part {
    pub const ALL: [Self; 8] = [
        Self::Message,
        Self::Detail,
        Self::Hint,
        Self::Query,
        Self::Context,
        Self::Location,
        Self::Backtrace,
        Self::Statement,
    ];

    /// What stands before it in the line, in English; nothing before the message.
    pub fn label(self) -> &'static str {
        match self {
            Self::Message => "",
            Self::Detail => "DETAIL:  ",
            Self::Hint => "HINT:  ",
            Self::Query => "QUERY:  ",
            Self::Context => "CONTEXT:  ",
            Self::Location => "LOCATION:  ",
            Self::Backtrace => "BACKTRACE:  ",
            Self::Statement => "STATEMENT:  ",
        }
    }
}

/// The fields that a prefix (or csv, or json) tells, under PostgreSQL's jsonlog keys, in jsonlog's
/// order; `local_host` (`%L`, 18) has no key there and stands after its kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    User,
    Dbname,
    Pid,
    RemoteHost,
    RemotePort,
    LocalHost,
    SessionId,
    LineNum,
    Ps,
    SessionStart,
    Vxid,
    Txid,
    ApplicationName,
    BackendType,
    LeaderPid,
    QueryId,
}

impl Key {
    pub const ALL: [Self; 16] = [
        Self::User,
        Self::Dbname,
        Self::Pid,
        Self::RemoteHost,
        Self::RemotePort,
        Self::LocalHost,
        Self::SessionId,
        Self::LineNum,
        Self::Ps,
        Self::SessionStart,
        Self::Vxid,
        Self::Txid,
        Self::ApplicationName,
        Self::BackendType,
        Self::LeaderPid,
        Self::QueryId,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Dbname => "dbname",
            Self::Pid => "pid",
            Self::RemoteHost => "remote_host",
            Self::RemotePort => "remote_port",
            Self::LocalHost => "local_host",
            Self::SessionId => "session_id",
            Self::LineNum => "line_num",
            Self::Ps => "ps",
            Self::SessionStart => "session_start",
            Self::Vxid => "vxid",
            Self::Txid => "txid",
            Self::ApplicationName => "application_name",
            Self::BackendType => "backend_type",
            Self::LeaderPid => "leader_pid",
            Self::QueryId => "query_id",
        }
    }
}

/// Values by key, encoded once as the entry's metadata holds them; an absent value is an empty one, as
/// in the server's own formats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pairs: Metadata,
    /// A bit for each key that has a value.
    keys: u16,
}

impl Fields {
    pub fn get(&self, key: Key) -> Option<&str> {
        let bit = 1 << key as u16;
        if self.keys & bit == 0 {
            return None;
        }
        let before = (self.keys & (bit - 1)).count_ones() as usize;
        self.pairs.value(before)
    }

    /// Those that are there, in the order in which they are sent.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &str)> {
        let keys = Key::ALL.into_iter().filter(|key| self.keys & 1 << *key as u16 != 0);
        keys.zip(self.pairs.iter().map(|(_, value)| value))
    }

    /// As they are sent.
    pub(super) fn encoded(&self) -> &Metadata {
        &self.pairs
    }

    /// Takes the values of others, and keeps its memory.
    pub(super) fn copy(&mut self, others: &Self) {
        self.pairs.clear();
        self.pairs.append(&others.pairs);
        self.keys = others.keys;
    }

    /// Puts a number in the place of one that has as many digits; nothing where there is none.
    pub(super) fn overwrite(&mut self, key: Key, digits: &[u8]) {
        let bit = 1 << key as u16;
        if self.keys & bit != 0 {
            self.pairs.overwrite((self.keys & (bit - 1)).count_ones() as usize, digits);
        }
    }

    /// Takes all values out, and keeps their memory.
    pub(super) fn clear(&mut self) {
        self.pairs.clear();
        self.keys = 0;
    }

    /// Adds a value behind those of the keys before; what of it is no UTF-8 is replaced.
    pub(super) fn push(&mut self, key: Key, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        match std::str::from_utf8(value) {
            Ok(value) => self.pairs.push(key.as_str(), value),
            Err(_) => self.pairs.push(key.as_str(), &String::from_utf8_lossy(value)),
        }
        self.keys |= 1 << key as u16;
    }

    /// Sets one value.
    pub fn set(&mut self, key: Key, value: &str) {
        let old = std::mem::take(self);
        for own in Key::ALL {
            let value = if own == key { Some(value) } else { old.get(own) };
            self.push(own, value.unwrap_or_default().as_bytes());
        }
    }
}

/// Where a part begins and ends in the line.
pub(super) type Span = (u32, u32);

/// One record. Text is UTF-8 (what was not is replaced); continuation TABs are undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Bytes of the file, from the start of its first line to the end of its last. Where processes
    /// write at once, ranges of records overlap.
    pub bytes: Range<u64>,
    /// Nanoseconds since 1970 as the record says; none where no line of it holds a time.
    pub time: Option<i64>,
    /// None: no PostgreSQL record but a line kept as it stands, or the late rest of a record whose
    /// head had been given up.
    pub severity: Option<Severity>,
    pub format: Format,
    /// None where the format can't tell.
    pub sqlstate: Option<SqlState>,
    /// Bytes of its text beyond the size cap: they were read, and are not kept.
    pub left_out: u64,
    /// Once this record and all before it are delivered: where to begin reading again …
    pub resume: u64,
    /// … and where the first record begins that is then still to be sent.
    pub next: u64,
    /// Its lines were searched for signs of credentials, and hold none.
    pub(super) clean: bool,
    pub fields: Fields,
    pub(super) line: String,
    pub(super) parts: [Option<Span>; Part::ALL.len()],
}

impl Default for Record {
    fn default() -> Self {
        Self {
            bytes: 0..0,
            time: None,
            severity: None,
            format: Format::default(),
            sqlstate: None,
            left_out: 0,
            resume: 0,
            next: 0,
            clean: false,
            fields: Fields::default(),
            line: String::new(),
            parts: [None; Part::ALL.len()],
        }
    }
}

impl Record {
    /// A PostgreSQL record with its message; further parts follow by `add`, in their order.
    pub fn new(severity: Severity, message: &str) -> Self {
        let mut record = Self { severity: Some(severity), ..Self::default() };
        record.line.reserve(message.len() + 10);
        record.line.push_str(severity.as_str());
        record.line.push_str(":  ");
        record.push(Part::Message, message);
        record
    }

    /// A line that is no PostgreSQL record, as it stands.
    pub fn plain(line: &str) -> Self {
        let mut record = Self::default();
        record.push(Part::Message, line);
        record
    }

    /// As at the start, but for its memory; that of the line is given back.
    pub(super) fn renew(&mut self) -> Vec<u8> {
        let mut line = std::mem::take(&mut self.line).into_bytes();
        line.clear();
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
        line
    }

    /// Bytes of memory.
    pub(super) fn capacity(&self) -> usize {
        size_of::<Self>() + self.line.capacity() + self.fields.pairs.capacity()
    }

    /// Appends a part on a line of its own. The server writes each part at most once, in order.
    pub fn add(&mut self, part: Part, text: &str) {
        if !self.line.is_empty() {
            self.line.push('\n');
        }
        self.line.push_str(part.label());
        self.push(part, text);
    }

    fn push(&mut self, part: Part, text: &str) {
        let start = self.line.len();
        self.line.push_str(text);
        self.parts[part as usize] = Some((position(start), position(self.line.len())));
    }

    /// `SEVERITY:  message`, then `DETAIL:  …` and so on, each on a new line: an entry's line, less
    /// the mark of a cut.
    pub fn line(&self) -> &str {
        &self.line
    }

    pub fn part(&self, part: Part) -> Option<&str> {
        let (start, end) = self.parts[part as usize]?;
        self.line.get(start as usize..end as usize)
    }

    /// Empty only where the message is.
    pub fn message(&self) -> &str {
        self.part(Part::Message).unwrap_or("")
    }

    /// Not written by PostgreSQL's error log: kept as it stands.
    pub fn is_plain(&self) -> bool {
        self.severity.is_none() && self.parts[1..].iter().all(Option::is_none)
    }

    /// The rest (DETAIL, STATEMENT …) of a record whose head had been given up before it came.
    pub fn is_late(&self) -> bool {
        self.severity.is_none() && !self.is_plain()
    }

    pub fn field(&self, key: Key) -> Option<&str> {
        self.fields.get(key)
    }

    /// With some parts' text replaced: what redaction does. `replace` gives the new text, or None
    /// to keep what is there.
    #[must_use]
    pub fn map(mut self, mut replace: impl FnMut(Part, &str) -> Option<String>) -> Self {
        for part in Part::ALL {
            let Some((start, end)) = self.parts[part as usize] else { continue };
            let Some(new) = self.part(part).and_then(|old| replace(part, old)) else { continue };
            self.line.replace_range(start as usize..end as usize, &new);
            let moved = start as usize + new.len();
            self.parts[part as usize] = Some((start, position(moved)));
            for later in self.parts[part as usize + 1..].iter_mut().flatten() {
                let shift = |at: u32| position(at as usize - end as usize + moved);
                *later = (shift(later.0), shift(later.1));
            }
        }
        self
    }
}

/// A record's text is capped far below 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_whatever_the_order_of_setting() {
        let mut fields = Fields::default();
        fields.set(Key::QueryId, "-7");
        fields.set(Key::User, "app");
        fields.set(Key::Pid, "4411");
        fields.set(Key::User, "longer");
        fields.set(Key::Pid, "1");
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(Key::User, "longer"), (Key::Pid, "1"), (Key::QueryId, "-7")]);
        assert_eq!(fields.get(Key::Ps), None);
    }

    #[test]
    fn mapping_a_part_moves_the_later_ones() {
        let mut record = Record::new(Severity::Error, "boom at character 8");
        record.add(Part::Detail, "Key (id)=(1).");
        record.add(Part::Statement, "SELECT 1");
        let record = record.map(|part, text| match part {
            Part::Detail => Some("Key (id)=(…) and longer.".into()),
            Part::Statement => Some(text.replace('1', "?")),
            _ => None,
        });
        assert_eq!(
            record.line(),
            "ERROR:  boom at character 8\nDETAIL:  Key (id)=(…) and longer.\nSTATEMENT:  SELECT ?"
        );
        assert_eq!(record.part(Part::Statement), Some("SELECT ?"));
        assert_eq!(record.message(), "boom at character 8");
        assert_eq!(record.part(Part::Hint), None);
    }

    #[test]
    fn plain_and_late_are_told_apart() {
        assert!(Record::plain("cp: cannot stat").is_plain());
        let mut late = Record::default();
        late.add(Part::Detail, "Process 1 waits.");
        assert!(late.is_late());
        assert_eq!(late.line(), "DETAIL:  Process 1 waits.");
        assert!(!Record::new(Severity::Log, "").is_plain());
    }

    #[test]
    fn a_sqlstate_is_five_digits_or_capitals() {
        assert_eq!(SqlState::parse(b"40P01").map(|s| s.as_str().to_owned()), Some("40P01".into()));
        assert!(SqlState::parse(b"40p01").is_none());
        assert!(SqlState::parse(b"4001").is_none());
    }
}
