//! Which SQL of a query a server gets: a pure function of the query and the facts.

use std::borrow::Cow;

use super::{Dialect, Query};
use crate::config::InstanceKind;
use crate::postgres::Facts;

/// Why a query does not run on a server: one sentence for the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    pub why: String,
}

/// The SQL of `query` for the server and database of `facts`, with `{schema}` filled in. What only
/// the database itself can tell (a function, a predicate) is left to [`Query::gates`].
///
/// # Errors
/// Why the query does not run there: no statement for the version, another role, a lacking extension
/// or a setting that is off.
pub fn select<'q>(query: &'q Query, facts: &Facts) -> Result<Cow<'q, str>, Unavailable> {
    let no = |why: String| Err(Unavailable { why });
    match (query.kind, facts.version.is_pgbouncer()) {
        (InstanceKind::Pgbouncer, false) => {
            return no("it is for PgBouncer, and this server is PostgreSQL".to_owned());
        }
        (InstanceKind::Postgres, true) => {
            return no("it is for PostgreSQL, and this server is PgBouncer".to_owned());
        }
        _ => {}
    }
    if let Some(tag) = query.requires.tags.first() {
        return no(format!("the agent has no tag `{tag}` under `packs.tags`"));
    }
    if let Some(tag) = query.requires.forbidden_tags.first() {
        return no(format!("the agent has the tag `{tag}`, and it is for those without"));
    }
    let Some(statement) = query.statements.iter().find(|s| s.versions.contains(facts.version))
    else {
        let program = if facts.version.is_pgbouncer() { "PgBouncer" } else { "PostgreSQL" };
        return no(format!("it has no SQL for {program} {}", facts.version));
    };
    if let Some(role) = query.role.filter(|role| *role != facts.role) {
        return no(format!(
            "it is for a {}, and this server is a {}",
            role.as_str(),
            facts.role.as_str()
        ));
    }
    if let Some(setting) = &query.requires.setting {
        let (name, wanted) = match setting.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (setting.as_str(), None),
        };
        match (facts.settings.get(name), wanted) {
            (None, _) => return no(format!("the server has no setting {name}")),
            (Some(value), Some(wanted)) if value != wanted => {
                return no(format!("the setting {name} is {value}, and it needs {wanted}"));
            }
            (Some(value), None) if is_off(value) => {
                return no(format!("the setting {name} is off"));
            }
            _ => {}
        }
    }
    let Some(name) = &query.requires.extension else { return Ok((&statement.sql).into()) };
    match facts.extensions.get(name) {
        Some(extension) => {
            let schema = format!("\"{}\"", extension.schema.replace('"', "\"\""));
            // In other dialects a brace is only a brace.
            Ok(if query.dialect == Dialect::Native && statement.sql.contains("{schema}") {
                statement.sql.replace("{schema}", &schema).into()
            } else {
                (&statement.sql).into()
            })
        }
        None => no(format!("database {} lacks the extension {name}", facts.database)),
    }
}

fn is_off(value: &str) -> bool {
    matches!(value, "off" | "none" | "disabled" | "0" | "-1" | "")
}
