//! Whose words a pack file speaks.

use std::fmt;

use super::walk::map;
use crate::config::yaml::{Node, Value};

/// A dialect of the family format `name: {query, metrics: [{column: {usage, description}}]}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// pgvigil's own, with `interval`, `sql` by version, whole metric names.
    Native,
    /// postgres_exporter's `queries.yaml`.
    PostgresExporter,
    /// CloudNativePG's custom queries.
    Cnpg,
    /// pgsty/pg_exporter's configuration.
    Pgsty,
}

impl Dialect {
    pub const ALL: [Self; 4] = [Self::Native, Self::PostgresExporter, Self::Cnpg, Self::Pgsty];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::PostgresExporter => "postgres_exporter",
            Self::Cnpg => "cnpg",
            Self::Pgsty => "pgsty",
        }
    }

    /// The dialect that a configuration's word names.
    ///
    /// # Errors
    /// A sentence with the words there are.
    pub fn parse(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|d| d.as_str() == word).ok_or_else(|| {
            format!("`{word}` is no dialect; write native, postgres_exporter, cnpg or pgsty")
        })
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Fields of a query that only one foreign dialect has, the most telling first.
const TELLING: &[(Dialect, &[&str])] = &[
    (Dialect::Pgsty, &["ttl", "tags", "min_version", "max_version", "predicate_queries"]),
    (Dialect::Cnpg, &["primary", "predicate_query", "target_databases", "runonserver"]),
    (Dialect::PostgresExporter, &["master", "cache_seconds"]),
];

/// Where no field above tells: other fields of a query, and of a column, that one dialect has.
const ALSO_TELLING: &[(Dialect, &[&str])] =
    &[(Dialect::Pgsty, &["desc", "priority", "fatal", "skip"])];
const TELLING_COLUMNS: &[(Dialect, &[&str])] = &[
    (Dialect::Pgsty, &["rename", "scale", "default", "bucket"]),
    (Dialect::Cnpg, &["name"]),
    (Dialect::Native, &["metric"]),
];

/// Fields of a query that only the native dialect has.
const NATIVE: &[&str] =
    &["interval", "scope", "role", "requires", "max_series", "sql", "kind", "pivot"];

/// The dialect of a file's documents, and the field that decided (none: nothing told, so native).
///
/// A file with a native field is native, whatever else is in it: a user's own file with one word of
/// another dialect deserves a problem at that word, not another meaning for all the rest.
pub(super) fn detect(documents: &[Node]) -> (Dialect, Option<&'static str>) {
    let queries =
        || documents.iter().filter_map(map).flatten().filter_map(|(_, query)| map(query)).flatten();
    let has = |field: &str| queries().any(|(key, _)| key.name == field);
    if let Some(field) = NATIVE.iter().find(|field| has(field)) {
        return (Dialect::Native, Some(field));
    }
    let columns = || {
        let metrics = queries().filter(|(key, _)| key.name == "metrics").map(|(_, node)| node);
        let items = metrics.filter_map(|node| match &node.value {
            Value::List(items) => Some(items),
            _ => None,
        });
        items.flatten().filter_map(map).flatten().filter_map(|(_, node)| map(node)).flatten()
    };
    let names = |field: &str| columns().any(|(key, _)| key.name == field);
    let of_query = TELLING.iter().chain(ALSO_TELLING).map(|told| (told, true));
    for ((dialect, fields), query) in of_query.chain(TELLING_COLUMNS.iter().map(|t| (t, false))) {
        let holds = |field: &str| if query { has(field) } else { names(field) };
        if let Some(field) = fields.iter().find(|field| holds(field)) {
            return (*dialect, Some(field));
        }
    }
    (Dialect::Native, None)
}
