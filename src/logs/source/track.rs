//! One file that is followed: its readings, and what its size, time and name say about it.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::arrived::Arrived;
use super::content::Content;
use super::identity::Head;
use super::reader::{Desk, FileReader, RouteSet, Step};
use super::scan::Seen;
use crate::logs::checkpoint::{Cut, FileId, FileState, Mark, ReadingText};
use crate::logs::count::SourceCounts;

/// How long a full queue may hold up the other routes before its route reads by itself.
const HOLD_UP: Duration = Duration::from_secs(1);

/// Pieces of a file read before others get their turn.
const PIECES: usize = 16;

/// A file that nobody has written to for so long is closed; it is opened again when it changes.
const ASLEEP: Duration = Duration::from_secs(300);

/// A file that lost its name may still be written to until its writer opens the next one.
const GRACE_SUCCEEDED: Duration = Duration::from_secs(5);
const GRACE_ALONE: Duration = Duration::from_secs(30);

/// What came of a look at the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Something was read; more may be there.
    Busy,
    /// Nothing to do for now.
    Quiet,
    /// Every route that has something to read has a full queue.
    Full,
    /// The content that was read is gone: truncated, or written anew.
    Replaced,
    /// No more of it will be read: what was open is whole now, and is given out by the next look.
    Ended,
    /// No more of it will be read, and all of it is given out.
    Done,
}

/// What size and time say, before anything is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glance {
    Same,
    Changed,
    /// Less than was read: truncated.
    Shorter,
}

/// What shapes and identifies what is read: stored before anything of it can be sent.
pub(super) enum Note {
    Cut(Cut),
    Head(Head),
    /// It reaches so far at the least.
    Size(u64),
}

/// A file with a name and a place in the checkpoint.
pub(super) struct Tracked {
    pub(super) id: FileId,
    pub(super) seen: Seen,
    /// What it begins with, as far as was seen.
    head: Head,
    /// None: asleep, or nothing left to read from.
    pub(super) file: Option<Content>,
    pub(super) readers: Vec<FileReader>,
    pub(super) cuts: Vec<Cut>,
    /// Up to here an earlier run has seen it, and may have sent it: how it is read stays.
    pub(super) shaped: u64,
    /// Records that start before it are counted already.
    pub(super) counted_to: u64,
    /// A pattern leads to it now.
    pub(super) linked: bool,
    /// Its former name leads to another file.
    pub(super) succeeded: bool,
    /// What it held when it was met is read: it takes turns with the others from then on.
    pub(super) caught_up: bool,
    /// Up to here it was filled when it was met.
    backlog: u64,
    /// When its bytes came that are not given out.
    arrived: Arrived,
    /// The last look at it failed.
    pub(super) troubled: bool,
    /// Content that is gone from the disk: what is in memory is still given out.
    pub(super) gone: bool,
    /// Whether the configuration reads it another way than an earlier run did has been asked.
    pub(super) asked: bool,
    finishing: bool,
    /// Its size as it was seen before the last change.
    size_before: u64,
    last_growth: Instant,
}

impl Tracked {
    pub(super) fn new(
        id: FileId,
        seen: Seen,
        file: Content,
        state: &FileState,
        marks: &[(usize, Mark)],
        now: Instant,
    ) -> io::Result<Self> {
        let mut arrived = Arrived::default();
        arrived.see(seen.size, now);
        let mut tracked = Self {
            id,
            size_before: seen.size,
            backlog: seen.size,
            arrived,
            seen,
            head: state.head,
            file: None,
            readers: Vec::new(),
            cuts: state.cuts.clone(),
            shaped: if state.cuts.iter().any(|cut| cut.reading.is_some()) { state.size } else { 0 },
            counted_to: 0,
            linked: true,
            succeeded: false,
            caught_up: false,
            troubled: false,
            gone: false,
            asked: false,
            finishing: false,
            last_growth: now,
        };
        tracked.open(file, marks)?;
        Ok(tracked)
    }

    /// Begins to read, each route from its mark; routes at one place share a reading.
    pub(super) fn open(&mut self, file: Content, marks: &[(usize, Mark)]) -> io::Result<()> {
        let mut places: Vec<(Mark, RouteSet)> = Vec::new();
        for (route, mark) in marks {
            match places.iter_mut().find(|(place, _)| place == mark) {
                Some((_, routes)) => routes.insert(*route),
                None => {
                    let mut routes = RouteSet::default();
                    routes.insert(*route);
                    places.push((*mark, routes));
                }
            }
        }
        self.readers = places
            .into_iter()
            .map(|(mark, routes)| FileReader::new(self.id, &file, mark, &self.cuts, routes))
            .collect::<io::Result<_>>()?;
        self.counted_to = self.readers.iter().map(FileReader::offset).min().unwrap_or(0);
        // Many may wait until it is their turn.
        if self.counted_to == 0 {
            file.rest();
        }
        self.file = Some(file);
        Ok(())
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.file.is_none() && !self.gone
    }

    /// The reading that is furthest: the clock's decisions are its to make.
    pub(super) fn furthest(&self) -> usize {
        let ends = self.readers.iter().enumerate().map(|(i, reader)| (reader.offset(), i));
        // Of several at one place the first: so that it stays the same one.
        ends.max_by_key(|(offset, i)| (*offset, usize::MAX - i)).map_or(0, |(_, i)| i)
    }

    /// How the last of its lines are read.
    pub(super) fn in_force(&self) -> Option<&ReadingText> {
        self.cuts.iter().rev().find_map(|cut| cut.reading.as_ref())
    }

    /// From where on another way of reading shapes nothing that may have been sent.
    pub(super) fn unshaped_from(&self) -> u64 {
        let read = self.readers.get(self.furthest()).map_or(0, FileReader::offset);
        read.max(self.shaped)
    }

    /// The least that any route has read.
    pub(super) fn least_end(&self) -> u64 {
        self.readers.iter().map(FileReader::end).min().unwrap_or(self.seen.size)
    }

    /// Since when the next record waits; none where nothing does. Of several readings that of the one
    /// whose turn it may be: another one may have been stuck for long.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let next = self.readers.iter().map(|reader| reader.position().offset);
        next.filter_map(|offset| self.arrived.since(offset)).max()
    }

    pub(super) fn most_end(&self) -> u64 {
        self.readers.iter().map(FileReader::end).max().unwrap_or(0)
    }

    /// Looks at size and time.
    pub(super) fn glance(&mut self, now: Instant) -> io::Result<Glance> {
        let Some(file) = self.file.as_ref().filter(|_| !self.finishing) else {
            return Ok(Glance::Same);
        };
        if file.is_packed() {
            return Ok(Glance::Same);
        }
        let looks = file.look()?;
        if looks.size < self.most_end() {
            return Ok(Glance::Shorter);
        }
        if (looks.size, looks.modified) == (self.seen.size, self.seen.modified) {
            return Ok(Glance::Same);
        }
        self.last_growth = now;
        self.readers.iter_mut().for_each(|reader| reader.at_end = false);
        self.size_before = self.seen.size;
        self.arrived.see(looks.size, now);
        self.seen.size = looks.size;
        self.seen.modified = looks.modified;
        Ok(Glance::Changed)
    }

    /// The head of a file that was met before it said much, and waits to be read, where it has grown.
    pub(super) fn learn_head(&mut self) -> Option<Head> {
        if self.head.is_whole() {
            return None;
        }
        let now = self.head.grown(self.file.as_ref()?).ok()??;
        let before = std::mem::replace(&mut self.head, now);
        (now != before).then_some(now)
    }

    /// What the last glance saw is another content's.
    pub(super) fn take_back(&mut self) {
        self.seen.size = self.size_before;
    }

    /// Reads what there is, in fair pieces. `keep` stores what a restart needs to read the same.
    pub(super) fn look(
        &mut self,
        desk: &mut dyn Desk,
        counts: &SourceCounts,
        now: Instant,
        keep: &mut dyn FnMut(Note),
    ) -> io::Result<Look> {
        let mut busy = false;
        let mut full = false;
        for at in 0..self.readers.len() {
            let step = self.read(at, desk, counts, now, keep)?;
            self.readers[at].at_end = step == Step::End;
            match step {
                Step::Busy => busy = true,
                Step::Full => full = true,
                Step::Changed => {
                    self.take_back();
                    return Ok(Look::Replaced);
                }
                Step::End => {}
            }
        }
        self.split(now)?;
        self.merge();
        self.caught_up |= self.readers.iter().any(|reader| reader.at_end);
        self.caught_up |= self.most_end() >= self.backlog;
        let given = self.readers.iter().map(|reader| reader.position().offset).min();
        self.arrived.forget(given.unwrap_or(0));
        busy |= self.idle(now, keep);
        Ok(if busy {
            Look::Busy
        } else if full {
            Look::Full
        } else {
            self.rest(counts, now)
        })
    }

    /// Where all that the file holds is read, records that got no line for a while are whole.
    fn idle(&mut self, now: Instant, keep: &mut dyn FnMut(Note)) -> bool {
        let mut any = false;
        for at in 0..self.readers.len() {
            let Some(cut) = Some(&mut self.readers[at])
                .filter(|reader| reader.at_end)
                .and_then(|reader| reader.idle(now))
            else {
                continue;
            };
            for (other, reader) in self.readers.iter_mut().enumerate() {
                if other != at {
                    reader.replay(&cut);
                }
            }
            keep(Note::Cut(cut.clone()));
            self.cuts.push(cut);
            any = true;
        }
        any
    }

    fn read(
        &mut self,
        at: usize,
        desk: &mut dyn Desk,
        counts: &SourceCounts,
        now: Instant,
        keep: &mut dyn FnMut(Note),
    ) -> io::Result<Step> {
        // A file that stands still at its end is not read again, but what waits may go on.
        let file = self.file.as_ref().filter(|_| !self.finishing);
        let mut step = Step::End;
        for _ in 0..PIECES {
            let reader = &mut self.readers[at];
            let from = reader.end();
            let quiet = reader.at_end;
            let mut head = self.head;
            let file = file.filter(|_| !quiet).map(|file| (file, &mut head));
            step = reader.step(file, desk, &mut self.counted_to, now)?;
            if head != self.head {
                self.head = head;
                keep(Note::Head(head));
            }
            counts.read_bytes.add(reader.end().saturating_sub(from));
            // It has grown since the glance.
            if reader.end() > self.seen.size && reader.end() > from {
                keep(Note::Size(reader.end()));
            }
            let lines = reader.take_counts();
            if at == self.furthest() {
                counts.lines(lines);
            }
            if step != Step::Busy {
                break;
            }
        }
        Ok(step)
    }

    /// What a file does that is read to its end.
    fn rest(&mut self, counts: &SourceCounts, now: Instant) -> Look {
        if self.finishing {
            return if self.readers.iter().all(FileReader::is_settled) {
                Look::Done
            } else {
                Look::Busy
            };
        }
        let quiet = now.saturating_duration_since(self.last_growth);
        let grace = if self.succeeded { GRACE_SUCCEEDED } else { GRACE_ALONE };
        // What is compressed does not grow.
        let whole = self.file.as_ref().is_some_and(Content::is_packed);
        if self.gone || (!self.linked && (whole || quiet >= grace)) {
            self.finish(counts, now);
            return Look::Ended;
        }
        Look::Quiet
    }

    /// Whether it has been quiet for so long that it need not stay open.
    pub(super) fn is_drowsy(&self, now: Instant) -> bool {
        self.linked
            && self.file.is_some()
            && now.saturating_duration_since(self.last_growth) >= ASLEEP
            && self.readers.iter().all(|r| r.is_settled() && r.end() == r.offset())
    }

    /// Its writer may have opened another one, or may still do so: it is watched for a while.
    pub(super) fn watch(&mut self, now: Instant) {
        self.last_growth = now;
    }

    /// Closes the file; all of it must be acknowledged. Its next change opens it again.
    pub(super) fn sleep(&mut self) {
        self.file = None;
        self.readers.clear();
    }

    /// No more of it will be read: what is open is whole. But what an earlier run may have sent whole, and
    /// is here in part, for the rest is gone, is not sent in a second form.
    fn finish(&mut self, counts: &SourceCounts, now: Instant) {
        self.finishing = true;
        if let Some(file) = &self.file {
            file.rest();
        }
        let mut dropped = 0;
        for reader in &mut self.readers {
            if self.gone && reader.end() < self.shaped {
                dropped = dropped.max(reader.abandon());
            } else {
                reader.finish(now);
            }
        }
        count_truncated(counts, &self.seen.path, dropped);
    }

    /// The same content lies in another file now.
    pub(super) fn go_on_in(&mut self, seen: Seen, file: Content, now: Instant) {
        self.seen = seen;
        self.file = Some(file);
        self.linked = false;
        self.succeeded = true;
        self.last_growth = now;
        self.arrived.see(self.seen.size, now);
        self.readers.iter_mut().for_each(|reader| reader.at_end = false);
    }

    /// Its content is gone from the disk.
    pub(super) fn lose(&mut self) {
        self.gone = true;
        self.file = None;
        self.linked = false;
    }

    /// Routes whose queue has been full for a while read by themselves from here on, so that they
    /// hold up no other.
    fn split(&mut self, now: Instant) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut new = Vec::new();
        for reader in &mut self.readers {
            let stuck = reader.stuck();
            let others = reader.routes.without(stuck);
            let long = reader
                .full_since
                .is_some_and(|since| now.saturating_duration_since(since) >= HOLD_UP);
            if stuck.is_empty() || others.is_empty() || !long {
                continue;
            }
            let mark = reader.position();
            new.push(FileReader::new(self.id, file, mark, &self.cuts, stuck)?);
            reader.release(stuck);
        }
        self.readers.extend(new);
        Ok(())
    }

    /// Readings that have come to the same place become one.
    fn merge(&mut self) {
        let mut at = 0;
        while at < self.readers.len() {
            let level = (0..at).find(|other| self.readers[*other].is_level_with(&self.readers[at]));
            match level {
                Some(other) => {
                    let routes = self.readers.remove(at).routes;
                    let first = &mut self.readers[other];
                    first.routes = first.routes.union(routes);
                }
                None => at += 1,
            }
        }
    }
}

/// Counts what was truncated before it was read, and says so.
pub(super) fn count_truncated(counts: &SourceCounts, path: &Path, bytes: u64) {
    counts.vanished_bytes.add(bytes);
    if bytes > 0 {
        tracing::warn!(
            file = %path.display(), bytes,
            "truncated before all of it was read; let rotation keep a copy for longer"
        );
    }
}
