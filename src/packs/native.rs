//! The native dialect: one query's map to a [`Query`], every mistake in it a problem.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Dialect;
use super::query::{ColumnUse, Every, Nulls, Query, Requires, Scope, Statement, Usage};
use super::walk::Walk;
use crate::config::yaml::{Key, Node, Value};
use crate::config::{self, InstanceKind, nearest};
use crate::postgres::{Role, VersionRange};

const QUERY_KEYS: &[&str] = &[
    "query",
    "sql",
    "metrics",
    "interval",
    "timeout",
    "kind",
    "pivot",
    "scope",
    "databases",
    "role",
    "requires",
    "max_series",
    "null_values",
];
const PIVOT_KEYS: &[&str] = &["name", "value"];
const REQUIRES_KEYS: &[&str] = &["extension", "setting", "function"];
const STATEMENT_KEYS: &[&str] = &["versions", "query"];
const COLUMN_KEYS: &[&str] = &["usage", "metric", "description", "metric_mapping", "scale"];
pub(super) const USAGES: &[&str] =
    &["LABEL", "COUNTER", "GAUGE", "MAPPEDMETRIC", "DURATION", "HISTOGRAM", "DISCARD"];

/// Reads the query under a key of the file; none where anything in it is wrong.
pub(super) fn query(walk: &mut Walk, pack: &Arc<str>, (key, node): &(Key, Node)) -> Option<Query> {
    let before = walk.errors();
    let name: Arc<str> = key.name.as_str().into();
    let map = walk.map(node, &name)?;
    let place = walk.place(key.at);
    let mut query = Query::new(Dialect::Native, &name, pack, place);
    for (key, value) in map {
        match key.name.as_str() {
            "query" | "sql" if !query.statements.is_empty() => walk.error(
                key.at,
                "both `query` and `sql` are given",
                "keep `query` for one text, `sql` for one per version",
            ),
            "query" => {
                let sql = walk.text(value, "query").unwrap_or_default().to_owned();
                query.statements.push(Statement { versions: VersionRange::default(), sql });
            }
            "sql" => statements(walk, value, &mut query),
            "metrics" => columns(walk, value, &mut query),
            "interval" => set(&mut query.interval, walk.parsed(value, "interval", interval)),
            "timeout" => set(&mut query.timeout, walk.parsed(value, "timeout", duration)),
            "kind" => set(&mut query.kind, walk.parsed(value, "kind", kind)),
            "pivot" => query.pivot = pivot(walk, value),
            "scope" => set(&mut query.scope, walk.parsed(value, "scope", scope)),
            "databases" => query.databases = walk.texts(value, "databases"),
            "role" => set(&mut query.role, walk.parsed(value, "role", role)),
            "requires" => requires(walk, value, &mut query.requires),
            "null_values" => set(&mut query.nulls, walk.parsed(value, "null_values", Nulls::parse)),
            "max_series" => {
                query.max_series = walk.parsed(value, "max_series", |text| {
                    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
                        format!("`{text}` is no count; write a whole number above 0")
                    })
                });
            }
            _ => walk.unknown_key(key, "a query", QUERY_KEYS, true),
        }
    }
    complete(walk, key, map, &query);
    (walk.errors() == before).then_some(query)
}

/// What a query must have at least, and what only makes sense together.
fn complete(walk: &mut Walk, key: &Key, map: &[(Key, Node)], query: &Query) {
    let has = |name: &str| map.iter().any(|(key, _)| key.name == name);
    let name = &query.name;
    if !has("query") && !has("sql") {
        walk.error(
            key.at,
            format!("query `{name}` has no SQL"),
            "give it `query`, or `sql` with one text per version",
        );
    }
    if !has("metrics") {
        walk.error(
            key.at,
            format!("query `{name}` has no `metrics`"),
            "name each column that is to be a label or a metric",
        );
    }
    if !query.databases.is_empty() && query.scope == Scope::Instance {
        walk.error(
            key.at,
            format!("query `{name}` names databases but runs once for the instance"),
            "write `scope: database`",
        );
    }
    if query.kind == InstanceKind::Pgbouncer {
        let only = ["scope", "databases", "role", "requires"];
        for (key, _) in map.iter().filter(|(key, _)| only.contains(&key.name.as_str())) {
            walk.error(
                key.at,
                format!("query `{name}` asks PgBouncer, for which there is no `{}`", key.name),
                "remove it, or the `kind`",
            );
        }
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn statements(walk: &mut Walk, node: &Node, query: &mut Query) {
    let Value::List(items) = &node.value else {
        walk.error(
            node.at,
            "`sql` is no list of statements",
            "write `- {versions: \">=17\", query: SELECT …}`, or `query:` for one text",
        );
        return;
    };
    for item in items {
        let Some(map) = walk.map(item, "sql") else { continue };
        let (mut versions, mut sql) = (VersionRange::default(), None);
        for (key, value) in map {
            match key.name.as_str() {
                "versions" => {
                    set(&mut versions, walk.parsed(value, "versions", VersionRange::parse));
                }
                "query" => sql = walk.text(value, "query").map(str::to_owned),
                _ => walk.unknown_key(key, "a statement", STATEMENT_KEYS, true),
            }
        }
        match sql {
            Some(sql) => query.statements.push(Statement { versions, sql }),
            None => walk.error(item.at, "this statement has no `query`", "give it the SQL"),
        }
    }
}

fn requires(walk: &mut Walk, node: &Node, requires: &mut Requires) {
    let Some(map) = walk.map(node, "requires") else { return };
    for (key, value) in map {
        match key.name.as_str() {
            "extension" => {
                requires.extension = walk.text(value, "extension").map(str::to_owned);
            }
            "setting" => requires.setting = walk.text(value, "setting").map(str::to_owned),
            "function" => {
                requires.function = walk.parsed(value, "function", |text| {
                    if text.contains('.') {
                        Ok(text.to_owned())
                    } else {
                        Err(format!("`{text}` names no schema; write SCHEMA.FUNCTION"))
                    }
                });
            }
            _ => walk.unknown_key(key, "`requires`", REQUIRES_KEYS, true),
        }
    }
}

fn columns(walk: &mut Walk, node: &Node, query: &mut Query) {
    for (key, value) in walk.columns(node) {
        let column = key.name.as_str();
        let Some(map) = walk.map(value, column) else { continue };
        let (mut usage, mut metric, mut help, mut mapping) = (None, None, "", None);
        let mut scale = None;
        let mut usage_at = key.at;
        for (key, value) in map {
            match key.name.as_str() {
                "usage" => {
                    usage_at = value.at;
                    usage = walk.parsed(value, "usage", usage_word);
                    if usage.is_none() {
                        // The word itself is the problem; do not also say that it lacks one.
                        usage = Some("");
                    }
                }
                "metric" => metric = walk.text(value, "metric"),
                "description" => help = walk.text(value, "description").unwrap_or_default(),
                "metric_mapping" => mapping = Some(self::mapping(walk, value)),
                "scale" => scale = walk.parsed(value, "scale", factor),
                "name" => walk.error(
                    key.at,
                    "`name` is CloudNativePG's word for a part of the metric's name",
                    "write `metric: WHOLE_NAME`",
                ),
                _ => walk.unknown_key(key, "a column", COLUMN_KEYS, true),
            }
        }
        let Some(word) = usage else {
            walk.error(
                key.at,
                format!("column `{column}` has no `usage`"),
                format!("write one of {}", USAGES.join(", ")),
            );
            continue;
        };
        if word == "LABEL" && metric.is_some() {
            walk.error(
                key.at,
                format!("label `{column}` has a metric's name"),
                "name a label in the SQL: `… AS name`",
            );
        }
        match (word, &mapping) {
            ("MAPPEDMETRIC", None) => walk.error(
                usage_at,
                format!("column `{column}` is a MAPPEDMETRIC without `metric_mapping`"),
                "write `metric_mapping: {TEXT: NUMBER, …}`",
            ),
            ("MAPPEDMETRIC", _) | (_, None) => {}
            (_, Some(_)) => walk.error(
                usage_at,
                format!("column `{column}` has a `metric_mapping` but is no MAPPEDMETRIC"),
                "write `usage: MAPPEDMETRIC`",
            ),
        }
        let Some(usage) = usage_of(word, mapping) else { continue };
        let metric = match metric {
            Some(metric) => metric.to_owned(),
            None => default_name(&query.name, column, &usage),
        };
        query.columns.push(ColumnUse {
            column: column.to_owned(),
            usage,
            metric: metric.into(),
            help: help.trim().into(),
            scale,
            default: None,
            place: walk.place(key.at),
        });
    }
}

/// What a column's metric is called where nothing says it.
pub(super) fn default_name(query: &str, column: &str, usage: &Usage) -> String {
    match usage {
        Usage::Label => column.to_owned(),
        Usage::Duration => format!("{query}_{column}_milliseconds"),
        _ => format!("{query}_{column}"),
    }
}

fn usage_word(text: &str) -> Result<&'static str, String> {
    USAGES.iter().find(|known| **known == text).copied().ok_or_else(|| {
        match nearest(text, USAGES) {
            Some(near) => format!("`{text}` is no usage; did you mean {near}?"),
            None => format!("`{text}` is no usage; write one of {}", USAGES.join(", ")),
        }
    })
}

/// The usage that `word` of [`USAGES`] names.
pub(super) fn usage_of(word: &str, mapping: Option<BTreeMap<String, f64>>) -> Option<Usage> {
    Some(match word {
        "LABEL" => Usage::Label,
        "COUNTER" => Usage::Counter,
        "GAUGE" => Usage::Gauge,
        "MAPPEDMETRIC" => Usage::Mapped(mapping.unwrap_or_default()),
        "DURATION" => Usage::Duration,
        "HISTOGRAM" => Usage::Histogram,
        "DISCARD" => Usage::Discard,
        _ => return None,
    })
}

/// Texts and the numbers that they stand for.
pub(super) fn mapping(walk: &mut Walk, node: &Node) -> BTreeMap<String, f64> {
    let entries = walk.map(node, "metric_mapping").unwrap_or_default();
    let mut map = BTreeMap::new();
    for (key, value) in entries {
        let number = walk.parsed(value, "metric_mapping", |text| {
            text.parse::<f64>().map_err(|_| format!("`{text}` is no number; write one"))
        });
        if let Some(number) = number {
            map.insert(key.name.clone(), number);
        }
    }
    map
}

fn interval(text: &str) -> Result<Every, String> {
    Ok(match text {
        "fast" => Every::Fast,
        "medium" => Every::Medium,
        "slow" => Every::Slow,
        "hourly" => Every::Hourly,
        _ => Every::Custom(duration(text).map_err(|_| {
            format!("`{text}` is no interval; write fast, medium, slow, hourly or such as 30s")
        })?),
    })
}

fn kind(text: &str) -> Result<InstanceKind, String> {
    match text {
        "postgres" => Ok(InstanceKind::Postgres),
        "pgbouncer" => Ok(InstanceKind::Pgbouncer),
        _ => Err(format!("`{text}` is no kind of instance; write postgres or pgbouncer")),
    }
}

/// Which columns hold the names and the values.
fn pivot(walk: &mut Walk, node: &Node) -> Option<(String, String)> {
    let (mut name, mut value) = (None, None);
    for (key, node) in walk.map(node, "pivot")? {
        match key.name.as_str() {
            "name" => name = walk.text(node, "name").map(str::to_owned),
            "value" => value = walk.text(node, "value").map(str::to_owned),
            _ => walk.unknown_key(key, "`pivot`", PIVOT_KEYS, true),
        }
    }
    if name.is_none() || value.is_none() {
        walk.error(
            node.at,
            "`pivot` lacks one of its columns",
            "write `pivot: {name: COLUMN, value: COLUMN}`",
        );
    }
    name.zip(value)
}

/// A number that is not zero.
fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_normal() => Ok(factor),
        _ => Err(format!("`{text}` is no factor; write such as 1e-6 or 8192")),
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    match text {
        "instance" => Ok(Scope::Instance),
        "database" => Ok(Scope::Database),
        _ => Err(format!("`{text}` is no scope; write instance or database")),
    }
}

fn role(text: &str) -> Result<Option<Role>, String> {
    match text {
        "any" => Ok(None),
        "primary" => Ok(Some(Role::Primary)),
        "standby" => Ok(Some(Role::Standby)),
        _ => Err(format!("`{text}` is no role; write any, primary or standby")),
    }
}

/// A duration above zero.
fn duration(text: &str) -> Result<Duration, String> {
    match config::duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("`{text}` is no duration; write such as 500ms, 15s, 1m or 1h30m")),
    }
}
