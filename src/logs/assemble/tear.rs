//! Torn lines. Without the logging collector each record is one write to a pipe, and beyond 4,096
//! bytes (PIPE_BUF) the system may put other processes' writes into the middle of it. Then a whole
//! prefix stands within a line, and the rest of the torn line begins a line of its own.

use std::ops::Range;
use std::time::Instant;

use super::{Assembler, text};
use crate::logs::format::{Clock, Prefix};

/// The most bytes of a prefix, keyword included, that are searched.
const PREFIX_BYTES: usize = 700;

/// Records that share a tear were written at the same time, about.
const NEAR: i64 = 60_000_000_000;

impl Assembler {
    /// Where in the text another process's record begins: a whole prefix with a keyword, of another
    /// process, at about the same time.
    pub(super) fn tear(&self, number: u64, text: &[u8]) -> Option<usize> {
        let open = self.peek(number).filter(|open| !open.plain)?;
        let (own, time) = (open.process, open.record.time?);
        self.reading
            .prefix
            .iter()
            .chain(self.known.iter().filter(|_| self.reading.prefix.is_none()))
            .filter(|prefix| prefix.has_pid() && prefix.has_time())
            .find_map(|prefix| self.embedded(prefix, own, time, text))
    }

    /// A line came that fits nothing: the rest of a torn line, or a part of a record that began within
    /// one. So the line before is searched although its record is small enough to be whole, and
    /// taken apart.
    pub(super) fn look_back(&mut self, now: Instant) -> bool {
        let Some(number) = self.last.filter(|last| self.is_live(*last)) else { return false };
        let Some(line) = self.peek(number).map(|open| open.last_line().to_vec()) else {
            return false;
        };
        if self.tears >= super::TEARS {
            return false;
        }
        let Some(offset) = self.tear(number, &line) else { return false };
        let taken = self.change(number, |open| {
            open.take_back(line.len() - offset);
            open.record.bytes.clone()
        });
        let Some(Range { start, end }) = taken else { return false };
        // The newline stands behind the text.
        let middle = end.saturating_sub((line.len() - offset) as u64 + 1).max(start + 1);
        self.counts.torn += 1;
        self.tears += 1;
        self.torn = Some(number);
        let text_end = std::mem::replace(&mut self.text_end, end - 1);
        // The place that is kept is the present line's.
        self.in_place_of(None, |own| {
            own.within(number, |own| own.dispatch(&line[offset..], middle..end, now));
        });
        self.text_end = text_end;
        true
    }

    fn embedded(&self, prefix: &Prefix, own: u32, time: i64, text: &[u8]) -> Option<usize> {
        // At the very start it would be a line, and have been read as one.
        let mut from = 1;
        for colon in memchr::memmem::find_iter(text, b":  ") {
            let ends_a_word = text[..colon]
                .last()
                .is_some_and(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b >= 0x80);
            if !ends_a_word {
                continue;
            }
            for offset in from.max(colon.saturating_sub(PREFIX_BYTES))..colon {
                let rest = &text[offset..];
                let Some(found) = prefix.matches(rest).filter(|f| offset + f.end <= colon) else {
                    continue;
                };
                let near = text::time(&found, rest, &mut Clock::default(), &self.reading.zone)
                    .is_some_and(|other| (other - time).abs() < NEAR);
                if near && found.process(rest) != own {
                    return Some(offset);
                }
            }
            from = from.max(colon);
        }
        None
    }
}
