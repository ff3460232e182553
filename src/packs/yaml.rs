//! YAML text to a tree in which every node knows its line and column.
//!
//! Built on the events of serde-saphyr's parser and not on serde: a pack with five mistakes should
//! show five problems, scalars must keep their spelling (`1.10`, `on`), and a key given twice is the
//! author's mistake to be told, while serde stops at the first.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};

/// The most nodes that one file may become, aliases replaced: a bound on hostile or broken files.
const MAX_NODES: usize = 200_000;
/// The deepest nesting.
const MAX_DEPTH: usize = 32;

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A plain `null`, `~` or nothing at all.
    Null,
    /// Any other scalar, as spelled.
    Text(String),
    Sequence(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
}

/// Text that is not YAML: where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotYaml {
    pub(super) at: At,
    pub(super) why: String,
}

impl Node {
    /// A scalar's text; none for null, sequence and map.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn as_sequence(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// What it is, in words for a message.
    pub(super) fn what(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// How many nodes it is, itself counted.
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Text(_) => 0,
            Value::Sequence(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|e| e.key.size() + e.value.size()).sum(),
        }
    }
}

/// A collection whose end has not come yet.
struct Open {
    at: At,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Node>),
    /// Entries, and a key that waits for its value.
    Map(Vec<Entry>, Option<Node>),
}

struct Builder {
    open: Vec<Open>,
    documents: Vec<Node>,
    /// Finished nodes that have an anchor, with their size.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

/// The documents of `text`; comments alone are none.
///
/// # Errors
/// The first place where `text` is not YAML, or where it passes the bounds on size and nesting.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, NotYaml> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { open: Vec::new(), documents: Vec::new(), anchors: HashMap::new(), nodes: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            NotYaml { at: at(marker.line(), marker.col()), why: error.info() }
        })?;
        builder.event(event, at(span.start.line(), span.start.col()))?;
    }
    Ok(builder.documents)
}

/// The parser counts lines from 1 and columns from 0.
fn at(line: usize, column: usize) -> At {
    At { line: line as u64, column: column as u64 + 1 }
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: At) -> Result<(), NotYaml> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let null = style == ScalarStyle::Plain
                    && tag.is_none()
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Text(text.into_owned()) };
                self.add(Node { at, value }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.begin(Open { at, anchor, kind: OpenKind::Sequence(Vec::new()) })
            }
            Event::MappingStart(_, anchor, _) => {
                self.begin(Open { at, anchor, kind: OpenKind::Map(Vec::new(), None) })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { at, anchor, kind }) => {
                    let value = match kind {
                        OpenKind::Sequence(items) => Value::Sequence(items),
                        OpenKind::Map(entries, _) => Value::Map(merged(entries)),
                    };
                    self.add(Node { at, value }, anchor, 1)
                }
                None => Ok(()),
            },
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some((node, size)) => self.add(Node { at, ..node }, 0, size),
                None => Err(NotYaml {
                    at,
                    why: "an alias stands inside the node that it names".to_owned(),
                }),
            },
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), NotYaml> {
        if self.open.len() >= MAX_DEPTH {
            return Err(NotYaml {
                at: open.at,
                why: format!("it is nested more than {MAX_DEPTH} deep"),
            });
        }
        self.open.push(open);
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), NotYaml> {
        self.nodes += size;
        if self.nodes > MAX_NODES {
            return Err(NotYaml {
                at: node.at,
                why: format!("it holds more than {MAX_NODES} values"),
            });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), node.size()));
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            Some(OpenKind::Sequence(items)) => items.push(node),
            Some(OpenKind::Map(entries, waiting)) => match waiting.take() {
                Some(key) => entries.push(Entry { key, value: node }),
                None => *waiting = Some(node),
            },
            None if matches!(node.value, Value::Null) => {}
            None => self.documents.push(node),
        }
        Ok(())
    }
}

/// `entries` with those of their `<<` keys, which yield to the map's own.
fn merged(entries: Vec<Entry>) -> Vec<Entry> {
    if !entries.iter().any(|entry| entry.key.text() == Some("<<")) {
        return entries;
    }
    let (merges, mut own): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.key.text() == Some("<<"));
    for merge in merges {
        let sources = match merge.value.value {
            Value::Sequence(items) => items,
            _ => vec![merge.value],
        };
        for entry in sources.into_iter().filter_map(|s| match s.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }) {
            for entry in entry {
                if !own.iter().any(|o| o.key.text() == entry.key.text()) {
                    own.push(entry);
                }
            }
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_spelling() {
        let documents = parse("# c\na: on\nb:\n  - {c: 1.10}\n").unwrap();
        let map = documents[0].as_map().unwrap();
        assert_eq!(map[0].value.text(), Some("on"));
        assert_eq!(map[1].key.at, At { line: 3, column: 1 });
        let inner = &map[1].value.as_sequence().unwrap()[0].as_map().unwrap()[0];
        assert_eq!((inner.value.text(), inner.value.at), (Some("1.10"), At { line: 4, column: 9 }));
    }

    #[test]
    fn comments_alone_are_no_document() {
        assert!(parse("# only\n\n# this\n").unwrap().is_empty());
        assert!(parse("").unwrap().is_empty() && parse("---\n").unwrap().is_empty());
    }

    #[test]
    fn aliases_and_merges() {
        let documents = parse("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\nc: *x\n").unwrap();
        let map = documents[0].as_map().unwrap();
        let b: Vec<_> = map[1].value.as_map().unwrap().iter().map(|e| e.value.text()).collect();
        assert_eq!(b, [Some("3"), Some("2")]);
        assert_eq!(map[2].value.at.line, 3);
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for (name, before) in ["b", "c", "d", "e", "f", "g", "h"].iter().zip("abcdefg".chars()) {
            bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(","));
        }
        assert!(parse(&bomb).unwrap_err().why.contains("more than"));
        assert!(parse(&"[".repeat(100)).is_err());
        assert_eq!(parse("a: [1\nb: 2\n").unwrap_err().at.line, 2);
    }
}
