//! A record that is being built: bytes as they came, joined into the form of an entry's line.

use std::ops::Range;
use std::time::Instant;

use crate::logs::format::{Escape, Match, Verbosity, foreign_position, is_unknown, verbose};
use crate::logs::record::{Fields, Key, Part, Record, Severity, SqlState};

/// The most text of one record that is kept; Loki refuses lines over 256 KiB.
pub(super) const RECORD_BYTES: usize = 128 * 1024;

/// What a record weighs beside its text.
const WEIGHT: usize = 512;

#[derive(Debug)]
pub(super) struct Open {
    /// The process that writes it; 0 where the prefix does not say.
    pub process: u32,
    pub severity: Option<Severity>,
    sqlstate: Option<SqlState>,
    pub time: Option<i64>,
    fields: Fields,
    pub bytes: Range<u64>,
    text: Vec<u8>,
    /// Where each part begins and ends in the text.
    parts: Vec<(Part, Range<usize>)>,
    pub left_out: u64,
    /// No PostgreSQL record: kept as it stands.
    pub plain: bool,
    /// Nothing more will be joined.
    pub whole: bool,
    /// When its last line was read.
    pub touched: Instant,
    /// The head line, where it can be read in several ways, and no further part has settled it.
    pub doubt: Option<Box<Doubt>>,
}

#[derive(Debug)]
pub(super) struct Doubt {
    pub line: Vec<u8>,
    /// Where its prefix was taken to end.
    pub prefix: usize,
    /// How much of the record's text is its.
    text: usize,
}

impl Open {
    pub(super) fn new(process: u32, bytes: Range<u64>, now: Instant) -> Self {
        Self {
            process,
            severity: None,
            sqlstate: None,
            time: None,
            fields: Fields::default(),
            bytes,
            text: Vec::new(),
            parts: Vec::with_capacity(3),
            left_out: 0,
            plain: false,
            whole: false,
            touched: now,
            doubt: None,
        }
    }

    pub(super) fn plain(bytes: Range<u64>, now: Instant) -> Self {
        let mut open = Self { plain: true, ..Self::new(0, bytes, now) };
        open.parts.push((Part::Message, 0..0));
        open
    }

    /// Takes the fields and the severity of a head line; gives back what of the line is message.
    pub(super) fn head<'l>(
        &mut self,
        severity: Severity,
        found: &Match,
        line: &'l [u8],
        verbosity: Option<Verbosity>,
    ) -> &'l [u8] {
        self.severity = Some(severity);
        self.fill(found, line);
        let mut text = &line[found.text..];
        if let Some((sqlstate, rest)) = verbose(text, verbosity) {
            self.sqlstate = Some(sqlstate);
            text = rest;
        }
        self.text.reserve(text.len() + 16);
        self.text.extend_from_slice(severity.as_str().as_bytes());
        self.text.extend_from_slice(b":  ");
        self.parts.push((Part::Message, self.text.len()..self.text.len()));
        text
    }

    /// Remembers a head line that can be read in several ways, once its text has been added.
    pub(super) fn doubt(&mut self, line: &[u8], prefix: usize) {
        let text = self.text.len();
        self.doubt = Some(Box::new(Doubt { line: line.to_vec(), prefix, text }));
    }

    /// Reads the remembered head line another way.
    pub(super) fn settle(
        &mut self,
        severity: Severity,
        found: &Match,
        verbosity: Option<Verbosity>,
    ) {
        let Some(doubt) = self.doubt.take() else { return };
        let behind = self.text.split_off(doubt.text.min(self.text.len()));
        self.text.clear();
        self.parts.clear();
        self.fields = Fields::default();
        let text = self.head(severity, found, &doubt.line, verbosity);
        self.add(text);
        self.add(&behind);
    }

    /// Begins a further part.
    pub(super) fn begin(&mut self, part: Part) {
        self.doubt = None;
        let room = self.text.len() < RECORD_BYTES;
        if room && !self.text.is_empty() {
            self.text.push(b'\n');
        }
        if room {
            self.text.extend_from_slice(part.label().as_bytes());
            self.parts.push((part, self.text.len()..self.text.len()));
        }
    }

    /// Whether the server could write this part now: each at most once, in their order.
    pub(super) fn takes(&self, part: Part) -> bool {
        !self.plain && self.parts.last().is_none_or(|(last, _)| *last < part)
    }

    /// Adds to the last part, up to the size cap.
    pub(super) fn add(&mut self, text: &[u8]) {
        let room = RECORD_BYTES.saturating_sub(self.text.len());
        let kept = &text[..text.len().min(room)];
        self.text.extend_from_slice(kept);
        self.left_out += (text.len() - kept.len()) as u64;
        if let Some((_, range)) = self.parts.last_mut() {
            range.end = self.text.len();
        }
    }

    /// Bytes of memory, about.
    pub(super) fn weight(&self) -> usize {
        self.text.len() + WEIGHT
    }

    pub(super) fn fill(&mut self, found: &Match, line: &[u8]) {
        const PAIRS: [(Key, Escape); 14] = [
            (Key::User, Escape::User),
            (Key::Dbname, Escape::Dbname),
            (Key::Pid, Escape::Pid),
            (Key::RemoteHost, Escape::RemoteHost),
            (Key::LocalHost, Escape::LocalHost),
            (Key::SessionId, Escape::SessionId),
            (Key::LineNum, Escape::LineNum),
            (Key::Ps, Escape::Ps),
            (Key::SessionStart, Escape::SessionStart),
            (Key::Vxid, Escape::Vxid),
            (Key::Txid, Escape::Txid),
            (Key::ApplicationName, Escape::ApplicationName),
            (Key::BackendType, Escape::BackendType),
            (Key::LeaderPid, Escape::LeaderPid),
        ];
        let mut set = |key, value: &[u8]| {
            if !is_unknown(value) {
                self.fields.set(key, &String::from_utf8_lossy(value));
            }
        };
        for (key, escape) in PAIRS {
            if let Some(value) = found.get(line, escape) {
                set(key, value);
            }
        }
        if let Some(value) = found.get(line, Escape::QueryId) {
            set(Key::QueryId, value);
        }
        if let Some(value) = found.get(line, Escape::RemoteHostPort) {
            let (host, port) = match memchr::memchr(b'(', value) {
                Some(open) => (&value[..open], &value[open + 1..value.len() - 1]),
                None => (value, &b""[..]),
            };
            set(Key::RemoteHost, host);
            set(Key::RemotePort, port);
        }
        self.sqlstate = found.get(line, Escape::SqlState).and_then(SqlState::parse);
    }

    /// The record, its text valid UTF-8 and its words English.
    pub(super) fn into_record(mut self) -> Record {
        if self.severity.is_some() {
            self.translate_position();
        }
        let (line, parts) = match String::from_utf8(self.text) {
            Ok(line) => (line, self.parts),
            Err(error) => replaced(error.as_bytes(), &self.parts),
        };
        let mut record = Record::from_line(line, parts);
        record.bytes = self.bytes;
        record.time = self.time;
        record.severity = self.severity;
        record.sqlstate = self.sqlstate;
        record.left_out = self.left_out;
        record.fields = self.fields;
        record
    }

    /// ` bei Zeichen 15` → ` at character 15`.
    fn translate_position(&mut self) {
        let Some((Part::Message, range)) = self.parts.first().cloned() else { return };
        let Some((at, digits)) = foreign_position(&self.text[range.clone()]) else { return };
        let mut english = b" at character ".to_vec();
        english.extend_from_slice(digits);
        let from = range.start + at;
        let shift = |position: usize| position - range.end + from + english.len();
        for (_, later) in &mut self.parts[1..] {
            *later = shift(later.start)..shift(later.end);
        }
        self.parts[0].1.end = from + english.len();
        self.text.splice(from..range.end, english);
    }
}

/// With what is no UTF-8 replaced, part by part, since a replacement moves what follows.
fn replaced(bytes: &[u8], parts: &[(Part, Range<usize>)]) -> (String, Vec<(Part, Range<usize>)>) {
    let mut line = String::with_capacity(bytes.len() + 16);
    let mut moved = Vec::with_capacity(parts.len());
    let mut from = 0;
    for (part, range) in parts {
        line.push_str(&String::from_utf8_lossy(&bytes[from..range.start]));
        let start = line.len();
        line.push_str(&String::from_utf8_lossy(&bytes[range.clone()]));
        moved.push((*part, start..line.len()));
        from = range.end;
    }
    (line, moved)
}
