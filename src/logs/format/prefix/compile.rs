//! From the setting to its pieces.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::alphabet;
use super::field::{Escape, Match, Piece};
use super::matcher::{self, Run};

/// What ends every keyword.
static KEYWORD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b":  "));

/// A compiled `log_line_prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    pieces: Vec<Piece>,
    /// Whether a client may have chosen some of it.
    names: bool,
    /// So many pieces at its start hold all that differs from line to line of a process: a time, and a
    /// count of lines if it has one. 0: others may differ too.
    varying: usize,
}

impl Prefix {
    /// Never fails: as in the server, an unknown escape prints nothing.
    pub fn compile(log_line_prefix: &str) -> Self {
        let bytes = log_line_prefix.as_bytes();
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            at += 1;
            if byte != b'%' {
                literal.push(byte);
                continue;
            }
            if bytes.get(at) == Some(&b'%') {
                literal.push(b'%');
                at += 1;
                continue;
            }
            let left = bytes.get(at) == Some(&b'-');
            at += usize::from(left);
            let mut width = 0_usize;
            while let Some(digit) = bytes.get(at).filter(|b| b.is_ascii_digit()) {
                width = width.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
                at += 1;
            }
            // The text ends within an escape: the server stops there.
            let Some(&letter) = bytes.get(at) else { break };
            at += 1;
            if letter == b'q' {
                flush(&mut literal, &mut pieces);
                pieces.push(Piece::Stop);
            } else if let Some(escape) = Escape::of(letter) {
                flush(&mut literal, &mut pieces);
                pieces.push(Piece::Field { escape, width, left });
            }
        }
        flush(&mut literal, &mut pieces);
        let names = pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Field { escape, .. } if escape.is_free()));
        let varying = varying(&pieces);
        Self { text: log_line_prefix.to_owned(), pieces, names, varying }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[cfg(test)]
    pub(super) fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    fn has(&self, wanted: Escape) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Field { escape, .. } if *escape == wanted))
    }

    /// Whether lines of several processes can be told apart.
    pub fn has_pid(&self) -> bool {
        self.has(Escape::Pid) || self.has(Escape::SessionId)
    }

    pub fn has_time(&self) -> bool {
        self.has(Escape::Time) || self.has(Escape::TimeMillis) || self.has(Escape::Epoch)
    }

    /// The left-most way to read a prefix and a keyword at the start of the line.
    pub fn matches(&self, line: &[u8]) -> Option<Match> {
        self.straight(line).or_else(|| self.thorough(line))
    }

    /// The same where no piece has to be tried twice. It is told by the bytes up to the text alone.
    pub(in crate::logs) fn straight(&self, line: &[u8]) -> Option<Match> {
        Run::new(line).straight(&self.pieces)
    }

    /// The same whatever has to be tried.
    pub(in crate::logs) fn thorough(&self, line: &[u8]) -> Option<Match> {
        Run::new(line).thorough(&self.pieces)
    }

    /// What at the start of a line differs from other lines of its process: as many bytes of a time,
    /// its zone left out, and where the count of lines is, if there is one. None where more may differ.
    pub(in crate::logs) fn varying(&self, line: &[u8]) -> Option<(usize, Range<usize>)> {
        let (first, others) = self.pieces[..self.varying].split_first()?;
        let Piece::Field { escape, .. } = first else { return None };
        let time = alphabet::time_length(*escape, line)?;
        if others.is_empty() {
            return Some((time, time..time));
        }
        let mut count = 0..alphabet::closed(*escape, line)?;
        for piece in others {
            let rest = &line[count.end..];
            let length = match piece {
                Piece::Literal(literal) => rest.starts_with(literal).then_some(literal.len()),
                Piece::Field { escape, .. } => alphabet::closed(*escape, rest),
                Piece::Stop => None,
            };
            count = count.end..count.end + length?;
        }
        Some((time, count))
    }

    /// Every way to read the line, the left-most first.
    pub fn all(&self, line: &[u8]) -> Vec<Match> {
        let mut all = Run::new(line).all(&self.pieces);
        all.sort_by_key(|found| found.end);
        // One end may be reached by several splits of the names; the first stands.
        all.dedup_by_key(|found| found.end);
        all
    }

    /// Every way to read a line of which one is known; empty where that is the only one. There are
    /// more where a client chose a name that looks like the rest of the prefix.
    pub fn rivals(&self, line: &[u8], found: &Match) -> Vec<Match> {
        let near = &line[found.text..line.len().min(found.text + 2 * matcher::MAX_FREE)];
        if !self.names || KEYWORD_END.find(near).is_none() {
            return Vec::new();
        }
        let all = self.all(line);
        if all.len() > 1 { all } else { Vec::new() }
    }
}

/// See [`Prefix::varying`].
fn varying(pieces: &[Piece]) -> usize {
    let field = |piece: &Piece| match piece {
        Piece::Field { escape, width: 0, .. } if !escape.is_free() => Some(*escape),
        _ => None,
    };
    if !matches!(pieces.first().and_then(field), Some(Escape::Time | Escape::TimeMillis)) {
        return 0;
    }
    let counts = |piece: &Piece| matches!(piece, Piece::Field { escape: Escape::LineNum, .. });
    let count = pieces.iter().rposition(counts).map_or(1, |at| at + 1);
    let plain = |piece: &Piece| matches!(piece, Piece::Literal(_)) || field(piece).is_some();
    if pieces[..count].iter().all(plain) { count } else { 0 }
}

fn flush(literal: &mut Vec<u8>, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into_boxed_slice()));
    }
}
