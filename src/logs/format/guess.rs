//! The prefix of a file that nobody told us about.

use super::{Keyword, Prefix};

/// Well-known prefixes, the richer before the poorer where both could read a line.
const KNOWN: &[&str] = &[
    // pgvigil's own advice.
    "%m [%p] %q%u@%d/%a %c %l %e ",
    "%m [%p] %q%u@%d/%a ",
    // Debian.
    "%m [%p] %q%u@%d ",
    // Spilo.
    "%t [%p]: [%l-1] %c %x %d %u %a %h ",
    // pgBadger's advice.
    "%t [%p]: db=%d,user=%u,app=%a,client=%h ",
    "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: [%l-1] user=%u,db=%d ",
    // Amazon RDS.
    "%t:%r:%u@%d:[%p]:",
    "%m:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:%c:%q%a",
    "%t [%p]: ",
    "%t [%p] ",
    "%t [%p-%l] %q%u@%d ",
    // PostgreSQL itself.
    "%m [%p] ",
];

impl Prefix {
    /// The well-known prefix that reads the most lines of the sample; the first of equals. A function
    /// of the bytes alone. None where no line fits any.
    pub fn guess(sample: &[u8]) -> Option<Self> {
        let mut best: Option<(usize, Self)> = None;
        for text in KNOWN {
            let prefix = Self::compile(text);
            let count = sample
                .split(|b| *b == b'\n')
                .filter(|line| line.first() != Some(&b'\t'))
                .filter_map(|line| prefix.matches(line))
                .filter(|found| matches!(found.keyword, Keyword::Head(_)))
                .count();
            if count > best.as_ref().map_or(0, |(most, _)| *most) {
                best = Some((count, prefix));
            }
        }
        best.map(|(_, prefix)| prefix)
    }
}

/// The well-known prefixes, compiled.
pub(in crate::logs) fn known() -> Vec<Prefix> {
    KNOWN.iter().map(|text| Prefix::compile(text)).collect()
}
