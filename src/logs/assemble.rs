//! Lines to records: heads, continuation lines, and the further parts (DETAIL, STATEMENT …) that carry
//! the same process id, while other processes write between them.
//!
//! **Order.** Records leave in the order in which their first lines stand in the file, so that a
//! position in the file is a position in the stream of records too.
//!
//! **When a record is whole.** The bytes say so when the same process begins another record, or when
//! `REACH` bytes followed without a line of it. Where no bytes follow, the clock must decide: the
//! server writes a record at once, so one that got no line for `IDLE` is taken as whole. A re-read
//! has no such pause, and a part that came after it would be joined the second time. So the
//! decision is a value, a [`Break`]: who keeps it with the position, before anything of it is sent,
//! and gives it back at a re-read, gets the same records, whatever the clock did. The part that came
//! too late is a record of its own, counted.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::format::{Clock, Escape, Keyword, Match, Prefix, Reading, known};
use super::record::{Fields, Key, Part, Record, Severity, SqlState};

/// A record without a new line for so long is whole.
pub const IDLE: Duration = Duration::from_millis(300);

/// A record is whole when so many bytes follow its last line: beyond a pipe's capacity, nothing of
/// a torn record is still to come.
const REACH: u64 = 64 * 1024;

/// The most text of one record that is kept; Loki refuses lines over 256 KiB.
const RECORD_BYTES: usize = 128 * 1024;

/// The most text kept in all: beyond it the oldest record is taken as whole.
const OPEN_BYTES: usize = 4 * 1024 * 1024;

/// Writes up to this size are never torn by another process's (PIPE_BUF).
const ATOMIC: u64 = 4096;

/// The clock's decision that records were whole: when the reading had come to `at`, those whose last
/// line ended at or before `before` took no further lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    pub at: u64,
    pub before: u64,
}

/// What the assembler met, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that are no part of any PostgreSQL record, kept as they stand.
    pub plain: u64,
    /// Lines in whose middle another process's record began.
    pub torn: u64,
    /// Records cut at the size cap.
    pub cut: u64,
    /// Parts of records whose head was unknown or given up.
    pub late: u64,
    /// Records taken as whole because too much was waiting.
    pub evicted: u64,
}

/// One record that is being built, or waits for an older one.
#[derive(Debug)]
struct Open {
    process: u32,
    severity: Option<Severity>,
    sqlstate: Option<SqlState>,
    time: Option<i64>,
    fields: Fields,
    bytes: Range<u64>,
    text: Vec<u8>,
    /// Where each part begins and ends in the text.
    parts: Vec<(Part, Range<usize>)>,
    left_out: u64,
    plain: bool,
    whole: bool,
    touched: Instant,
}

/// Joins the lines of one file.
#[derive(Debug)]
pub struct Assembler {
    reading: Reading,
    known: Vec<Prefix>,
    clock: Clock,
    counts: Counts,
    /// In the order of their first lines.
    records: VecDeque<Open>,
    /// The number of the front record; numbers rise by one.
    front: u64,
    /// Records that may still get lines, by process.
    live: Vec<(u32, u64)>,
    /// The record of the last line: where continuation lines belong.
    last: Option<u64>,
    /// The record whose line was torn, and waits for the line's rest.
    torn: Option<u64>,
    waiting: usize,
    end: u64,
    swept: u64,
    breaks: VecDeque<Break>,
}

impl Assembler {
    pub fn new(reading: Reading) -> Self {
        Self {
            reading,
            known: known(),
            clock: Clock::default(),
            counts: Counts::default(),
            records: VecDeque::new(),
            front: 0,
            live: Vec::new(),
            last: None,
            torn: None,
            waiting: 0,
            end: 0,
            swept: 0,
            breaks: VecDeque::new(),
        }
    }

    /// Gives back what the clock decided in an earlier reading of the bytes to come.
    pub fn replay(&mut self, breaks: impl IntoIterator<Item = Break>) {
        self.breaks.extend(breaks);
    }

    /// From the next line on, lines are read another way.
    pub fn switch(&mut self, reading: Reading) {
        self.clock.forget();
        self.reading = reading;
    }

    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// One line without its newline; `at` is where it stands in the file, its newline included. A
    /// line that was cut on its way here has a range longer than its bytes.
    pub fn line(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        while let Some(stop) = self.breaks.pop_front_if(|stop| stop.at <= at.start) {
            self.close(stop);
        }
        self.end = at.end;
        if at.start >= self.swept + REACH / 4 {
            self.sweep(at.start);
        }
        self.dispatch(bytes, at, now);
        while self.waiting > OPEN_BYTES {
            let Some(position) = self.records.iter().position(|open| !open.whole) else { break };
            self.counts.evicted += 1;
            self.finish_record(self.front + position as u64);
        }
    }

    fn dispatch(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        let known = bytes.len() as u64 + 1;
        let beyond = (at.end - at.start).saturating_sub(known);
        if bytes.first() == Some(&b'\t') {
            self.continuation(bytes, at, now);
        } else if let Some((found, line)) = self.find(bytes).map(|found| (found, bytes)) {
            match found.keyword {
                Keyword::Head(severity) => self.head(severity, &found, line, at, now),
                Keyword::Group(part) => self.group(part, &found, line, at, now),
            }
        } else if let Some(torn) = self.torn.take().filter(|torn| self.is_live(*torn)) {
            self.last = Some(torn);
            self.append(torn, bytes, at, now);
        } else {
            self.plain(bytes, at, now);
        }
        if beyond > 0
            && let Some(open) = self.last.and_then(|last| self.get(last))
        {
            open.left_out += beyond;
        }
    }

    fn find(&self, line: &[u8]) -> Option<Match> {
        if let Some(found) = self.reading.prefix.as_ref().and_then(|prefix| prefix.matches(line)) {
            return Some(found);
        }
        line.first()?.is_ascii_digit().then(|| self.known.iter().find_map(|p| p.matches(line)))?
    }

    fn process(found: &Match, line: &[u8]) -> u32 {
        let number = |digits: &[u8], radix| {
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
        };
        if let Some(pid) = found.get(line, Escape::Pid) {
            return number(pid, 10).unwrap_or(0);
        }
        found
            .get(line, Escape::SessionId)
            .and_then(|id| id.rsplit(|b| *b == b'.').next())
            .and_then(|pid| number(pid, 16))
            .unwrap_or(0)
    }

    fn time(&mut self, found: &Match, line: &[u8]) -> Option<i64> {
        if let Some(text) =
            found.get(line, Escape::TimeMillis).or_else(|| found.get(line, Escape::Time))
        {
            return self.clock.civil(text, &self.reading.zone);
        }
        Clock::epoch(found.get(line, Escape::Epoch)?)
    }

    fn head(
        &mut self,
        severity: Severity,
        found: &Match,
        line: &[u8],
        at: Range<u64>,
        now: Instant,
    ) {
        let process = Self::process(found, line);
        let time = self.time(found, line);
        self.finish_process(process);
        self.finish_plain();
        let mut open = Open::new(process, at.clone(), now);
        open.severity = Some(severity);
        open.time = time;
        open.fill(found, line);
        let mut text = &line[found.text..];
        if let Some((sqlstate, rest)) = super::format::verbose(text, self.reading.verbosity) {
            open.sqlstate = Some(sqlstate);
            text = rest;
        }
        open.text.reserve(text.len() + 16);
        open.text.extend_from_slice(severity.as_str().as_bytes());
        open.text.extend_from_slice(b":  ");
        let start = open.text.len();
        open.parts.push((Part::Message, start..start));
        let number = self.push(open);
        self.append(number, text, at, now);
    }

    fn group(&mut self, part: Part, found: &Match, line: &[u8], at: Range<u64>, now: Instant) {
        let process = Self::process(found, line);
        let time = self.time(found, line);
        let mine = self.live.iter().rev().find(|(p, _)| *p == process).map(|(_, number)| *number);
        let mine = mine.filter(|number| {
            self.peek(*number).is_some_and(|open| {
                open.time == time
                    && at.start - open.bytes.end <= REACH
                    && open.parts.last().is_none_or(|(last, _)| *last < part)
            })
        });
        self.finish_plain();
        let number = match mine {
            Some(number) => number,
            None => {
                self.counts.late += 1;
                self.finish_process(process);
                let mut open = Open::new(process, at.clone(), now);
                open.time = time;
                open.fill(found, line);
                self.push(open)
            }
        };
        if let Some(open) = self.get(number) {
            open.begin(part);
        }
        self.last = Some(number);
        self.append(number, &line[found.text..], at, now);
    }

    fn continuation(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        let last = self.last.filter(|last| self.is_live(*last));
        let Some(number) = last else { return self.plain(bytes, at, now) };
        let plain = self.peek(number).is_some_and(|open| open.plain);
        let text = if plain { bytes } else { &bytes[1..] };
        if let Some(open) = self.get(number) {
            open.add(b"\n");
        }
        self.append(number, text, at, now);
    }

    fn plain(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        self.finish_plain();
        self.counts.plain += 1;
        let mut open = Open::new(0, at.clone(), now);
        open.plain = true;
        open.parts.push((Part::Message, 0..0));
        let number = self.push(open);
        self.append(number, bytes, at, now);
    }

    /// Adds text to a record's last part; where another process's record begins within, it is taken
    /// out and read by itself.
    fn append(&mut self, number: u64, text: &[u8], at: Range<u64>, now: Instant) {
        let Some(open) = self.peek(number) else { return };
        let extent = at.end - open.bytes.start;
        let torn = if extent > ATOMIC && !open.plain { self.tear(number, text) } else { None };
        let kept = torn.map_or(text, |offset| &text[..offset]);
        let end = at.end - torn.map_or(0, |offset| (text.len() - offset) as u64 + 1);
        let Some(open) = self.get(number) else { return };
        let before = open.text.len();
        open.add(kept);
        open.bytes.end = end;
        open.touched = now;
        let grown = open.text.len() - before;
        self.waiting += grown;
        if let Some(offset) = torn {
            self.counts.torn += 1;
            self.torn = Some(number);
            self.dispatch(&text[offset..], end..at.end, now);
        }
    }

    /// Where in the text another process's record begins: a whole prefix with a keyword, another
    /// process, and a time that fits.
    fn tear(&mut self, number: u64, text: &[u8]) -> Option<usize> {
        let (process, time) = self.peek(number).map(|open| (open.process, open.time))?;
        let keywords = memchr::memmem::find_iter(text, b":  ");
        let prefix = self.reading.prefix.as_ref()?;
        if !prefix.has_pid() || !prefix.has_time() {
            return None;
        }
        let mut from = 0;
        for colon in keywords {
            // A prefix holds at most this many bytes.
            let start = from.max(colon.saturating_sub(600)).max(1);
            for offset in start..colon {
                let rest = &text[offset..];
                let Some(found) = self.reading.prefix.as_ref().and_then(|p| p.matches(rest)) else {
                    continue;
                };
                let near = match (time, self.time(&found, rest)) {
                    (Some(a), Some(b)) => (b - a).abs() < 60_000_000_000,
                    _ => false,
                };
                if near && Self::process(&found, rest) != process {
                    return Some(offset);
                }
            }
            from = colon;
        }
        None
    }

    fn push(&mut self, open: Open) -> u64 {
        let number = self.front + self.records.len() as u64;
        self.live.push((open.process, number));
        self.records.push_back(open);
        self.last = Some(number);
        number
    }

    fn peek(&self, number: u64) -> Option<&Open> {
        self.records.get(usize::try_from(number.checked_sub(self.front)?).ok()?)
    }

    fn get(&mut self, number: u64) -> Option<&mut Open> {
        self.records.get_mut(usize::try_from(number.checked_sub(self.front)?).ok()?)
    }

    fn is_live(&self, number: u64) -> bool {
        self.peek(number).is_some_and(|open| !open.whole)
    }

    fn finish_record(&mut self, number: u64) {
        if let Some(open) = self.get(number) {
            open.whole = true;
        }
        self.live.retain(|(_, n)| *n != number);
    }

    fn finish_process(&mut self, process: u32) {
        let plain = |this: &Self, n: u64| this.peek(n).is_some_and(|open| open.plain);
        let mine: Option<u64> = self
            .live
            .iter()
            .find(|(p, n)| *p == process && !plain(self, *n))
            .map(|(_, number)| *number);
        if let Some(number) = mine {
            self.finish_record(number);
        }
    }

    /// A plain line takes continuation lines only as long as nothing else comes.
    fn finish_plain(&mut self) {
        if let Some(last) = self.last
            && self.peek(last).is_some_and(|open| open.plain)
        {
            self.finish_record(last);
        }
    }

    fn finish_where(&mut self, mut whole: impl FnMut(&Open) -> bool) -> bool {
        let mut any = false;
        for open in &mut self.records {
            if !open.whole && whole(open) {
                open.whole = true;
                any = true;
            }
        }
        if any {
            let (records, front) = (&self.records, self.front);
            self.live.retain(|(_, n)| !records[usize::try_from(*n - front).unwrap_or(0)].whole);
        }
        any
    }

    fn sweep(&mut self, at: u64) {
        self.swept = at;
        self.finish_where(|open| at.saturating_sub(open.bytes.end) > REACH);
    }

    /// To be called when every byte that the file holds was read: takes records as whole that got no
    /// line for [`IDLE`], and says so by a value to be kept until the position has passed it. No
    /// call, no effect of any clock.
    pub fn idle(&mut self, now: Instant) -> Option<Break> {
        let rested = |open: &Open| now.saturating_duration_since(open.touched) >= IDLE;
        let before = self
            .records
            .iter()
            .filter(|open| !open.whole && rested(open))
            .map(|open| open.bytes.end)
            .max()?;
        let stop = Break { at: self.end, before };
        self.close(stop);
        Some(stop)
    }

    fn close(&mut self, stop: Break) {
        self.finish_where(|open| open.bytes.end <= stop.before);
    }

    /// The file ends here for good: all records are whole.
    pub fn finish(&mut self) {
        self.finish_where(|_| true);
        self.last = None;
        self.torn = None;
    }

    /// The next whole record, in the order of first lines.
    pub fn ready(&mut self) -> Option<Record> {
        let open = self.records.pop_front_if(|open| open.whole)?;
        self.front += 1;
        self.waiting -= open.text.len().min(self.waiting);
        self.counts.cut += u64::from(open.left_out > 0);
        Some(open.into_record())
    }

    /// Where the first record begins that has not left yet: a reading that starts there misses
    /// nothing. None where nothing waits.
    pub fn open_since(&self) -> Option<u64> {
        self.records.front().map(|open| open.bytes.start)
    }

    /// When [`idle`](Self::idle) will next have something to do.
    pub fn idle_at(&self) -> Option<Instant> {
        self.records.iter().filter(|open| !open.whole).map(|open| open.touched + IDLE).min()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Open {
    fn new(process: u32, bytes: Range<u64>, now: Instant) -> Self {
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
        }
    }

    fn begin(&mut self, part: Part) {
        if !self.text.is_empty() {
            self.text.push(b'\n');
        }
        self.text.extend_from_slice(part.label().as_bytes());
        self.parts.push((part, self.text.len()..self.text.len()));
    }

    fn add(&mut self, text: &[u8]) {
        let room = RECORD_BYTES.saturating_sub(self.text.len());
        let kept = &text[..text.len().min(room)];
        self.text.extend_from_slice(kept);
        self.left_out += (text.len() - kept.len()) as u64;
        if let Some((_, range)) = self.parts.last_mut() {
            range.end = self.text.len();
        }
    }

    fn fill(&mut self, found: &Match, line: &[u8]) {
        const PAIRS: [(Key, Escape); 13] = [
            (Key::User, Escape::User),
            (Key::Dbname, Escape::Dbname),
            (Key::Pid, Escape::Pid),
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
            if value != b"[unknown]" {
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
        if let Some(value) = found.get(line, Escape::RemoteHost) {
            set(Key::RemoteHost, value);
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

    fn into_record(self) -> Record {
        let (line, parts) = match String::from_utf8(self.text) {
            Ok(line) => (line, self.parts),
            Err(error) => {
                // Part by part, since a replacement is longer than what it replaces.
                let bytes = error.into_bytes();
                let mut line = String::with_capacity(bytes.len() + 16);
                let mut parts = Vec::with_capacity(self.parts.len());
                let mut from = 0;
                for (part, range) in self.parts {
                    line.push_str(&String::from_utf8_lossy(&bytes[from..range.start]));
                    let start = line.len();
                    line.push_str(&String::from_utf8_lossy(&bytes[range.clone()]));
                    parts.push((part, start..line.len()));
                    from = range.end;
                }
                (line, parts)
            }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prefix: &str, text: &str) -> (Vec<Record>, Counts) {
        let mut assembler =
            Assembler::new(Reading::new(Some(prefix), Some("UTC"), Some("default")));
        let now = Instant::now();
        let mut at = 0;
        let mut records = Vec::new();
        for line in text.split_inclusive('\n') {
            let end = at + line.len() as u64;
            assembler.line(line.trim_end_matches('\n').as_bytes(), at..end, now);
            at = end;
            records.extend(std::iter::from_fn(|| assembler.ready()));
        }
        assembler.finish();
        records.extend(std::iter::from_fn(|| assembler.ready()));
        (records, assembler.counts())
    }

    const SAMPLE: &str = "\
2026-03-04 09:15:01.207 UTC [4411] app@shop/web-7 ERROR:  duplicate key value violates unique constraint \"orders_pkey\"
2026-03-04 09:15:01.655 UTC [77] LOG:  checkpoint starting: time
2026-03-04 09:15:01.207 UTC [4411] app@shop/web-7 DETAIL:  Key (id)=(90210) already exists.
2026-03-04 09:15:01.207 UTC [4411] app@shop/web-7 STATEMENT:  INSERT INTO orders
\t  (id, total)
\tVALUES ($1, $2)
cp: cannot stat 'x'
";

    #[test]
    fn parts_join_by_process_while_another_writes() {
        let (records, counts) = read("%m [%p] %q%u@%d/%a ", SAMPLE);
        let lines: Vec<_> = records.iter().map(Record::line).collect();
        assert_eq!(
            lines,
            [
                "ERROR:  duplicate key value violates unique constraint \"orders_pkey\"\n\
                 DETAIL:  Key (id)=(90210) already exists.\n\
                 STATEMENT:  INSERT INTO orders\n  (id, total)\nVALUES ($1, $2)",
                "LOG:  checkpoint starting: time",
                "cp: cannot stat 'x'",
            ]
        );
        assert_eq!(records[0].field(Key::User), Some("app"));
        assert_eq!(records[0].field(Key::Dbname), Some("shop"));
        assert_eq!(records[0].field(Key::ApplicationName), Some("web-7"));
        assert_eq!(records[0].field(Key::Pid), Some("4411"));
        assert_eq!(records[0].time, Some(1_772_615_701_207_000_000));
        assert_eq!(records[0].part(Part::Statement).map(str::len), Some(48));
        assert!(records[2].is_plain());
        assert_eq!(counts, Counts { plain: 1, ..Counts::default() });
    }
}
