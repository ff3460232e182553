//! The values of each escape: which bytes they hold, and how they are padded.

use super::field::Escape;

/// How many bytes at the start satisfy `wanted`, at most `most`.
pub(super) fn run(bytes: &[u8], most: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take(most).take_while(|b| wanted(**b)).count()
}

fn digits(bytes: &[u8]) -> usize {
    run(bytes, 20, |b| b.is_ascii_digit())
}

/// Where a padded field ends, if a value of this length behind these blanks is what the server
/// would print.
pub(super) fn padded(
    line: &[u8],
    blanks: usize,
    len: usize,
    width: usize,
    left: bool,
) -> Option<usize> {
    let end = blanks + len;
    if end >= width {
        return (blanks == 0 || end == width).then_some(end);
    }
    let behind = line.get(end..width)?;
    (left && behind.iter().all(|b| *b == b' ')).then_some(width)
}

/// The length of the longest value of this escape at the start of the bytes.
pub(super) fn closed(escape: Escape, bytes: &[u8]) -> Option<usize> {
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
        Escape::Time | Escape::TimeMillis | Escape::SessionStart => time(escape, bytes),
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
fn time(escape: Escape, bytes: &[u8]) -> usize {
    let Some(length) = time_length(escape, bytes) else { return 0 };
    match zone(&bytes[length..]) {
        0 => 0,
        zone => length + zone,
    }
}

/// The length of a time, its zone left out.
pub(super) fn time_length(escape: Escape, bytes: &[u8]) -> Option<usize> {
    match escape {
        Escape::TimeMillis => fits(bytes.first_chunk()?, b"0000-00-00 00:00:00.000 ").then_some(24),
        Escape::Time | Escape::SessionStart => {
            fits(bytes.first_chunk()?, b"0000-00-00 00:00:00 ").then_some(20)
        }
        _ => None,
    }
}

/// A digit for each 0, the same byte for others. Without early returns: all bytes at once.
fn fits<const N: usize>(text: &[u8; N], shape: &[u8; N]) -> bool {
    let beyond: [u8; N] = std::array::from_fn(|at| {
        let most = if shape[at] == b'0' { 9 } else { 0 };
        text[at].wrapping_sub(shape[at]).saturating_sub(most)
    });
    beyond == [0; N]
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
pub(super) fn shorter(escape: Escape, bytes: &[u8], length: usize) -> Option<usize> {
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
