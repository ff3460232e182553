//! Reading a tree's maps field by field, every mistake gathered as a problem.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::yaml::{Key, Node, Position, Value};
use crate::config::{Place, Problem, nearest};

/// The file that is read, and what was found wrong in it.
pub(super) struct Walk {
    pub(super) file: Arc<PathBuf>,
    pub(super) problems: Vec<Problem>,
    /// Where the text that is walked stands in the file, if it is not the file itself.
    pub(super) inside: Option<Inside>,
}

/// How positions in a text within a file become positions of the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inside {
    /// Its lines are the file's, that many lines further down and columns further in.
    Below(u64, u64),
    /// It is encoded: all of it stands here.
    At(Position),
}

impl Walk {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file: Arc::new(file), problems: Vec::new(), inside: None }
    }

    pub(super) fn place(&self, at: Position) -> Place {
        let at = match self.inside {
            None => at,
            Some(Inside::Below(lines, columns)) => {
                Position { line: at.line + lines, column: at.column + columns }
            }
            Some(Inside::At(place)) => place,
        };
        Place { file: Some((*self.file).clone()), line: at.line, column: at.column }
    }

    /// Something because of which a query (or the file) is not loaded.
    pub(super) fn error(
        &mut self,
        at: Position,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(at, what.into(), remedy.into(), true);
    }

    /// Something that the author should know of a query that is loaded.
    pub(super) fn hint(
        &mut self,
        at: Position,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(at, what.into(), remedy.into(), false);
    }

    fn push(&mut self, at: Position, what: String, remedy: String, fatal: bool) {
        let place = self.place(at);
        self.problems.push(Problem { place, what, remedy, fatal });
    }

    /// How many problems so far cost something its loading: compare before and after.
    pub(super) fn errors(&self) -> usize {
        self.problems.iter().filter(|p| p.fatal).count()
    }

    /// A key that nothing reads: refused where `strict`, else told.
    pub(super) fn unknown_key(&mut self, key: &Key, of: &str, known: &[&str], strict: bool) {
        let what = format!("unknown key `{}` in {of}", key.name);
        let remedy = match nearest(&key.name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        self.push(key.at, what, remedy, strict);
    }

    /// A scalar's text.
    pub(super) fn text<'n>(&mut self, node: &'n Node, name: &str) -> Option<&'n str> {
        let text = text(node);
        if text.is_none() {
            self.error(
                node.at,
                format!("`{name}` holds {}", node.value.kind()),
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
            Value::List(items) => {
                items.iter().filter_map(|i| self.text(i, name)).map(str::to_owned).collect()
            }
            _ => self.text(node, name).map(str::to_owned).into_iter().collect(),
        }
    }

    /// The entries of a map that must be one.
    pub(super) fn map<'n>(&mut self, node: &'n Node, name: &str) -> Option<&'n [(Key, Node)]> {
        let map = map(node);
        if map.is_none() {
            self.error(
                node.at,
                format!("`{name}` holds {}", node.value.kind()),
                "write a map of keys and values here",
            );
        }
        map
    }

    /// The columns under `metrics:`, in document order: a list of maps, several columns to a map.
    pub(super) fn columns<'n>(&mut self, node: &'n Node) -> Vec<&'n (Key, Node)> {
        let items: &[Node] = match &node.value {
            Value::Null => return Vec::new(),
            Value::List(items) => items,
            // A map of columns without the dashes can mean one thing only.
            Value::Map(_) => std::slice::from_ref(node),
            Value::Scalar { .. } => {
                self.error(
                    node.at,
                    "`metrics` holds one value",
                    "write a list such as `- column: {usage: GAUGE, description: …}`",
                );
                return Vec::new();
            }
        };
        items.iter().filter_map(|item| self.map(item, "metrics")).flatten().collect()
    }
}

/// A scalar's text; none for nothing, lists and maps.
pub(super) fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// A map's entries, in the order of the file.
pub(super) fn map(node: &Node) -> Option<&[(Key, Node)]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}
