//! Reading a tree's maps field by field, every mistake gathered as a problem.

use std::path::PathBuf;
use std::sync::Arc;

use super::yaml::{At, Entry, Node, Value};
use crate::config::{Place, Problem};

/// The file that is read, and what was found wrong in it.
pub(super) struct Walk {
    pub(super) file: Arc<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

impl Walk {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file: Arc::new(file), problems: Vec::new() }
    }

    pub(super) fn place(&self, at: At) -> Place {
        Place { file: Some((*self.file).clone()), line: at.line, column: at.column }
    }

    /// Something because of which a query (or the file) is not loaded.
    pub(super) fn error(&mut self, at: At, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(at, what.into(), remedy.into(), true);
    }

    /// Something that the author should know of a query that is loaded.
    pub(super) fn hint(&mut self, at: At, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(at, what.into(), remedy.into(), false);
    }

    fn push(&mut self, at: At, what: String, remedy: String, fatal: bool) {
        let place = self.place(at);
        self.problems.push(Problem { place, what, remedy, fatal });
    }

    /// How many problems so far cost something its loading: compare before and after.
    pub(super) fn errors(&self) -> usize {
        self.problems.iter().filter(|p| p.fatal).count()
    }

    /// A key that nothing reads: refused where `strict`, else told.
    pub(super) fn unknown_key(&mut self, key: &Node, of: &str, known: &[&str], strict: bool) {
        let name = key.text().unwrap_or("?");
        let what = format!("unknown key `{name}` in {of}");
        let remedy = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        self.push(key.at, what, remedy, strict);
    }

    /// A scalar's text.
    pub(super) fn text<'n>(&mut self, node: &'n Node, name: &str) -> Option<&'n str> {
        let text = node.text();
        if text.is_none() {
            self.error(
                node.at,
                format!("`{name}` is {}", node.what()),
                "write a text here, in quotes where YAML could take it for something else",
            );
        }
        text
    }

    /// A text that `parse` understands; its error is what is wrong with the text.
    pub(super) fn parsed<T>(
        &mut self,
        node: &Node,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(node, name)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                let (what, remedy) = match error.split_once("; ") {
                    Some((what, remedy)) => (what.to_owned(), remedy.to_owned()),
                    None => (error, "correct it".to_owned()),
                };
                self.error(node.at, format!("`{name}`: {what}"), remedy);
                None
            }
        }
    }

    /// A boolean in YAML 1.2's spelling or 1.1's, which Go's readers take.
    pub(super) fn boolean(&mut self, node: &Node, name: &str) -> Option<bool> {
        self.parsed(node, name, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(true),
            "false" | "no" | "off" | "n" => Ok(false),
            _ => Err(format!("`{text}` is neither true nor false; write one of them")),
        })
    }

    /// A list of texts; a lone text counts as a list of one.
    pub(super) fn texts(&mut self, node: &Node, name: &str) -> Vec<String> {
        match &node.value {
            Value::Null => Vec::new(),
            Value::Sequence(items) => {
                items.iter().filter_map(|i| self.text(i, name)).map(str::to_owned).collect()
            }
            _ => self.text(node, name).map(str::to_owned).into_iter().collect(),
        }
    }

    /// The entries of a map that must be one.
    pub(super) fn map<'n>(&mut self, node: &'n Node, name: &str) -> Option<&'n [Entry]> {
        let map = node.as_map();
        if map.is_none() {
            self.error(
                node.at,
                format!("`{name}` is {}", node.what()),
                "write a map of keys and values here",
            );
        }
        map
    }

    /// The columns under `metrics:`, in document order: a list of maps, several columns to a map.
    pub(super) fn columns<'n>(&mut self, node: &'n Node) -> Vec<&'n Entry> {
        let items: &[Node] = match &node.value {
            Value::Null => return Vec::new(),
            Value::Sequence(items) => items,
            // A map of columns without the dashes can mean one thing only.
            Value::Map(_) => std::slice::from_ref(node),
            Value::Text(_) => {
                self.error(
                    node.at,
                    "`metrics` is a text",
                    "write a list such as `- column: {usage: GAUGE, description: …}`",
                );
                return Vec::new();
            }
        };
        items.iter().filter_map(|item| self.map(item, "metrics")).flatten().collect()
    }
}

/// The key that `name` was probably meant to be: at most two letters away, or a third of it.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = name.to_lowercase();
    known
        .iter()
        .map(|key| (distance(&lower, &key.to_lowercase()), *key))
        .min()
        .filter(|(distance, key)| *distance <= (key.len() / 3).max(1))
        .map(|(_, key)| key)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut table = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let at = |i: usize, j: usize| i * width + j;
            table[at(i, j)] = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (table[at(i - 1, j)] + 1)
                    .min(table[at(i, j - 1)] + 1)
                    .min(table[at(i - 1, j - 1)] + same);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[at(i - 2, j - 2)] + 1);
                }
                best
            };
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_keys() {
        let known = ["interval", "timeout", "GAUGE", "LABEL"];
        assert_eq!(nearest("intervall", &known), Some("interval"));
        assert_eq!(nearest("GUAGE", &known), Some("GAUGE"));
        assert_eq!(nearest("label", &known), Some("LABEL"));
        assert_eq!(nearest("colour", &known), None);
    }
}
