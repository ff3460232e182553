//! Credentials in any text: behind names like `password`, in connection strings, as verifiers.

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::lexer::{Kind, Lexer, dollar_tag, string_end};
use super::mask::{CREDENTIAL, Masked, apply};

/// Everything that may begin a credential, found in one pass.
static SIGNS: LazyLock<Regex> = LazyLock::new(|| {
    // Of names that begin alike the longer stands first.
    let names = "passw(?:or)?d|passphrase|passcode|pass|pwd|secret_?key|secret|token|api_?key\
                 |access_?key|private_?key|encryption_?key|credential|authorization\
                 |pgp_sym_[a-z_]+|crypt";
    let others = r"://|SCRAM-SHA-256\$|md5[0-9a-f]{32}|:\*:|:[56]432:";
    #[expect(clippy::expect_used, reason = "a constant pattern, compiled in every test")]
    Regex::new(&format!("(?i-u){names}|{others}")).expect("a valid pattern")
});

/// What the bytes that `SIGNS` found are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Name,
    /// A function that takes keys.
    Function,
    Url,
    Passfile,
    Md5,
    Scram,
}

impl Sign {
    fn of(bytes: &[u8]) -> Self {
        let begins = |word: &str| {
            bytes.get(..word.len()).is_some_and(|b| b.eq_ignore_ascii_case(word.as_bytes()))
        };
        match bytes {
            b"://" => Self::Url,
            [b':', ..] => Self::Passfile,
            _ if begins("md5") => Self::Md5,
            _ if begins("scram-") => Self::Scram,
            _ if begins("pgp_") || begins("crypt") => Self::Function,
            _ => Self::Name,
        }
    }
}

/// What a record's text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Nothing,
    /// Signs of a credential, but no name of one.
    Signs,
    /// The name of a credential: values elsewhere in the record may be its value.
    Named,
}

pub(super) fn find(text: &str) -> Finding {
    let bytes = text.as_bytes();
    let mut finding = Finding::Nothing;
    for found in SIGNS.find_iter(bytes) {
        finding = Finding::Signs;
        if Sign::of(found.as_bytes()) == Sign::Name && is_name(bytes, found.range()) {
            return Finding::Named;
        }
    }
    finding
}

/// The text with its credentials masked; None where it has none.
pub(super) fn mask(text: &str) -> Option<Masked> {
    apply(text, ranges(text), CREDENTIAL)
}

fn ranges(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(found) = SIGNS.find_at(bytes, at) {
        let before = ranges.len();
        match Sign::of(found.as_bytes()) {
            Sign::Url => ranges.extend(userinfo(bytes, found.end())),
            Sign::Passfile => ranges.extend(passfile(bytes, found.range())),
            Sign::Md5 => ranges.push(found.range()),
            Sign::Scram => ranges.push(found.start()..token_end(bytes, found.end())),
            Sign::Function => ranges.extend(call(text, found.end())),
            Sign::Name if is_name(bytes, found.range()) => {
                value(text, found.start(), name_end(bytes, found.end()), &mut ranges);
            }
            Sign::Name => {}
        }
        let masked = ranges[before..].iter().map(|range| range.end).max().unwrap_or(0);
        at = found.end().max(masked);
    }
    ranges
}

/// `passwords`, `password2`: where the name really ends.
fn name_end(text: &[u8], end: usize) -> usize {
    let end = end + usize::from(matches!(text.get(end), Some(b's' | b'S')));
    end + text[end..].iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Whether what was found is a name, or the end of one: `password_encryption` tells of passwords, and
/// is none.
fn is_name(text: &[u8], found: Range<usize>) -> bool {
    let behind = text.get(name_end(text, found.end));
    let ends = !behind.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    // `bypass`, `compass`.
    let word = text[found.clone()].eq_ignore_ascii_case(b"pass");
    let begins = found.start.checked_sub(1).is_none_or(|b| !text[b].is_ascii_alphanumeric());
    ends && (begins || !word)
}

/// Where blanks and comments end.
fn skip(text: &str, mut at: usize) -> usize {
    for piece in text.get(at..).map(Lexer::new).into_iter().flatten() {
        if !matches!(piece.kind, Kind::Space | Kind::Comment) {
            break;
        }
        at += piece.range.len();
    }
    at
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Separator {
    None,
    /// `=`, `:`, `:=`, `=>`, `TO`
    Assigns,
    /// `,` behind a quoted name: `set_config('app.password', 'x')`
    Comma,
}

/// Adds the value that belongs to a name.
fn value(text: &str, start: usize, end: usize, ranges: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let rest = |at: usize| bytes.get(at..).unwrap_or_default();
    // The whole name may be longer, and quoted; in JSON within a string even with a backslash.
    let part = |b: &&u8| b.is_ascii_alphanumeric() || b"_.$-".contains(b);
    let whole = start - bytes[..start].iter().rev().take_while(part).count();
    let opened = bytes[..whole].last().filter(|b| matches!(b, b'\'' | b'"')).copied();
    let mut at = end;
    if opened.is_some() {
        while let Some(b'"' | b'\'' | b'\\') = bytes.get(at).filter(|_| at < end + 4) {
            at += 1;
        }
    }
    if opened.is_none() && rest(at).first() == Some(&b'>') {
        // `<password>`
        let length = memchr::memchr(b'<', rest(at)).unwrap_or(bytes.len() - at);
        ranges.push(at + 1..at + length);
        return;
    }
    at = skip(text, at);
    let (mut separator, length) = match rest(at) {
        [b':', b'=', ..] | [b'=', b'>', ..] => (Separator::Assigns, 2),
        [b':', b':', ..] => return,
        [b'=' | b':', ..] => (Separator::Assigns, 1),
        [b',', ..] if opened == Some(b'\'') => (Separator::Comma, 1),
        [b't' | b'T', b'o' | b'O', b' ' | b'\n' | b'\t' | b'\'', ..] => (Separator::Assigns, 2),
        _ => (Separator::None, 0),
    };
    if separator == Separator::None && bytes[whole] == b'-' {
        // `--password x`
        separator = Separator::Assigns;
    }
    at = skip(text, at + length);
    match rest(at) {
        // `change_password('bob', 'x')`, `password ('x')`
        [b'(', ..] => ranges.extend(call(text, at)),
        [b'e' | b'E', b'\'', ..] => literals(text, at + 1, true, ranges),
        [b'n' | b'N' | b'x' | b'X' | b'b' | b'B', b'\'', ..] => {
            literals(text, at + 1, false, ranges);
        }
        [b'u' | b'U', b'&', b'\'', ..] => literals(text, at + 2, false, ranges),
        [b'\'', ..] => literals(text, at, false, ranges),
        // `PASSWORD "x"` is a mistake for a string; `Token "x" is invalid` is none.
        [b'"', ..] if separator != Separator::None || matches!(bytes[start], b'p' | b'P') => {
            ranges.push(double_quoted(bytes, at));
        }
        [b'\\', b'"', ..] => ranges.push(double_quoted(bytes, at + 1)),
        [b'$', ..] if dollar_tag(rest(at)).is_some() => {
            let tag = dollar_tag(rest(at)).map_or(0, <[u8]>::len);
            let start = at + tag;
            let close = memchr::memmem::find(rest(start), &rest(at)[..tag]);
            ranges.push(start..close.map_or(bytes.len(), |length| start + length));
        }
        _ if separator == Separator::Assigns
            || (separator == Separator::None && is_of_ddl(&bytes[..end])) =>
        {
            assigned(text, at, ranges);
        }
        _ => {}
    }
}

/// A value without quotes, or an expression that may hold some: `md5('x')`.
fn assigned(text: &str, at: usize, ranges: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let word = at
        + bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || b"_.".contains(b)).count();
    if word > at && bytes.get(word) == Some(&b'(') {
        ranges.extend(call(text, word));
        return;
    }
    let Some(mut range) = unquoted(bytes, at) else { return };
    // `Authorization: Bearer x`
    let scheme = ["bearer", "basic", "token", "digest"]
        .iter()
        .any(|word| bytes[range.clone()].eq_ignore_ascii_case(word.as_bytes()));
    if scheme && let Some(next) = unquoted(bytes, skip(text, range.end)) {
        range = next;
    }
    ranges.push(range);
}

/// A string, and those that are joined to it by `||`.
fn literals(text: &str, at: usize, escapes: bool, ranges: &mut Vec<Range<usize>>) {
    let mut range = quoted(text, at, escapes);
    let bytes = text.as_bytes();
    loop {
        let mut end = range.end;
        ranges.push(range);
        end += bytes[end..].iter().take_while(|b| **b == b'\'').count();
        let next = skip(text, end);
        if !bytes[next..].starts_with(b"||") {
            return;
        }
        let next = skip(text, next + 2);
        let prefix = usize::from(matches!(bytes.get(next), Some(b'e' | b'E')));
        if bytes.get(next + prefix) != Some(&b'\'') {
            return;
        }
        range = quoted(text, next + prefix, prefix == 1);
    }
}

/// `ALTER ROLE bob PASSWORD hunter2`: refused by the server, and logged.
fn is_of_ddl(before: &[u8]) -> bool {
    let words: Vec<String> = before[before.len().saturating_sub(600)..]
        .split(|b| !b.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    words.windows(2).any(|pair| {
        matches!(pair[0].as_str(), "create" | "alter")
            && ["role", "user", "group", "subscription", "server", "foreign"]
                .contains(&pair[1].as_str())
    })
}

/// What stands between quotes that begin at `at`. Quotes within quotes are doubled, so several mean a
/// value in a string in a statement, which as many close.
fn quoted(text: &str, at: usize, escapes: bool) -> Range<usize> {
    let bytes = text.as_bytes();
    let quotes = bytes[at..].iter().take_while(|b| **b == b'\'').count();
    let start = at + quotes;
    if quotes == 1 {
        let (mut end, mut closed) = string_end(bytes, start, escapes);
        // A string goes on behind a line break.
        while closed {
            let next = skip(text, end);
            let breaks = bytes[end..next].contains(&b'\n');
            if !breaks || bytes.get(next) != Some(&b'\'') {
                return start..end - 1;
            }
            (end, closed) = string_end(bytes, next + 1, escapes);
        }
        return start..end;
    }
    let empty = |b: &u8| b.is_ascii_whitespace() || matches!(b, b',' | b';' | b')');
    if quotes == 2 && bytes.get(start).is_none_or(empty) {
        return start..start;
    }
    let close = memchr::memmem::find(&bytes[start..], &bytes[at..start]);
    start..close.map_or(bytes.len(), |length| start + length)
}

/// JSON's strings, or a quoted value in one of the server's messages.
fn double_quoted(bytes: &[u8], at: usize) -> Range<usize> {
    let quotes = bytes[at..].iter().take_while(|b| **b == b'"').count();
    let start = at + quotes;
    let mut end = start;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[end.min(bytes.len())..]) {
        end += found;
        if bytes[end] == b'"' {
            return start..end;
        }
        // `\"` ends a value of JSON within JSON.
        if at > 0 && bytes[at - 1] == b'\\' && bytes.get(end + 1) == Some(&b'"') {
            return start..end;
        }
        end += 2;
    }
    start..bytes.len()
}

/// A value without quotes: a connection string's, a shell variable's. Parameters, NULL and the
/// place-holders of `format()` tell nothing.
fn unquoted(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let mut end = at;
    while let Some(byte) = bytes.get(end) {
        let next = bytes.get(end + 1);
        match byte {
            b'\\' => end += 1,
            b if b.is_ascii_whitespace() => break,
            b'\'' if next == Some(&b'\'') => end += 1,
            b'\'' => break,
            b'"' if next.is_none_or(|b| b.is_ascii_whitespace() || b",;).\"".contains(b)) => break,
            _ => {}
        }
        end += 1;
    }
    let end = end.min(bytes.len());
    let value = bytes[at..end].trim_ascii_end();
    let bare = value.strip_suffix(b";").unwrap_or(value);
    let bare = bare.strip_suffix(b")").unwrap_or(bare);
    let bare = bare.strip_suffix(b",").unwrap_or(bare);
    let harmless = bare.is_empty()
        || bare.eq_ignore_ascii_case(b"null")
        || matches!(bare, b"%s" | b"%L" | b"%I" | b"?")
        || (bare[0] == b'$' && bare[1..].iter().all(u8::is_ascii_digit));
    (!harmless).then(|| at..at + bare.len().max(1))
}

/// The literals in the brackets behind a function that takes keys and passwords.
fn call(text: &str, end: usize) -> Vec<Range<usize>> {
    let open = skip(text, end);
    let mut ranges = Vec::new();
    if text.as_bytes().get(open) != Some(&b'(') {
        return ranges;
    }
    let mut depth = 0;
    for piece in Lexer::new(&text[open..]) {
        match (piece.kind, &text[open..][piece.range.clone()]) {
            (Kind::String | Kind::Dollar, _) => {
                ranges.push(open + piece.inner.start..open + piece.inner.end);
            }
            (Kind::Other, "(") => depth += 1,
            (Kind::Other, ")") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    ranges
}

fn token_end(bytes: &[u8], from: usize) -> usize {
    let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'\'' | b'"' | b',');
    bytes[from..].iter().position(ends).map_or(bytes.len(), |length| from + length)
}

/// The password of `scheme://user:password@host`, where the authority begins at `from`.
fn userinfo(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let mut end = from;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'\'' if bytes.get(end + 1) == Some(&b'\'') => end += 1,
            b'\'' | b'"' | b'<' | b'>' => break,
            b if b.is_ascii_whitespace() => break,
            _ => {}
        }
        end += 1;
    }
    let token = &bytes[from..end.min(bytes.len())];
    let colon = memchr::memchr(b':', token)?;
    match memchr::memrchr(b'@', token) {
        Some(at) => (at > colon).then(|| from + colon + 1..from + at),
        // Cut in the middle, or a quote in the password.
        None => {
            let port = token[colon + 1..].iter().all(|b| b.is_ascii_digit() || *b == b',');
            let path = memchr::memchr2(b'/', b'?', &token[colon + 1..]).is_some();
            (!port && !path).then(|| from + colon + 1..from + token.len())
        }
    }
}

/// `host:port:database:user:password`, where the port with its colons was found.
fn passfile(bytes: &[u8], port: Range<usize>) -> Option<Range<usize>> {
    let end = token_end(bytes, port.end);
    let rest = &bytes[port.end..end];
    let database = memchr::memchr(b':', rest)?;
    let user = database + 1 + memchr::memchr(b':', &rest[database + 1..])?;
    let before = bytes[..port.start].last()?;
    let host = !before.is_ascii_whitespace();
    (host && database > 0 && user > database + 1).then(|| port.end + user + 1..end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scan::may_hold_credential;
    use super::*;
    use crate::logs::{Record, Severity};

    proptest! {
        #[test]
        fn what_the_first_look_rules_out_is_not_there(
            text in "[ -~]{0,80}((?i)passwd|password|passphrase|passcode|pwd|secret|token|api_?key|access_?key|secret_?key|private_?key|encryption_?key|credentials|pgp_sym_encrypt|crypt|://|scram-sha-256\\$|md5[0-9a-f]{32}|:\\*:|:5432:|:6432:|x)[ -~]{0,80}"
        ) {
            if SIGNS.is_match(text.as_bytes()) {
                let record = Record::new(Severity::Log, &text);
                prop_assert!(may_hold_credential(&record));
            }
        }
    }
}
