//! Prefixes that were read before. A process repeats its prefix in line after line, but for the time and a
//! count of its lines, so most lines of a log are known by a comparison of bytes and need not be taken apart.

use std::ops::Range;

use crate::logs::format::{Escape, Keyword, Match, Prefix, is_unknown};
use crate::logs::record::{Fields, Key, SqlState};

/// So many prefixes are remembered: as many processes write at once, each with a few keywords. The first
/// place is of those that cannot be.
const PLACES: usize = 256;

/// The most bytes behind a time in which a prefix and its keyword are looked for.
const LONGEST: usize = 512;

/// A line's prefix and keyword as they were read, and what they tell.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) found: Match,
    /// The process that writes the line; 0 where the prefix does not say.
    pub(super) process: u32,
    /// Of a record's first line: other parts need none.
    pub(super) fields: Fields,
    pub(super) sqlstate: Option<SqlState>,
    /// What other lines must have in common with this one to be read by it, and where their count stands
    /// in them; empty where none may.
    bytes: Vec<u8>,
    count: Range<usize>,
    place: usize,
}

impl Known {
    pub(super) fn new(found: Match, line: &[u8]) -> Self {
        let mut known = Self::default();
        known.read(found, line);
        known
    }

    /// Takes in what a prefix tells.
    pub(super) fn read(&mut self, found: Match, line: &[u8]) {
        self.bytes.clear();
        self.fields.clear();
        self.process = found.process(line);
        if matches!(found.keyword, Keyword::Head(_)) {
            self.sqlstate = tell(&found, line, &mut self.fields);
        }
        self.found = found;
    }
}

/// Puts what a prefix tells into the fields; gives the SQLSTATE, which is none of them.
pub(super) fn tell(found: &Match, line: &[u8], fields: &mut Fields) -> Option<SqlState> {
    fields.clear();
    let mut push = |key, value: &[u8]| {
        if !is_unknown(value) {
            fields.push(key, value);
        }
    };
    for (escape, value) in found.values(line) {
        let Some(key) = escape.key() else { continue };
        if escape != Escape::RemoteHostPort {
            push(key, value);
            continue;
        }
        // `%r` is host(port).
        let (host, port) = match memchr::memchr(b'(', value) {
            Some(open) => (&value[..open], &value[open + 1..value.len() - 1]),
            None => (value, &b""[..]),
        };
        if found.get(line, Escape::RemoteHost).is_none() {
            push(Key::RemoteHost, host);
        }
        push(Key::RemotePort, port);
    }
    found.get(line, Escape::SqlState).and_then(SqlState::parse)
}

/// See the module. What is taken out is put back by [`keep`](Self::keep).
#[derive(Debug, Default)]
pub(super) struct Cache(Vec<Option<Box<Known>>>);

impl Cache {
    /// Reads a line's prefix, the left-most way.
    pub(super) fn read(&mut self, prefix: &Prefix, line: &[u8]) -> Option<Box<Known>> {
        let repeated = Repeated::of(prefix, line);
        let mut known = self.take(repeated.as_ref().map_or(0, Repeated::place));
        if let Some(repeated) = repeated.as_ref().filter(|repeated| repeated.is(&known)) {
            known.fields.overwrite(Key::LineNum, &line[repeated.count.clone()]);
            return Some(known);
        }
        // Only the straight way is the same for all lines with these bytes: any other may depend on the
        // text behind.
        let straight = prefix.straight(line);
        let text = straight.as_ref().map(|found| found.text);
        let Some(found) = straight.or_else(|| prefix.thorough(line)) else {
            self.keep(known);
            return None;
        };
        known.read(found, line);
        if let Some(repeated) = repeated.filter(|repeated| Some(repeated.end) == text) {
            known.bytes.extend_from_slice(repeated.before);
            known.bytes.extend_from_slice(repeated.behind);
            known.count = repeated.count;
        }
        Some(known)
    }

    /// What a prefix that was read otherwise tells.
    pub(super) fn other(&mut self, found: Match, line: &[u8]) -> Box<Known> {
        let mut known = self.take(0);
        known.read(found, line);
        known
    }

    fn take(&mut self, place: usize) -> Box<Known> {
        if self.0.is_empty() {
            self.0.resize_with(PLACES, || None);
        }
        let mut known = self.0[place].take().unwrap_or_default();
        known.place = place;
        known
    }

    pub(super) fn keep(&mut self, known: Box<Known>) {
        let place = known.place;
        self.0[place] = Some(known);
    }
}

/// What a line has in common with others of its process that have the same keyword: all between the
/// digits of its time and its text, but for the count of lines.
struct Repeated<'l> {
    before: &'l [u8],
    count: Range<usize>,
    behind: &'l [u8],
    /// Where the text begins.
    end: usize,
}

impl<'l> Repeated<'l> {
    fn of(prefix: &Prefix, line: &'l [u8]) -> Option<Self> {
        let (time, count) = prefix.varying(line)?;
        let near = &line[count.end..line.len().min(count.end + LONGEST)];
        let colon = memchr::memchr_iter(b':', near).find(|at| near[at + 1..].starts_with(b"  "))?;
        let (before, behind) = (&line[time..count.start], &near[..colon + 3]);
        let end = count.end + behind.len();
        Some(Self { before, count, behind, end })
    }

    fn is(&self, known: &Known) -> bool {
        known.count == self.count
            && known.bytes.strip_prefix(self.before).is_some_and(|rest| rest == self.behind)
    }

    /// Where such a prefix is remembered.
    fn place(&self) -> usize {
        let mix = |sum: u64, bytes: &[u8; 8]| {
            (sum ^ u64::from_le_bytes(*bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
        };
        let sum = [self.before, self.behind].into_iter().fold(0, |sum, bytes| {
            bytes.as_chunks().0.iter().chain(bytes.last_chunk()).fold(sum, mix)
        });
        usize::from(sum.to_le_bytes()[0])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few values, so that prefixes repeat; some look like the rest of a line.
    fn line(prefix: &'static str) -> impl Strategy<Value = String> {
        let name = "a|b|LOG|\\[unknown\\]|a@b|a LOG:  |: ";
        let values = ("7|77|8", name, name, "\\[local\\]|10\\.0\\.0\\.7(\\(5432\\))?", "0|9|10");
        let keyword = "(LOG|ERROR|DETAIL|DEBUG1|TIPP|FEHLER|ASTUCE|ASTUCE ):( {0,2})";
        let text = "x|y [@:a]{0,3}LOG:  x| LOG:  x|@b LOG:  x";
        let time = "2026-03-04 09:15:0[12](\\.20[78])? (UTC|CET|UTC-7|\\+03)";
        (time, values, keyword, text).prop_map(move |(time, values, keyword, text)| {
            let (pid, user, dbname, host, number) = values;
            let told = [
                ("%m", time.as_str()),
                ("%t", &time),
                ("%s", &time),
                ("%p", &pid),
                ("%u", &user),
                ("%d", &dbname),
                ("%r", &host),
                ("%h", &host),
                ("%x", &number),
                ("%l", &number),
                ("%q", ""),
            ];
            let prefix = told
                .iter()
                .fold(prefix.to_owned(), |line, (escape, value)| line.replace(escape, value));
            prefix + &keyword + &text
        })
    }

    fn lines() -> impl Strategy<Value = (&'static str, Vec<String>)> {
        prop::sample::select(vec![
            "%m [%p] %q%u@%d ",
            "%t [%p] %x %q%u@%d,%r: ",
            "%t:%r:%u@%d:[%p]:",
            "%m %u%d ",
            "%m:%q%u ",
            "%m",
            "%m %t %p ",
            "%t [%p]: [%l-1] user=%u,db=%d ",
            "%m [%p] [%l] %q%u@%d ",
            "%m %l%d %p ",
            "%m %l %u %l ",
            "%s %p ",
            "%p %m ",
        ])
        .prop_flat_map(|prefix| (Just(prefix), prop::collection::vec(line(prefix), 1..40)))
    }

    proptest! {
        #[test]
        fn what_repeats_is_read_as_if_it_were_new((prefix, lines) in lines()) {
            let prefix = Prefix::compile(prefix);
            let mut cache = Cache::default();
            for line in lines.iter().map(String::as_bytes) {
                let known = cache.read(&prefix, line);
                let new = prefix.matches(line).map(|found| Known::new(found, line));
                let told = |known: &Known| {
                    let fields = known.fields.clone();
                    let head = matches!(known.found.keyword, Keyword::Head(_));
                    (known.found.clone(), known.process, head.then_some((fields, known.sqlstate)))
                };
                prop_assert_eq!(known.as_deref().map(told), new.as_ref().map(told));
                known.into_iter().for_each(|known| cache.keep(known));
            }
        }
    }
}
