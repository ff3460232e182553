//! A record that is being built: bytes as they came, joined into the form of an entry's line.

use std::ops::Range;
use std::time::Instant;

use crate::logs::format::{Escape, Match, Verbosity, foreign_position, is_unknown, verbose};
use crate::logs::record::{Fields, Format, Key, Part, Record, Severity, SqlState};

/// The most text of one record that is kept; Loki refuses lines over 256 KiB.
pub(super) const RECORD_BYTES: usize = 128 * 1024;

/// What a record weighs beside its text.
const WEIGHT: usize = 512;

#[derive(Debug)]
pub(super) struct Open {
    /// The process that writes it; 0 where the prefix does not say.
    pub process: u32,
    pub severity: Option<Severity>,
    pub(super) format: Format,
    pub(super) sqlstate: Option<SqlState>,
    pub time: Option<i64>,
    pub(super) fields: Fields,
    pub bytes: Range<u64>,
    text: Vec<u8>,
    /// Where in the text the last line of the file begins.
    line: usize,
    parts: Parts,
    pub left_out: u64,
    /// No PostgreSQL record: kept as it stands.
    pub plain: bool,
    /// Nothing more will be joined.
    pub whole: bool,
    /// Keeps the place of what is not known yet: a line whose end is missing.
    pub hollow: bool,
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
            format: Format::Stderr,
            sqlstate: None,
            time: None,
            fields: Fields::default(),
            bytes,
            text: Vec::new(),
            line: 0,
            parts: Parts::default(),
            left_out: 0,
            plain: false,
            whole: false,
            hollow: false,
            touched: now,
            doubt: None,
        }
    }

    pub(super) fn plain(bytes: Range<u64>, now: Instant) -> Self {
        let mut open = Self { plain: true, ..Self::new(0, bytes, now) };
        open.parts.begin(Part::Message, 0);
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
        self.begin_message(severity, text.len());
        text
    }

    /// Begins the text with the severity.
    pub(super) fn begin_message(&mut self, severity: Severity, size: usize) {
        self.text.reserve(size + 16);
        self.text.extend_from_slice(severity.as_str().as_bytes());
        self.text.extend_from_slice(b":  ");
        self.parts.begin(Part::Message, self.text.len());
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
        self.parts = Parts::default();
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
            self.parts.begin(part, self.text.len());
        }
    }

    /// Whether the server could write this part now: each at most once, in their order.
    pub(super) fn takes(&self, part: Part) -> bool {
        !self.plain && self.parts.last.is_none_or(|last| last < part)
    }

    /// Adds to the last part, up to the size cap.
    pub(super) fn add(&mut self, text: &[u8]) {
        let room = RECORD_BYTES.saturating_sub(self.text.len());
        let kept = &text[..text.len().min(room)];
        self.text.extend_from_slice(kept);
        self.left_out += (text.len() - kept.len()) as u64;
        self.parts.end(self.text.len());
    }

    /// Adds a line of the file, or what of it is text.
    pub(super) fn add_line(&mut self, text: &[u8]) {
        self.line = self.text.len();
        self.add(text);
    }

    /// What the last line added; nothing where some of it was left out.
    pub(super) fn last_line(&self) -> &[u8] {
        if self.left_out > 0 { &[] } else { &self.text[self.line..] }
    }

    /// Takes the last bytes of the last line away again.
    pub(super) fn take_back(&mut self, length: usize) {
        self.text.truncate(self.text.len() - length);
        self.parts.end(self.text.len());
    }

    /// Bytes of memory, about.
    pub(super) fn weight(&self) -> usize {
        self.text.len() + WEIGHT
    }

    pub(super) fn fill(&mut self, found: &Match, line: &[u8]) {
        // `%r` is host(port).
        let remote = found.get(line, Escape::RemoteHostPort).map(|value| {
            match memchr::memchr(b'(', value) {
                Some(open) => (&value[..open], &value[open + 1..value.len() - 1]),
                None => (value, &b""[..]),
            }
        });
        self.fields = Fields::build(|key| {
            let value = match key {
                Key::RemoteHost => {
                    found.get(line, Escape::RemoteHost).or_else(|| remote.map(|(host, _)| host))
                }
                Key::RemotePort => remote.map(|(_, port)| port),
                _ => found.get(line, escape(key)?),
            };
            value.filter(|value| !is_unknown(value))
        });
        self.sqlstate = found.get(line, Escape::SqlState).and_then(SqlState::parse);
    }

    /// The record, its text valid UTF-8 and its words English.
    pub(super) fn into_record(mut self) -> Record {
        if self.severity.is_some_and(|severity| severity >= Severity::Info) {
            self.translate_position();
        }
        let (line, parts) = match String::from_utf8(self.text) {
            Ok(line) => (line, self.parts.ranges),
            Err(error) => replaced(error.as_bytes(), &self.parts),
        };
        let mut record = Record::from_line(line, parts);
        record.bytes = self.bytes;
        record.time = self.time;
        record.severity = self.severity;
        record.format = self.format;
        record.sqlstate = self.sqlstate;
        record.left_out = self.left_out;
        record.fields = self.fields;
        record
    }

    /// ` bei Zeichen 15` → ` at character 15`.
    fn translate_position(&mut self) {
        let Some(range) = self.parts.get(Part::Message) else { return };
        let Some((at, digits)) = foreign_position(&self.text[range.clone()]) else { return };
        let mut english = b" at character ".to_vec();
        english.extend_from_slice(digits);
        let from = range.start + at;
        let grown = from + english.len();
        self.text.splice(from..range.end, english);
        self.parts.replaced(Part::Message, range.end, grown);
    }
}

/// Where each part begins and ends in the text.
#[derive(Debug, Default)]
struct Parts {
    ranges: [Option<(u32, u32)>; Part::ALL.len()],
    last: Option<Part>,
}

impl Parts {
    fn begin(&mut self, part: Part, at: usize) {
        self.ranges[part as usize] = Some((position(at), position(at)));
        self.last = Some(part);
    }

    /// The last part ends here.
    fn end(&mut self, at: usize) {
        if let Some(range) = self.last.and_then(|last| self.ranges[last as usize].as_mut()) {
            range.1 = position(at);
        }
    }

    fn get(&self, part: Part) -> Option<Range<usize>> {
        self.ranges[part as usize].map(|(start, end)| start as usize..end as usize)
    }

    /// A part now ends elsewhere, and what follows it has moved.
    fn replaced(&mut self, part: Part, old: usize, new: usize) {
        let shift = |at: u32| position(at as usize - old + new);
        for range in self.ranges[part as usize + 1..].iter_mut().flatten() {
            *range = (shift(range.0), shift(range.1));
        }
        if let Some(range) = &mut self.ranges[part as usize] {
            range.1 = position(new);
        }
    }
}

/// Texts are capped far below 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// With what is no UTF-8 replaced, part by part, since a replacement moves what follows.
fn replaced(bytes: &[u8], parts: &Parts) -> (String, [Option<(u32, u32)>; Part::ALL.len()]) {
    let mut line = String::with_capacity(bytes.len() + 16);
    let mut moved = [None; Part::ALL.len()];
    let mut from = 0;
    for part in Part::ALL {
        let Some(range) = parts.get(part) else { continue };
        line.push_str(&String::from_utf8_lossy(&bytes[from..range.start]));
        let start = position(line.len());
        line.push_str(&String::from_utf8_lossy(&bytes[range.clone()]));
        moved[part as usize] = Some((start, position(line.len())));
        from = range.end;
    }
    (line, moved)
}

/// The escape of a field that has one of its own.
fn escape(key: Key) -> Option<Escape> {
    Some(match key {
        Key::User => Escape::User,
        Key::Dbname => Escape::Dbname,
        Key::Pid => Escape::Pid,
        Key::LocalHost => Escape::LocalHost,
        Key::SessionId => Escape::SessionId,
        Key::LineNum => Escape::LineNum,
        Key::Ps => Escape::Ps,
        Key::SessionStart => Escape::SessionStart,
        Key::Vxid => Escape::Vxid,
        Key::Txid => Escape::Txid,
        Key::ApplicationName => Escape::ApplicationName,
        Key::BackendType => Escape::BackendType,
        Key::LeaderPid => Escape::LeaderPid,
        Key::QueryId => Escape::QueryId,
        Key::RemoteHost | Key::RemotePort => return None,
    })
}
