//! Credentials in any text: behind names like `password`, in connection strings, as verifiers.

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::lexer::{Kind, Lexer, dollar_tag, string_end};
use super::mask::{CREDENTIAL, Masked, apply};
use super::scan::may_hold_credential;

/// Everything that may begin a credential, found in one pass.
static SIGNS: LazyLock<Regex> = LazyLock::new(|| {
    let names = "passw(?:or)?d|passphrase|passcode|pwd|secret|token|api_?key|access_?key|secret_?key\
                 |private_?key|encryption_?key|credentials?|pgp_sym_[a-z_]+|crypt";
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
    if !may_hold_credential(bytes) {
        return finding;
    }
    for found in SIGNS.find_iter(bytes) {
        finding = Finding::Signs;
        if Sign::of(found.as_bytes()) == Sign::Name && ends_name(bytes, found.end()) {
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
        at = found.end();
        let range = match Sign::of(found.as_bytes()) {
            Sign::Url => userinfo(bytes, found.end()),
            Sign::Passfile => passfile(bytes, found.range()),
            Sign::Md5 => Some(found.range()),
            Sign::Scram => Some(found.start()..token_end(bytes, found.end())),
            Sign::Function => {
                ranges.extend(call(text, found.end()));
                None
            }
            Sign::Name if ends_name(bytes, found.end()) => value(text, digits(bytes, found.end())),
            Sign::Name => None,
        };
        if let Some(range) = range {
            at = at.max(range.end);
            ranges.push(range);
        }
    }
    ranges
}

fn digits(text: &[u8], from: usize) -> usize {
    from + text[from..].iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Whether a name ends here: `password_encryption` is no credential, `password2` is one.
fn ends_name(text: &[u8], end: usize) -> bool {
    let end = digits(text, end);
    !text.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'))
}

/// Blanks and comments.
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
    /// `<password>`
    Tag,
}

/// The value that belongs to a name which ends at `end`.
fn value(text: &str, end: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    // The name itself may be quoted, in JSON within a string even with a backslash.
    let mut at = end;
    let mut quote = 0;
    while let Some(b'"' | b'\'' | b'\\') = bytes.get(at).filter(|_| at < end + 4) {
        quote = bytes[at];
        at += 1;
    }
    let rest = |at: usize| bytes.get(at..).unwrap_or_default();
    at = skip(text, at);
    let (separator, length) = match rest(at) {
        [b':', b'=', ..] | [b'=', b'>', ..] => (Separator::Assigns, 2),
        [b':', b':', ..] => return None,
        [b'=' | b':', ..] => (Separator::Assigns, 1),
        [b',', ..] if quote == b'\'' => (Separator::Comma, 1),
        [b'>', ..] if at == end => (Separator::Tag, 1),
        [b't' | b'T', b'o' | b'O', b' ' | b'\n' | b'\t' | b'\'', ..] => (Separator::Assigns, 2),
        _ => (Separator::None, 0),
    };
    if separator == Separator::None && quote == b'\'' {
        // The end of a string, as in `LIKE '%password'`; or the value is an empty one.
        return None;
    }
    if separator == Separator::Tag {
        let start = at + 1;
        let length = memchr::memchr(b'<', rest(start)).unwrap_or(bytes.len() - start);
        return Some(start..start + length);
    }
    at = skip(text, at + length);
    match rest(at) {
        [b'e' | b'E', b'\'', ..] => Some(quoted(text, at + 1, true)),
        [b'n' | b'N' | b'x' | b'X' | b'b' | b'B', b'\'', ..] => Some(quoted(text, at + 1, false)),
        [b'u' | b'U', b'&', b'\'', ..] => Some(quoted(text, at + 2, false)),
        [b'\'', ..] => Some(quoted(text, at, false)),
        [b'"', ..] if separator != Separator::None => Some(double_quoted(bytes, at)),
        [b'\\', b'"', ..] => Some(double_quoted(bytes, at + 1)),
        [b'$', ..] => {
            let tag = dollar_tag(rest(at))?;
            let start = at + tag.len();
            let length = memchr::memmem::find(rest(start), tag).unwrap_or(bytes.len() - start);
            Some(start..start + length)
        }
        _ if separator == Separator::Assigns => unquoted(bytes, at),
        _ if separator == Separator::None && is_role_statement(&bytes[..end]) => {
            unquoted(bytes, at)
        }
        _ => None,
    }
}

/// `ALTER ROLE bob PASSWORD hunter2`: refused by the server, and logged.
fn is_role_statement(before: &[u8]) -> bool {
    let words: Vec<String> = before[before.len().saturating_sub(600)..]
        .split(|b| !b.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    words.windows(2).any(|pair| {
        matches!(pair[0].as_str(), "create" | "alter")
            && matches!(pair[1].as_str(), "role" | "user" | "group")
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

    use super::*;

    proptest! {
        #[test]
        fn what_the_first_look_rules_out_is_not_there(
            text in "[ -~]{0,80}((?i)passwd|password|passphrase|passcode|pwd|secret|token|api_?key|access_?key|secret_?key|private_?key|encryption_?key|credentials|pgp_sym_encrypt|crypt|://|scram-sha-256\\$|md5[0-9a-f]{32}|:\\*:|:5432:|:6432:|x)[ -~]{0,80}"
        ) {
            if SIGNS.is_match(text.as_bytes()) {
                prop_assert!(may_hold_credential(text.as_bytes()));
            }
        }
    }
}
