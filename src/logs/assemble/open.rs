//! A record that is being built: bytes as they came, joined into the form of an entry's line.

use std::ops::Range;
use std::time::Instant;

use super::cache::Known;
use crate::logs::format::{Match, Verbosity, foreign_position, verbose};
use crate::logs::record::{Part, Record, Severity, Span};

/// The most text of one record that is kept; Loki refuses lines over 256 KiB.
pub(super) const RECORD_BYTES: usize = 128 * 1024;

/// What a record weighs beside its text.
const WEIGHT: usize = 512;

#[derive(Debug)]
pub(super) struct Open {
    /// What is known of it; its line is here, as bytes, until it is whole.
    pub record: Box<Record>,
    /// Where the lines begin from which it can be read again: before its own bytes, where it was found
    /// within lines of others.
    pub from: u64,
    /// The process that writes it; 0 where the prefix does not say.
    pub process: u32,
    text: Vec<u8>,
    /// Where in the text the last line of the file begins.
    line: usize,
    /// The part that grows.
    part: Option<Part>,
    /// No PostgreSQL record: kept as it stands.
    pub plain: bool,
    /// Nothing more will be joined.
    pub whole: bool,
    /// Keeps the place of what is not known yet: a line whose end is missing.
    pub hollow: bool,
    /// Read from a line in parts, or from several lines of csv.
    pub in_parts: bool,
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
    /// `record`: one whose memory is used again, or a new one.
    pub(super) fn new(
        mut record: Box<Record>,
        process: u32,
        bytes: Range<u64>,
        now: Instant,
    ) -> Self {
        let text = record.renew();
        let from = bytes.start;
        record.bytes = bytes;
        Self {
            record,
            from,
            process,
            text,
            line: 0,
            part: None,
            plain: false,
            whole: false,
            hollow: false,
            in_parts: false,
            touched: now,
            doubt: None,
        }
    }

    pub(super) fn plain(record: Box<Record>, bytes: Range<u64>, now: Instant) -> Self {
        let mut open = Self { plain: true, ..Self::new(record, 0, bytes, now) };
        open.part_begins(Part::Message);
        open
    }

    /// Takes the fields and the severity of a head line; gives back what of the line is message.
    pub(super) fn head<'l>(
        &mut self,
        severity: Severity,
        known: &Known,
        line: &'l [u8],
        verbosity: Option<Verbosity>,
    ) -> &'l [u8] {
        self.record.severity = Some(severity);
        self.record.fields.copy(&known.fields);
        self.record.sqlstate = known.sqlstate;
        let mut text = &line[known.found.text..];
        if let Some((sqlstate, rest)) = verbose(text, verbosity) {
            self.record.sqlstate = Some(sqlstate);
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
        self.part_begins(Part::Message);
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
        found: Match,
        verbosity: Option<Verbosity>,
    ) {
        let Some(doubt) = self.doubt.take() else { return };
        let behind = self.text.split_off(doubt.text.min(self.text.len()));
        self.text.clear();
        self.record.parts = Default::default();
        self.part = None;
        let known = Known::new(found, &doubt.line);
        let text = self.head(severity, &known, &doubt.line, verbosity);
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
            self.part_begins(part);
        }
    }

    /// Whether the server could write this part now: each at most once, in their order.
    pub(super) fn takes(&self, part: Part) -> bool {
        !self.plain && self.part.is_none_or(|last| last < part)
    }

    /// Adds to the last part, up to the size cap.
    pub(super) fn add(&mut self, text: &[u8]) {
        let room = RECORD_BYTES.saturating_sub(self.text.len());
        let kept = &text[..text.len().min(room)];
        self.text.extend_from_slice(kept);
        self.record.left_out += (text.len() - kept.len()) as u64;
        self.part_ends();
    }

    /// Adds a line of the file, or what of it is text.
    pub(super) fn add_line(&mut self, text: &[u8]) {
        self.line = self.text.len();
        self.add(text);
    }

    /// What the last line added; nothing where some of it was left out.
    pub(super) fn last_line(&self) -> &[u8] {
        if self.record.left_out > 0 { &[] } else { &self.text[self.line..] }
    }

    /// Takes the last bytes of the last line away again.
    pub(super) fn take_back(&mut self, length: usize) {
        self.text.truncate(self.text.len() - length);
        self.part_ends();
    }

    /// Bytes of memory, about.
    pub(super) fn weight(&self) -> usize {
        self.text.len() + WEIGHT
    }

    /// The text of the last part begins here.
    fn part_begins(&mut self, part: Part) {
        let at = position(self.text.len());
        self.record.parts[part as usize] = Some((at, at));
        self.part = Some(part);
    }

    /// It ends here, as far as it has come.
    fn part_ends(&mut self) {
        if let Some(span) = self.part.and_then(|part| self.record.parts[part as usize].as_mut()) {
            span.1 = position(self.text.len());
        }
    }

    /// The record, its text valid UTF-8 and its words English.
    pub(super) fn into_record(mut self) -> Box<Record> {
        if self.record.severity.is_some_and(|severity| severity >= Severity::Info) {
            self.translate_position();
        }
        let mut record = self.record;
        match String::from_utf8(self.text) {
            Ok(line) => record.line = line,
            Err(error) => {
                (record.line, record.parts) = replaced(error.as_bytes(), &record.parts);
            }
        }
        record
    }

    /// ` bei Zeichen 15` → ` at character 15`.
    fn translate_position(&mut self) {
        let Some(range) = range(&self.record.parts, Part::Message) else { return };
        let Some((at, digits)) = foreign_position(&self.text[range.clone()]) else { return };
        let mut english = b" at character ".to_vec();
        english.extend_from_slice(digits);
        let from = range.start + at;
        let grown = from + english.len();
        self.text.splice(from..range.end, english);
        let shift = |at: u32| position(at as usize - range.end + grown);
        let (message, behind) = self.record.parts.split_at_mut(Part::Message as usize + 1);
        for span in behind.iter_mut().flatten() {
            *span = (shift(span.0), shift(span.1));
        }
        message[0] = Some((position(range.start), position(grown)));
    }
}

/// Where each part begins and ends in the text.
type Parts = [Option<Span>; Part::ALL.len()];

fn range(parts: &Parts, part: Part) -> Option<Range<usize>> {
    parts[part as usize].map(|(start, end)| start as usize..end as usize)
}

/// Texts are capped far below 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// With what is no UTF-8 replaced, part by part, since a replacement moves what follows.
fn replaced(bytes: &[u8], parts: &Parts) -> (String, Parts) {
    let mut line = String::with_capacity(bytes.len() + 16);
    let mut moved = Parts::default();
    let mut from = 0;
    for part in Part::ALL {
        let Some(range) = range(parts, part) else { continue };
        line.push_str(&String::from_utf8_lossy(&bytes[from..range.start]));
        let start = position(line.len());
        line.push_str(&String::from_utf8_lossy(&bytes[range.clone()]));
        moved[part as usize] = Some((start, position(line.len())));
        from = range.end;
    }
    (line, moved)
}
