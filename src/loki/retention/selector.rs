//! Stream selectors, `{route="audit", server=~"a|b"}`: read, and compared with a stream's labels. Pure.

use regex::Regex;

use crate::loki::StreamLabels;

/// Conditions over labels, all of which must hold.
#[derive(Clone, Debug)]
pub struct Selector(Vec<Matcher>);

#[derive(Clone, Debug)]
struct Matcher {
    label: String,
    equal: bool,
    value: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    Text(String),
    /// Of the whole value.
    Pattern(Regex),
}

impl Selector {
    /// None where it is not understood.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('{')?.trim_start();
        let mut matchers = Vec::new();
        while !rest.starts_with('}') {
            let name = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
            let (label, after) = rest.split_at(name);
            let after = after.trim_start();
            let operators =
                [("=~", true, true), ("!~", false, true), ("!=", false, false), ("=", true, false)];
            let (sign, equal, pattern) =
                operators.into_iter().find(|(sign, ..)| after.starts_with(sign))?;
            let (value, after) = string(after[sign.len()..].trim_start())?;
            let value = if pattern {
                Wanted::Pattern(Regex::new(&format!("^(?s:{value})$")).ok()?)
            } else {
                Wanted::Text(value)
            };
            matchers.push(Matcher { label: label.to_owned(), equal, value });
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None => after,
            };
            if label.is_empty() || !rest.starts_with('}') && !after.starts_with(',') {
                return None;
            }
        }
        rest[1..].trim().is_empty().then_some(Self(matchers))
    }

    /// Whether a stream with these labels is among those meant; a label that it lacks is empty.
    pub fn selects(&self, labels: &StreamLabels) -> bool {
        self.0.iter().all(|matcher| {
            let value = labels.get(&matcher.label).unwrap_or_default();
            let fits = match &matcher.value {
                Wanted::Text(text) => value == text,
                Wanted::Pattern(pattern) => pattern.is_match(value),
            };
            fits == matcher.equal
        })
    }
}

/// A quoted string that `text` begins with, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let (value, rest) = raw.split_once('`')?;
        return Some((value.to_owned(), rest));
    }
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                plain @ ('"' | '\\' | '\'') => value.push(plain),
                // Rare, and not worth a guess.
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let labels = StreamLabels::new([("route", "admin"), ("server", "a\"b")]);
        for (text, expected) in [
            ("{}", Some(true)),
            ("{route=\"admin\"}", Some(true)),
            (" { route = \"admin\" , } ", Some(true)),
            ("{route=\"admin\",server=\"a\\\"b\"}", Some(true)),
            ("{route=~\"adm\"}", Some(false)),
            ("{route=~`adm.*|dev`,other=\"\"}", Some(true)),
            ("{route!~\"dev.*\",route!=\"x\"}", Some(true)),
            ("{route!=\"admin\"}", Some(false)),
            ("{other=~\".+\"}", Some(false)),
            ("{route=\"admin\"", None),
            ("{route=\"admin\" server=\"x\"}", None),
            ("{=\"admin\"}", None),
            ("{route=\"adm\\u0069n\"}", None),
            ("{route=~\"(\"}", None),
            ("{route=\"admin\"} |= \"x\"", None),
            ("route", None),
        ] {
            let found = Selector::parse(text).map(|selector| selector.selects(&labels));
            assert_eq!(found, expected, "{text}");
        }
    }
}
