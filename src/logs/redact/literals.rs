//! Literals: what statements, parameters, keys and rows hold of people's data.

use std::ops::Range;

use super::lexer::{Kind, Lexer, Piece};
use super::mask::{CREDENTIAL, LITERAL, Masked, apply};
use crate::logs::record::{Part, Severity};

/// Which literals of SQL text are masked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Strings,
    All,
}

/// A statement, every literal masked.
pub(super) fn sql(text: &str) -> Option<Masked> {
    apply(text, in_sql(text, 0..text.len(), Which::All), LITERAL)
}

/// Text that may hold a part of a statement: its strings masked, as credentials.
pub(super) fn strings(text: &str) -> Option<Masked> {
    apply(text, in_sql(text, 0..text.len(), Which::Strings), CREDENTIAL)
}

/// Where literals stand within a range of the text that is SQL.
fn in_sql(text: &str, range: Range<usize>, which: Which) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    collect(text, range, which, &mut ranges, 0);
    ranges
}

fn collect(
    text: &str,
    range: Range<usize>,
    which: Which,
    ranges: &mut Vec<Range<usize>>,
    depth: usize,
) {
    let base = range.start;
    let Some(sql) = text.get(range) else { return };
    let mut body = false;
    for Piece { kind, range, inner, .. } in Lexer::new(sql) {
        let at = |range: Range<usize>| base + range.start..base + range.end;
        match kind {
            Kind::String => ranges.push(at(inner)),
            // A function's body is code, of which only the literals are masked.
            Kind::Dollar if body && depth < 4 => collect(text, at(inner), which, ranges, depth + 1),
            Kind::Comment if depth < 4 => collect(text, at(inner), which, ranges, depth + 1),
            Kind::Dollar | Kind::Comment => ranges.push(at(inner)),
            Kind::Number if which == Which::All => ranges.push(at(range)),
            Kind::Word => {
                let word = &sql[range];
                body = word.eq_ignore_ascii_case("as") || word.eq_ignore_ascii_case("do");
            }
            Kind::Number | Kind::Other => body = false,
            Kind::Space => {}
        }
    }
}

/// The text for the search of literals, byte for byte as long: quotes around statements in prose are
/// no quotes of names, and apostrophes (`can't`) begin no string.
fn prose(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for at in memchr::memchr2_iter(b'"', b'\'', text.as_bytes()) {
        let (before, behind) = (&text.as_bytes()[..at], &text.as_bytes()[at + 1..]);
        let contracted = before.last().is_some_and(u8::is_ascii_alphabetic)
            && ["t", "s", "re", "ll", "ve", "d", "m"].iter().any(|end| {
                behind.strip_prefix(end.as_bytes()).is_some_and(|rest| {
                    rest.first().is_none_or(|b| b.is_ascii_whitespace() || b".,;:".contains(b))
                })
            });
        if bytes[at] == b'"' || contracted {
            bytes[at] = b' ';
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The rest of the text behind a marker.
fn behind(text: &str, marker: &str) -> Option<usize> {
    text.find(marker).map(|at| at + marker.len())
}

/// DETAIL: parameters, keys, rows, and statements.
pub(super) fn detail(text: &str) -> Option<Masked> {
    apply(text, in_detail(text), LITERAL)
}

fn in_detail(text: &str) -> Vec<Range<usize>> {
    // `Parameters: $1 = 'x'`, with a small letter up to 16.
    if let Some(from) = behind(text, "arameters: ") {
        return in_sql(text, from..text.len(), Which::All);
    }
    let sql = text
        .strip_prefix("prepare: ")
        .map(|sql| text.len() - sql.len())
        .or_else(|| behind(text, "process was running: "));
    if let Some(from) = sql {
        return in_sql(text, from..text.len(), Which::All);
    }
    if text.contains(")=(") {
        return keys(text);
    }
    if let Some(from) = behind(text, " contains (") {
        // A long row is cut, and has no bracket of its own at the end.
        let end = text.strip_suffix('.').unwrap_or(text).strip_suffix(')').unwrap_or(text).len();
        let end = end.max(from);
        return std::iter::once(from..end).collect();
    }
    let mut ranges = deadlock(text);
    ranges.extend(brackets(text));
    ranges.extend(values(text, false));
    ranges.extend(in_sql(&prose(text), 0..text.len(), Which::Strings));
    ranges
}

/// `Key (a, b)=(1, x) already exists.`: a value may hold anything, brackets too, so it ends at the last
/// bracket before words that can follow one.
fn keys(text: &str) -> Vec<Range<usize>> {
    const FOLLOW: [&str; 7] = [
        " already exists",
        " is not present",
        " is still referenced",
        " is referenced",
        " is duplicated",
        " conflicts with",
        " is not ",
    ];
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(from) = text[at..].find(")=(").map(|found| at + found + 3) {
        let rest = &text[from..];
        let follow = FOLLOW
            .iter()
            .filter_map(|words| rest.find(&format!("){words}")))
            .min()
            .or_else(|| rest.rfind(')'))
            .unwrap_or(rest.len());
        ranges.push(from..from + follow);
        at = from + follow;
    }
    ranges
}

/// `Process 4711: UPDATE …`, a statement, perhaps of several lines, for each process in a deadlock.
fn deadlock(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut sql = false;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let mut from = start;
        if let Some(rest) = line.strip_prefix("Process ") {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            sql = digits > 0 && rest[digits..].starts_with(": ");
            from = start + "Process ".len() + digits;
        }
        if sql {
            ranges.extend(in_sql(text, from..end, Which::All));
        }
        start = end;
    }
    ranges
}

/// Brackets with a blank before them, as around a failing row in any language; those of functions
/// and types stand at their names.
fn brackets(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(from) = text[at..].find(" (").map(|found| at + found + 2) {
        let end = text[from..].rfind(')').map_or(text.len(), |length| from + length);
        ranges.push(from..end);
        at = end;
    }
    ranges
}

/// What stands before values that errors quote; names of things stand behind other words.
const QUOTING: [&str; 9] =
    [": \"", "value \"", "Token \"", "found \"", "sequence \"", "near \"", ": »", ": «", ": “"];

/// Values that a message quotes behind a colon: `invalid input syntax for type integer: "x"`; the
/// place of a syntax error where that may be a value.
fn values(text: &str, named: bool) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    for marker in QUOTING {
        let Some(from) = behind(text, marker) else { continue };
        let value = text[from..].starts_with(|c: char| c == '\'' || c == '$' || c.is_ascii_digit());
        if marker == "near \"" && !named && !value {
            continue;
        }
        let end = text[from..].rfind(['"', '«', '»', '”']).map_or(text.len(), |end| from + end);
        ranges.push(from..end);
    }
    ranges
}

/// CONTEXT: statements of functions, data of COPY, parameters.
pub(super) fn context(text: &str) -> Option<Masked> {
    let shadow = prose(text);
    let mut ranges = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        if line.starts_with("COPY ") {
            // Data may hold line breaks.
            let from = line.find(": ").map_or(end, |at| start + at + 2);
            ranges.push(from..text.rfind('"').filter(|close| *close >= from).unwrap_or(end));
        } else if line.starts_with("JSON data") {
            ranges.push(line.find(": ").map_or(end, |at| start + at + 2)..end);
        } else if !["PL/", "SQL function", "while ", "automatic "]
            .iter()
            .any(|w| line.starts_with(w))
        {
            ranges.extend(in_sql(&shadow, start..end, Which::All));
        }
        start = end;
    }
    ranges.extend(in_sql(&shadow, 0..text.len(), Which::Strings));
    apply(text, ranges, LITERAL)
}

/// Errors say what was wrong; what the server tells of itself quotes no people's data.
fn quotes_values(severity: Option<Severity>) -> bool {
    severity.is_some_and(|severity| severity >= Severity::Notice)
}

/// The words behind which a logged statement begins.
const STATEMENTS: [&str; 5] = ["statement: ", "execute ", "parse ", "bind ", "plan:\n"];

/// A message: logged statements, plans, audit records, and values that errors quote.
pub(super) fn message(severity: Option<Severity>, text: &str) -> Option<Masked> {
    if let Some(rest) = text.strip_prefix("AUDIT: ") {
        return audit(text, text.len() - rest.len());
    }
    let logged = text.strip_prefix("duration: ").and_then(|rest| rest.split_once(" ms  "));
    let body = logged.map_or(text, |(_, rest)| rest);
    let from = text.len() - body.len();
    for words in STATEMENTS {
        if !body.starts_with(words) {
            continue;
        }
        let start = match words {
            "statement: " => from + words.len(),
            "plan:\n" => return plan(text, from + words.len()),
            // The name of a prepared statement and a colon.
            _ => from + body.find(": ").map_or(body.len(), |colon| colon + 2),
        };
        return apply(text, in_sql(text, start..text.len(), Which::All), LITERAL);
    }
    let mut ranges = if quotes_values(severity) { values(text, false) } else { Vec::new() };
    if let Some(from) = behind(text, "arameters: ") {
        ranges.extend(in_sql(text, from..text.len(), Which::All));
    }
    apply(text, ranges, LITERAL)
}

/// auto_explain: the query, and a plan whose conditions hold literals, while its other numbers are
/// what one wants to see.
fn plan(text: &str, from: usize) -> Option<Masked> {
    let shadow = prose(text);
    let mut ranges = in_sql(&shadow, from..text.len(), Which::Strings);
    let mut start = from;
    let mut query = false;
    for line in text[from..].split_inclusive('\n') {
        let end = start + line.len();
        let trimmed = line.trim_start().trim_start_matches('"');
        query = trimmed.starts_with("Query Text")
            || trimmed.starts_with("Query Parameters")
            || (query && !line.contains("(cost=") && !line.contains("Plan\":"));
        let condition = !trimmed.starts_with("Rows Removed")
            && trimmed.split([':', '"']).next().is_some_and(|name| {
                ["Cond", "Filter", "Key", "Output", "Call", "SQL"].iter().any(|w| name.ends_with(w))
            });
        if query || condition {
            let colon = line.find(": ").map_or(0, |at| at + 2);
            ranges.extend(in_sql(&shadow, start + colon..end, Which::All));
        }
        start = end;
    }
    apply(text, ranges, LITERAL)
}

/// What pgaudit writes in the place of parameters that it does not tell.
const UNTOLD: [&str; 4] = ["<none>", "<not logged>", "<previously logged>", ""];

/// pgaudit: type, ids, class, command, object, statement, parameters, as comma-separated values.
fn audit(text: &str, from: usize) -> Option<Masked> {
    let mut fields = Vec::new();
    let bytes = text.as_bytes();
    let mut start = from;
    let mut quotes = false;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'"' => quotes = !quotes,
            b',' if !quotes => {
                fields.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(start..bytes.len());
    let mut ranges = Vec::new();
    if let Some(statement) = fields.get(7) {
        ranges.extend(in_sql(&prose(text), statement.clone(), Which::All));
    }
    for (at, field) in fields.iter().enumerate().skip(8) {
        let value = &text[field.clone()];
        // Behind the parameters stands the number of rows.
        let rows = at > 8 && value.bytes().all(|b| b.is_ascii_digit());
        if !rows && !UNTOLD.contains(&value) {
            ranges.push(field.clone());
        }
    }
    apply(text, ranges, LITERAL)
}

/// A line that is no record may be a part of one, torn or with an unknown prefix.
pub(super) fn plain(text: &str) -> Option<Masked> {
    let mut ranges = in_sql(&prose(text), 0..text.len(), Which::Strings);
    if text.contains(")=(") {
        ranges.extend(keys(text));
    }
    for marker in [" contains (", "STATEMENT:  ", "statement: ", "arameters: ", "QUERY:  "] {
        if let Some(from) = behind(text, marker) {
            ranges.extend(in_sql(text, from..text.len(), Which::All));
            if marker == " contains (" {
                ranges.push(from..text.len());
            }
        }
    }
    apply(text, ranges, LITERAL)
}

/// In a record that names a credential: values that may be its value, elsewhere in the record.
pub(super) fn values_beside(severity: Option<Severity>, part: Part, text: &str) -> Option<Masked> {
    let ranges = match part {
        Part::Message if text.starts_with("AUDIT: ") => {
            let masked = audit(text, "AUDIT: ".len())?;
            return Some(masked);
        }
        Part::Message if is_insert(text) => in_sql(text, 0..text.len(), Which::Strings),
        Part::Message => match behind(text, "arameters: ") {
            Some(from) => in_sql(text, from..text.len(), Which::Strings),
            None if quotes_values(severity) => values(text, true),
            None => Vec::new(),
        },
        Part::Statement | Part::Query if is_insert(text) => {
            in_sql(text, 0..text.len(), Which::Strings)
        }
        Part::Detail => in_named_detail(text),
        Part::Context => {
            let mut ranges = copied(text);
            if let Some(from) = behind(text, "arameters: ") {
                ranges.extend(in_sql(text, from..text.len(), Which::Strings));
            }
            ranges
        }
        _ => Vec::new(),
    };
    apply(text, ranges, CREDENTIAL)
}

fn in_named_detail(text: &str) -> Vec<Range<usize>> {
    let told = ["arameters: ", ")=(", " contains ("].iter().any(|marker| text.contains(marker));
    if told { in_detail(text) } else { Vec::new() }
}

/// The data that COPY quotes: `COPY users, line 1: "1,x"`.
fn copied(text: &str) -> Vec<Range<usize>> {
    let quoted = text.strip_prefix("COPY ").and_then(|_| behind(text, ": \""));
    quoted
        .map(|from| from..text.rfind('"').filter(|e| *e >= from).unwrap_or(text.len()))
        .into_iter()
        .collect()
}

/// A statement whose values stand apart from the names of their columns.
fn is_insert(text: &str) -> bool {
    let text = text.as_bytes();
    text.windows(6).any(|word| word.eq_ignore_ascii_case(b"insert"))
        || text.windows(6).any(|word| word.eq_ignore_ascii_case(b"values"))
}
