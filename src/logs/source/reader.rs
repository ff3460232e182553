//! One reading of one file for some routes: from bytes to records with their times and positions.
//!
//! Usually one reading serves all routes. A route that is stuck gets a reading of its own.

use std::io;
use std::time::Instant;

use super::content::Content;
use super::identity::{Head, TAIL, Tail};
use super::lines::Lines;
use crate::logs::checkpoint::{Cut, FileId, Mark};
use crate::logs::events::{Event, classify};
use crate::logs::stamp::Stamps;
use crate::logs::{Assembler, Counts, Reading, Record};

/// Routes by their number in the configuration: at most 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::logs) struct RouteSet(u64);

impl RouteSet {
    pub(in crate::logs) fn insert(&mut self, route: usize) {
        self.0 |= 1 << route;
    }

    pub(in crate::logs) fn remove(&mut self, route: usize) {
        self.0 &= !(1 << route);
    }

    pub(in crate::logs) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(in crate::logs) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(in crate::logs) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(in crate::logs) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let route = (left > 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(route)
        })
    }
}

/// A record on its way to the routes.
#[derive(Debug)]
pub(in crate::logs) struct Taken {
    pub file: FileId,
    pub record: Box<Record>,
    pub event: Event,
    /// The time to send, nanoseconds since 1970.
    pub ns: i64,
    /// Where a route stands that has it.
    pub mark: Mark,
    /// Routes that have not taken it yet.
    pub routes: RouteSet,
    /// No earlier reading in this process has met it.
    pub first_seen: bool,
}

/// Who takes records: the routes' queues.
pub(in crate::logs) trait Desk {
    /// Whether any of the routes has room for a record.
    fn has_room(&self, routes: RouteSet) -> bool;
    /// Gives the record to those routes whose queues have room, and takes them out of its set.
    fn take(&mut self, taken: &mut Taken, now: Instant);
}

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do.
    Busy,
    /// A route's queue is full.
    Full,
    /// All that the file holds now is read.
    End,
    /// What was read before is no longer there: the file was written anew.
    Changed,
}

/// A reading: see the module.
#[derive(Debug)]
pub(super) struct FileReader {
    file: FileId,
    pub(super) routes: RouteSet,
    lines: Lines,
    assembler: Assembler,
    /// Changes of the reading that lie ahead.
    switches: Vec<(u64, Reading)>,
    stamps: Stamps,
    /// Where a route stands that has every record before the pending one.
    mark: Mark,
    pending: Option<Taken>,
    pub(super) full_since: Option<Instant>,
    /// All that the file held at the last look is read.
    pub(super) at_end: bool,
    counted: Counts,
}

impl FileReader {
    /// A reading that goes on at `mark`.
    ///
    /// # Errors
    /// When the bytes before the mark cannot be read.
    pub(super) fn new(
        id: FileId,
        file: &Content,
        mark: Mark,
        cuts: &[Cut],
        routes: RouteSet,
    ) -> io::Result<Self> {
        let mut before = [0; TAIL];
        let known = TAIL.min(usize::try_from(mark.offset).unwrap_or(TAIL));
        let read = file.read_at(&mut before[..known], mark.offset - known as u64)?;
        let in_force = cuts
            .iter()
            .rev()
            .find_map(|cut| cut.reading.as_ref().filter(|_| cut.at <= mark.offset));
        let mut assembler = Assembler::new(in_force.map(Reading::from).unwrap_or_default());
        assembler.resume(mark.next);
        assembler.replay(cuts.iter().filter(|cut| cut.at > mark.offset).filter_map(Cut::stop));
        let switches = cuts
            .iter()
            .filter(|cut| cut.at > mark.offset)
            .filter_map(|cut| Some((cut.at, cut.reading.as_ref()?.into())))
            .collect();
        Ok(Self { switches, ..Self::at(id, mark, &before[..read], assembler, routes) })
    }

    /// A reading of a stream that has no past and cannot be read twice.
    pub(super) fn of_stream(id: FileId, met: i64, routes: RouteSet) -> Self {
        let mark = Mark { stamps: Stamps::new(met), ..Mark::default() };
        Self::at(id, mark, &[], Assembler::new(Reading::default()), routes)
    }

    /// A reading at `mark`; `before`: the bytes before it.
    fn at(id: FileId, mark: Mark, before: &[u8], assembler: Assembler, routes: RouteSet) -> Self {
        Self {
            file: id,
            routes,
            lines: Lines::new(mark.offset, before),
            assembler,
            switches: Vec::new(),
            stamps: mark.stamps,
            mark,
            pending: None,
            full_since: None,
            at_end: false,
            counted: Counts::default(),
        }
    }

    /// Takes in what comes next in a stream; returns how much came. All lines before must be out.
    pub(super) fn feed(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.lines.extend(read)
    }

    /// The start of the next line.
    pub(super) fn offset(&self) -> u64 {
        self.lines.offset()
    }

    /// The end of the bytes that were read.
    pub(super) fn end(&self) -> u64 {
        self.lines.end()
    }

    /// Where a route of this reading stands.
    pub(super) fn position(&self) -> Mark {
        self.mark
    }

    /// Routes for which the present record has no room.
    pub(super) fn stuck(&self) -> RouteSet {
        self.pending.as_ref().map(|taken| taken.routes).unwrap_or_default()
    }

    /// Everything that was read has left.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_none() && self.assembler.open_since().is_none()
    }

    /// Takes routes out: they get a reading of their own.
    pub(super) fn release(&mut self, routes: RouteSet) {
        self.routes = self.routes.without(routes);
        if let Some(taken) = &mut self.pending {
            taken.routes = taken.routes.without(routes);
        }
    }

    /// Whether the other reading is at the very same place, so that one of them is enough.
    pub(super) fn is_level_with(&self, other: &Self) -> bool {
        let free = self.pending.is_none() && other.pending.is_none();
        free && self.offset() == other.offset() && self.mark == other.mark
    }

    /// From the next line on, lines are read another way.
    pub(super) fn switch(&mut self, at: u64, reading: Reading) {
        if at <= self.offset() {
            self.assembler.switch(reading);
        } else {
            self.switches.push((at, reading));
        }
    }

    /// Lines came that a prefix would help to read; csvlog and jsonlog need none.
    pub(super) fn wants_prefix(&self) -> bool {
        self.assembler.reading().prefix.is_none() && self.assembler.has_text()
    }

    /// Takes in a decision of another reading's clock.
    pub(super) fn replay(&mut self, cut: &Cut) {
        self.assembler.replay(cut.stop().filter(|stop| stop.at >= self.offset()));
    }

    /// What the assembler has counted since the last call.
    pub(super) fn take_counts(&mut self) -> Counts {
        let (now, before) = (self.assembler.counts(), self.counted);
        self.counted = now;
        Counts {
            plain: now.plain - before.plain,
            torn: now.torn - before.torn,
            cut: now.cut - before.cut,
            late: now.late - before.late,
            evicted: now.evicted - before.evicted,
            ambiguous: now.ambiguous - before.ambiguous,
        }
    }

    /// Reads on until something stops it, at most one piece of the file: what comes of that piece is
    /// handed out by the next step, so its head, which may have grown, can be stored before. `seen`:
    /// records that start before it have been met by another reading.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn step(
        &mut self,
        file: Option<(&Content, &mut Head)>,
        desk: &mut dyn Desk,
        seen: &mut u64,
        now: Instant,
    ) -> io::Result<Step> {
        loop {
            if !self.hand_out(file.as_ref().map(|(file, _)| *file), desk, seen, now) {
                self.full_since.get_or_insert(now);
                return Ok(Step::Full);
            }
            self.full_since = None;
            let next = self.lines.offset();
            while self.switches.first().is_some_and(|(at, _)| *at <= next) {
                let (_, reading) = self.switches.remove(0);
                self.assembler.switch(reading);
            }
            let Some(line) = self.lines.next() else { break };
            self.assembler.searched_line(line.bytes, line.at, line.clean, now);
        }
        let Some((file, head)) = file else { return Ok(Step::End) };
        // Nothing is read ahead of full queues: of a thousand files that would be much.
        if !desk.has_room(self.routes) {
            return Ok(Step::Full);
        }
        let filled = self.lines.fill(|room, offset| {
            let got = file.read_at(room, offset)?;
            if file.is_packed() {
                return Ok(Some(got));
            }
            // Looked at after the read: whatever was written anew before it shows now, even where
            // the bytes before the offset happen to be the same.
            let Some(now) = head.grown(file)? else { return Ok(None) };
            *head = now;
            Ok::<_, io::Error>(Some(got))
        })?;
        Ok(match filled {
            None => Step::Changed,
            Some(0) => {
                self.lines.rest_quietly();
                self.assembler.rest_quietly();
                Step::End
            }
            Some(_) => Step::Busy,
        })
    }

    /// At the end of the file: records that got no line for a while are whole. What is returned must
    /// be stored before anything of it is sent.
    pub(super) fn idle(&mut self, now: Instant) -> Option<Cut> {
        self.assembler.idle(now).map(Cut::from)
    }

    /// The file ends here for good.
    pub(super) fn finish(&mut self, now: Instant) {
        if let Some(line) = self.lines.rest() {
            self.assembler.line(line.bytes, line.at, now);
        }
        self.assembler.finish();
    }

    /// Drops what is here in part: records that may have further lines, and the line without an end.
    /// Returns how many bytes.
    pub(super) fn abandon(&mut self) -> u64 {
        let end = self.end();
        let kept = self.assembler.abandon().unwrap_or(self.offset());
        self.lines = Lines::new(kept, &[]);
        end.saturating_sub(kept)
    }

    /// Gives out whole records; false when a route has no room.
    fn hand_out(
        &mut self,
        file: Option<&Content>,
        desk: &mut dyn Desk,
        seen: &mut u64,
        now: Instant,
    ) -> bool {
        loop {
            if let Some(taken) = &mut self.pending {
                desk.take(taken, now);
                if !taken.routes.is_empty() {
                    return false;
                }
                self.mark = taken.mark;
                // A file at its end keeps nothing: there may be a thousand of them.
                if let Some(taken) = self.pending.take().filter(|_| !self.at_end) {
                    self.assembler.recycle(taken.record);
                }
            }
            let Some(record) = self.assembler.next_whole() else { return true };
            let ns = self.stamps.stamp(record.time);
            let mark = Mark {
                offset: record.resume,
                next: record.next,
                stamps: self.stamps,
                tail: self.tail(file, record.resume),
            };
            let first_seen = record.bytes.start >= *seen;
            if first_seen {
                *seen = record.bytes.start + 1;
            }
            self.pending = Some(Taken {
                file: self.file,
                event: classify(&record),
                record,
                ns,
                mark,
                routes: self.routes,
                first_seen,
            });
        }
    }

    fn tail(&self, file: Option<&Content>, offset: u64) -> Tail {
        // Behind a record that stays open nothing moves on.
        if offset == self.mark.offset {
            return self.mark.tail;
        }
        self.lines
            .tail(offset)
            .or_else(|| Tail::before(file?, offset).ok())
            // Unknown: an empty tail fits every file, and the head's hash still stands guard.
            .unwrap_or_default()
    }
}
