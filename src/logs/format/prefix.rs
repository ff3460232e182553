//! `log_line_prefix`, compiled to a matcher: what PostgreSQL's `log_line_prefix()` (elog.c) prints,
//! read backwards. No pattern engine and no allocation: fields of a closed alphabet are read
//! exactly, free text ends at the next literal behind which the whole rest fits.

use std::ops::Range;

use super::keyword::{Keyword, keyword};
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
}

/// Free text is bounded: names hold 63 bytes, of which each may be written as `\xNN`.
const MAX_FREE: usize = 256;

/// How many trials one line may cost: a bound for hostile prefixes and lines.
const MAX_STEPS: u32 = 4096;

/// A compiled `log_line_prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    pieces: Vec<Piece>,
    /// Where `%q` stands: processes without a client print no more than the pieces before it.
    stop: Option<usize>,
}

/// A prefix found at the start of a line.
#[derive(Clone, Debug)]
pub struct Match {
    fields: [(u32, u32); Escape::COUNT],
    /// Where the prefix ends and the keyword begins.
    pub end: usize,
    pub keyword: Keyword,
    /// Where the keyword, its colon and blanks end.
    pub text: usize,
}

impl Match {
    fn range(&self, escape: Escape) -> Option<Range<usize>> {
        let (start, end) = self.fields[escape as usize];
        (start < end).then_some(start as usize..end as usize)
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
        let mut stop = None;
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
                stop.get_or_insert(pieces.len());
            } else if let Some(escape) = Escape::of(letter) {
                flush(&mut literal, &mut pieces);
                pieces.push(Piece::Field { escape, width, left });
            }
        }
        flush(&mut literal, &mut pieces);
        Self { text: log_line_prefix.to_owned(), pieces, stop }
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
        let whole = self.first(line, false);
        match self.stop.and_then(|_| self.first(line, true)) {
            Some(short) if whole.as_ref().is_none_or(|whole| short.end < whole.end) => Some(short),
            _ => whole,
        }
    }

    fn first(&self, line: &[u8], stopped: bool) -> Option<Match> {
        let mut first = None;
        self.each(line, stopped, &mut |found| {
            first = Some(found.clone());
            false
        });
        first
    }

    /// Every way to read the line, the left-most first.
    pub fn all(&self, line: &[u8]) -> Vec<Match> {
        let mut all = Vec::new();
        let mut add = |found: &Match| {
            all.push(found.clone());
            true
        };
        self.each(line, false, &mut add);
        if self.stop.is_some() {
            self.each(line, true, &mut add);
        }
        all.sort_by_key(|found| found.end);
        // One end may be reached by several splits of the names; the first stands.
        all.dedup_by_key(|found| found.end);
        all
    }

    /// Every way to read a line of which one is known; empty where that is the only one. There are
    /// more where a client chose a name that looks like the rest of the prefix.
    pub fn rivals(&self, line: &[u8], found: &Match) -> Vec<Match> {
        let names = self
            .pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Field { escape, .. } if escape.is_free()));
        let near = &line[found.text..line.len().min(found.text + 2 * MAX_FREE)];
        if !names || memchr::memmem::find(near, b":  ").is_none() {
            return Vec::new();
        }
        let all = self.all(line);
        if all.len() > 1 { all } else { Vec::new() }
    }

    /// Reads the line as a client's process wrote it, or one that stops at `%q`. `found` says whether
    /// to go on.
    fn each(&self, line: &[u8], stopped: bool, found: &mut dyn FnMut(&Match) -> bool) {
        let pieces = match self.stop {
            Some(stop) if stopped => &self.pieces[..stop],
            _ => &self.pieces,
        };
        let at = Match {
            fields: [(0, 0); Escape::COUNT],
            end: 0,
            keyword: Keyword::Group(Part::Message),
            text: 0,
        };
        Run { line, steps: MAX_STEPS, stopped, at, found }.pieces(pieces, 0);
    }
}

fn flush(literal: &mut Vec<u8>, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into_boxed_slice()));
    }
}

struct Run<'a> {
    line: &'a [u8],
    steps: u32,
    /// The process has no client, and so no value for a client's fields.
    stopped: bool,
    at: Match,
    found: &'a mut dyn FnMut(&Match) -> bool,
}

impl Run<'_> {
    fn pieces(&mut self, pieces: &[Piece], at: usize) {
        if self.steps == 0 {
            return;
        }
        self.steps -= 1;
        let Some((piece, rest)) = pieces.split_first() else {
            if let Some((keyword, length)) = keyword(&self.line[at..]) {
                self.at.end = at;
                self.at.keyword = keyword;
                self.at.text = at + length;
                if !(self.found)(&self.at) {
                    self.steps = 0;
                }
            }
            return;
        };
        match piece {
            Piece::Literal(literal) => {
                if self.line[at..].starts_with(literal) {
                    self.pieces(rest, at + literal.len());
                }
            }
            Piece::Field { escape, width, left } => self.field(*escape, *width, *left, rest, at),
        }
    }

    fn field(&mut self, escape: Escape, width: usize, left: bool, rest: &[Piece], at: usize) {
        let line = &self.line[at..];
        // Right-aligned values have blanks before them, at most as many as the width wants.
        let blanks = if left { 0 } else { run(line, width, |b| b == b' ') };
        let empty = escape.may_be_empty() && run(line, width, |b| b == b' ') == width;
        let free = escape.is_free();
        // The shortest text comes first: left-most is what the server meant, unless a client's name
        // looks like the rest.
        if empty && free {
            self.then(escape, at..at, at + width, rest);
        }
        if self.stopped && escape.is_of_client() {
            // No value but the empty one.
        } else if free {
            self.free(escape, at, blanks, width, left, rest);
        } else {
            // The longest reading first, then shorter ones where the alphabet leaves a choice.
            let value = &line[blanks..];
            let mut length = closed(escape, value);
            while let Some(len) = length {
                if let Some(end) = padded(line, blanks, len, width, left) {
                    self.then(escape, at + blanks..at + blanks + len, at + end, rest);
                }
                length = shorter(escape, value, len);
            }
        }
        if empty && !free {
            self.then(escape, at..at, at + width, rest);
        }
    }

    /// Free text: every place where the next literal stands may end it.
    fn free(
        &mut self,
        escape: Escape,
        at: usize,
        blanks: usize,
        width: usize,
        left: bool,
        rest: &[Piece],
    ) {
        let line = &self.line[at..];
        if blanks > 0 && !left {
            // Padded on its left: it ends where the width does, exactly.
            if line.len() >= width && blanks < width {
                self.then(escape, at + blanks..at + width, at + width, rest);
            }
            return;
        }
        let literal = match rest.first() {
            Some(Piece::Literal(literal)) => Some(literal[0]),
            _ => None,
        };
        let last = line.len().min(MAX_FREE.max(width));
        // The empty value is the caller's.
        let mut end = width.max(1);
        while end <= last {
            if let Some(literal) = literal {
                match memchr::memchr(literal, &line[end..line.len().min(last + 1)]) {
                    Some(skip) => end += skip,
                    None => return,
                }
            }
            let mut value = end;
            while left && end == width && value > 0 && line[value - 1] == b' ' {
                value -= 1;
            }
            if value > 0 {
                self.then(escape, at..at + value, at + end, rest);
            }
            if self.steps == 0 {
                return;
            }
            end += 1;
        }
    }

    fn then(&mut self, escape: Escape, value: Range<usize>, end: usize, rest: &[Piece]) {
        let saved = self.at.fields[escape as usize];
        let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.at.fields[escape as usize] = (at(value.start), at(value.end));
        self.pieces(rest, end);
        self.at.fields[escape as usize] = saved;
    }
}

/// How many bytes at the start satisfy `wanted`, at most `most`.
fn run(bytes: &[u8], most: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take(most).take_while(|b| wanted(**b)).count()
}

fn digits(bytes: &[u8]) -> usize {
    run(bytes, 20, |b| b.is_ascii_digit())
}

/// Where a padded field ends, if a value of this length behind these blanks is what the server
/// would print.
fn padded(line: &[u8], blanks: usize, len: usize, width: usize, left: bool) -> Option<usize> {
    let end = blanks + len;
    if end >= width {
        return (blanks == 0 || end == width).then_some(end);
    }
    let behind = line.get(end..width)?;
    (left && behind.iter().all(|b| *b == b' ')).then_some(width)
}

/// The length of the longest value of this escape at the start of the bytes.
fn closed(escape: Escape, bytes: &[u8]) -> Option<usize> {
    let length = match escape {
        Escape::Pid | Escape::LeaderPid | Escape::LineNum | Escape::Txid => digits(bytes),
        Escape::QueryId => {
            let sign = usize::from(bytes.first() == Some(&b'-'));
            let digits = digits(&bytes[sign..]);
            if digits == 0 { 0 } else { sign + digits }
        }
        Escape::Epoch => pair(digits(bytes), bytes, b'.', digits),
        Escape::Vxid => {
            pair(run(bytes, 11, |b| b.is_ascii_digit() || b == b'-'), bytes, b'/', digits)
        }
        Escape::SessionId => {
            let hex = |bytes: &[u8]| run(bytes, 16, |b| b.is_ascii_hexdigit());
            pair(hex(bytes), bytes, b'.', hex)
        }
        Escape::SqlState => {
            let length = run(bytes, 5, |b| b.is_ascii_digit() || b.is_ascii_uppercase());
            if length == 5 { 5 } else { 0 }
        }
        Escape::Time | Escape::SessionStart => time(bytes, false),
        Escape::TimeMillis => time(bytes, true),
        Escape::RemoteHost | Escape::LocalHost => host(bytes),
        Escape::RemoteHostPort => {
            let host = host(bytes);
            let port = match bytes.get(host) {
                Some(b'(') => digits(&bytes[host + 1..]),
                _ => 0,
            };
            let closed = port > 0 && bytes.get(host + 1 + port) == Some(&b')');
            if closed { host + port + 2 } else { host }
        }
        Escape::ApplicationName
        | Escape::User
        | Escape::Dbname
        | Escape::BackendType
        | Escape::Ps => 0,
    };
    (length > 0).then_some(length)
}

/// Two values with a separator between them, or nothing.
fn pair(first: usize, bytes: &[u8], separator: u8, second: impl Fn(&[u8]) -> usize) -> usize {
    if first == 0 || bytes.get(first) != Some(&separator) {
        return 0;
    }
    match second(&bytes[first + 1..]) {
        0 => 0,
        length => first + 1 + length,
    }
}

/// An address, a host name, `[local]`, `[none]` or the `???` of one that can't be told.
fn host(bytes: &[u8]) -> usize {
    for word in [&b"[local]"[..], b"[none]", b"???"] {
        if bytes.starts_with(word) {
            return word.len();
        }
    }
    run(bytes, 255, |b| b.is_ascii_alphanumeric() || b".:_%-".contains(&b))
}

/// `2026-11-20 10:00:21.633 UTC`, as `%m` prints it; `%t` has no fraction.
fn time(bytes: &[u8], millis: bool) -> usize {
    let pattern: &[u8] = if millis { b"0000-00-00 00:00:00.000 " } else { b"0000-00-00 00:00:00 " };
    let fits = |(b, p): (&u8, &u8)| if *p == b'0' { b.is_ascii_digit() } else { b == p };
    if bytes.len() <= pattern.len() || !bytes.iter().zip(pattern).all(fits) {
        return 0;
    }
    match zone(&bytes[pattern.len()..]) {
        0 => 0,
        zone => pattern.len() + zone,
    }
}

/// `UTC`, `+0545`, `UTC+3`.
fn zone(bytes: &[u8]) -> usize {
    let letters = run(bytes, 15, |b| b.is_ascii_alphabetic());
    let sign = usize::from(matches!(bytes.get(letters), Some(b'+' | b'-')));
    match digits(&bytes[letters + sign..]) {
        0 => letters,
        digits if sign == 1 => letters + 1 + digits,
        _ => letters,
    }
}

/// The next shorter value that the alphabet allows: needed where the literal behind could belong to
/// the value (`%h:%u`).
fn shorter(escape: Escape, bytes: &[u8], length: usize) -> Option<usize> {
    match escape {
        Escape::RemoteHost | Escape::LocalHost if bytes[0] != b'[' => {
            (length > 1).then(|| length - 1)
        }
        Escape::Time | Escape::TimeMillis | Escape::SessionStart => {
            let end = bytes[..length].iter().rposition(u8::is_ascii_alphabetic)? + 1;
            (end < length).then_some(end)
        }
        Escape::Pid | Escape::LeaderPid | Escape::LineNum | Escape::Txid | Escape::QueryId => {
            (length > 1 && bytes[length - 2].is_ascii_digit()).then(|| length - 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(prefix: &str, line: &str) -> Option<Vec<String>> {
        let prefix = Prefix::compile(prefix);
        let found = prefix.matches(line.as_bytes())?;
        let all = "audrhLbpPtmnscliexvQ".bytes().filter_map(Escape::of);
        let text = |escape| found.get(line.as_bytes(), escape).map(String::from_utf8_lossy);
        Some(
            all.filter_map(text).map(String::from).chain([line[found.text..].to_owned()]).collect(),
        )
    }

    #[test]
    fn what_the_server_ignores_is_ignored() {
        for prefix in ["[%p] %y%z", "[%p] %", "[%p] %-", "[%p] %5", "[%q%p]%q ", "[%p]% ! "] {
            let line = if prefix.ends_with("! ") { "[7]! LOG:  x" } else { "[7] LOG:  x" };
            assert_eq!(fields(prefix, line), Some(vec!["7".into(), "x".into()]), "{prefix}");
        }
        assert_eq!(fields("100%% %p ", "100% 7 LOG:  x"), Some(vec!["7".into(), "x".into()]));
        assert_eq!(fields("", "LOG:  x"), Some(vec!["x".into()]));
    }

    #[test]
    fn a_line_fits_only_as_a_whole() {
        for line in [
            "2026-03-04 09:15:01.207 UTC [4411] LOG: one blank",
            "2026-03-04 09:15:01.207 UTC [4411] INFO no colon",
            "2026-03-04 09:15:01 UTC [4411] LOG:  no fraction",
            "2026-03-04 09:15:01,207 UTC [4411] LOG:  a comma",
            "2026-03-04 09:15:01.207 [4411] LOG:  no zone",
            "2026-03-04 09:15:01.207 UTC [] LOG:  no process",
            " 2026-03-04 09:15:01.207 UTC [4411] LOG:  a blank before",
            "2026-03-04 09:15:01.207 UTC [4411] ",
        ] {
            assert_eq!(fields("%m [%p] ", line), None, "{line}");
        }
    }

    #[test]
    fn zones_are_words_or_offsets() {
        for zone in ["UTC", "CEST", "+03", "-0330", "+0545", "UTC+3"] {
            let time = format!("2026-03-04 09:15:01.207 {zone}");
            let line = format!("{time} [7] LOG:  x");
            assert_eq!(fields("%m [%p] ", &line), Some(vec!["7".into(), time, "x".into()]));
        }
        // What follows the zone may look like a part of it.
        let line = "2026-03-04 09:15:01 UTC-7 LOG:  x";
        let time = "2026-03-04 09:15:01 UTC".to_owned();
        assert_eq!(fields("%t-%p ", line), Some(vec!["7".into(), time, "x".into()]));
    }

    #[test]
    fn addresses_end_where_the_rest_begins() {
        for (prefix, line, host) in [
            ("%h:%u:", "10.0.0.7:app:LOG:  x", "10.0.0.7"),
            ("%h:%u:", "2001:db8::7:app:LOG:  x", "2001:db8::7"),
            ("%h %u ", "fe80::1%eth0 app LOG:  x", "fe80::1%eth0"),
            ("%r %u ", "[local] app LOG:  x", "[local]"),
            ("%r:%u ", "2001:db8::7(5432):app LOG:  x", "2001:db8::7(5432)"),
            ("%r:%u ", "db-1.example.org(5432):app LOG:  x", "db-1.example.org(5432)"),
        ] {
            let wanted = vec!["app".to_owned(), host.into(), "x".into()];
            assert_eq!(fields(prefix, line), Some(wanted), "{line}");
        }
    }

    #[test]
    fn a_line_costs_a_bounded_number_of_trials() {
        let prefix = Prefix::compile("%a%u%d%i%a%u%d%i%b ");
        let line = "a b ".repeat(1000);
        let start = std::time::Instant::now();
        assert!(prefix.matches(line.as_bytes()).is_none());
        assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
    }

    #[test]
    fn known_prefixes_are_guessed_from_their_lines() {
        for (text, line) in [
            ("%m [%p] ", "2026-03-04 09:15:01.207 UTC [7] LOG:  x"),
            ("%m [%p] %q%u@%d ", "2026-03-04 09:15:01.207 UTC [7] a@b LOG:  x"),
            ("%m [%p] %q%u@%d/%a ", "2026-03-04 09:15:01.207 UTC [7] a@b/c LOG:  x"),
            (
                "%t [%p]: db=%d,user=%u,app=%a,client=%h ",
                "2026-03-04 09:15:01 UTC [7]: db=a,user=b,app=c,client=d LOG:  x",
            ),
            ("%t:%r:%u@%d:[%p]:", "2026-03-04 09:15:01 UTC:1.2.3.4(5):a@b:[7]:LOG:  x"),
        ] {
            let sample = format!("noise\n{line}\n\tcontinued\n{line}\n");
            let guessed = Prefix::guess(sample.as_bytes()).expect(text);
            // Several may read the same lines; then the richer stands, and reads them as well.
            let found = guessed.matches(line.as_bytes());
            assert!(found.is_some(), "{text}");
            if text != "%m [%p] " {
                assert_eq!(guessed.as_str(), text);
            }
        }
        assert!(Prefix::guess(b"hello\nworld\n").is_none());
        assert!(Prefix::guess(b"").is_none());
    }
}
