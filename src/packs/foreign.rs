//! The dialects of postgres_exporter's `queries.yaml` and of CloudNativePG's custom queries, field by
//! field as those programs read them, so that their files load unmodified.
//!
//! Corrected on purpose: text is mapped and durations are read in both; labels go by name, not by
//! position; `runonserver` and `cache_seconds` hold in both. Unknown keys are told, never refused.
//! CONTRIBUTING.md has the table of all that differs.

use std::sync::Arc;
use std::time::Duration;

use super::Dialect;
use super::native::{USAGES, default_name, mapping, usage_of};
use super::query::{ColumnUse, Every, Query, Scope, Statement, Usage};
use super::walk::{Walk, text};
use crate::config::nearest;
use crate::config::yaml::{Key, Node};
use crate::postgres::{Role, VersionRange};

const QUERY_KEYS: &[&str] = &[
    "query",
    "metrics",
    "master",
    "primary",
    "cache_seconds",
    "runonserver",
    "target_databases",
    "predicate_query",
    "name",
];
const COLUMN_KEYS: &[&str] =
    &["usage", "description", "metric_mapping", "metrics_mapping", "pg_version", "name"];

/// CloudNativePG's `metricsQueriesTTL`, which holds for all its queries.
const CNPG_TTL: Duration = Duration::from_secs(30);

/// Reads the query under a key of the file; none where it is wrong, or switched off by an empty text.
pub(super) fn query(
    walk: &mut Walk,
    pack: &Arc<str>,
    dialect: Dialect,
    (key, node): &(Key, Node),
) -> Option<Query> {
    let before = walk.errors();
    let cnpg = dialect == Dialect::Cnpg;
    let at = key.at;
    let key: Arc<str> = key.name.as_str().into();
    let map = walk.map(node, &key)?;
    let mut query = Query::new(dialect, &key, pack, walk.place(at));
    if cnpg {
        query.interval = Every::Custom(CNPG_TTL);
    }
    let (mut sql, mut prefix, mut metrics) = (None, key.to_string(), None);
    let mut versions = vec![VersionRange::default()];
    for (key, value) in map {
        match key.name.as_str() {
            "query" => sql = text(value).map(str::trim).filter(|sql| !sql.is_empty()),
            "metrics" => metrics = Some(value),
            // In postgres_exporter, `master` means the configured DSN: the one that we have.
            "master" | "primary" => {
                if walk.boolean(value, "primary") == Some(true) && cnpg {
                    query.role = Some(Role::Primary);
                }
            }
            "cache_seconds" => match walk.parsed(value, "cache_seconds", seconds) {
                Some(0) | None => {}
                Some(n) => query.interval = Every::Custom(Duration::from_secs(n)),
            },
            "runonserver" => {
                versions = walk.parsed(value, "runonserver", constraint).unwrap_or_default();
            }
            "target_databases" if cnpg => {
                for text in walk.texts(value, "target_databases") {
                    let pattern = shell_pattern(&text);
                    if glob::Pattern::new(&pattern).is_err() {
                        let what = format!("`{text}` is no pattern, and so no database fits it");
                        walk.hint(value.at, what, "close its bracket, or escape it by a backslash");
                    }
                    query.databases.push(pattern);
                }
                if !query.databases.is_empty() {
                    query.scope = Scope::Database;
                }
            }
            "predicate_query" if cnpg => {
                query.predicates.extend(walk.text(value, "predicate_query").map(str::to_owned));
            }
            "name" if cnpg => prefix = walk.text(value, "name").unwrap_or_default().to_owned(),
            "target_databases" | "predicate_query" | "name" => walk.hint(
                key.at,
                "postgres_exporter does not know this key, and so it has no effect here",
                "load the file with `dialect: cnpg` if it is CloudNativePG's",
            ),
            _ => walk.unknown_key(key, "a query", QUERY_KEYS, false),
        }
    }
    if cnpg {
        prefix = format!("cnpg_{prefix}");
    }
    if let Some(metrics) = metrics {
        columns(walk, metrics, &prefix, cnpg, &mut query);
    }
    let Some(sql) = sql else {
        walk.hint(at, format!("query `{key}` has no SQL"), "remove it if it is not used");
        return None;
    };
    query.statements =
        versions.into_iter().map(|versions| Statement { versions, sql: sql.to_owned() }).collect();
    (walk.errors() == before).then_some(query)
}

/// A pattern of Go's `path.Match` as the one of a shell that our own patterns are: there a class is
/// turned round by `^`, and a backslash takes a character as it is.
fn shell_pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                if let Some(next) = characters.next() {
                    out.push_str(&glob::Pattern::escape(&next.to_string()));
                }
            }
            '[' if characters.peek() == Some(&'^') => {
                characters.next();
                out.push_str("[!");
            }
            other => out.push(other),
        }
    }
    out
}

fn seconds(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no whole number of seconds; write one"))
}

fn columns(walk: &mut Walk, node: &Node, prefix: &str, cnpg: bool, query: &mut Query) {
    for (key, value) in walk.columns(node) {
        let column = key.name.as_str();
        let Some(map) = walk.map(value, column) else { continue };
        let (mut word, mut part, mut help, mut texts) = ("", column, "", None);
        let mut at = key.at;
        for (key, value) in map {
            match key.name.as_str() {
                "usage" => (word, at) = (text(value).unwrap_or_default(), value.at),
                "description" => help = text(value).unwrap_or_default(),
                "metric_mapping" => texts = Some(mapping(walk, value)),
                "metrics_mapping" => {
                    walk.hint(
                        key.at,
                        "`metrics_mapping` is misspelled in the documentation of others",
                        "write `metric_mapping`, which those programs read",
                    );
                    texts.get_or_insert(mapping(walk, value));
                }
                "name" if cnpg => part = walk.text(value, "name").unwrap_or(column),
                "pg_version" | "name" => {
                    walk.hint(key.at, "this key has no effect", "remove it");
                }
                _ => walk.unknown_key(key, "a column", COLUMN_KEYS, false),
            }
        }
        let usage = match usage_of(word, texts) {
            Some(usage) => usage,
            None => {
                let remedy = match nearest(word, USAGES) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("write one of {}", USAGES.join(", ")),
                };
                let what = if word.is_empty() {
                    format!("column `{column}` has no usage and is dropped")
                } else {
                    format!("`{word}` is no usage and so column `{column}` is dropped")
                };
                walk.hint(at, what, remedy);
                // There such a column is not mapped at all, which its count of columns notices.
                if cnpg {
                    continue;
                }
                Usage::Discard
            }
        };
        let metric = match usage {
            // A label is called as its column, whatever `name` says.
            Usage::Label => column.to_owned(),
            _ => default_name(prefix, part, &usage),
        };
        query.columns.push(ColumnUse {
            column: column.to_owned(),
            usage,
            metric: metric.into(),
            help: help.trim().into(),
            scale: None,
            default: None,
            place: walk.place(key.at),
        });
    }
}

/// A constraint in the grammar of Go's semver library, as ranges of which one must hold. PostgreSQL
/// 17.4 is taken as 17.4.0 there, which the comparisons of [`VersionRange`] amount to.
fn constraint(text: &str) -> Result<Vec<VersionRange>, String> {
    let mut ranges = Vec::new();
    for alternative in text.split("||") {
        let mut conjunctions = vec![String::new()];
        let alternative = match alternative.split_once(" - ") {
            Some((from, to)) => format!(">={} <={}", from.trim(), to.trim()),
            None => alternative.to_owned(),
        };
        let mut rest = alternative.as_str();
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            if rest.is_empty() {
                break;
            }
            let digits = rest.trim_start_matches(['=', '!', '<', '>', '~', '^']);
            let operator = &rest[..rest.len() - digits.len()];
            let digits = digits.trim_start();
            let end = digits.find([' ', ',']).unwrap_or(digits.len());
            rest = &digits[end..];
            // `17.x`, and a pre-release's suffix.
            let version = digits[..end].trim_start_matches('v').split('-').next().unwrap_or("");
            let version: Vec<_> =
                version.split('.').take_while(|p| !matches!(*p, "x" | "X" | "*")).collect();
            let version = version.join(".");
            if version.is_empty() {
                continue;
            }
            let major = version.split('.').next().unwrap_or_default();
            let terms = match operator {
                "~" | "~>" => vec![format!("={version}")],
                "^" => vec![format!(">={version} ={major}")],
                "!=" => vec![format!("<{version}"), format!(">{version}")],
                "=>" => vec![format!(">={version}")],
                "=<" => vec![format!("<={version}")],
                _ => vec![format!("{operator}{version}")],
            };
            conjunctions = conjunctions
                .iter()
                .flat_map(|before| terms.iter().map(move |term| format!("{before} {term}")))
                .collect();
            if conjunctions.len() > 64 {
                return Err("it has too many `!=`; write ranges".to_owned());
            }
        }
        for conjunction in conjunctions {
            ranges.push(VersionRange::parse(&conjunction)?);
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Version;

    #[test]
    fn patterns() {
        let fits = |pattern: &str, name: &str| {
            glob::Pattern::new(&shell_pattern(pattern)).unwrap().matches(name)
        };
        assert!(fits("app", "app") && !fits("app", "apps") && fits("app_*", "app_1"));
        assert!(fits("[^t]*", "shop") && !fits("[^t]*", "template1"));
        assert!(fits(r"a\*b", "a*b") && !fits(r"a\*b", "axb") && fits("a?c", "abc"));
    }

    #[test]
    fn constraints() {
        let holds = |text: &str, version: u32| {
            constraint(text).unwrap().iter().any(|r| r.contains(Version(version)))
        };
        assert!(holds(">=17.0.0", 170_000) && !holds("<17.0.0", 170_000));
        assert!(holds(">= 13.0.0, < 15", 140_003) && !holds(">=13 <15", 150_000));
        assert!(holds("~16.2", 160_002) && !holds("~16.2", 160_003));
        assert!(holds("^16.2", 160_010) && !holds("^16.2", 170_000));
        assert!(holds("13 - 15", 150_018) && holds("16.x", 160_004) && holds("*", 180_000));
        assert!(holds("<14 || >=17", 170_001) && !holds("<14 || >=17", 150_001));
        assert!(holds("!=15", 160_000) && !holds("!=15", 150_004));
        assert!(holds(">=18.0.0-0", 180_000));
        assert!(constraint("newest").is_err());
    }
}
