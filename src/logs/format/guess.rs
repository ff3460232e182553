//! The prefix of a file that nobody told us about.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{Keyword, Object, Prefix, envelope, object};

/// Well-known prefixes, as found in distributions, operators and manuals; the richer before the poorer
/// where both could read a line.
const KNOWN: &[&str] = &[
    // pgvigil's own advice.
    "%m [%p] %q%u@%d/%a %c %l %e ",
    "%m [%p] %q%u@%d/%a ",
    // Azure, and pganalyze's advice.
    "%m [%p] %q[user=%u,db=%d,app=%a] ",
    "%m [%p] %q%u@%d app=%a ",
    // Debian.
    "%m [%p] %q%u@%d ",
    "%t [%p-%l] %q%u@%d ",
    "%m [%p] %u@%d ",
    // Canonical's charm, which writes verbosely too.
    "%t [%p]: user=%u,db=%d,app=%a,client=%h,line=%l ",
    // Spilo.
    "%t [%p]: [%l-1] %c %x %d %u %a %h ",
    // pgBadger's advice, and what became of it.
    "%t [%p]: db=%d,user=%u,app=%a,client=%h ",
    "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%m [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: user=%u,db=%d,app=%a,client=%h ",
    "%m [%p] user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: user=%u db=%d app=%a client=%h ",
    "%t [%p]: [%l-1] user=%u,db=%d ",
    "%t [%p]: user=%u,db=%d ",
    // Grafana Alloy's database observability.
    "%m:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:%c:%q%a",
    // Amazon RDS.
    "%t:%r:%u@%d:[%p]:",
    "%t [%p]: [%l-1] ",
    "%t [%p]: ",
    "%t [%p] ",
    // PostgreSQL itself.
    "%m [%p] ",
];

impl Prefix {
    /// The well-known prefix that reads the most lines of the sample; the first of equals. A function
    /// of the bytes alone. None where no line fits any.
    pub fn guess(sample: &[u8]) -> Option<Self> {
        let lines: Vec<Cow<'_, [u8]>> = sample.split(|b| *b == b'\n').map(opened).collect();
        let mut best: Option<(usize, Self)> = None;
        for text in KNOWN {
            let prefix = Self::compile(text);
            let count = lines
                .iter()
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

/// A line out of its envelopes.
fn opened(line: &[u8]) -> Cow<'_, [u8]> {
    if line.starts_with(b"{\"log\":")
        && let Some(Object::Docker { log, .. }) = object(line)
    {
        return Cow::Owned(log.trim_end_matches('\n').as_bytes().to_vec());
    }
    let mut text = line;
    while let Some(found) = envelope(text) {
        text = &text[found.from..];
    }
    Cow::Borrowed(text)
}

/// The well-known prefixes, compiled: once, for there may be a thousand files.
pub(in crate::logs) fn known() -> &'static [Prefix] {
    static COMPILED: LazyLock<Vec<Prefix>> =
        LazyLock::new(|| KNOWN.iter().map(|text| Prefix::compile(text)).collect());
    &COMPILED
}
