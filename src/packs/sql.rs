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

/// Whether `sql` is a statement that EXPLAIN takes; a SHOW is none.
pub fn has_plan(sql: &str) -> bool {
    let bare = bare(sql);
    let word = bare.trim_start().split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    ["select", "with", "values", "table", ""].contains(&word.to_lowercase().as_str())
}

/// The functions and casts that give the column `name` its value: of `count(*) AS n`, `count`. None
/// where it is a bare column or anything else.
pub(super) fn function_of(sql: &str, name: &str) -> Option<String> {
    let bare = bare(sql).to_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (at, _) in bare.match_indices(&name.to_lowercase()) {
        let after = bare[at + name.len()..].chars().next();
        let before = bare[..at].trim_end();
        if after.is_some_and(is_word) || !bare[..at].ends_with(char::is_whitespace) {
            continue;
        }
        // A cast between the two (`count(*)::int AS n`) changes nothing.
        let value = before.strip_suffix("as").map_or("", str::trim_end);
        let value = match value.rsplit_once("::") {
            Some((value, cast)) if cast.chars().all(is_word) => value,
            _ => value,
        };
        let Some(open) = value.ends_with(')').then(|| opening(value)).flatten() else { continue };
        let head = &value[..open];
        let start = head.rfind(|c: char| !is_word(c) && c != '.').map_or(0, |at| at + 1);
        // What stands in front of it makes another value of it.
        let whole = head[..start].trim_end();
        let alone = whole.ends_with(',') || whole.ends_with("select");
        if alone && start < open {
            return Some(head[start..].rsplit('.').next().unwrap_or_default().to_owned());
        }
    }
    None
}

/// Where the parenthesis opens that the last character of `text` closes.
fn opening(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().rev().find_map(|(at, c)| {
        depth += match c {
            ')' => 1,
            '(' => -1,
            _ => 0,
        };
        (depth == 0).then_some(at)
    })
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

    #[test]
    fn what_has_a_plan() {
        for sql in ["SELECT 1", " -- c\nwith a AS (SELECT 1) TABLE a", "(SELECT 1)", "VALUES (1)"] {
            assert!(has_plan(sql), "{sql}");
        }
        assert!(!has_plan("/* SELECT */ SHOW port"));
    }

    #[test]
    fn functions_of_columns() {
        let of = |sql| function_of(sql, "n");
        assert_eq!(of("SELECT a, count(*) AS n FROM t").as_deref(), Some("count"));
        assert_eq!(of("SELECT pg_catalog.COUNT(*)::int AS n, 1 AS m").as_deref(), Some("count"));
        assert_eq!(of("SELECT avg(coalesce(x, (1))) as N").as_deref(), Some("avg"));
        assert_eq!(of("SELECT 100 * count(*) AS n"), None, "something else is made of it");
        assert_eq!(of("SELECT count(*) AS nn, n FROM t"), None);
        assert_eq!(of("SELECT (SELECT count(*) FROM t) AS n"), None, "not seen through");
        assert_eq!(of("SELECT 'count(*) AS n', m AS n"), None);
    }
}
