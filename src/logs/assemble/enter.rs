//! Where lines come in: envelopes are opened, parts of a line joined, and each line goes to what its
//! format wants. What is begun and not whole keeps its place among the records, so that they leave in
//! the order of their first lines all the same.

use std::ops::Range;
use std::time::Instant;

use super::Assembler;
use super::open::Open;
use super::side::{Csv, Parts};
use crate::config::LogFormat;
use crate::logs::format::{
    Clock, Column, Columns, Fed, Head, Kind, Object, Pgbouncer, Scanner, Wrapped, envelope, head,
    joined, joint, mended, object, pgbouncer, pooler_severity, resync, shorten,
};
use crate::logs::record::{Format, SqlState};

/// As much of one csvlog record as is kept, quotes included: its scanner keeps long columns well below,
/// so that only what is none comes to so much.
const CSV_BYTES: usize = 1536 * 1024;

impl Assembler {
    /// A line as the file has it; `beyond`: bytes of its middle that are not here (see `format::joint`).
    pub(super) fn enter(&mut self, bytes: &[u8], at: Range<u64>, beyond: u64, now: Instant) {
        self.tears = 0;
        self.outer = None;
        self.floor = at.start;
        self.text_end = at.start + bytes.len() as u64;
        if let Some(found) = envelope(bytes) {
            self.outer = Some(found.time);
            if found.kind == Kind::Cri {
                self.turn(found.stderr);
                return self.part(&bytes[found.from..], found.partial, at, beyond, now);
            }
            self.turn(false);
            return self.opened(bytes, at, beyond, now);
        }
        if bytes.starts_with(b"{\"log\":")
            && let Some(Object::Docker { log, stderr, time }) = object(bytes)
        {
            self.outer = Clock::rfc3339(time.as_bytes());
            self.turn(stderr);
            let whole = log.strip_suffix('\n');
            let text = whole.unwrap_or(&log).as_bytes();
            return self.part(text, whole.is_none(), at, beyond, now);
        }
        self.turn(false);
        self.inner(bytes, at, beyond, now);
    }

    /// Standard output and standard error of a container are two files in one. A line that is of neither
    /// counts to the first, whatever stood before it.
    fn turn(&mut self, stderr: bool) {
        if self.stderr != stderr {
            self.stderr = stderr;
            std::mem::swap(&mut self.side, &mut self.other.0);
            std::mem::swap(&mut self.last, &mut self.other.1);
            std::mem::swap(&mut self.torn, &mut self.other.2);
        }
    }

    /// A line in an envelope, or a part of one.
    fn part(&mut self, text: &[u8], partial: bool, at: Range<u64>, beyond: u64, now: Instant) {
        let mut parts = match self.side.parts.take() {
            None if !partial => return self.opened(text, at, beyond, now),
            None => {
                let time = self.outer;
                Parts { number: self.hold(at.clone(), now), text: Vec::new(), beyond: 0, time }
            }
            Some(parts) => parts,
        };
        parts.text.extend_from_slice(text);
        parts.beyond += beyond + shorten(&mut parts.text) as u64;
        self.extend(parts.number, at.end, now);
        if partial {
            self.side.parts = Some(parts);
        } else {
            self.join(parts, at.start, now);
        }
    }

    /// Reads a line whose parts are all there.
    fn join(&mut self, parts: Parts, floor: u64, now: Instant) {
        let Some(at) = self.peek(parts.number).map(|open| open.record.bytes.clone()) else {
            return;
        };
        self.outer = parts.time;
        self.floor = floor;
        self.text_end = at.end.saturating_sub(1);
        let left = self.in_place_of(parts.number, |own| {
            own.opened(&parts.text, at, parts.beyond, now);
        });
        // It went to a record that had begun before.
        left.into_iter().for_each(|number| self.give_up(number));
    }

    /// Keeps a place among the records for what begins here.
    fn hold(&mut self, at: Range<u64>, now: Instant) -> u64 {
        if let Some(number) = self.kept_place() {
            return number;
        }
        let mut open = Open::plain(self.blank(), at, now);
        open.hollow = true;
        open.in_parts = true;
        self.insert(open)
    }

    /// What keeps a place has grown.
    fn extend(&mut self, number: u64, end: u64, now: Instant) {
        if let Some(open) = self.get(number) {
            open.record.bytes.end = end;
            open.touched = now;
        }
    }

    fn give_up(&mut self, number: u64) {
        if let Some(open) = self.get(number) {
            open.whole = true;
        }
    }

    /// Where in the file the last `length` bytes of the present line stand: exact, unless parts or
    /// escapes lie between.
    pub(super) fn place(&self, length: usize) -> u64 {
        self.text_end.saturating_sub(length as u64).max(self.floor + 1)
    }

    /// A line out of its runtime's envelope; a supervisor's may be around it still.
    fn opened(&mut self, mut text: &[u8], at: Range<u64>, beyond: u64, now: Instant) {
        match envelope(text) {
            Some(found) if found.kind == Kind::Pebble => {
                self.outer = Some(found.time);
                text = &text[found.from..];
            }
            Some(found) if found.kind == Kind::Own => {
                self.outer = Some(found.time);
                return self.unknown(text, at, beyond, now);
            }
            _ => {}
        }
        self.inner(text, at, beyond, now);
    }

    /// A line as the server, or whoever, wrote it.
    fn inner(&mut self, bytes: &[u8], at: Range<u64>, beyond: u64, now: Instant) {
        let format = self.reading.format;
        if format == LogFormat::Plain {
            return self.unknown(bytes, at, beyond, now);
        }
        if let Some(csv) = self.side.csv.take() {
            return self.csv_on(csv, bytes, &at, beyond, now);
        }
        match bytes.first() {
            Some(b'{')
                if bytes.get(1) == Some(&b'"')
                    && !matches!(format, LogFormat::Stderr | LogFormat::Csv)
                    && self.object(bytes, &at, beyond, now) =>
            {
                return;
            }
            Some(b'0'..=b'9')
                if matches!(format, LogFormat::Auto | LogFormat::Csv)
                    && head(bytes) != Head::No =>
            {
                return self.csv_head(bytes, &at, beyond, now);
            }
            _ => {}
        }
        if !matches!(format, LogFormat::Auto | LogFormat::Stderr) {
            return self.unknown(bytes, at, beyond, now);
        }
        self.text = true;
        let (bytes, beyond) = beginning(bytes, beyond);
        self.dispatch(bytes, at, now);
        self.left_out(beyond);
    }

    /// A line that is kept as it stands.
    fn unknown(&mut self, bytes: &[u8], at: Range<u64>, beyond: u64, now: Instant) {
        let (bytes, beyond) = beginning(bytes, beyond);
        self.plain(bytes, at, now);
        self.left_out(beyond);
    }

    fn left_out(&mut self, beyond: u64) {
        if let Some(open) = self.last.and_then(|last| self.get(last)).filter(|_| beyond > 0) {
            open.record.left_out += beyond;
        }
    }

    /// A record that is whole by itself.
    fn put(&mut self, open: Open) {
        self.finish_plain();
        let number = self.push(open);
        self.finish_record(number);
        self.last = None;
    }

    /// A line that is a JSON object; false where it is none.
    fn object(&mut self, bytes: &[u8], at: &Range<u64>, beyond: u64, now: Instant) -> bool {
        let text;
        let mut found = object(bytes);
        if found.is_none() && (beyond > 0 || std::str::from_utf8(bytes).is_err()) {
            let (begun, ended) = bytes.split_at(joint(bytes, beyond));
            let whole = if beyond > 0 { joined(begun, ended) } else { None };
            text = whole.unwrap_or_else(|| mended(begun, beyond > 0));
            found = object(text.as_bytes());
        }
        let format = self.reading.format;
        match found {
            Some(Object::Record(columns, Wrapped::No)) if format != LogFormat::Cnpg => {
                self.record(&columns, Format::Json, at, beyond, now);
            }
            Some(Object::Record(columns, Wrapped::Cnpg)) if format != LogFormat::Json => {
                self.record(&columns, Format::Cnpg, at, beyond, now);
            }
            Some(Object::Pooler(pooler)) if format != LogFormat::Json => {
                match pooler_severity(pooler.level.as_bytes()) {
                    Some(severity) => {
                        let found = Pgbouncer {
                            time: pooler.time.as_bytes(),
                            pid: pooler.pid.as_bytes(),
                            severity,
                            message: pooler.message.as_bytes(),
                        };
                        self.pooler(&found, at, now);
                    }
                    None => self.unknown(bytes, at.clone(), beyond, now),
                }
            }
            Some(Object::Other { time, piped }) => {
                let told = time.and_then(|time| Clock::told(time.as_bytes()));
                self.outer = told.or(self.outer);
                // The server's own words before its collector runs, as CloudNativePG passes them on.
                let text = piped.as_deref().map(str::as_bytes).unwrap_or_default();
                let goes_on = text.first() == Some(&b'\t') && self.last.is_some();
                if format != LogFormat::Json && (goes_on || self.has_prefix(text)) {
                    self.dispatch(text, at.clone(), now);
                    self.left_out(beyond);
                } else {
                    self.unknown(bytes, at.clone(), beyond, now);
                }
            }
            Some(_) => self.unknown(bytes, at.clone(), beyond, now),
            None => {
                let (bytes, beyond) = beginning(bytes, beyond);
                let Some(offset) = resync(bytes).filter(|_| self.tears < super::TEARS) else {
                    return false;
                };
                self.tears += 1;
                self.counts.torn += 1;
                let middle = self.place(bytes.len() - offset);
                let number = self.plain(&bytes[..offset], at.clone(), now);
                self.within(number, |own| {
                    own.inner(&bytes[offset..], middle..at.end, beyond, now);
                });
            }
        }
        true
    }

    /// A record by its columns.
    fn record(
        &mut self,
        columns: &Columns<'_>,
        format: Format,
        at: &Range<u64>,
        beyond: u64,
        now: Instant,
    ) {
        let mut open = Open::of(self.blank(), columns, format, at.clone(), now);
        open.record.time = self.column_time(columns).or(self.outer);
        open.record.left_out += beyond;
        self.put(open);
    }

    /// A line of PgBouncer's own log; false where it is none.
    pub(super) fn pgbouncer(&mut self, bytes: &[u8], at: &Range<u64>, now: Instant) -> bool {
        let found = pgbouncer(bytes);
        if let Some(found) = &found {
            self.pooler(found, at, now);
        }
        found.is_some()
    }

    fn pooler(&mut self, found: &Pgbouncer<'_>, at: &Range<u64>, now: Instant) {
        let mut open = Open::of_pgbouncer(self.blank(), found, at.clone(), now);
        open.record.time = self.clock.civil(found.time, &self.reading.zone).or(self.outer);
        self.put(open);
    }

    fn csv_head(&mut self, bytes: &[u8], at: &Range<u64>, beyond: u64, now: Instant) {
        let mut scanner = Scanner::default();
        if beyond == 0 && scanner.feed(bytes) == Fed::Whole {
            return self.record(&scanner.columns(bytes, false), Format::Csv, at, 0, now);
        }
        let number = self.hold(at.clone(), now);
        let time = self.outer;
        let csv = Csv {
            number,
            text: Vec::new(),
            scanner: Scanner::default(),
            beyond: 0,
            time,
            lost: false,
        };
        self.csv_more(csv, bytes, at, beyond, now);
    }

    /// A line behind one that ended within quotes.
    fn csv_on(&mut self, mut csv: Csv, bytes: &[u8], at: &Range<u64>, beyond: u64, now: Instant) {
        if (csv.lost || csv.scanner.is_in_doubt()) && head(bytes) == Head::Yes {
            self.csv_cut(&csv);
            return self.inner(bytes, at.clone(), beyond, now);
        }
        if csv.lost {
            csv.beyond += at.end - at.start;
            self.extend(csv.number, at.end, now);
            self.side.csv = Some(csv);
            return;
        }
        csv.text.push(b'\n');
        self.csv_more(csv, bytes, at, beyond, now);
    }

    /// Adds a line to a record.
    fn csv_more(&mut self, mut csv: Csv, bytes: &[u8], at: &Range<u64>, beyond: u64, now: Instant) {
        let (begun, ended) = bytes.split_at(joint(bytes, beyond));
        csv.text.extend_from_slice(without_quotes(begun, beyond > 0));
        self.extend(csv.number, at.end, now);
        let mut fed = csv.scanner.feed(&csv.text);
        if beyond > 0 {
            csv.beyond += beyond;
            // Where bytes are missing, so may be quotes.
            csv.lost = fed != Fed::More || !csv.scanner.join();
            if !csv.lost {
                csv.scanner.shorten(&mut csv.text);
                let quotes = ended.iter().take_while(|b| **b == b'"').count();
                csv.text.extend_from_slice(&ended[quotes..]);
                fed = csv.scanner.feed(&csv.text);
            }
        }
        csv.scanner.shorten(&mut csv.text);
        csv.lost |= csv.text.len() > CSV_BYTES;
        match fed {
            Fed::Whole if !csv.lost => {
                let columns = csv.scanner.columns(&csv.text, false);
                self.csv_put(&csv, csv.number, &csv.text, &columns);
            }
            Fed::Damaged => self.csv_damaged(csv, at.end, now),
            Fed::Whole | Fed::More => self.side.csv = Some(csv),
        }
    }

    /// Puts a record in the place that was kept for it; text that came to no message stays as it is.
    fn csv_put(&mut self, csv: &Csv, number: u64, text: &[u8], columns: &Columns<'_>) {
        let Some((at, now)) =
            self.peek(number).map(|open| (open.record.bytes.clone(), open.touched))
        else {
            return;
        };
        let beyond = csv.beyond + csv.scanner.left_out();
        let outer = std::mem::replace(&mut self.outer, csv.time);
        let code = columns.some(Column::SqlState).and_then(SqlState::parse);
        self.in_place_of(number, |own| {
            if code.is_some() && columns.get(Column::Message).is_some() {
                own.record(columns, Format::Csv, &at, beyond, now);
            } else {
                own.unknown(text, at, beyond, now);
                own.finish_plain();
            }
        });
        self.outer = outer;
    }

    /// Takes what there is of a record for the whole.
    fn csv_cut(&mut self, csv: &Csv) {
        let columns = csv.scanner.columns(&csv.text, true);
        self.csv_put(csv, csv.number, &csv.text, &columns);
    }

    /// Text in which a record breaks off and, somewhere, another begins, or lines of something else.
    fn csv_damaged(&mut self, mut csv: Csv, end: u64, now: Instant) {
        let text = std::mem::take(&mut csv.text);
        let mut from = 0;
        loop {
            let rest = &text[from..];
            let piece =
                if from == 0 || head(rest) == Head::Yes { csv_piece(rest) } else { other(rest) };
            if let Piece::Open(scanner) = piece {
                self.side.csv = Some(Csv { text: rest.to_vec(), scanner, ..csv });
                return;
            }
            let (length, next) = match piece {
                Piece::Cut { length, next } => (length, next),
                Piece::Whole(length) | Piece::Other(length) => (length, length + 1),
                Piece::Open(_) => (rest.len(), rest.len()),
            };
            let last = from + next >= text.len();
            let behind = (text.len().saturating_sub(from + next)) as u64;
            let stop = if last { end } else { end.saturating_sub(behind + 1) };
            let start = self.peek(csv.number).map_or(stop, |open| open.record.bytes.start);
            let stop = stop.max(start + 1);
            self.extend(csv.number, end.max(stop), now);
            let found = &rest[..length];
            if matches!(piece, Piece::Other(_)) {
                let left = self
                    .in_place_of(csv.number, |own| own.inner(found, start..end.max(stop), 0, now));
                left.into_iter().for_each(|number| self.give_up(number));
            } else {
                let cut = matches!(piece, Piece::Cut { .. });
                self.counts.torn += u64::from(cut);
                let mut scanner = Scanner::default();
                scanner.feed(found);
                let columns = scanner.columns(found, cut);
                self.csv_put(&csv, csv.number, found, &columns);
                csv.beyond = 0;
                csv.scanner = Scanner::default();
            }
            if last {
                return;
            }
            from += next;
            let next = stop..end.max(stop + 1);
            csv.number = self.within(csv.number, |own| own.hold(next, now));
        }
    }

    /// What has no end yet, and ended so far at or before `before`, ends there.
    pub(super) fn flush(&mut self, before: u64, now: Instant) {
        if self.records.iter().all(|open| !open.hollow || open.whole) {
            return;
        }
        for _ in 0..2 {
            self.turn(!self.stderr);
            let ended = |number: u64| {
                let at = usize::try_from(number.saturating_sub(self.front)).unwrap_or(usize::MAX);
                self.records.get(at).is_none_or(|open| open.record.bytes.end <= before)
            };
            let csv_ended = self.side.csv.as_ref().is_some_and(|csv| ended(csv.number));
            if let Some(parts) = self.side.parts.take_if(|parts| ended(parts.number)) {
                let floor = self.peek(parts.number).map_or(0, |open| open.record.bytes.start);
                self.join(parts, floor, now);
            }
            // A record whose next line has begun is waited for.
            if csv_ended
                && self.side.parts.is_none()
                && let Some(csv) = self.side.csv.take()
            {
                self.csv_cut(&csv);
            }
        }
    }
}

/// What of a line is before its missing middle, and what is missing or behind.
fn beginning(bytes: &[u8], beyond: u64) -> (&[u8], u64) {
    let (begun, ended) = bytes.split_at(joint(bytes, beyond));
    (begun, beyond + ended.len() as u64)
}

/// A beginning without quotes at its end: the other half of a pair may be missing.
fn without_quotes(begun: &[u8], cut: bool) -> &[u8] {
    let quotes = begun.iter().rev().take_while(|b| cut && **b == b'"').count();
    &begun[..begun.len() - quotes]
}

/// What stands at the start of damaged text.
enum Piece {
    /// A record, so long.
    Whole(usize),
    /// A record that goes on in lines to come.
    Open(Scanner),
    /// A record that breaks off, and where the next piece begins.
    Cut { length: usize, next: usize },
    /// A line that is no csv, so long.
    Other(usize),
}

fn csv_piece(text: &[u8]) -> Piece {
    let mut scanner = Scanner::default();
    let mut line = 0;
    loop {
        let length = line + memchr::memchr(b'\n', &text[line..]).unwrap_or(text.len() - line);
        match scanner.feed(&text[..length]) {
            Fed::Whole => return Piece::Whole(length),
            Fed::More if length < text.len() => line = length + 1,
            Fed::More => return Piece::Open(scanner),
            Fed::Damaged => {
                if let Some(offset) = Scanner::resync(text) {
                    return Piece::Cut { length: offset, next: offset };
                }
                // The line that shows the damage is another's, if the record came to one before.
                let length = if line > 0 { line - 1 } else { length };
                return Piece::Cut { length, next: length + 1 };
            }
        }
    }
}

fn other(text: &[u8]) -> Piece {
    Piece::Other(memchr::memchr(b'\n', text).unwrap_or(text.len()))
}
