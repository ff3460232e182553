//! The fields of a prefix: as it is written, and where they were found in a line.

use std::ops::Range;

use crate::logs::format::keyword::Keyword;
use crate::logs::record::{Key, Part, Severity};

/// A field of the prefix, by its escape; those that are fields of a record come first, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// `%u`
    User,
    /// `%d`
    Dbname,
    /// `%p`
    Pid,
    /// `%h`
    RemoteHost,
    /// `%r`
    RemoteHostPort,
    /// `%L` (18)
    LocalHost,
    /// `%c`
    SessionId,
    /// `%l`
    LineNum,
    /// `%i`
    Ps,
    /// `%s`
    SessionStart,
    /// `%v`
    Vxid,
    /// `%x`
    Txid,
    /// `%a`
    ApplicationName,
    /// `%b` (13)
    BackendType,
    /// `%P` (14)
    LeaderPid,
    /// `%Q` (14)
    QueryId,
    /// `%t`
    Time,
    /// `%m`
    TimeMillis,
    /// `%n`
    Epoch,
    /// `%e`
    SqlState,
}

impl Escape {
    pub(super) const ALL: [Self; 20] = [
        Self::User,
        Self::Dbname,
        Self::Pid,
        Self::RemoteHost,
        Self::RemoteHostPort,
        Self::LocalHost,
        Self::SessionId,
        Self::LineNum,
        Self::Ps,
        Self::SessionStart,
        Self::Vxid,
        Self::Txid,
        Self::ApplicationName,
        Self::BackendType,
        Self::LeaderPid,
        Self::QueryId,
        Self::Time,
        Self::TimeMillis,
        Self::Epoch,
        Self::SqlState,
    ];

    /// The record's field that it tells; `%r` tells the port, and the host where `%h` does not.
    pub fn key(self) -> Option<Key> {
        Key::ALL.get(self as usize).copied()
    }

    pub(super) fn of(letter: u8) -> Option<Self> {
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
    pub(super) fn is_free(self) -> bool {
        matches!(
            self,
            Self::ApplicationName | Self::User | Self::Dbname | Self::BackendType | Self::Ps
        )
    }

    /// `[unknown]` until it is known.
    pub(super) fn is_name(self) -> bool {
        matches!(self, Self::ApplicationName | Self::User | Self::Dbname)
    }

    /// Printed for clients' processes alone.
    pub(super) fn is_of_client(self) -> bool {
        self.is_name() || matches!(self, Self::RemoteHostPort | Self::RemoteHost | Self::Ps)
    }

    /// Empty (padding aside) in processes without a client, where `%q` does not stop them before.
    pub(super) fn may_be_empty(self) -> bool {
        self.is_of_client() || matches!(self, Self::LeaderPid | Self::Vxid | Self::BackendType)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
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

/// A prefix found at the start of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// A bit for each field that has a value …
    known: u32,
    /// … and where that begins and ends.
    fields: [(u16, u16); Escape::ALL.len()],
    /// Where the prefix ends and the keyword begins.
    pub end: usize,
    pub keyword: Keyword,
    /// Where the keyword, its colon and blanks end.
    pub text: usize,
}

impl Default for Match {
    fn default() -> Self {
        Self {
            known: 0,
            fields: [(0, 0); Escape::ALL.len()],
            end: 0,
            keyword: Keyword::Group(Part::Message),
            text: 0,
        }
    }
}

impl Match {
    /// Takes in where a field's value is, an empty one too, and gives back where it was: a prefix may
    /// have a field twice. Prefixes are far shorter than 64 KiB.
    pub(super) fn set(&mut self, escape: Escape, value: (u16, u16)) -> (u16, u16) {
        self.known &= !(1 << escape as u32);
        self.known |= u32::from(value.0 < value.1) << escape as u32;
        std::mem::replace(&mut self.fields[escape as usize], value)
    }

    pub(super) fn range(&self, escape: Escape) -> Option<Range<usize>> {
        let (start, end) = self.fields[escape as usize];
        (self.known >> escape as u32 & 1 == 1).then(|| usize::from(start)..usize::from(end))
    }

    /// The fields that have a value, in their order.
    pub fn values<'l>(&self, line: &'l [u8]) -> impl Iterator<Item = (Escape, &'l [u8])> {
        let mut left = self.known;
        std::iter::from_fn(move || {
            let escape = *Escape::ALL.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some((escape, self.get(line, escape)?))
        })
    }

    /// The field's bytes, padding taken off; None where it is empty or not in the prefix.
    pub fn get<'l>(&self, line: &'l [u8], escape: Escape) -> Option<&'l [u8]> {
        line.get(self.range(escape)?)
    }

    /// The process that wrote the line, from `%p` or the session id; 0 where neither is there.
    pub fn process(&self, line: &[u8]) -> u32 {
        let number = |digits: &[u8], radix| {
            digits.iter().try_fold(0_u32, |sum, digit| {
                sum.checked_mul(radix)?.checked_add(char::from(*digit).to_digit(radix)?)
            })
        };
        if let Some(pid) = self.get(line, Escape::Pid) {
            return number(pid, 10).unwrap_or(0);
        }
        self.get(line, Escape::SessionId)
            .and_then(|id| id.rsplit(|b| *b == b'.').next())
            .and_then(|pid| number(pid, 16))
            .unwrap_or(0)
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
