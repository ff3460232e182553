//! The dialect of pgsty/pg_exporter's configuration, field by field as that program reads it (1.2), so
//! that its directory loads unmodified.
//!
//! Corrected on purpose: version numbers with a leading zero are decimal (its reader takes some for
//! octal); text that is no number drops its sample (there it is NaN); `fatal` fails its own query and
//! never the page; a query without `timeout` has 2 s and not 0.1 s, and no query is without one.

use std::sync::Arc;
use std::time::Duration;

use super::Dialect;
use super::native::{USAGES, default_name, mapping, usage_of};
use super::query::{ColumnUse, Every, Query, Scope, Statement, Usage};
use super::walk::{Walk, text};
use crate::config::yaml::{Key, Node, Position, Value};
use crate::config::{InstanceKind, nearest};
use crate::postgres::{Role, Version, VersionRange};

const QUERY_KEYS: &[&str] = &[
    "name",
    "desc",
    "query",
    "predicate_queries",
    "tags",
    "ttl",
    "timeout",
    "priority",
    "min_version",
    "max_version",
    "fatal",
    "skip",
    "metrics",
];
const PREDICATE_KEYS: &[&str] = &["name", "predicate_query", "ttl"];
const COLUMN_KEYS: &[&str] =
    &["name", "usage", "rename", "bucket", "scale", "default", "description", "metric_mapping"];

const TIMEOUT: Duration = Duration::from_secs(2);
/// For `timeout: -1`, which there is none at all.
const LONGEST: Duration = Duration::from_secs(60);

/// Reads the query under a key of the file; none where it is wrong, or skipped.
pub(super) fn query(walk: &mut Walk, pack: &Arc<str>, (key, node): &(Key, Node)) -> Option<Query> {
    let before = walk.errors();
    let at = key.at;
    let branch = &key.name;
    let map = walk.map(node, branch)?;
    let mut query = Query::new(Dialect::Pgsty, branch, pack, walk.place(at));
    query.timeout = TIMEOUT;
    query.scope = Scope::Database;
    let (mut sql, mut prefix, mut metrics, mut skip) = (None, branch.as_str(), None, false);
    let (mut from, mut below) = (None, None);
    for (key, value) in map {
        match key.name.as_str() {
            "name" => prefix = walk.text(value, "name").filter(|n| !n.is_empty()).unwrap_or(branch),
            "query" => sql = walk.text(value, "query").map(str::trim).filter(|s| !s.is_empty()),
            "predicate_queries" => predicates(walk, value, &mut query),
            "tags" => {
                for tag in walk.texts(value, "tags") {
                    self::tag(walk, value.at, tag.trim(), &mut query);
                }
            }
            "ttl" => {
                if let Some(ttl) = walk.parsed(value, "ttl", seconds).filter(|ttl| *ttl > 0.0) {
                    query.interval = Every::Custom(Duration::from_secs_f64(ttl));
                }
            }
            "timeout" => match walk.parsed(value, "timeout", any_seconds) {
                Some(0.0) | None => {}
                Some(timeout) if timeout < 0.0 => query.timeout = LONGEST,
                Some(timeout) => query.timeout = Duration::from_secs_f64(timeout),
            },
            "min_version" => from = walk.parsed(value, "min_version", version).flatten(),
            "max_version" => below = walk.parsed(value, "max_version", version).flatten(),
            "skip" => skip = walk.boolean(value, "skip") == Some(true),
            // A failing query costs itself alone.
            "fatal" => {
                walk.boolean(value, "fatal");
            }
            "metrics" => metrics = Some(value),
            "desc" | "priority" => {}
            _ => walk.unknown_key(key, "a query", QUERY_KEYS, false),
        }
    }
    if skip {
        return None;
    }
    if let Some(metrics) = metrics {
        columns(walk, metrics, prefix, &mut query);
    }
    let Some(sql) = sql else {
        walk.error(at, format!("query `{branch}` has no SQL"), "write it under `query`");
        return None;
    };
    let versions = VersionRange::between(from, below);
    query.statements.push(Statement { versions, sql: sql.to_owned() });
    (walk.errors() == before).then_some(query)
}

fn any_seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds: &f64| seconds.is_finite() && seconds.abs() < 1e9)
        .ok_or_else(|| format!("`{text}` is no number of seconds; write such as 10 or 0.1"))
}

fn seconds(text: &str) -> Result<f64, String> {
    any_seconds(text).and_then(|seconds| match seconds {
        s if s < 0.0 => Err(format!("`{text}` is below zero; write a number of seconds")),
        s => Ok(s),
    })
}

/// A `server_version_num`; 0 is none. PgBouncer's 1.25.0 is 12500.
fn version(text: &str) -> Result<Option<Version>, String> {
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(number) => Ok(Some(Version(number))),
        Err(_) => Err(format!("`{text}` is no version; write such as 170000")),
    }
}

/// What a tag says of where the query runs.
fn tag(walk: &mut Walk, at: Position, tag: &str, query: &mut Query) {
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let gate = |from: &str, name: &str| {
        format!("SELECT EXISTS (SELECT FROM pg_catalog.{from} = {})", literal(name))
    };
    match tag.split_once(':') {
        Some(("extension", name)) if query.requires.extension.is_none() => {
            query.requires.extension = Some(name.to_owned());
        }
        Some(("extension", name)) => {
            query.predicates.push(gate("pg_extension WHERE extname", name));
        }
        Some(("schema", name)) => query.predicates.push(gate("pg_namespace WHERE nspname", name)),
        Some(("dbname", name)) => {
            query.scope = Scope::Database;
            query.databases.push(pattern(name));
        }
        Some(("username", name)) => {
            query.predicates.push(format!("SELECT current_user = {}", literal(name)));
        }
        Some(("not", name)) => query.requires.forbidden_tags.push(name.to_owned()),
        _ => match tag {
            "cluster" => {
                if query.databases.is_empty() {
                    query.scope = Scope::Instance;
                }
            }
            "primary" | "master" | "leader" => role(walk, at, Role::Primary, query),
            "standby" | "replica" | "slave" => role(walk, at, Role::Standby, query),
            "pgbouncer" => {
                query.kind = InstanceKind::Pgbouncer;
                query.scope = Scope::Instance;
            }
            "" => {}
            _ => query.requires.tags.push(tag.to_owned()),
        },
    }
}

fn role(walk: &mut Walk, at: Position, role: Role, query: &mut Query) {
    if query.role.is_some_and(|known| known != role) {
        let what = format!("query `{}` is for primaries and for standbys alone", query.name);
        walk.error(at, what, "keep one of the tags");
    }
    query.role = Some(role);
}

/// A pattern that is the name and nothing else.
fn pattern(name: &str) -> String {
    glob::Pattern::escape(name)
}

fn predicates(walk: &mut Walk, node: &Node, query: &mut Query) {
    let Value::List(items) = &node.value else {
        if node.value != Value::Null {
            walk.error(
                node.at,
                format!("`predicate_queries` holds {}", node.value.kind()),
                "write a list such as `- {name: …, predicate_query: SELECT …}`",
            );
        }
        return;
    };
    for item in items {
        let mut sql = None;
        for (key, value) in walk.map(item, "predicate_queries").unwrap_or_default() {
            match key.name.as_str() {
                "predicate_query" => sql = walk.text(value, "predicate_query").map(str::trim),
                // Ours is asked whenever the query runs, which `ttl` above bounds.
                "name" | "ttl" => {}
                _ => walk.unknown_key(key, "a predicate", PREDICATE_KEYS, false),
            }
        }
        match sql.filter(|sql| !sql.is_empty()) {
            Some(sql) => query.predicates.push(sql.to_owned()),
            None => walk.error(item.at, "this predicate has no SQL", "write `predicate_query: …`"),
        }
    }
}

fn columns(walk: &mut Walk, node: &Node, prefix: &str, query: &mut Query) {
    for (key, value) in walk.columns(node) {
        let Some(map) = walk.map(value, &key.name) else { continue };
        let (mut column, mut rename, mut help, mut word) = (key.name.as_str(), None, "", None);
        let (mut scale, mut default, mut bounds, mut texts) = (None, None, None, None);
        let mut at = key.at;
        for (key, value) in map {
            match key.name.as_str() {
                "name" => {
                    column = walk.text(value, "name").filter(|n| !n.is_empty()).unwrap_or(column);
                }
                "usage" => {
                    at = value.at;
                    word = walk.text(value, "usage").map(|word| word.trim().to_uppercase());
                }
                "rename" => rename = walk.text(value, "rename").filter(|name| !name.is_empty()),
                "description" => help = text(value).unwrap_or_default(),
                "scale" => scale = walk.parsed(value, "scale", number),
                "default" => {
                    default = walk.parsed(value, "default", number).map(|n| n.to_string());
                }
                "bucket" => bounds = self::bounds(walk, value),
                "metric_mapping" => texts = Some(mapping(walk, value)),
                _ => walk.unknown_key(key, "a column", COLUMN_KEYS, false),
            }
        }
        let word = word.unwrap_or_default();
        let usage = match (usage_of(&word, texts), bounds) {
            (Some(Usage::Histogram), Some(bounds)) => Usage::Buckets(bounds),
            (Some(usage), _) => usage,
            (None, _) => {
                let what = if word.is_empty() {
                    format!("column `{column}` has no usage")
                } else {
                    format!("`{word}` is no usage")
                };
                let remedy = match nearest(&word, USAGES) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("write one of {}", USAGES.join(", ")),
                };
                walk.error(at, what, remedy);
                continue;
            }
        };
        let part = rename.unwrap_or(column);
        query.columns.push(ColumnUse {
            column: column.to_owned(),
            metric: default_name(prefix, part, &usage).into(),
            usage,
            help: help.trim().into(),
            scale,
            default,
            place: walk.place(key.at),
        });
    }
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number; write one"))
}

/// Upper bounds of a histogram: finite and rising.
fn bounds(walk: &mut Walk, node: &Node) -> Option<Vec<f64>> {
    let items: &[Node] = match &node.value {
        Value::List(items) => items,
        _ => &[],
    };
    let bounds: Vec<f64> = items
        .iter()
        .filter_map(|item| text(item)?.parse().ok())
        .filter(|b: &f64| b.is_finite())
        .collect();
    let rising = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if bounds.is_empty() || bounds.len() != items.len() || !rising {
        walk.error(
            node.at,
            "`bucket` holds no rising list of numbers",
            "write upper bounds such as [0.1, 1, 10]; +Inf is added",
        );
        return None;
    }
    Some(bounds)
}
