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
//!   ([`Assembler::resume`]). That is the start of a line, always: what was found within torn or
//!   damaged lines is found again only by who reads those from their beginning.
//! * **When a record is whole.** The bytes say so when the same process begins another record, or
//!   when `REACH` bytes followed without a line of it. Where no bytes follow, the clock must decide:
//!   the server writes a record at once, so one that got no line for `IDLE` is taken as whole. A
//!   re-read has no such pause, and would join a part that came after it. So the decision is a
//!   value, a [`Break`]: who stores it before anything of it is sent, and gives it back at a re-read
//!   ([`Assembler::replay`]), gets the same records, whatever the clock did. A part that came too
//!   late is a record of its own, counted.

mod cache;
mod columns;
mod enter;
mod open;
mod overlaps;
mod side;
mod tear;
mod text;
mod whole;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::format::{Clock, Prefix, Reading, known};
use super::record::Record;
use cache::Cache;
use open::Open;
use overlaps::Overlaps;
use side::Side;

/// A record without a new line for so long is whole.
pub const IDLE: Duration = Duration::from_millis(300);

/// A record is whole when so many bytes follow its last line: as much as a pipe holds, so that
/// nothing of a torn record is still to come.
const REACH: u64 = 64 * 1024;

/// So often one line is taken apart: more is no accident.
const TEARS: u32 = 32;

/// The most memory for records in all; beyond it the oldest is taken as whole.
const OPEN_BYTES: usize = 4 * 1024 * 1024;

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
    /// The reading's own prefix as it was read lately.
    prefixes: Cache,
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
    /// The record whose place the present line may take; with pieces within pieces the innermost is last.
    slots: Vec<Option<u64>>,
    /// Where the present line lies in memory, if it holds no sign of a credential.
    clean: Range<usize>,
    /// Where the lines begin that are taken apart.
    origin: Option<u64>,
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
    overlaps: Overlaps,
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
            prefixes: Cache::default(),
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
            slots: Vec::new(),
            clean: 0..0,
            origin: None,
            tears: 0,
            text: false,
            weight: 0,
            end: 0,
            text_end: 0,
            floor: 0,
            swept: 0,
            overlaps: Overlaps::default(),
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
        self.prefixes = Cache::default();
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
        self.searched_line(bytes, at, false, now);
    }

    /// The same. `clean`: it was searched for signs of credentials, and holds none.
    pub(in crate::logs) fn searched_line(
        &mut self,
        bytes: &[u8],
        at: Range<u64>,
        clean: bool,
        now: Instant,
    ) {
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
        self.clean = if clean { memory(bytes) } else { 0..0 };
        self.enter(bytes, at, beyond, now);
        self.clean = 0..0;
        if self.weight > OPEN_BYTES
            && let Some(oldest) = self.live.iter().map(|(_, number)| *number).min()
        {
            self.counts.evicted += 1;
            self.finish_record(oldest);
        }
    }

    /// Whether the text is a piece of the present line, and that holds no sign of a credential. What was
    /// decoded or joined lies elsewhere, and may hold one that no line holds.
    fn is_clean(&self, text: &[u8]) -> bool {
        let own = memory(text);
        own.is_empty() || (self.clean.start <= own.start && own.end <= self.clean.end)
    }

    /// A record begins: in the place that is kept for it, or in one of its own.
    fn push(&mut self, mut open: Open) -> u64 {
        let process = open.process;
        let number = match self.kept_place().filter(|number| self.peek(*number).is_some()) {
            Some(number) => {
                self.change(number, |place| {
                    open.record.bytes.start = place.record.bytes.start;
                    open.from = place.from;
                    open.in_parts = place.in_parts;
                    *place = open;
                });
                number
            }
            None => self.insert(open),
        };
        self.live.push((process, number));
        self.last = Some(number);
        number
    }

    /// The place that is kept for what is read now; it is taken by that.
    fn kept_place(&mut self) -> Option<u64> {
        self.slots.last_mut()?.take()
    }

    /// Puts a record in its order: nearly always behind all others. But what is found late in a line of
    /// one of a container's streams stands before lines of the other one.
    fn insert(&mut self, mut open: Open) -> u64 {
        open.from = self.origin.unwrap_or(open.from).min(open.from);
        let start = open.record.bytes.start;
        let later = |other: &&Open| other.record.bytes.start > start;
        let at = self.records.len() - self.records.iter().rev().take_while(later).count();
        let number = self.front + at as u64;
        self.weight += open.weight();
        if at == self.records.len() {
            self.records.push_back(open);
        } else {
            self.move_on(number);
            self.records.insert(at, open);
        }
        number
    }

    /// The records from this one on have the next number each.
    fn move_on(&mut self, from: u64) {
        let sides = [&mut self.side, &mut self.other.0];
        let begun = sides.into_iter().flat_map(Side::numbers);
        let named = [&mut self.last, &mut self.torn, &mut self.other.1, &mut self.other.2];
        let named = named.into_iter().chain(&mut self.slots).flatten();
        let live = self.live.iter_mut().map(|(_, number)| number);
        live.chain(named).chain(begun).filter(|number| **number >= from).for_each(|own| *own += 1);
    }

    /// Changes a record, and keeps count of its memory.
    fn change<T>(&mut self, number: u64, change: impl FnOnce(&mut Open) -> T) -> Option<T> {
        let open = self.get(number)?;
        let before = open.weight();
        let made = change(open);
        let after = open.weight();
        self.weight = self.weight + after - before;
        Some(made)
    }

    /// Reads what may take the place of a record, or, with none, no other's place but one of its own. Gives
    /// back the number where nothing has taken it.
    fn in_place_of(
        &mut self,
        number: impl Into<Option<u64>>,
        enter: impl FnOnce(&mut Self),
    ) -> Option<u64> {
        self.slots.push(number.into());
        enter(self);
        self.slots.pop().flatten()
    }

    /// Reads what was found within the lines of a record: whoever reads it again begins with that one.
    fn within<T>(&mut self, number: u64, enter: impl FnOnce(&mut Self) -> T) -> T {
        let from = self.peek(number).map(|open| open.from);
        let before = self.origin;
        self.origin = [before, from].into_iter().flatten().min();
        let made = enter(self);
        self.origin = before;
        made
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
        // Each is there once at most, and mostly near the end.
        if let Some(at) = self.live.iter().rposition(|(_, live)| *live == number) {
            self.live.remove(at);
        }
    }

    /// A plain line takes continuation lines only as long as nothing else comes.
    fn finish_plain(&mut self) {
        let last = self.last.filter(|last| self.peek(*last).is_some_and(|open| open.plain));
        if let Some(last) = last {
            self.finish_record(last);
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// The addresses at which bytes lie.
fn memory(bytes: &[u8]) -> Range<usize> {
    let range = bytes.as_ptr_range();
    range.start.addr()..range.end.addr()
}
