//! YAML as a tree that remembers where everything stands, so that one reading finds every problem:
//! serde stops at the first. Bounded in size, depth and nodes, also through aliases.
//!
//! Scalars keep their text (`1.10` stays that, whatever a number would make of it), merge keys
//! (`<<`) are resolved, and of a key that comes twice the first stays.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, options};

use super::problem::why;

/// Bytes of one file; the largest known directory of foreign packs has 400 KiB in all.
pub const MAX_BYTES: usize = 4 << 20;
const MAX_DEPTH: usize = 64;
/// Nodes of one file, those that aliases repeat counted each time.
const MAX_NODES: usize = 200_000;

/// A place in the text, line and column from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub at: Position,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `~` or `null`, unquoted.
    Null,
    /// Any other scalar: its text, and whether it stood there unquoted.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub at: Position,
    pub name: String,
}

impl Value {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar { .. } => "one value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Something wrong with the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Position,
    pub what: String,
    pub remedy: String,
}

impl Fault {
    fn new(at: Position, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { at, what: what.into(), remedy: remedy.into() }
    }
}

/// The documents of one text, and what is wrong with it that did not stop the reading.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// One root a document; documents that hold nothing are left out.
    pub documents: Vec<Node>,
    pub faults: Vec<Fault>,
}

/// Reads a file and parses it.
///
/// # Errors
/// What keeps the file from being read, or the text from being YAML.
pub fn read(path: &Path) -> Result<Parsed, Fault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|e| {
            let what = format!("cannot read the file ({})", why(&e));
            Fault::new(Position::default(), what, "name a file that the agent may read")
        })?;
    let text = std::str::from_utf8(&bytes[..bytes.len().min(MAX_BYTES + 1)]).or_else(|e| {
        // The limit may have cut a character; what came before it will be too long anyway.
        if bytes.len() > MAX_BYTES && e.error_len().is_none() {
            return Ok(" ");
        }
        let before = &bytes[..e.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = 1 + String::from_utf8_lossy(&before[start..]).chars().count() as u64;
        let at = Position { line, column };
        Err(Fault::new(at, "the text is not UTF-8", "save the file as UTF-8"))
    })?;
    if bytes.len() > MAX_BYTES {
        return Err(too_long());
    }
    parse(text)
}

fn too_long() -> Fault {
    Fault::new(Position::default(), "the file is longer than 4 MiB", "split it, or name another")
}

/// Parses a text of any number of documents.
///
/// # Errors
/// What keeps the text from being YAML, or from being of a bearable size.
pub fn parse(text: &str) -> Result<Parsed, Fault> {
    if text.len() > MAX_BYTES {
        return Err(too_long());
    }
    let mut limits = options! { flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH };
    limits.set_emit_comments(false);
    let mut tree = Tree::default();
    for item in Parser::new_from_str_with_options(text, limits) {
        let (event, span) = item.map_err(|e| syntax(&e, text))?;
        tree.take(event, span)?;
    }
    Ok(tree.parsed)
}

/// A collection that is not closed yet.
struct Open {
    at: Position,
    anchor: usize,
    nodes: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    /// The key whose value is awaited stands beside the entries; one that is no scalar is none.
    Map(Vec<(Key, Node)>, Option<Option<Key>>),
}

#[derive(Default)]
struct Tree {
    parsed: Parsed,
    open: Vec<Open>,
    /// Whole nodes by the id of their anchor, with their number of nodes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = position(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                let bare = plain && tag.is_none();
                let value = match text.as_str() {
                    "" | "~" | "null" | "Null" | "NULL" if bare => Value::Null,
                    _ => Value::Scalar { text, plain: bare },
                };
                self.spend(1, at)?;
                self.place(Node { at, value }, 1, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(at, anchor, Inside::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.begin(at, anchor, Inside::Map(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(done) = self.open.pop() else { return Ok(()) };
                let value = match done.inside {
                    Inside::List(items) => Value::List(items),
                    Inside::Map(entries, _) => Value::Map(self.merge(entries)),
                };
                self.place(Node { at: done.at, value }, done.nodes, done.anchor)
            }
            Event::Alias(id) => match self.anchors.get(&id) {
                Some((_, nodes)) => {
                    let nodes = *nodes;
                    self.spend(nodes, at)?;
                    // Looked up again: the count had to come before the copy.
                    match self.anchors.get(&id) {
                        Some((node, _)) => self.place(Node { at, ..node.clone() }, nodes, 0),
                        None => Ok(()),
                    }
                }
                None => Err(Fault::new(
                    at,
                    "an alias stands inside what it names",
                    "write the value out here",
                )),
            },
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Counts what is about to be held, copies for and by aliases too.
    fn spend(&mut self, nodes: usize, at: Position) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let what = format!("the file has more than {MAX_NODES} values, aliases counted");
            return Err(Fault::new(at, what, "split it, or use fewer aliases"));
        }
        Ok(())
    }

    fn begin(&mut self, at: Position, anchor: usize, inside: Inside) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            let what = format!("more than {MAX_DEPTH} levels lie inside each other");
            return Err(Fault::new(at, what, "make it flatter"));
        }
        self.spend(1, at)?;
        self.open.push(Open { at, anchor, nodes: 1, inside });
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn place(&mut self, node: Node, nodes: usize, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.spend(nodes, node.at)?;
            self.anchors.insert(anchor, (node.clone(), nodes));
        }
        let Some(open) = self.open.last_mut() else {
            if node.value != Value::Null {
                self.parsed.documents.push(node);
            }
            return Ok(());
        };
        open.nodes += nodes;
        match &mut open.inside {
            Inside::List(items) => items.push(node),
            Inside::Map(entries, awaited) => match awaited.take() {
                None => {
                    let key = match node.value {
                        Value::Scalar { text, .. } => Some(Key { at: node.at, name: text }),
                        Value::Null => Some(Key { at: node.at, name: "null".to_owned() }),
                        Value::List(_) | Value::Map(_) => {
                            self.parsed.faults.push(Fault::new(
                                node.at,
                                "a list or a map stands where a key is expected",
                                "write `NAME: value`, with the value in quotes if it has braces",
                            ));
                            None
                        }
                    };
                    *awaited = Some(key);
                }
                Some(None) => {}
                Some(Some(key)) => {
                    match entries.iter().find(|(k, _)| k.name == key.name && key.name != "<<") {
                        Some((first, _)) => self.parsed.faults.push(Fault::new(
                            key.at,
                            format!("this key stands in line {} already", first.at.line),
                            "remove one of the two",
                        )),
                        None => entries.push((key, node)),
                    }
                }
            },
        }
        Ok(())
    }

    /// Resolves `<<`: entries of the maps that it names, unless the map has its own.
    fn merge(&mut self, entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        if entries.iter().all(|(key, _)| key.name != "<<") {
            return entries;
        }
        let (merges, mut own): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(key, _)| key.name == "<<");
        for (key, node) in merges {
            let maps = match node.value {
                Value::List(items) => items,
                _ => vec![node],
            };
            for map in maps {
                let Value::Map(more) = map.value else {
                    self.parsed.faults.push(Fault::new(
                        key.at,
                        "`<<` names something that is no map",
                        "name an anchored map, `<<: *NAME`",
                    ));
                    continue;
                };
                for (key, node) in more {
                    if own.iter().all(|(k, _)| k.name != key.name) {
                        own.push((key, node));
                    }
                }
            }
        }
        own
    }
}

fn position(line: usize, column_from_0: usize) -> Position {
    Position { line: line.max(1) as u64, column: column_from_0 as u64 + 1 }
}

/// A scanner's error in words; its own text names at most one character of the file.
fn syntax(error: &ScanError, text: &str) -> Fault {
    let marker = error.marker();
    let at = position(marker.line(), marker.col());
    let line = text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
    let found = line.chars().nth(marker.col());
    let indent = &line[..line.len() - line.trim_start().len()];
    let remedy = if found == Some('\t') || indent.contains('\t') {
        "YAML indents with spaces, so replace the tab"
    } else if found.is_some_and(|c| "%@`*&!|>{}[]".contains(c)) {
        "put a value that begins with such a character, or holds braces, in quotes"
    } else {
        "look at the indentation, colons and quotes here and in the line above"
    };
    let mut what = error.info();
    // One line, whatever the scanner says.
    what.retain(|c| c != '\n');
    Fault::new(at, format!("this is no YAML: {what}"), remedy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Node {
        let parsed = parse(text).unwrap();
        assert_eq!(parsed.faults, []);
        parsed.documents.into_iter().next().unwrap()
    }

    fn flat(node: &Node) -> String {
        match &node.value {
            Value::Null => "~".to_owned(),
            Value::Scalar { text, plain: true } => text.clone(),
            Value::Scalar { text, plain: false } => format!("'{text}'"),
            Value::List(items) => {
                format!("[{}]", items.iter().map(flat).collect::<Vec<_>>().join(" "))
            }
            Value::Map(entries) => {
                let entries =
                    entries.iter().map(|(key, node)| format!("{}={}", key.name, flat(node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn values_and_where_they_stand() {
        let root = one("a: 1.10\nb:\n  - x: 'null'\n    y:\n  - ~\n");
        assert_eq!(flat(&root), "{a=1.10 b=[{x='null' y=~} ~]}");
        let Value::Map(entries) = &root.value else { panic!() };
        assert_eq!(entries[1].0.at, Position { line: 2, column: 1 });
        let Value::List(items) = &entries[1].1.value else { panic!() };
        assert_eq!(items[0].at, Position { line: 3, column: 5 });
    }

    #[test]
    fn aliases_and_merges() {
        let root = one("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a]\n");
        assert_eq!(flat(&root), "{a={x=1 y=2} b={y=3 x=1} c=[{x=1 y=2}]}");
        let why = parse("a: &a [*a]").unwrap_err();
        assert!(why.what.contains("inside what it names"), "{why:?}");
        // A billion laughs.
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let of = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{of}]\n"));
        }
        assert!(parse(&text).unwrap_err().what.contains("values, aliases counted"));
    }

    #[test]
    fn faults_that_do_not_stop() {
        let parsed = parse("a: 1\n? [x]\n: 2\na: 3\n<<: 4\n").unwrap();
        assert_eq!(flat(&parsed.documents[0]), "{a=1}");
        let lines: Vec<u64> = parsed.faults.iter().map(|fault| fault.at.line).collect();
        assert_eq!(lines, [2, 4, 5]);
    }

    #[test]
    fn what_is_no_yaml() {
        let why = parse("a:\n\t- b\n").unwrap_err();
        assert!(why.at.line == 2 && why.remedy.contains("tab"), "{why:?}");
        let why = parse("a: [1, 2\nb: 3\n").unwrap_err();
        assert!(why.what.starts_with("this is no YAML"), "{why:?}");
        let deep = "[".repeat(200);
        assert!(parse(&deep).is_err());
        assert!(parse(&"- ".repeat(200)).is_err());
        assert!(parse("# only words\n").unwrap().documents.is_empty());
        assert_eq!(parse("a: 1\n---\nb: 2\n").unwrap().documents.len(), 2);
    }

    #[test]
    fn files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.yaml");
        assert!(read(&path).unwrap_err().what.contains("cannot read"));
        std::fs::write(&path, b"a: b\nc: \xff\n").unwrap();
        assert_eq!(read(&path).unwrap_err().at, Position { line: 2, column: 4 });
        std::fs::write(&path, "# é\n".repeat(MAX_BYTES / 4)).unwrap();
        assert!(read(&path).unwrap_err().what.contains("4 MiB"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-a:{}\\[\\]&*!|>'\"%@`#, \n\t?<~0$]{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
