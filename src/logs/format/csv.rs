//! csvlog: columns in quotes, in which quotes are doubled and line breaks stand as they are. The server
//! quotes every text that is there, so quoting tells at once where a record is damaged: behind a
//! closing quote stands a comma or the end of a line, never anything else.

use std::borrow::Cow;
use std::ops::Range;

use super::columns::{CSV, Columns};
use crate::logs::record::SqlState;

/// The columns that every server since 9.0 writes.
const LEAST: usize = 23;

/// More columns than any version to come will have.
const MOST: usize = 60;

/// As much of a column as is kept where its record is long, quotes included: more than a record's text
/// may have in all.
const COLUMN_BYTES: usize = 144 * 1024;

/// A record is long from so many bytes on. Below, what is left out is counted without its quotes, as in
/// the other formats.
const LONG_BYTES: usize = 512 * 1024;

/// Between these columns the middle of a line can be missing: the message, and the statement.
const MISSING: usize = 6;

/// Where the SQLSTATE stands, which no language translates.
const CODE: usize = 12;

/// Whether a line begins a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) enum Head {
    No,
    /// As far as the line goes, which ends within a quoted name.
    Maybe,
    Yes,
}

/// Looks at the start of a line for `time,user,database,pid,from,session,line,`.
pub(in crate::logs) fn head(line: &[u8]) -> Head {
    // Nearly all lines are the text log's, which has no comma so early: one look at all these bytes.
    let comma = |start: &[u8; 32]| start.iter().fold(false, |any, byte| any | (*byte == b','));
    if line.first_chunk().is_some_and(|start| !comma(start)) {
        return Head::No;
    }
    let Some(at) = time(line) else { return Head::No };
    let mut at = at;
    for column in 1..7 {
        let rest = &line[at..];
        let end = match (column, rest.first()) {
            (1 | 2 | 4, Some(b'"')) => match closing(rest) {
                Some(end) => end,
                None => return Head::Maybe,
            },
            (1 | 2 | 4, _) => 0,
            (3 | 6, _) => rest.iter().take_while(|b| b.is_ascii_digit()).count(),
            _ => rest.iter().take_while(|b| b.is_ascii_hexdigit() || **b == b'.').count(),
        };
        let named = matches!(column, 1 | 2 | 4);
        if (end == 0 && !named) || rest.get(end) != Some(&b',') {
            return Head::No;
        }
        at += end + 1;
    }
    Head::Yes
}

/// `2026-03-04 09:15:01.207 UTC,`: where the next column begins. Rules the text log out after 27 bytes.
fn time(line: &[u8]) -> Option<usize> {
    let (time, behind) = line.split_first_chunk::<24>()?;
    let literals = [(4, b'-'), (10, b' '), (13, b':'), (16, b':'), (19, b'.'), (23, b' ')];
    let shape = literals.into_iter().all(|(at, byte)| time[at] == byte);
    if !shape || ![0, 18, 22].into_iter().all(|at: usize| time[at].is_ascii_digit()) {
        return None;
    }
    let word = behind.iter().take(8).position(|b| matches!(b, b',' | b' ' | b'"'))?;
    (word > 0 && behind[word] == b',').then_some(25 + word)
}

/// Where a quoted value ends, behind its last quote; `text` begins with the first.
fn closing(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr(b'"', &text[at..])? + 1;
        if text.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

/// How far a record has come with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) enum Fed {
    Whole,
    /// The line ended within quotes.
    More,
    /// This is no record, or one that was cut.
    Damaged,
}

/// Finds the columns of one record, line by line.
#[derive(Debug, Default)]
pub(in crate::logs) struct Scanner {
    /// Columns that are complete, quotes included.
    columns: Vec<Range<usize>>,
    /// All of them, known ones and others.
    count: usize,
    /// Where the present column begins.
    start: usize,
    /// Where the search goes on.
    at: usize,
    quoted: bool,
    /// Where the part of the present column ends that is kept.
    kept: Option<usize>,
    /// The column in which the middle of a line is missing.
    joint: Option<usize>,
    /// Bytes that were left out.
    left_out: u64,
}

impl Scanner {
    /// Goes on in a record's text, to which a line without its newline has been added.
    pub(in crate::logs) fn feed(&mut self, text: &[u8]) -> Fed {
        loop {
            if self.quoted {
                let Some(quote) = text.get(self.at..).and_then(|rest| memchr::memchr(b'"', rest))
                else {
                    self.at = text.len();
                    return Fed::More;
                };
                self.at += quote + 1;
                if text.get(self.at) == Some(&b'"') {
                    self.at += 1;
                    continue;
                }
                self.quoted = false;
            } else if self.at == self.start && text.get(self.at) == Some(&b'"') {
                self.quoted = true;
                self.at += 1;
                continue;
            } else {
                let rest = &text[self.at..];
                let comma = memchr::memchr(b',', rest).unwrap_or(rest.len());
                if memchr::memchr(b'"', &rest[..comma]).is_some() {
                    return Fed::Damaged;
                }
                self.at += comma;
            }
            // A column ends here.
            match text.get(self.at) {
                Some(b',') => {
                    self.end_column();
                    self.at += 1;
                    self.start = self.at;
                }
                None => {
                    self.end_column();
                    self.start = self.at;
                    let least = if self.joint.is_some() { LEAST - MISSING } else { LEAST };
                    let whole = (least..=MOST).contains(&self.count)
                        && self
                            .columns
                            .get(CODE)
                            .is_some_and(|code| SqlState::parse(&text[code.clone()]).is_some());
                    return if whole { Fed::Whole } else { Fed::Damaged };
                }
                Some(_) => return Fed::Damaged,
            }
        }
    }

    fn end_column(&mut self) {
        self.count += 1;
        let end = self.kept.take().unwrap_or(self.at);
        self.left_out += (self.at - end) as u64;
        if self.columns.len() < CSV.len() {
            // Nearly every record has all of them.
            self.columns.reserve_exact(CSV.len() - self.columns.len());
            self.columns.push(self.start..end);
        }
    }

    /// Takes out of the text what of its last column, which goes on, would be too much.
    pub(in crate::logs) fn shorten(&mut self, text: &mut Vec<u8>) {
        let kept = self.start + COLUMN_BYTES;
        let kept = self.kept.unwrap_or(kept).min(kept);
        if self.quoted && self.at == text.len() && self.at > kept && text.len() > LONG_BYTES {
            self.left_out += (self.at - kept) as u64;
            text.truncate(kept);
            self.at = kept;
            self.kept = Some(kept);
        }
    }

    /// The middle of the line is missing behind the text, which goes on in the same column, or in one of
    /// the next. False where that cannot be: then nobody knows where it goes on.
    pub(in crate::logs) fn join(&mut self) -> bool {
        let within = self.quoted && self.joint.is_none();
        if within {
            self.joint = Some(self.count);
            self.kept = Some(self.kept.unwrap_or(self.at).min(self.at));
        }
        within
    }

    /// Whether some of the text is missing, so that all behind it is in doubt.
    pub(in crate::logs) fn is_in_doubt(&self) -> bool {
        self.joint.is_some()
    }

    /// Bytes of the record that were left out.
    pub(in crate::logs) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The columns that were found; of a record that was cut, the present one as far as it goes.
    pub(in crate::logs) fn columns<'l>(&self, text: &'l [u8], cut: bool) -> Columns<'l> {
        let rest = cut.then_some(self.start..self.kept.unwrap_or(text.len()));
        let mut columns = Columns::default();
        // Where the middle of a line is missing, so may be columns: those behind it are the last ones.
        // 13 ends with the backend's type, a text, and later versions with a number.
        let last = self.columns.last().and_then(|last| text.get(last.start));
        let all = if last == Some(&b'"') { CSV.len() - 2 } else { CSV.len() };
        let lacking = if cut { 0 } else { all.saturating_sub(self.count) };
        for (at, range) in self.columns.iter().cloned().chain(rest).enumerate() {
            let behind = self.joint.is_some_and(|joint| at > joint);
            let Some(column) = CSV.get(if behind { at + lacking } else { at }).copied() else {
                break;
            };
            // NULL is nothing at all, an empty text is two quotes.
            let Some(raw) = text.get(range).filter(|raw| !raw.is_empty()) else { continue };
            columns.set(column, unquoted(raw));
        }
        columns
    }

    /// Where in damaged text the next record begins.
    pub(in crate::logs) fn resync(text: &[u8]) -> Option<usize> {
        memchr::memchr_iter(b':', text)
            .filter_map(|colon| colon.checked_sub("2026-03-04 09".len()))
            .find(|at| *at > 0 && head(&text[*at..]) == Head::Yes)
    }
}

fn unquoted(raw: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = raw.strip_prefix(b"\"") else { return Cow::Borrowed(raw) };
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    if memchr::memchr(b'"', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut text = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        text.extend_from_slice(&rest[..=quote]);
        rest = &rest[quote + 1..];
        rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    }
    text.extend_from_slice(rest);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::format::columns::Column;

    const LINE: &str = r#"2026-03-04 09:15:01.207 UTC,"app","shop",4411,"10.1.2.3:50122",69a7f9b1.113b,9,"INSERT",2026-03-04 09:10:25 UTC,5/881,70213,ERROR,23505,"duplicate key ""orders_pkey""","Key (id)=(90210) already exists.",,,,,"INSERT INTO orders",,,"web-7","client backend",,-7525930216565746870"#;

    #[test]
    fn columns_are_found_and_unquoted() {
        assert_eq!(head(LINE.as_bytes()), Head::Yes);
        let mut scanner = Scanner::default();
        assert_eq!(scanner.feed(LINE.as_bytes()), Fed::Whole);
        let columns = scanner.columns(LINE.as_bytes(), false);
        let text = |column| columns.get(column).map(String::from_utf8_lossy);
        assert_eq!(text(Column::Message).unwrap(), "duplicate key \"orders_pkey\"");
        assert_eq!(text(Column::QueryId).unwrap(), "-7525930216565746870");
        assert_eq!(text(Column::LeaderPid), None);
        assert_eq!(columns.remote(), (Some(&b"10.1.2.3"[..]), Some(&b"50122"[..])));
    }

    #[test]
    fn a_record_may_have_more_or_fewer_columns() {
        let fewer = LINE.trim_end_matches(",\"client backend\",,-7525930216565746870");
        for line in [fewer.to_owned(), format!("{LINE},\"later\",7")] {
            assert_eq!(Scanner::default().feed(line.as_bytes()), Fed::Whole, "{line}");
        }
        let cut = LINE.split_at(LINE.find(",,,,,").unwrap()).0;
        assert_eq!(Scanner::default().feed(cut.as_bytes()), Fed::Damaged);
    }

    /// A record whose statement, and what else is asked, is long; its text is fed in lines.
    fn fed(line: &str, most: usize) -> (Scanner, Vec<u8>) {
        let (mut scanner, mut text) = (Scanner::default(), Vec::new());
        for (number, line) in line.split('\n').enumerate() {
            if number > 0 {
                text.push(b'\n');
            }
            text.extend_from_slice(line.as_bytes());
            let fed = scanner.feed(&text);
            scanner.shorten(&mut text);
            assert!(text.len() < most, "{} bytes", text.len());
            if fed == Fed::Whole {
                return (scanner, text);
            }
            assert_eq!(fed, Fed::More);
        }
        panic!("it has no end");
    }

    #[test]
    fn a_long_column_keeps_its_beginning_and_what_follows() {
        let long = "say \"\"x\"\", twice\n".repeat(200_000);
        let line = LINE.replace("INSERT INTO orders", &format!("first {long}"));
        let (scanner, text) = fed(&line, LONG_BYTES + COLUMN_BYTES);
        let columns = scanner.columns(&text, false);
        let text = |column| columns.get(column).map(String::from_utf8_lossy).unwrap();
        assert!(text(Column::Statement).starts_with("first say \"x\", twice\nsay \"x\""));
        assert!(text(Column::Statement).len() > 100_000);
        assert_eq!(
            (&*text(Column::ApplicationName), &*text(Column::BackendType)),
            ("web-7", "client backend")
        );
        assert_eq!(text(Column::QueryId), "-7525930216565746870");
        let kept = columns.get(Column::Statement).unwrap().len() as u64;
        assert!(scanner.left_out() + 2 * kept > long.len() as u64);
    }

    #[test]
    fn columns_behind_a_missing_middle_are_the_last_ones() {
        let long = "x, \"\"y\"\" ".repeat(100);
        for (columns, behind) in [(1, "Key (id)"), (6, "INSERT INTO")] {
            let message = format!("first {long}");
            let line =
                LINE.replace("duplicate key", &message).replace(behind, &format!("{long}{behind}"));
            let (from, to) = (line.find("first x").unwrap() + 20, line.find(behind).unwrap() - 30);
            let mut scanner = Scanner::default();
            assert_eq!(scanner.feed(&line.as_bytes()[..from]), Fed::More);
            assert!(scanner.join() && !scanner.join(), "once");
            let text = [&line[..from], &line[to..]].concat();
            assert_eq!(scanner.feed(text.as_bytes()), Fed::Whole, "{columns}");
            let found = scanner.columns(text.as_bytes(), false);
            let value = |column| found.get(column).map(String::from_utf8_lossy);
            assert!(value(Column::Message).unwrap().starts_with("first x"));
            assert_eq!(value(Column::ApplicationName).unwrap(), "web-7");
            assert_eq!(value(Column::QueryId).unwrap(), "-7525930216565746870");
            assert_eq!(value(Column::Detail), None, "it is not known whose the rest is");
        }
    }

    #[test]
    fn the_text_log_is_told_apart() {
        for line in [
            "2026-03-04 09:15:01.207 UTC [4411] LOG:  hello, world",
            "2026-03-04 09:15:01.207 UTC,app,shop,4411,x,LOG:  hello",
            "2026-03-04 09:15:01.207 UTC,",
            "2026-03-04",
            "",
        ] {
            assert_eq!(head(line.as_bytes()), Head::No, "{line}");
        }
        assert_eq!(head(b"2026-03-04 09:15:01.207 UTC,\"a\"\"b"), Head::Maybe);
        assert_eq!(head(b"2026-03-04 09:15:01.207 CET,,,77,,69a7f9b1.4d,1,,"), Head::Yes);
    }

    #[test]
    fn damage_shows_at_the_next_quote() {
        let half = &LINE[..LINE.find("INTO").unwrap()];
        let text = format!("{half}{LINE}");
        assert_eq!(Scanner::default().feed(text.as_bytes()), Fed::Damaged);
        assert_eq!(Scanner::resync(text.as_bytes()), Some(half.len()));
    }
}
