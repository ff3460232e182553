//! Lines to records: heads, continuation lines, and the further parts (DETAIL, STATEMENT …) that carry
//! the same process id, while other processes write between them.
//!
//! What is sent for a record must depend on the file's bytes and the checkpoint alone. Three things
//! see to it:
//!
//! * **Order.** Records leave in the order in which their first lines stand in the file, so that a
//!   position in the file is a position in the stream of records too.
//! * **Where to begin again.** Records overlap: lines of one that was sent may stand behind the first
//!   line of the next. Each record therefore says from where to read again (`Record::resume`) and
//!   which records are then still to be sent: those that begin at or behind `Record::next`
//!   ([`Assembler::resume`]).
//! * **When a record is whole.** The bytes say so when the same process begins another record, or
//!   when `REACH` bytes followed without a line of it. Where no bytes follow, the clock must decide:
//!   the server writes a record at once, so one that got no line for `IDLE` is taken as whole. A
//!   re-read has no such pause, and would join a part that came after it. So the decision is a
//!   value, a [`Break`]: who stores it before anything of it is sent, and gives it back at a re-read
//!   ([`Assembler::replay`]), gets the same records, whatever the clock did. A part that came too
//!   late is a record of its own, counted.

mod columns;
mod enter;
mod open;
mod side;
mod tear;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::format::{Clock, Escape, Keyword, Match, Prefix, Reading, Zone, known};
use super::record::{Part, Record, Severity};
use open::Open;
use side::Side;

/// A record without a new line for so long is whole.
pub const IDLE: Duration = Duration::from_millis(300);

/// A record is whole when so many bytes follow its last line: as much as a pipe holds, so that
/// nothing of a torn record is still to come.
const REACH: u64 = 64 * 1024;

/// Writes up to this size are never torn. A larger one may be torn before that: what it has over whole
/// pages may go first.
const ATOMIC: u64 = 4096;

/// So often one line is taken apart: more is no accident.
const TEARS: u32 = 32;

/// The most memory for records in all; beyond it the oldest is taken as whole.
const OPEN_BYTES: usize = 4 * 1024 * 1024;

/// As much memory of records that have left is kept for others: of a run of small ones, for where
/// processes write in turn many leave at once.
const SPARE_BYTES: usize = 64 * 1024;

/// The clock's decision that records were whole: when the reading had come to `at`, those whose last
/// line ended at or before `before` took no further lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    pub at: u64,
    pub before: u64,
}

/// What the assembler met since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that belong to no PostgreSQL record, kept as they stand.
    pub plain: u64,
    /// Lines in whose middle another process's record began.
    pub torn: u64,
    /// Records cut at the size cap.
    pub cut: u64,
    /// Parts of records whose head was unknown or given up.
    pub late: u64,
    /// Records taken as whole because too much was waiting.
    pub evicted: u64,
    /// Head lines that can be read in several ways, since a client's name looks like a prefix.
    pub ambiguous: u64,
}

/// Joins the lines of one file.
#[derive(Debug)]
pub struct Assembler {
    reading: Reading,
    /// Prefixes for lines that the reading's own does not fit: written before a change of it.
    known: &'static [Prefix],
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
    /// What the present stream of a container has begun …
    side: Side,
    /// … and the other one, with its `last` and `torn`.
    other: (Side, Option<u64>, Option<u64>),
    stderr: bool,
    /// What the present line's envelope says of the time.
    outer: Option<i64>,
    /// The record whose place the present line may take.
    slot: Option<u64>,
    /// Tears in the present line.
    tears: u32,
    /// Lines came that do not tell their format themselves.
    text: bool,
    /// The memory that the records take.
    weight: usize,
    /// Where the last line ended, and where its text did, without the newline.
    end: u64,
    text_end: u64,
    /// Where the last line began: what was found within it is not placed before.
    floor: u64,
    swept: u64,
    /// Records that left, and whose lines stand behind the start of one that did not.
    overlaps: Vec<Range<u64>>,
    /// Records that begin before were sent by an earlier run.
    next: u64,
    breaks: VecDeque<Break>,
    #[expect(clippy::vec_box, reason = "a record keeps its box: moving it out is what is spared")]
    spare: Vec<Box<Record>>,
    spare_bytes: usize,
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
            side: Side::default(),
            other: Default::default(),
            stderr: false,
            outer: None,
            slot: None,
            tears: 0,
            text: false,
            weight: 0,
            end: 0,
            text_end: 0,
            floor: 0,
            swept: 0,
            overlaps: Vec::new(),
            next: 0,
            breaks: VecDeque::new(),
            spare: Vec::new(),
            spare_bytes: 0,
        }
    }

    /// For a reading that begins at the `resume` of the last record that was sent: records that
    /// begin before its `next` are not given out again.
    pub fn resume(&mut self, next: u64) {
        self.next = next;
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

    /// Whether lines came that only a prefix explains.
    pub fn has_text(&self) -> bool {
        self.text
    }

    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// One line without its newline; `at` is where it stands in the file, its newline included. A
    /// line that was cut on its way here has a range longer than its bytes.
    pub fn line(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        while let Some(stop) = self.breaks.pop_front_if(|stop| stop.at <= at.start) {
            self.close(stop, now);
        }
        self.end = at.end;
        if at.start >= self.swept.saturating_add(REACH / 4) {
            self.swept = at.start;
            self.flush(at.start.saturating_sub(REACH + 1), now);
            self.finish_where(|open| at.start.saturating_sub(open.record.bytes.end) > REACH);
        }
        let beyond = (at.end - at.start).saturating_sub(bytes.len() as u64 + 1);
        self.enter(bytes, at, beyond, now);
        if self.weight > OPEN_BYTES
            && let Some(oldest) = self.live.iter().map(|(_, number)| *number).min()
        {
            self.counts.evicted += 1;
            self.finish_record(oldest);
        }
    }

    fn dispatch(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        if bytes.first() == Some(&b'\t') {
            return self.continuation(bytes, at, now);
        }
        let Some((found, rivals)) = self.find(bytes) else {
            return match self.torn.take().filter(|torn| self.is_open_for(*torn, at.start)) {
                Some(torn) => {
                    self.finish_plain();
                    self.last = Some(torn);
                    self.append(torn, bytes, at, now);
                }
                None if self.look_back(now) => self.dispatch(bytes, at, now),
                None if self.pgbouncer(bytes, &at, now) => {}
                None => match self.waited(bytes) {
                    Some(offset) => {
                        let middle = self.place(bytes.len() - offset);
                        self.plain(&bytes[..offset], at.start..middle, now);
                        self.dispatch(&bytes[offset..], middle..at.end, now);
                    }
                    None => self.plain(bytes, at, now),
                },
            };
        };
        if !rivals.is_empty() {
            self.counts.ambiguous += 1;
            if let Some((part, found)) = self.settle(&rivals, bytes) {
                return self.group(part, &found, bytes, at, now);
            }
        }
        match found.keyword {
            Keyword::Head(severity) => {
                let doubt = !rivals.is_empty();
                self.head(severity, &found, doubt, bytes, at, now);
            }
            Keyword::Group(part) => self.group(part, &found, bytes, at, now),
        }
    }

    /// `pg_ctl` waits in a line without an end, and the server writes behind it; container images start
    /// so for the first time.
    fn waited(&self, bytes: &[u8]) -> Option<usize> {
        let rest = bytes.strip_prefix(b"waiting for server to ")?;
        let words = bytes.len() - rest.len() + memchr::memchr(b'.', rest)?;
        let offset = words + bytes[words..].iter().take_while(|b| **b == b'.').count();
        self.find(&bytes[offset..]).map(|_| offset)
    }

    /// How a line is read: the left-most way, and all ways where there are several.
    fn find(&self, line: &[u8]) -> Option<(Match, Vec<Match>)> {
        if let Some(prefix) = &self.reading.prefix
            && let Some(found) = prefix.matches(line)
        {
            let rivals = prefix.rivals(line, &found);
            let plausible = rivals.iter().find(|rival| rival.is_plausible(line)).cloned();
            return Some((plausible.unwrap_or(found), rivals));
        }
        let digit = line.first()?.is_ascii_digit();
        let found = digit.then(|| self.known.iter().find_map(|known| known.matches(line)))??;
        Some((found, Vec::new()))
    }

    /// An ambiguous line that repeats the prefix of an ambiguous head settles both: parts of a record
    /// have the bytes of its head's prefix, but for the line number.
    fn settle(&mut self, rivals: &[Match], line: &[u8]) -> Option<(Part, Match)> {
        let process = process(rivals.first()?, line);
        let number = self.mine(process)?;
        let prefix = self.reading.prefix.as_ref()?;
        let open = self.peek(number)?;
        let doubt = open.doubt.as_ref()?;
        let heads = prefix.all(&doubt.line);
        let (part, found, severity, head) = rivals.iter().find_map(|rival| {
            let Keyword::Group(part) = rival.keyword else { return None };
            heads.iter().find_map(|head| {
                let Keyword::Head(severity) = head.keyword else { return None };
                head.same(&doubt.line, rival, line)
                    .then(|| (part, rival.clone(), severity, head.clone()))
            })
        })?;
        let verbosity = self.reading.verbosity;
        let open = self.get(number)?;
        if open.doubt.as_ref().is_some_and(|doubt| doubt.prefix != head.end) {
            open.settle(severity, &head, verbosity);
        }
        Some((part, found))
    }

    fn time(&mut self, found: &Match, line: &[u8]) -> Option<i64> {
        time(found, line, &mut self.clock, &self.reading.zone)
    }

    fn head(
        &mut self,
        severity: Severity,
        found: &Match,
        doubt: bool,
        line: &[u8],
        at: Range<u64>,
        now: Instant,
    ) {
        let process = process(found, line);
        if let Some(number) = self.mine(process) {
            self.finish_record(number);
        }
        self.finish_plain();
        let mut open = Open::new(self.blank(), process, at.clone(), now);
        open.record.time = self.time(found, line).or(self.outer);
        let text = open.head(severity, found, line, self.reading.verbosity);
        let number = self.push(open);
        self.append(number, text, at, now);
        if let Some(open) = self.get(number).filter(|_| doubt) {
            open.doubt(line, found.end);
        }
    }

    fn group(&mut self, part: Part, found: &Match, line: &[u8], at: Range<u64>, now: Instant) {
        let process = process(found, line);
        if self.mine(process).is_none() {
            self.look_back(now);
        }
        let time = self.time(found, line);
        // `%m` and `%n` are the same in all lines of a record, `%t` is read anew for each.
        let slack = if found.get(line, Escape::Time).is_some() { 10_000_000_000 } else { 0 };
        let near = |open: &Open| match (open.record.time, time) {
            (Some(head), Some(part)) => (part - head).abs() <= slack,
            _ => true,
        };
        self.finish_plain();
        let mine = self.mine(process);
        let joined = mine.filter(|number| {
            self.peek(*number).is_some_and(|open| {
                open.takes(part)
                    && near(open)
                    && open.record.bytes.start <= at.start
                    && at.start.saturating_sub(open.record.bytes.end) <= REACH
            })
        });
        let number = joined.unwrap_or_else(|| {
            self.counts.late += 1;
            if let Some(number) = mine {
                self.finish_record(number);
            }
            let mut open = Open::new(self.blank(), process, at.clone(), now);
            open.record.time = time.or(self.outer);
            open.fill(found, line);
            self.push(open)
        });
        self.last = Some(number);
        if let Some(open) = self.get(number) {
            open.begin(part);
        }
        self.append(number, &line[found.text..], at, now);
    }

    fn continuation(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        let last = self.last.filter(|last| self.is_open_for(*last, at.start));
        let Some(number) = last else { return self.plain(bytes, at, now) };
        let Some(open) = self.get(number) else { return };
        let text = if open.plain { bytes } else { &bytes[1..] };
        open.add(b"\n");
        self.append(number, text, at, now);
    }

    fn plain(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        self.finish_plain();
        self.counts.plain += 1;
        let mut open = Open::plain(self.blank(), at.clone(), now);
        open.record.time = self.outer;
        let number = self.push(open);
        self.append(number, bytes, at, now);
    }

    /// Adds text to a record's last part; where another process's record begins within, it is taken
    /// out and read by itself.
    fn append(&mut self, number: u64, text: &[u8], at: Range<u64>, now: Instant) {
        let long = |open: &Open| at.end.saturating_sub(open.record.bytes.start) > ATOMIC;
        let torn = self.peek(number).is_some_and(long);
        let torn = if torn && self.tears < TEARS { self.tear(number, text) } else { None };
        let (kept, end) = match torn {
            Some(offset) => (&text[..offset], self.place(text.len() - offset)),
            None => (text, at.end),
        };
        let Some(open) = self.get(number) else { return };
        let before = open.weight();
        open.add_line(kept);
        open.record.bytes.end = end.max(open.record.bytes.start + 1);
        open.touched = now;
        let grown = open.weight() - before;
        self.weight += grown;
        if let Some(offset) = torn {
            self.counts.torn += 1;
            self.tears += 1;
            self.torn = Some(number);
            self.dispatch(&text[offset..], end..at.end, now);
        }
    }

    fn push(&mut self, mut open: Open) -> u64 {
        if let Some(number) = self.slot.take()
            && let Some(place) = self.get(number)
        {
            open.record.bytes.start = place.record.bytes.start;
            let (process, old, new) = (open.process, place.weight(), open.weight());
            *place = open;
            self.live.push((process, number));
            self.weight = (self.weight + new).saturating_sub(old);
            self.last = Some(number);
            return number;
        }
        let number = self.front + self.records.len() as u64;
        self.weight += open.weight();
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

    /// Whether a line that starts there may belong to the record: one in parts may end long after it
    /// began, behind a record that began later.
    fn is_open_for(&self, number: u64, start: u64) -> bool {
        self.peek(number).is_some_and(|open| !open.whole && open.record.bytes.start <= start)
    }

    /// The record that a process is writing.
    fn mine(&self, process: u32) -> Option<u64> {
        self.live
            .iter()
            .rev()
            .filter(|(p, _)| *p == process)
            .map(|(_, number)| *number)
            .find(|number| self.peek(*number).is_some_and(|open| !open.plain))
    }

    fn finish_record(&mut self, number: u64) {
        if let Some(open) = self.get(number) {
            open.whole = true;
        }
        self.live.retain(|(_, n)| *n != number);
    }

    /// A plain line takes continuation lines only as long as nothing else comes.
    fn finish_plain(&mut self) {
        let last = self.last.filter(|last| self.peek(*last).is_some_and(|open| open.plain));
        if let Some(last) = last {
            self.finish_record(last);
        }
    }

    fn finish_where(&mut self, mut whole: impl FnMut(&Open) -> bool) {
        let Self { records, live, front, .. } = self;
        live.retain(|(_, number)| {
            let open = usize::try_from(number - *front).ok().and_then(|at| records.get_mut(at));
            let Some(open) = open else { return false };
            open.whole = open.whole || whole(open);
            !open.whole
        });
    }

    /// To be called when every byte that the file holds was read: takes records as whole that got no
    /// line for [`IDLE`], and says so by a value, to be stored before their first sending and kept
    /// until the position has passed it. Without this call no clock has any effect.
    pub fn idle(&mut self, now: Instant) -> Option<Break> {
        let rested = |open: &Open| now.saturating_duration_since(open.touched) >= IDLE;
        let before = self
            .records
            .iter()
            .filter(|open| !open.whole && rested(open))
            .map(|open| open.record.bytes.end)
            .max()?;
        let stop = Break { at: self.end, before };
        self.close(stop, now);
        Some(stop)
    }

    fn close(&mut self, stop: Break, now: Instant) {
        self.flush(stop.before, now);
        self.finish_where(|open| open.record.bytes.end <= stop.before);
    }

    /// When [`idle`](Self::idle) will next have something to do.
    pub fn idle_at(&self) -> Option<Instant> {
        self.records.iter().filter(|open| !open.whole).map(|open| open.touched + IDLE).min()
    }

    /// The file ends here for good: all records are whole.
    pub fn finish(&mut self) {
        if let Some(now) = self.records.iter().find(|open| open.hollow).map(|open| open.touched) {
            self.flush(u64::MAX, now);
        }
        self.finish_where(|_| true);
        self.last = None;
        self.torn = None;
    }

    /// The next whole record, in the order of first lines.
    pub fn ready(&mut self) -> Option<Record> {
        self.next_whole().map(|record| *record)
    }

    /// The same where it lies; [`recycle`](Self::recycle) takes its memory back.
    pub(super) fn next_whole(&mut self) -> Option<Box<Record>> {
        loop {
            let open = self.records.pop_front_if(|open| open.whole)?;
            self.front += 1;
            self.weight -= open.weight().min(self.weight);
            if open.hollow {
                continue;
            }
            self.counts.cut += u64::from(open.record.left_out > 0);
            let next = self.open_since().unwrap_or(self.end);
            self.overlaps.push(open.record.bytes.clone());
            self.overlaps.retain(|bytes| bytes.end > next);
            if open.record.bytes.start < self.next {
                continue;
            }
            let mut record = open.into_record();
            record.next = next;
            record.resume = self.overlaps.iter().map(|bytes| bytes.start).min().unwrap_or(next);
            return Some(record);
        }
    }

    /// Memory for records to come, of one that has left.
    pub(super) fn recycle(&mut self, record: Box<Record>) {
        let size = record.capacity();
        if self.spare_bytes + size <= SPARE_BYTES {
            self.spare_bytes += size;
            self.spare.push(record);
        }
    }

    /// Gives back memory that a quiet file does not need.
    pub(super) fn rest_quietly(&mut self) {
        self.spare = Vec::new();
        self.spare_bytes = 0;
        self.records.shrink_to_fit();
    }

    fn blank(&mut self) -> Box<Record> {
        let record = self.spare.pop().unwrap_or_default();
        self.spare_bytes = self.spare_bytes.saturating_sub(record.capacity());
        record
    }

    /// Where the first record begins that has not left yet; none where nothing waits.
    pub fn open_since(&self) -> Option<u64> {
        self.records.front().map(|open| open.record.bytes.start)
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// When a line was written, in nanoseconds since 1970, by `%m`, `%t` or `%n`.
fn time(found: &Match, line: &[u8], clock: &mut Clock, zone: &Zone) -> Option<i64> {
    let text = found.get(line, Escape::TimeMillis).or_else(|| found.get(line, Escape::Time));
    match text {
        Some(text) => clock.civil(text, zone),
        None => Clock::epoch(found.get(line, Escape::Epoch)?),
    }
}

/// The process that wrote a line, from `%p` or the session id; 0 where neither is there.
fn process(found: &Match, line: &[u8]) -> u32 {
    let number = |digits: &[u8], radix| {
        digits.iter().try_fold(0_u32, |sum, digit| {
            sum.checked_mul(radix)?.checked_add(char::from(*digit).to_digit(radix)?)
        })
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
