//! Just enough of PostgreSQL's lexical rules (manual 4.1, "Lexical Structure") to see what a text
//! holds outside its strings and comments.

/// `sql` with every string, quoted name and comment blanked out, character for character.
pub(super) fn bare(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = match skipped(rest, before) {
            Some(length) => {
                out.extend(rest[..length].chars().map(|c| if c == '\n' { c } else { ' ' }));
                before = ' ';
                length
            }
            None => {
                out.push(first);
                before = first;
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

/// The length of the string, quoted name or comment that `rest` begins with, if it does; `before` is
/// the character in front of it.
fn skipped(rest: &str, before: char) -> Option<usize> {
    let to_end = rest.len();
    let mut chars = rest.char_indices();
    match chars.next()?.1 {
        '\'' => Some(quoted(rest, '\'', matches!(before, 'e' | 'E'))),
        '"' => Some(quoted(rest, '"', false)),
        '-' if rest.starts_with("--") => Some(rest.find('\n').unwrap_or(to_end)),
        '/' if rest.starts_with("/*") => {
            let (mut depth, mut at) = (0, 0);
            while at < to_end {
                let here = &rest.as_bytes()[at..];
                if here.starts_with(b"/*") {
                    depth += 1;
                    at += 2;
                } else if here.starts_with(b"*/") {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return Some(at);
                    }
                } else {
                    at += 1;
                }
            }
            Some(to_end)
        }
        // A dollar within a name (`a$b`) opens nothing.
        '$' if !before.is_alphanumeric() && before != '_' => {
            let tag = rest[1..].find('$').map(|end| &rest[..end + 2])?;
            let name = &tag[1..tag.len() - 1];
            let is_tag = name.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !name.starts_with(|c: char| c.is_ascii_digit());
            is_tag.then(|| {
                rest[tag.len()..].find(tag).map_or(to_end, |end| tag.len() + end + tag.len())
            })
        }
        _ => None,
    }
}

/// The length of what `quote` opens; a doubled quote is none, nor (in `E''`) one after a backslash.
fn quoted(rest: &str, quote: char, escapes: bool) -> usize {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return at + 1;
            }
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_blank() {
        let bare = |sql| bare(sql).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(bare("SELECT ';' , \";\" -- ;\n, 1"), "SELECT , , 1");
        assert_eq!(bare("SELECT E'\\';' /* ; /* ; */ ; */ x"), "SELECT E x");
        assert_eq!(bare("SELECT $$;$$, $a$ ; $b$ ; $a$, a$1"), "SELECT , , a$1");
        assert_eq!(bare("SELECT 'it''s;'; SELECT 2"), "SELECT ; SELECT 2");
        assert_eq!(bare("SELECT 'never closed ;"), "SELECT");
    }
}
