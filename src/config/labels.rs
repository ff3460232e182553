//! Labels that the user sets: on every series about an instance, and on every stream.

use std::collections::BTreeMap;

use super::walk::{Item, Walk, quoted};
use super::{Destination, LokiTarget, Settings};
use crate::metric::is_label_name;

/// Names that somebody else writes: Prometheus on each target, a histogram on its buckets, Loki and
/// the log river on each stream.
const TAKEN: [&str; 6] = ["instance", "job", "le", "quantile", "route", "service_name"];

/// Loki takes 15 label names by default; `cluster`, `server`, `route` and `service_name` are ours,
/// `namespace` and `pod` come beside them in Kubernetes.
const MOST: usize = 15 - 6;

/// Names under which the identity is written.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) cluster_label: String,
    pub(super) server_label: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self { cluster_label: "cluster".to_owned(), server_label: "server".to_owned() }
    }
}

pub(super) const IDENTITY_KEYS: &[&str] = &["cluster_label", "server_label"];

/// The block `identity`.
pub(super) fn identity(item: Option<Item<'_>>) -> Identity {
    let mut identity = Identity::default();
    let Some(block) = item.and_then(|item| item.block(IDENTITY_KEYS)) else { return identity };
    let label = |key: &str| {
        block.get(key)?.parsed("write a name of letters, digits and _", |text| {
            if !is_label_name(text) {
                return Err("is no label name".to_owned());
            }
            if TAKEN.contains(&text) {
                return Err("is a label that others write".to_owned());
            }
            Ok(text.to_owned())
        })
    };
    if let Some(name) = label("cluster_label") {
        identity.cluster_label = name;
    }
    if let Some(name) = label("server_label") {
        identity.server_label = name;
    }
    if identity.cluster_label == identity.server_label {
        block.item.fatal(
            "cluster and server would be written under the same name",
            "give `cluster_label` and `server_label` different names",
        );
    }
    identity
}

/// A block of labels, `NAME: VALUE`.
pub(super) fn read(item: Option<Item<'_>>, identity: &Identity) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(block) = item.and_then(|item| item.open()) else { return labels };
    for (name, value) in block.entries() {
        if !is_label_name(name) {
            value.fatal(
                format!("a name in {} is no label name", quoted(block.item.path())),
                "write letters, digits and _, the first no digit, and not __ before them",
            );
        } else if name == identity.cluster_label || name == identity.server_label {
            value.fatal(
                format!("the label {} is the agent's own", quoted(name)),
                "set `cluster` or the instance's `name`, or rename ours by `identity`",
            );
        } else if TAKEN.contains(&name) {
            value.fatal(
                format!("the label {} is written by others", quoted(name)),
                "choose another name",
            );
        } else if let Some(value) = value.name() {
            labels.insert(name.to_owned(), value);
        }
    }
    labels
}

/// Whether every stream stays within the number of labels that Loki takes.
pub(super) fn count(walk: &Walk<'_>, settings: &Settings) {
    let Some(logs) = settings.logs.as_ref().filter(|logs| logs.destination == Destination::Loki)
    else {
        return;
    };
    for source in &logs.sources {
        let mut names: Vec<&String> = source.labels.keys().collect();
        names.extend(logs.loki.iter().flat_map(|LokiTarget { labels, .. }| labels.keys()));
        names.sort();
        names.dedup();
        if names.len() > MOST {
            walk.fatal(
                source.place.clone(),
                format!("the streams of {} get {} labels", quoted(&source.name), names.len()),
                format!("set at most {MOST}, as Loki takes 15 and 6 are ours"),
            );
        }
    }
}
