//! The block `logs.routes`: who may read what, for how long.
//!
//! | key | default |
//! | --- | --- |
//! | `name` | must be given: the label `route` |
//! | `redact` | `credentials` |
//! | `tenant` | none |
//! | `keep` | what the destination does by itself |
//! | `databases` | all records, also those of no database |
//! | `include_events` | all records |
//! | `exclude_events` | none |
//! | `patterns` | none, and those of `logs.patterns` |

use super::walk::{Block, Item, Walk, quoted};
use super::{Masking, Place, Redaction, Route};

pub(super) const KEYS: &[&str] = &[
    "name",
    "redact",
    "tenant",
    "keep",
    "databases",
    "include_events",
    "exclude_events",
    "patterns",
];
pub(super) const PATTERN_KEYS: &[&str] = &["pattern", "replace"];

/// The kinds of events that a record can be (design: "Names of outcomes").
pub const EVENT_KINDS: [&str; 15] = [
    "deadlock",
    "lock_wait",
    "cancel",
    "terminate",
    "authentication",
    "connection",
    "checkpoint",
    "autovacuum",
    "temp_file",
    "duration",
    "crash",
    "archive",
    "replication",
    "corruption",
    "resource",
];

/// Kinds of statements, for a route's filter beside the kinds of events: pgaudit's records; definitions
/// of objects, `DROP` and `TRUNCATE` among them; roles, grants and owners.
pub const STATEMENT_KINDS: [&str; 3] = ["audit", "ddl", "role"];

/// What is masked beside credentials and literals.
pub(super) fn patterns(list: &Item<'_>) -> Vec<Masking> {
    let one = |item: &Item<'_>| {
        let block = item.block(PATTERN_KEYS)?;
        let Some(pattern) = block.get("pattern") else {
            item.fatal("there is no `pattern`", "add `pattern: REGULAR EXPRESSION`");
            return None;
        };
        let remedy = "write a regular expression as Rust's crate regex knows them";
        let pattern = pattern.parsed(remedy, |text| {
            if Masking::compile(text)?.is_match("") {
                return Err("fits the empty text, and so everywhere".to_owned());
            }
            Ok(text.to_owned())
        })?;
        let replace = block.get("replace").and_then(|item| item.text());
        Some(Masking { pattern, replace: replace.unwrap_or_else(|| Masking::MASK.to_owned()) })
    };
    if list.is_map() {
        list.fatal("`patterns` is a list", "begin each pattern with a dash, `- pattern: …`");
        return Vec::new();
    }
    list.list().iter().filter_map(one).collect()
}

/// The routes, and where each stands.
pub(super) fn read(walk: &Walk<'_>, list: &Item<'_>) -> (Vec<Route>, Vec<Place>) {
    if list.is_map() {
        list.fatal("`routes` is a list", "begin each route with a dash, `- name: …`");
        return Default::default();
    }
    let (mut routes, mut places): (Vec<Route>, Vec<Place>) = Default::default();
    for item in list.list() {
        let Some(route) = item.block(KEYS).and_then(|block| route(&block)) else { continue };
        if routes.iter().any(|first| first.name == route.name) {
            let what = format!("two routes are called {}", quoted(&route.name));
            walk.fatal(item.place(), what, "give each a `name` of its own");
        }
        routes.push(route);
        places.push(item.place());
    }
    (routes, places)
}

fn route(block: &Block<'_>) -> Option<Route> {
    let levels = [("credentials", Redaction::Credentials), ("literals", Redaction::Literals)];
    let redact = block.get("redact").and_then(|item| item.choice(&levels));
    let tenant = block.get("tenant").and_then(|item| {
        item.parsed("write a Loki tenant's name", |text| {
            // Loki's own rule (its `tenant` package), and `|` joins tenants in queries.
            let letter = |c: u8| c.is_ascii_alphanumeric() || b"!-_.*'()".contains(&c);
            if text.is_empty()
                || text.len() > 150
                || !text.bytes().all(letter)
                || text == "."
                || text == ".."
            {
                return Err("is no tenant name that Loki takes".to_owned());
            }
            Ok(text.to_owned())
        })
    });
    let keep = block.get("keep").and_then(|item| item.period());
    let kinds: Vec<_> =
        EVENT_KINDS.into_iter().chain(STATEMENT_KINDS).map(|kind| (kind, kind)).collect();
    let events = |key: &str| -> Vec<String> {
        let list = block.get(key).map(|item| item.list()).unwrap_or_default();
        list.iter().filter_map(|item| item.choice(&kinds)).map(str::to_owned).collect()
    };
    let Some(name) = block.get("name") else {
        block.item.fatal("a route has no `name`", "add `name: admin` or whose route it is");
        return None;
    };
    Some(Route {
        name: name.name()?,
        redact: redact.unwrap_or(Redaction::Credentials),
        tenant,
        keep,
        databases: block.get("databases").map(|item| item.patterns()).unwrap_or_default(),
        include_events: events("include_events"),
        exclude_events: events("exclude_events"),
        patterns: block.get("patterns").map(|item| patterns(&item)).unwrap_or_default(),
    })
}
