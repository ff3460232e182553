//! `log_line_prefix`, compiled to a matcher: what PostgreSQL's `log_line_prefix()` (elog.c) prints,
//! read backwards. No pattern engine and no allocation: fields of a closed alphabet are read
//! exactly, free text ends at the next literal behind which the whole rest fits.

mod alphabet;
mod matcher;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::keyword::Keyword;
use crate::logs::record::{Part, Severity};
use matcher::Run;

/// A field of the prefix, by its escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// `%a`
    ApplicationName,
    /// `%u`
    User,
    /// `%d`
    Dbname,
    /// `%r`
    RemoteHostPort,
    /// `%h`
    RemoteHost,
    /// `%L` (18)
    LocalHost,
    /// `%b` (13)
    BackendType,
    /// `%p`
    Pid,
    /// `%P` (14)
    LeaderPid,
    /// `%t`
    Time,
    /// `%m`
    TimeMillis,
    /// `%n`
    Epoch,
    /// `%s`
    SessionStart,
    /// `%c`
    SessionId,
    /// `%l`
    LineNum,
    /// `%i`
    Ps,
    /// `%e`
    SqlState,
    /// `%v`
    Vxid,
    /// `%x`
    Txid,
    /// `%Q` (14)
    QueryId,
}

impl Escape {
    const COUNT: usize = Self::QueryId as usize + 1;

    fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'a' => Self::ApplicationName,
            b'u' => Self::User,
            b'd' => Self::Dbname,
            b'r' => Self::RemoteHostPort,
            b'h' => Self::RemoteHost,
            b'L' => Self::LocalHost,
            b'b' => Self::BackendType,
            b'p' => Self::Pid,
            b'P' => Self::LeaderPid,
            b't' => Self::Time,
            b'm' => Self::TimeMillis,
            b'n' => Self::Epoch,
            b's' => Self::SessionStart,
            b'c' => Self::SessionId,
            b'l' => Self::LineNum,
            b'i' => Self::Ps,
            b'e' => Self::SqlState,
            b'v' => Self::Vxid,
            b'x' => Self::Txid,
            b'Q' => Self::QueryId,
            _ => return None,
        })
    }

    /// Any bytes: chosen by people or clients.
    fn is_free(self) -> bool {
        matches!(
            self,
            Self::ApplicationName | Self::User | Self::Dbname | Self::BackendType | Self::Ps
        )
    }

    /// `[unknown]` until it is known.
    fn is_name(self) -> bool {
        matches!(self, Self::ApplicationName | Self::User | Self::Dbname)
    }

    /// Printed for clients' processes alone.
    fn is_of_client(self) -> bool {
        matches!(
            self,
            Self::ApplicationName
                | Self::User
                | Self::Dbname
                | Self::RemoteHostPort
                | Self::RemoteHost
                | Self::Ps
        )
    }

    /// Empty (padding aside) in processes without a client, where `%q` does not stop them before.
    fn may_be_empty(self) -> bool {
        matches!(
            self,
            Self::ApplicationName
                | Self::User
                | Self::Dbname
                | Self::RemoteHostPort
                | Self::RemoteHost
                | Self::LeaderPid
                | Self::Ps
                | Self::Vxid
                | Self::BackendType
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<[u8]>),
    /// The width is the least number of bytes; left-aligned values have their blanks behind.
    Field {
        escape: Escape,
        width: usize,
        left: bool,
    },
    /// `%q`: processes without a client stop here.
    Stop,
}

/// A compiled `log_line_prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    pieces: Vec<Piece>,
    /// Whether a client may have chosen some of it.
    names: bool,
}

/// A prefix found at the start of a line.
#[derive(Clone, Debug)]
pub struct Match {
    /// Where each field begins and ends; empty where it does not occur.
    fields: [(u16, u16); Escape::COUNT],
    /// Where the prefix ends and the keyword begins.
    pub end: usize,
    pub keyword: Keyword,
    /// Where the keyword, its colon and blanks end.
    pub text: usize,
}

impl Match {
    fn none() -> Self {
        Self {
            fields: [(0, 0); Escape::COUNT],
            end: 0,
            keyword: Keyword::Group(Part::Message),
            text: 0,
        }
    }

    fn range(&self, escape: Escape) -> Option<Range<usize>> {
        let (start, end) = self.fields[escape as usize];
        (start < end).then(|| usize::from(start)..usize::from(end))
    }

    /// The field's bytes, padding taken off; None where it is empty or not in the prefix.
    pub fn get<'l>(&self, line: &'l [u8], escape: Escape) -> Option<&'l [u8]> {
        line.get(self.range(escape)?)
    }

    /// Whether the SQLSTATE, where there is one, can be of a record with this severity.
    pub fn is_plausible(&self, line: &[u8]) -> bool {
        match (self.keyword, self.get(line, Escape::SqlState)) {
            (Keyword::Head(severity), Some(sqlstate)) => {
                severity < Severity::Error || sqlstate != b"00000"
            }
            _ => true,
        }
    }

    /// Whether another line repeats this one's prefix, as the lines of one record do: byte for byte,
    /// but for `%l`, which counts, and `%t`, which is read anew.
    pub fn same(&self, line: &[u8], other: &Self, other_line: &[u8]) -> bool {
        let pieces = |found: &Self| {
            let mut skip = [Escape::Time, Escape::LineNum].map(|escape| found.range(escape));
            skip.sort_by_key(|range| range.as_ref().map_or(0, |range| range.start));
            let [first, second] = skip.map(|range| range.unwrap_or(0..0));
            [0..first.start, first.end..second.start, second.end..found.end]
        };
        pieces(self)
            .into_iter()
            .zip(pieces(other))
            .all(|(mine, theirs)| line.get(mine) == other_line.get(theirs))
    }
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
        Self { text: log_line_prefix.to_owned(), pieces, names }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
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
        Run::new(line).first(&self.pieces)
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
        let keyword = |colon: usize| near[colon..].starts_with(b":  ");
        if !self.names || !memchr::memchr_iter(b':', near).any(keyword) {
            return Vec::new();
        }
        let all = self.all(line);
        if all.len() > 1 { all } else { Vec::new() }
    }
}

fn flush(literal: &mut Vec<u8>, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into_boxed_slice()));
    }
}
