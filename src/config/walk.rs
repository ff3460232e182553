//! Walking the file's tree: each step either yields a checked value or notes a problem and goes on,
//! so that one run tells all of them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::environment::Lookup;
use super::yaml::{Key, Node, Position, Value};
use super::{Place, Problem, SecretSource, scalar, secret};
use crate::secret::Secret;

/// What every step of one walk needs: whose file it is, the environment, and the problems so far.
pub(super) struct Walk<'a> {
    file: Option<&'a Path>,
    lookup: Lookup<'a>,
    home: fn(&str) -> Option<&'static str>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Walk<'a> {
    /// `home` names the block that a key belongs to, for keys that stand in a wrong one.
    pub(super) fn new(
        file: Option<&'a Path>,
        lookup: Lookup<'a>,
        home: fn(&str) -> Option<&'static str>,
    ) -> Self {
        Self { file, lookup, home, problems: RefCell::default() }
    }

    pub(super) fn lookup(&self) -> Lookup<'a> {
        self.lookup
    }

    pub(super) fn place(&self, at: Position) -> Place {
        Place { file: self.file.map(Path::to_path_buf), line: at.line, column: at.column }
    }

    pub(super) fn fatal(&self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.borrow_mut().push(Problem::fatal(place, what, remedy));
    }

    pub(super) fn warn(&self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.borrow_mut().push(Problem::warning(place, what, remedy));
    }

    pub(super) fn is_fatal(&self) -> bool {
        self.problems.borrow().iter().any(|problem| problem.fatal)
    }

    pub(super) fn note(&self, problems: Vec<Problem>) {
        self.problems.borrow_mut().extend(problems);
    }

    /// All problems in the order of the file; each once.
    pub(super) fn finish(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        problems
    }

    /// A path that the user wrote; relative ones start at the file's own directory.
    fn resolve(&self, path: &str) -> PathBuf {
        match self.file.and_then(Path::parent) {
            Some(base) => base.join(path),
            None => PathBuf::from(path),
        }
    }

    /// A pattern over paths; as [`Walk::resolve`], and nothing in the directory's name is a pattern.
    pub(super) fn resolve_pattern(&self, pattern: &str) -> String {
        match self.file.and_then(Path::parent) {
            Some(base) if !pattern.starts_with('/') && base != Path::new("") => {
                format!("{}/{pattern}", glob::Pattern::escape(&base.to_string_lossy()))
            }
            _ => pattern.to_owned(),
        }
    }
}

/// One value of the file, and the way to it (`instances[0].dsn`).
#[derive(Clone)]
pub(super) struct Item<'a> {
    walk: &'a Walk<'a>,
    node: &'a Node,
    path: String,
}

impl<'a> Item<'a> {
    pub(super) fn root(walk: &'a Walk<'a>, node: &'a Node) -> Self {
        Self { walk, node, path: String::new() }
    }

    pub(super) fn place(&self) -> Place {
        self.walk.place(self.node.at)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn fatal(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.walk.fatal(self.place(), what, remedy);
    }

    pub(super) fn warn(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.walk.warn(self.place(), what, remedy);
    }

    fn expected(&self, shape: &str) {
        let here = if self.path.is_empty() { "the file".to_owned() } else { quoted(&self.path) };
        let found = self.node.value.kind();
        self.fatal(format!("{here} holds {found}"), format!("write {shape}"));
    }

    /// As a map that knows `keys` and no others.
    pub(super) fn block(&self, keys: &'static [&'static str]) -> Option<Block<'a>> {
        let mut block = self.open()?;
        for (key, _) in block.entries {
            if !keys.contains(&key.name.as_str()) {
                self.unknown(key, keys);
                block.known = false;
            }
        }
        Some(block)
    }

    /// As a map whose keys are the user's.
    pub(super) fn open(&self) -> Option<Block<'a>> {
        let entries: &'a [(Key, Node)] = match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Scalar { .. } | Value::List(_) => {
                self.expected("a map, `KEY: VALUE`");
                return None;
            }
        };
        Some(Block { item: self.clone(), entries, known: true })
    }

    fn unknown(&self, key: &Key, keys: &[&str]) {
        let place = self.walk.place(key.at);
        let inside = if self.path.is_empty() {
            "at the top".to_owned()
        } else {
            format!("in {}", quoted(&self.path))
        };
        // What is no word may be a value that slipped into a key's place, such as a DSN.
        let word = key.name.len() <= 40
            && key.name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c));
        let what = if word {
            format!("unknown key {} {inside}", quoted(&key.name))
        } else {
            format!("a key {inside} is unknown")
        };
        let remedy = if let Some(near) = scalar::nearest(&key.name, keys) {
            format!("did you mean {}?", quoted(near))
        } else if let Some(home) = (self.walk.home)(&key.name) {
            format!("it belongs under {}", quoted(home))
        } else {
            format!("known here are {}", keys.join(", "))
        };
        self.walk.fatal(place, what, remedy);
    }

    /// As a list; one value alone counts as a list of one.
    pub(super) fn list(&self) -> Vec<Item<'a>> {
        match &self.node.value {
            Value::List(items) => {
                let item =
                    |(i, node)| Item { walk: self.walk, node, path: format!("{}[{i}]", self.path) };
                items.iter().enumerate().map(item).collect()
            }
            Value::Null => Vec::new(),
            Value::Scalar { .. } => vec![self.clone()],
            Value::Map(_) => {
                self.expected("a list, `- VALUE` or [VALUE, …]");
                Vec::new()
            }
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// As text, `${NAME}` replaced.
    pub(super) fn text(&self) -> Option<String> {
        match &self.node.value {
            Value::Scalar { text, .. } => {
                let expanded = scalar::expand(text, self.walk.lookup);
                expanded.map_err(|(what, remedy)| self.fatal(what, remedy)).ok()
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.expected("one value");
                None
            }
        }
    }

    /// As text that `parse` understands; its error goes on after the value, "is no duration".
    pub(super) fn parsed<T>(
        &self,
        remedy: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text()?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.fatal(format!("{} {why}", self.shown(&text)), remedy);
                None
            }
        }
    }

    /// A value in an error's words: as the user wrote it, but never something that may hold a secret.
    fn shown(&self, text: &str) -> String {
        match &self.node.value {
            Value::Scalar { text: written, .. }
                if written == text
                    && (1..=60).contains(&text.len())
                    && !text.contains(['@', '\n']) =>
            {
                format!("{} in {}", quoted(text), quoted(&self.path))
            }
            _ if text.is_empty() => quoted(&self.path),
            _ => format!("the value of {}", quoted(&self.path)),
        }
    }

    pub(super) fn duration(&self) -> Option<std::time::Duration> {
        self.parsed("write a number and a unit (ms, s, m, h, d, w)", scalar::duration)
    }

    pub(super) fn byte_size(&self) -> Option<u64> {
        self.parsed("write a number and a unit (KiB, MiB, GiB, TiB)", scalar::byte_size)
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.parsed("write true or false", |text| match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err("is neither true nor false".to_owned()),
        })
    }

    /// A number from 1 on, or the word that lifts the cap: `Some(None)`.
    pub(super) fn cap(&self, lifts: &str) -> Option<Option<usize>> {
        self.parsed(&format!("write a number, or `{lifts}` for no cap"), |text| {
            if text == lifts {
                return Ok(None);
            }
            text.parse().map(Some).map_err(|_| "is no number".to_owned())
        })
    }

    /// One word out of a closed list.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let remedy = match scalar::nearest(&text, &names) {
            Some(near) => format!("did you mean {}?", quoted(near)),
            None => format!("write {}", names.join(", ")),
        };
        self.fatal(format!("{} is unknown", self.shown(&text)), remedy);
        None
    }

    /// A name that becomes a label's value.
    pub(super) fn name(&self) -> Option<String> {
        self.parsed("write a short name", |text| match text {
            "" => Err("is empty".to_owned()),
            _ if text.len() > 255 => Err("is longer than 255 bytes".to_owned()),
            _ if text.chars().any(char::is_control) => Err("holds a control character".to_owned()),
            _ => Ok(text.to_owned()),
        })
    }

    /// Text that may not be empty.
    pub(super) fn filled(&self) -> Option<String> {
        self.parsed("write a value, or remove the key", |text| match text {
            "" => Err("is empty".to_owned()),
            _ => Ok(text.to_owned()),
        })
    }

    pub(super) fn file(&self) -> Option<PathBuf> {
        self.filled().map(|path| self.walk.resolve(&path))
    }

    /// Shell patterns, each of them checked.
    pub(super) fn patterns(&self) -> Vec<String> {
        let pattern = |item: &Item<'_>| {
            item.parsed("write a pattern of *, ? and [letters]", |text| {
                glob::Pattern::new(text)
                    .map(|_| text.to_owned())
                    .map_err(|e| format!("is no pattern ({})", e.msg))
            })
        };
        self.list().iter().filter_map(pattern).collect()
    }

    /// As a duration that is not nothing.
    pub(super) fn period(&self) -> Option<std::time::Duration> {
        let period = self.duration()?;
        if period.is_zero() {
            self.fatal(format!("{} is nothing", quoted(self.path())), "write a longer time");
        }
        (!period.is_zero()).then_some(period)
    }
}

/// A map of the file.
#[derive(Clone)]
pub(super) struct Block<'a> {
    pub(super) item: Item<'a>,
    entries: &'a [(Key, Node)],
    known: bool,
}

impl<'a> Block<'a> {
    /// The value of a key; one that holds nothing is as good as absent.
    pub(super) fn get(&self, name: &str) -> Option<Item<'a>> {
        self.entries
            .iter()
            .find(|(key, node)| key.name == name && node.value != Value::Null)
            .map(|(key, node)| self.item_of(key, node))
    }

    /// Whether all its keys are known. Where one is not, that is the problem, and not what seems to
    /// be missing.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Keys and values of a map whose keys are the user's.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Item<'a>)> + '_ {
        self.entries.iter().map(|(key, node)| (key.name.as_str(), self.item_of(key, node)))
    }

    fn item_of(&self, key: &Key, node: &'a Node) -> Item<'a> {
        let path = match self.item.path.as_str() {
            "" => key.name.clone(),
            path => format!("{path}.{}", key.name),
        };
        Item { walk: self.item.walk, node, path }
    }

    /// The secret that `name` holds, or the file that `name_file` names, which must be readable now.
    pub(super) fn secret(&self, name: &str) -> Option<SecretSource> {
        let from = format!("{name}_file");
        match (self.get(name), self.get(&from)) {
            (Some(value), file) => {
                if let Some(file) = file {
                    let (name, from) = (quoted(name), quoted(&from));
                    file.fatal(
                        format!("both {name} and {from} are given"),
                        "remove one of the two",
                    );
                }
                let text = value.text()?;
                if text.is_empty() {
                    let what = format!("{} is empty", quoted(value.path()));
                    value.fatal(what, "write the secret, or remove the key");
                    return None;
                }
                Some(SecretSource::Value(Secret::new(text)))
            }
            (None, Some(file)) => {
                let path = file.file()?;
                if let Err((what, remedy)) = secret::read_file(&path) {
                    file.fatal(format!("{what} {}", path.display()), remedy);
                }
                Some(SecretSource::File(path))
            }
            (None, None) => None,
        }
    }
}

/// A key, path or value as messages show it.
pub(super) fn quoted(text: &str) -> String {
    format!("`{text}`")
}
