//! Kubernetes manifests that hold pack files: each value under `data`, `stringData` or `binaryData` of
//! a ConfigMap or a Secret is a file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::walk::{Inside, Walk, map, text};
use crate::config::yaml::{Node, Position, Value};

/// A file inside a manifest; it may hold a secret of others.
pub(super) struct Inner {
    /// The key that it stands under.
    pub(super) name: String,
    pub(super) text: String,
    /// Where its first line that is not blank stands in the manifest.
    at: Position,
    /// Its lines are the manifest's, and not encoded ones.
    in_lines: bool,
    /// See [`is_cnpg`].
    pub(super) cnpg: bool,
}

/// Whether a document is a Kubernetes object and so no pack: it says its version and kind in words.
pub(super) fn is_manifest(document: &Node) -> bool {
    let says = |name: &str| field(document, name).is_some_and(|node| text(node).is_some());
    says("apiVersion") && says("kind")
}

impl Inner {
    /// Where its positions are the manifest's.
    pub(super) fn place(&self) -> Inside {
        if !self.in_lines {
            return Inside::At(self.at);
        }
        let blank = self.text.lines().take_while(|line| line.trim().is_empty()).count() as u64;
        Inside::Below(self.at.line.saturating_sub(1 + blank), self.at.column.saturating_sub(1))
    }
}

/// Whether CloudNativePG's operator watches the manifest: then what it holds is in that dialect.
fn is_cnpg(document: &Node) -> bool {
    let labels = field(document, "metadata").and_then(|metadata| field(metadata, "labels"));
    labels.and_then(map).unwrap_or_default().iter().any(|(key, _)| key.name.starts_with("cnpg.io/"))
}

/// The files that a manifest holds. Objects of other kinds hold none and are told, for they stand
/// in one file with those that do.
pub(super) fn files(walk: &mut Walk, document: &Node) -> Vec<Inner> {
    let kind = field(document, "kind").and_then(text).unwrap_or_default();
    match kind {
        "List" | "ConfigMapList" | "SecretList" => {
            let items = match field(document, "items").map(|node| &node.value) {
                Some(Value::List(items)) => items.as_slice(),
                _ => &[],
            };
            return items.iter().flat_map(|item| files(walk, item)).collect();
        }
        "ConfigMap" | "Secret" => {}
        _ => {
            let what = format!("this {kind} holds no packs");
            walk.hint(document.at, what, "only a ConfigMap or Secret can; nothing is to be done");
            return Vec::new();
        }
    }
    let mut found = Vec::new();
    for block in ["data", "stringData", "binaryData"] {
        let encoded = block == "binaryData" || (block == "data" && kind == "Secret");
        for (key, value) in field(document, block).and_then(map).unwrap_or_default() {
            let Some(content) = text(value) else {
                if value.value != Value::Null {
                    let what =
                        format!("`{}` under `{block}` holds {}", key.name, value.value.kind());
                    walk.error(value.at, what, "write a text: `|` and the file under it");
                }
                continue;
            };
            let content = if encoded { decode(content) } else { Some(content.to_owned()) };
            match content {
                Some(text) => found.push(Inner {
                    name: key.name.clone(),
                    in_lines: !encoded && text.contains('\n'),
                    text,
                    at: value.at,
                    cnpg: is_cnpg(document),
                }),
                None => walk.error(
                    value.at,
                    format!("`{}` under `{block}` is no text in base64", key.name),
                    "encode the file, or write it as it is under `stringData`",
                ),
            }
        }
    }
    found
}

fn field<'n>(document: &'n Node, name: &str) -> Option<&'n Node> {
    map(document)?.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
}

/// base64 as `kubectl` writes it, in one line or several.
fn decode(text: &str) -> Option<String> {
    let text: String = text.split_whitespace().collect();
    STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}
