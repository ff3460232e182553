//! Where literals stand in SQL text: PostgreSQL's lexical rules (manual 4.1), on text that may be cut
//! anywhere.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) enum Kind {
    /// A key word or a name.
    Word,
    /// `'…'` with any of its prefixes: `E`, `B`, `X`, `N`, `U&`.
    String,
    /// `$tag$…$tag$`
    Dollar,
    Number,
    Comment,
    /// White space.
    Space,
    /// Operators, brackets, quoted names, `$1`.
    Other,
}

/// A piece of SQL text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::logs) struct Piece {
    pub kind: Kind,
    pub range: Range<usize>,
    /// Of strings, dollar quotes and comments: what stands between their delimiters.
    pub inner: Range<usize>,
    /// Its closing delimiter is there, and there is no doubt that it closes it.
    pub closed: bool,
}

/// Cuts text into pieces, each byte in one of them. Pieces begin and end at ASCII bytes or at the
/// text's ends, so that they can be taken out of a `str`.
pub(in crate::logs) struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(in crate::logs) fn new(text: &'t str) -> Self {
        Self { text: text.as_bytes(), at: 0 }
    }

    fn piece(&mut self, kind: Kind, end: usize) -> Piece {
        let range = self.at..end;
        self.at = end;
        Piece { kind, inner: range.clone(), range, closed: true }
    }

    fn delimited(&mut self, kind: Kind, inner: Range<usize>, end: usize, closed: bool) -> Piece {
        let range = self.at..end;
        self.at = end;
        Piece { kind, range, inner, closed }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// Where the run of bytes of one sort that begins at `from` ends.
fn run(text: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    text[from..].iter().position(|b| !wanted(*b)).map_or(text.len(), |length| from + length)
}

impl Iterator for Lexer<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let text = self.text;
        let first = *text.get(self.at)?;
        let rest = &text[self.at..];
        let quote = match rest {
            [b'\'', ..] => Some(0),
            [b'e' | b'E' | b'b' | b'B' | b'x' | b'X' | b'n' | b'N', b'\'', ..] => Some(1),
            [b'u' | b'U', b'&', b'\'', ..] => Some(2),
            _ => None,
        };
        if let Some(prefix) = quote {
            let start = self.at + prefix + 1;
            let escapes = first == b'e' || first == b'E';
            let (end, closed) = string_end(text, start, escapes);
            let inner = start..if closed { end - 1 } else { end };
            return Some(self.delimited(Kind::String, inner, end, closed));
        }
        Some(match first {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                let end = run(text, self.at, |b| b.is_ascii_whitespace() || b == 0x0b);
                self.piece(Kind::Space, end)
            }
            b'-' if rest.starts_with(b"--") => {
                let end = memchr::memchr(b'\n', rest).map_or(text.len(), |n| self.at + n);
                self.delimited(Kind::Comment, self.at + 2..end, end, true)
            }
            b'/' if rest.starts_with(b"/*") => {
                let (end, closed) = comment_end(text, self.at + 2);
                let inner = self.at + 2..if closed { end - 2 } else { end };
                self.delimited(Kind::Comment, inner, end, closed)
            }
            b'"' => {
                let end = memchr::memchr(b'"', &rest[1..]).map_or(text.len(), |n| self.at + n + 2);
                self.piece(Kind::Other, end)
            }
            b'$' => match dollar_tag(rest) {
                Some(tag) => {
                    let start = self.at + tag.len();
                    let close = memchr::memmem::find(&text[start..], tag);
                    let end = close.map_or(text.len(), |n| start + n + tag.len());
                    let inner = start..close.map_or(text.len(), |n| start + n);
                    self.delimited(Kind::Dollar, inner, end, close.is_some())
                }
                None => {
                    let end = run(text, self.at + 1, |b| b.is_ascii_digit());
                    self.piece(Kind::Other, end)
                }
            },
            b'0'..=b'9' => self.number(),
            b'.' if rest.get(1).is_some_and(u8::is_ascii_digit) => self.number(),
            _ if is_word(first) => {
                let end = run(text, self.at, is_word);
                self.piece(Kind::Word, end)
            }
            _ => self.piece(Kind::Other, self.at + 1),
        })
    }
}

impl Lexer<'_> {
    fn number(&mut self) -> Piece {
        let text = self.text;
        let mut end = self.at;
        while let Some(byte) = text.get(end) {
            let exponent = matches!(byte, b'+' | b'-') && matches!(text[end - 1], b'e' | b'E');
            let sign = end > self.at
                && exponent
                && text[self.at..end - 1].iter().all(|b| !b.is_ascii_alphabetic());
            if !(is_word(*byte) || *byte == b'.' || sign) {
                break;
            }
            end += 1;
        }
        self.piece(Kind::Number, end)
    }
}

/// Where a string ends whose first byte is at `from`, closing quote included, and whether it surely
/// does. Where a backslash stands before the quote of a string without `E`, its meaning depends on
/// `standard_conforming_strings`, which text does not tell: then it is taken as never closed.
pub(super) fn string_end(text: &[u8], from: usize, escapes: bool) -> (usize, bool) {
    let mut at = from;
    while let Some(found) = memchr::memchr2(b'\'', b'\\', &text[at..]) {
        at += found;
        match (text[at], text.get(at + 1)) {
            (b'\\', Some(b'\'')) if !escapes => return (text.len(), false),
            (b'\\', _) if escapes => at += 2,
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return (at + 1, true),
            _ => at += 1,
        }
        if at > text.len() {
            break;
        }
    }
    (text.len(), false)
}

/// Block comments nest.
fn comment_end(text: &[u8], from: usize) -> (usize, bool) {
    let mut depth = 1;
    let mut at = from;
    while at + 1 < text.len() {
        match &text[at..at + 2] {
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return (at, true);
                }
            }
            b"/*" => {
                depth += 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    (text.len(), false)
}

/// `$$` or `$tag$` at the start of the text.
pub(super) fn dollar_tag(text: &[u8]) -> Option<&[u8]> {
    let end = run(text, 1, |b| b != b'$' && is_word(b));
    let starts_with_digit = text.get(1).is_some_and(u8::is_ascii_digit);
    (text.get(end) == Some(&b'$') && !starts_with_digit).then(|| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(text: &str) -> Vec<(&str, bool)> {
        Lexer::new(text)
            .filter(|p| matches!(p.kind, Kind::String | Kind::Dollar | Kind::Number))
            .map(|p| (&text[p.range], p.closed))
            .collect()
    }

    #[test]
    fn literals_are_found_in_all_their_spellings() {
        assert_eq!(
            literals(
                r#"SELECT 'a''b', E'c\'d', x'1F', U&'\0041', $$q$$, $t$ $$ $t$, t1."x'y", $2, 1.5e-3, .5, a$b"#
            ),
            [
                ("'a''b'", true),
                (r"E'c\'d'", true),
                ("x'1F'", true),
                (r"U&'\0041'", true),
                ("$$q$$", true),
                ("$t$ $$ $t$", true),
                ("1.5e-3", true),
                (".5", true),
            ]
        );
    }

    #[test]
    fn what_never_closes_or_may_not_close_reaches_to_the_end() {
        assert_eq!(literals("VALUES ('abc"), [("'abc", false)]);
        assert_eq!(literals("VALUES ($$abc"), [("$$abc", false)]);
        assert_eq!(literals(r"VALUES ('C:\', 'x')"), [(r"'C:\', 'x')", false)]);
        assert_eq!(literals(r"E'\"), [(r"E'\", false)]);
    }

    #[test]
    fn pieces_cover_every_byte() {
        for text in
            ["", "é'ö", "$", "$$", "$1$", "/* /* */", "--", "'", "1e", "1e+", "\u{b}x", "a.1"]
        {
            let mut at = 0;
            for piece in Lexer::new(text) {
                assert_eq!(piece.range.start, at, "{text:?}");
                assert!(piece.range.end > at && text.get(piece.inner).is_some(), "{text:?}");
                at = piece.range.end;
            }
            assert_eq!(at, text.len(), "{text:?}");
        }
    }
}
