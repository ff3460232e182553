//! Reads a line by the pieces of a prefix: fields of a closed alphabet exactly, free text up to a
//! literal behind which the whole rest fits, keyword included.

use std::ops::Range;

use super::alphabet::{closed, padded, run, shorter};
use super::field::{Escape, Match, Piece};
use crate::logs::format::keyword::keyword;

/// Free text is bounded: names hold 63 bytes, of which each may be written as `\xNN`.
pub(super) const MAX_FREE: usize = 256;

/// How many trials one line may cost: a bound for hostile prefixes and lines.
const MAX_STEPS: u32 = 4096;

pub(super) struct Run<'l> {
    line: &'l [u8],
    steps: u32,
    /// How many of a client's fields have a value so far.
    client: u32,
    /// Behind `%q`, where only clients' processes write, and always have a name.
    stopped: bool,
    at: Match,
    /// Where every way is wanted; else the first ends the search.
    all: Option<Vec<Match>>,
}

impl<'l> Run<'l> {
    pub(super) fn new(line: &'l [u8]) -> Self {
        Self { line, steps: MAX_STEPS, client: 0, stopped: false, at: Match::default(), all: None }
    }

    /// The left-most way: text is tried from its shortest, and a process without a client first.
    pub(super) fn thorough(mut self, pieces: &[Piece]) -> Option<Match> {
        self.pieces(pieces, 0).then_some(self.at)
    }

    /// The way that never turns back: each piece is read as it would be tried first. Where it comes to
    /// a keyword it is the left-most one, and nearly every line of a log is read by it.
    pub(super) fn straight(mut self, pieces: &[Piece]) -> Option<Match> {
        self.goes_straight(pieces).then_some(self.at)
    }

    fn goes_straight(&mut self, pieces: &[Piece]) -> bool {
        let mut at = 0;
        for (number, piece) in pieces.iter().enumerate() {
            let rest = &self.line[at..];
            let (escape, length) = match piece {
                Piece::Literal(literal) => {
                    if !begins(rest, literal) {
                        return false;
                    }
                    at += literal.len();
                    continue;
                }
                Piece::Stop => {
                    if self.client == 0 && self.ends(at) {
                        return true;
                    }
                    self.stopped = true;
                    continue;
                }
                Piece::Field { width: 1.., .. } => return false,
                Piece::Field { escape, .. } if escape.is_free() => {
                    let Some(Piece::Literal(next)) = pieces.get(number + 1) else { return false };
                    // An empty text would come first.
                    if self.may_be_empty(*escape) && begins(rest, next) {
                        return false;
                    }
                    let near = rest.get(1..rest.len().min(MAX_FREE + 1)).unwrap_or_default();
                    (*escape, memchr::memchr(next[0], near).map(|skip| skip + 1))
                }
                Piece::Field { escape, .. } => (*escape, closed(*escape, rest)),
            };
            let Some(length) = length else { return false };
            let (Ok(from), Ok(to)) = (u16::try_from(at), u16::try_from(at + length)) else {
                return false;
            };
            self.at.set(escape, (from, to));
            self.client += u32::from(escape.is_of_client());
            at += length;
        }
        self.ends(at)
    }

    /// Whether the field may be empty, as far as its process is known here.
    fn may_be_empty(&self, escape: Escape) -> bool {
        escape.may_be_empty() && !(self.stopped && escape.is_name())
    }

    pub(super) fn all(mut self, pieces: &[Piece]) -> Vec<Match> {
        self.all = Some(Vec::new());
        self.pieces(pieces, 0);
        self.all.unwrap_or_default()
    }

    /// Reads the pieces from `at` on; true ends the search, with what was found in `self.at`.
    fn pieces(&mut self, pieces: &[Piece], mut at: usize) -> bool {
        if self.steps == 0 {
            return false;
        }
        self.steps -= 1;
        for (number, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Literal(literal) => {
                    if !begins(&self.line[at..], literal) {
                        return false;
                    }
                    at += literal.len();
                }
                Piece::Stop => {
                    if self.client == 0 && self.ends(at) {
                        return true;
                    }
                    let before = std::mem::replace(&mut self.stopped, true);
                    let found = self.pieces(&pieces[number + 1..], at);
                    self.stopped = before;
                    return found;
                }
                Piece::Field { escape, width, left } => {
                    return self.field(*escape, *width, *left, &pieces[number + 1..], at);
                }
            }
        }
        self.ends(at)
    }

    /// A keyword must follow.
    fn ends(&mut self, at: usize) -> bool {
        let Some((keyword, length)) = keyword(&self.line[at..]) else { return false };
        self.at.end = at;
        self.at.keyword = keyword;
        self.at.text = at + length;
        match &mut self.all {
            Some(all) => {
                all.push(self.at.clone());
                false
            }
            None => true,
        }
    }

    fn field(
        &mut self,
        escape: Escape,
        width: usize,
        left: bool,
        rest: &[Piece],
        at: usize,
    ) -> bool {
        let line = &self.line[at..];
        // Right-aligned values have blanks before them, at most as many as the width wants.
        let blanks = if left { 0 } else { run(line, width, |b| b == b' ') };
        let empty = self.may_be_empty(escape) && run(line, width, |b| b == b' ') == width;
        if escape.is_free() {
            // The shortest text comes first: the left-most is what the server meant, unless a
            // client's name looks like the rest.
            return (empty && self.then(escape, at..at, at + width, rest))
                || self.free(escape, at, blanks, width, left, rest);
        }
        // The longest reading first, then shorter ones where the alphabet leaves a choice.
        let value = &line[blanks..];
        let mut length = closed(escape, value);
        while let Some(len) = length {
            if let Some(end) = padded(line, blanks, len, width, left)
                && self.then(escape, at + blanks..at + blanks + len, at + end, rest)
            {
                return true;
            }
            length = shorter(escape, value, len);
        }
        empty && self.then(escape, at..at, at + width, rest)
    }

    /// Free text: every place where the next literal stands may end it. The empty one is the
    /// caller's.
    fn free(
        &mut self,
        escape: Escape,
        at: usize,
        blanks: usize,
        width: usize,
        left: bool,
        rest: &[Piece],
    ) -> bool {
        let line = &self.line[at..];
        if blanks > 0 {
            // Padded on its left: it ends where the width does, exactly.
            return line.len() >= width
                && blanks < width
                && self.then(escape, at + blanks..at + width, at + width, rest);
        }
        let literal = match rest.first() {
            Some(Piece::Literal(literal)) => Some(literal[0]),
            _ => None,
        };
        let last = line.len().min(MAX_FREE.max(width));
        let mut end = width.max(1);
        while end <= last {
            if let Some(literal) = literal {
                match memchr::memchr(literal, &line[end..line.len().min(last + 1)]) {
                    Some(skip) => end += skip,
                    None => return false,
                }
            }
            let mut value = end;
            while left && end == width && value > 0 && line[value - 1] == b' ' {
                value -= 1;
            }
            if value > 0 && self.then(escape, at..at + value, at + end, rest) {
                return true;
            }
            if self.steps == 0 {
                return false;
            }
            end += 1;
        }
        false
    }

    /// Takes a value and goes on behind it.
    fn then(&mut self, escape: Escape, value: Range<usize>, end: usize, rest: &[Piece]) -> bool {
        let (Ok(from), Ok(to)) = (u16::try_from(value.start), u16::try_from(value.end)) else {
            return false;
        };
        let client = u32::from(escape.is_of_client() && from < to);
        let saved = self.at.set(escape, (from, to));
        self.client += client;
        if self.pieces(rest, end) {
            return true;
        }
        self.client -= client;
        self.at.set(escape, saved);
        false
    }
}

/// Literals are mostly one byte.
fn begins(rest: &[u8], literal: &[u8]) -> bool {
    rest.first() == literal.first() && (literal.len() == 1 || rest.starts_with(literal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logs::format::prefix::Prefix;

    /// Pieces of a prefix, and what the server may print for each.
    fn printed() -> impl Strategy<Value = (String, String)> {
        let literal = "[ @:,a4\\[\\]/-]".prop_map(|text| (text.clone(), text));
        let name = ("%[udaib]", "[a-b@:, 4-]{0,3}|\\[unknown\\]");
        let number = ("%[pPlxQ]", "[0-9]{0,3}");
        let host = ("%[hrL]", "\\[local\\]|[a-b:.4]{0,4}|10\\.0\\.0\\.7\\(5432\\)");
        prop_oneof![
            literal,
            Just(("%q".to_owned(), String::new())),
            Just(("%m".to_owned(), "2026-03-04 09:15:01.207 UTC".to_owned())),
            ("%t", "2026-03-04 09:15:01 (UTC|UTC[+-]4|[+-]04)"),
            ("%c", "69[0-9a-f]{0,3}\\.[0-9a-f]{1,3}"),
            name,
            name,
            number,
            host,
        ]
    }

    proptest! {
        #[test]
        fn the_straight_way_is_the_left_most_one(
            printed in prop::collection::vec(printed(), 1..7),
            keyword in "(LOG|DETAIL):  x( [ @:,a]{0,3}LOG:  x)?",
        ) {
            let (prefix, line): (Vec<_>, Vec<_>) = printed.into_iter().unzip();
            let (prefix, line) = (prefix.concat(), line.concat() + &keyword);
            let pieces = Prefix::compile(&prefix).into_pieces();
            let straight = Run::new(line.as_bytes()).straight(&pieces);
            if straight.is_some() {
                let thorough = Run::new(line.as_bytes()).thorough(&pieces);
                prop_assert_eq!(straight, thorough, "{:?} {:?}", prefix, line);
            }
        }
    }
}
