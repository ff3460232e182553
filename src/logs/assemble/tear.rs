//! Torn lines. Without the logging collector each record is one write to a pipe, and beyond 4,096
//! bytes (PIPE_BUF) the system may put other processes' writes into the middle of it. Then a whole
//! prefix stands within a line, and the rest of the torn line begins a line of its own.

use super::{Assembler, process};
use crate::logs::format::{Clock, Prefix};

/// Writes up to this size are never torn.
const ATOMIC: u64 = 4096;

/// The most bytes of a prefix, keyword included, that are searched.
const PREFIX_BYTES: usize = 700;

/// Records that share a tear were written at the same time, about.
const NEAR: i64 = 60_000_000_000;

impl Assembler {
    /// Where in the text, which ends at `end` of the file, another process's record begins: a whole
    /// prefix with a keyword, of another process, at about the same time.
    pub(super) fn tear(&self, number: u64, text: &[u8], end: u64) -> Option<usize> {
        let open = self.peek(number)?;
        if open.plain || end - open.bytes.start <= ATOMIC {
            return None;
        }
        let (own, time) = (open.process, open.time?);
        self.reading
            .prefix
            .iter()
            .chain(self.reading.prefix.is_none().then_some(&self.known).into_iter().flatten())
            .filter(|prefix| prefix.has_pid() && prefix.has_time())
            .find_map(|prefix| self.embedded(prefix, own, time, text))
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
                let near = super::time(&found, rest, &mut Clock::default(), &self.reading.zone)
                    .is_some_and(|other| (other - time).abs() < NEAR);
                if near && process(&found, rest) != own {
                    return Some(offset);
                }
            }
            from = from.max(colon);
        }
        None
    }
}
