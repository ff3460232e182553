//! Lines of the text log: heads, continuation lines and further parts, told by their prefixes.

use std::ops::Range;
use std::time::Instant;

use super::cache::{Known, tell};
use super::open::Open;
use super::{Assembler, REACH, TEARS};
use crate::logs::format::{Clock, Escape, Keyword, Match, Zone};
use crate::logs::record::{Part, Severity};

/// Writes up to this size are never torn. A larger one may be torn before that: what it has over whole
/// pages may go first.
const ATOMIC: u64 = 4096;

impl Assembler {
    pub(super) fn dispatch(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        if bytes.first() == Some(&b'\t') {
            return self.continuation(bytes, at, now);
        }
        let Some((mut known, rivals)) = self.read(bytes) else {
            return match self.torn.take().filter(|torn| self.is_open_for(*torn, at.start)) {
                Some(torn) => {
                    self.finish_plain();
                    self.last = Some(torn);
                    self.append(torn, bytes, at, now);
                    // Half a sign may stand on each side of the tear.
                    if let Some(open) = self.get(torn) {
                        open.record.clean = false;
                    }
                }
                None if self.look_back(now) => self.dispatch(bytes, at, now),
                None if self.pgbouncer(bytes, &at, now) => {}
                None => match self.waited(bytes) {
                    Some(offset) => {
                        let middle = self.place(bytes.len() - offset);
                        let number = self.plain(&bytes[..offset], at.clone(), now);
                        self.within(number, |own| {
                            own.dispatch(&bytes[offset..], middle..at.end, now);
                        });
                    }
                    None => {
                        self.plain(bytes, at, now);
                    }
                },
            };
        };
        let doubt = !rivals.is_empty();
        if doubt {
            self.counts.ambiguous += 1;
            if let Some(found) = self.settle(&rivals, bytes) {
                known.read(found, bytes);
            }
        }
        match known.found.keyword {
            Keyword::Head(severity) => self.head(severity, &known, doubt, bytes, at, now),
            Keyword::Group(part) => self.group(part, &known, bytes, at, now),
        }
        self.prefixes.keep(known);
    }

    /// `pg_ctl` waits in a line without an end, and the server writes behind it; container images start
    /// so for the first time.
    pub(super) fn waited(&self, bytes: &[u8]) -> Option<usize> {
        let rest = bytes.strip_prefix(b"waiting for server to ")?;
        let words = bytes.len() - rest.len() + memchr::memchr(b'.', rest)?;
        let offset = words + bytes[words..].iter().take_while(|b| **b == b'.').count();
        self.has_prefix(&bytes[offset..]).then_some(offset)
    }

    /// Whether the line begins with a prefix and a keyword.
    pub(super) fn has_prefix(&self, line: &[u8]) -> bool {
        let own = self.reading.prefix.as_ref().is_some_and(|prefix| prefix.matches(line).is_some());
        own || self.other_prefix(line).is_some()
    }

    /// How a line is read whose prefix is not the present one.
    fn other_prefix(&self, line: &[u8]) -> Option<Match> {
        let digit = line.first()?.is_ascii_digit();
        digit.then(|| self.known.iter().find_map(|known| known.matches(line)))?
    }

    /// How a line is read: the left-most way, and all ways where there are several.
    fn read(&mut self, line: &[u8]) -> Option<(Box<Known>, Vec<Match>)> {
        if let Some(prefix) = &self.reading.prefix
            && let Some(mut known) = self.prefixes.read(prefix, line)
        {
            let rivals = prefix.rivals(line, &known.found);
            if let Some(plausible) = rivals.iter().find(|rival| rival.is_plausible(line)) {
                known.read(plausible.clone(), line);
            }
            return Some((known, rivals));
        }
        let found = self.other_prefix(line)?;
        Some((self.prefixes.other(found, line), Vec::new()))
    }

    /// An ambiguous line that repeats the prefix of an ambiguous head settles both: parts of a record
    /// have the bytes of its head's prefix, but for the line number.
    pub(super) fn settle(&mut self, rivals: &[Match], line: &[u8]) -> Option<Match> {
        let process = rivals.first()?.process(line);
        let number = self.mine(process)?;
        let prefix = self.reading.prefix.as_ref()?;
        let open = self.peek(number)?;
        let doubt = open.doubt.as_ref()?;
        let heads = prefix.all(&doubt.line);
        let parts = |found: &&Match| matches!(found.keyword, Keyword::Group(_));
        let (found, severity, head) = rivals.iter().filter(parts).find_map(|rival| {
            heads.iter().find_map(|head| {
                let Keyword::Head(severity) = head.keyword else { return None };
                head.same(&doubt.line, rival, line).then(|| (rival.clone(), severity, head.clone()))
            })
        })?;
        let verbosity = self.reading.verbosity;
        self.change(number, |open| {
            if open.doubt.as_ref().is_some_and(|doubt| doubt.prefix != head.end) {
                open.settle(severity, head, verbosity);
            }
        });
        Some(found)
    }

    pub(super) fn time(&mut self, found: &Match, line: &[u8]) -> Option<i64> {
        time(found, line, &mut self.clock, &self.reading.zone)
    }

    pub(super) fn head(
        &mut self,
        severity: Severity,
        known: &Known,
        doubt: bool,
        line: &[u8],
        at: Range<u64>,
        now: Instant,
    ) {
        let process = known.process;
        if let Some(number) = self.mine(process) {
            self.finish_record(number);
        }
        self.finish_plain();
        let mut open = Open::new(self.blank(), process, at.clone(), now);
        open.record.clean = self.is_clean(line);
        open.record.time = self.time(&known.found, line).or(self.outer);
        let text = open.head(severity, known, line, self.reading.verbosity);
        let number = self.push(open);
        self.append(number, text, at, now);
        if let Some(open) = self.get(number).filter(|_| doubt) {
            open.doubt(line, known.found.end);
        }
    }

    pub(super) fn group(
        &mut self,
        part: Part,
        known: &Known,
        line: &[u8],
        at: Range<u64>,
        now: Instant,
    ) {
        let Known { found, process, .. } = known;
        let process = *process;
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
            open.record.clean = self.is_clean(line);
            open.record.time = time.or(self.outer);
            open.record.sqlstate = tell(found, line, &mut open.record.fields);
            self.push(open)
        });
        self.last = Some(number);
        self.change(number, |open| open.begin(part));
        self.append(number, &line[found.text..], at, now);
    }

    pub(super) fn continuation(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) {
        let last = self.last.filter(|last| self.is_open_for(*last, at.start));
        let Some(number) = last else {
            self.plain(bytes, at, now);
            return;
        };
        let plain = self.change(number, |open| {
            open.add(b"\n");
            open.plain
        });
        self.append(number, if plain == Some(true) { bytes } else { &bytes[1..] }, at, now);
    }

    pub(super) fn plain(&mut self, bytes: &[u8], at: Range<u64>, now: Instant) -> u64 {
        self.finish_plain();
        self.counts.plain += 1;
        let mut open = Open::plain(self.blank(), at.clone(), now);
        open.record.clean = self.is_clean(bytes);
        open.record.time = self.outer;
        let number = self.push(open);
        self.append(number, bytes, at, now);
        number
    }

    /// Adds text to a record's last part; where another process's record begins within, it is taken
    /// out and read by itself.
    pub(super) fn append(&mut self, number: u64, text: &[u8], at: Range<u64>, now: Instant) {
        let long = |open: &Open| at.end.saturating_sub(open.record.bytes.start) > ATOMIC;
        let torn = self.peek(number).is_some_and(long);
        let torn = if torn && self.tears < TEARS { self.tear(number, text) } else { None };
        let kept = &text[..torn.unwrap_or(text.len())];
        let clean = self.is_clean(kept);
        self.change(number, |open| {
            open.add_line(kept);
            open.record.clean &= clean;
            open.record.bytes.end = at.end.max(open.record.bytes.start + 1);
            open.touched = now;
        });
        if let Some(offset) = torn {
            self.counts.torn += 1;
            self.tears += 1;
            self.torn = Some(number);
            let middle = self.place(text.len() - offset);
            self.within(number, |own| own.dispatch(&text[offset..], middle..at.end, now));
        }
    }
}

/// When a line was written, in nanoseconds since 1970, by `%m`, `%t` or `%n`.
pub(super) fn time(found: &Match, line: &[u8], clock: &mut Clock, zone: &Zone) -> Option<i64> {
    let text = found.get(line, Escape::TimeMillis).or_else(|| found.get(line, Escape::Time));
    match text {
        Some(text) => clock.civil(text, zone),
        None => Clock::epoch(found.get(line, Escape::Epoch)?),
    }
}
