//! The fields of a prefix: as it is written, and where they were found in a line.

use std::ops::Range;

use crate::logs::format::keyword::Keyword;
use crate::logs::record::{Part, Severity};

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
    pub(super) const COUNT: usize = Self::QueryId as usize + 1;

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
#[derive(Clone, Debug)]
pub struct Match {
    /// Where each field begins and ends; empty where it does not occur.
    pub(super) fields: [(u16, u16); Escape::COUNT],
    /// Where the prefix ends and the keyword begins.
    pub end: usize,
    pub keyword: Keyword,
    /// Where the keyword, its colon and blanks end.
    pub text: usize,
}

impl Match {
    pub(super) fn none() -> Self {
        Self {
            fields: [(0, 0); Escape::COUNT],
            end: 0,
            keyword: Keyword::Group(Part::Message),
            text: 0,
        }
    }

    pub(super) fn range(&self, escape: Escape) -> Option<Range<usize>> {
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
