//! Every query run once, where it would run: which of them do not, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::found::Found;
use crate::collect::{OnceRun, is_visited, run_once};
use crate::config::{Instance, Place, Settings};
use crate::instances::Budgets;
use crate::packs::{self, Packs, Query, Scope};
use crate::postgres::{Facts, QueryReason};

/// How long all queries of a server may take together, and in how many databases they are tried.
const PATIENCE: Duration = Duration::from_secs(60);
const DATABASES: usize = 20;

/// Why some queries do not run, or how they fail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    reason: QueryReason,
    why: String,
}

/// The queries that a cause concerns, and the databases where it was met.
#[derive(Default)]
struct Concerned {
    queries: BTreeMap<Arc<str>, Arc<Query>>,
    databases: BTreeSet<String>,
}

type Causes = BTreeMap<Cause, Concerned>;

/// Runs what the packs hold for `instance`, and tells what does not run.
pub(super) async fn queries(
    settings: &Settings,
    instance: &Instance,
    facts: &Facts,
    packs: &Packs,
    budgets: &Budgets,
    found: &mut Found,
) {
    let deadline = Instant::now() + PATIENCE;
    let all = packs.of(instance.kind, &instance.exclude_packs);
    let (each, once): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|query| query.scope == Scope::Database);
    let mut rounds = vec![(None, once)];
    for database in facts.databases.iter().take(DATABASES) {
        let visited = |query: &&Arc<Query>| is_visited(&instance.databases, query, database);
        let there: Vec<_> = each.iter().filter(visited).cloned().collect();
        if !there.is_empty() {
            rounds.push((Some(database.as_str()), there));
        }
    }
    let mut causes = Causes::new();
    for (database, queries) in rounds {
        let running = Box::pin(run_once(settings, instance, database, &queries, false, budgets));
        match timeout_at(deadline, running).await {
            Ok(Ok(ran)) => {
                for (query, run) in queries.iter().zip(&ran.runs) {
                    note(&mut causes, database, query, run);
                }
            }
            Ok(Err((_, message))) => {
                let (what, remedy) = message.rsplit_once("; ").unwrap_or((&message, "see its log"));
                let of = database.map(|name| format!(", database {name}")).unwrap_or_default();
                found.advise(&instance.place, format!("{}{of}: {what}", instance.name), remedy);
            }
            Err(_) => {
                let what = format!(
                    "{}: the queries of the packs take more than {} s together, the rest was not tried",
                    instance.name,
                    PATIENCE.as_secs()
                );
                found.advise(
                    &instance.place,
                    what,
                    "look with `pgvigil query` which are slow, and leave those out by `packs`",
                );
                break;
            }
        }
    }
    let of_any: BTreeSet<&Arc<str>> = causes.values().flat_map(|c| c.queries.keys()).collect();
    let server = if facts.version.is_pgbouncer() {
        format!("PgBouncer {}", facts.version)
    } else {
        format!("PostgreSQL {}, {}", facts.version, facts.role.as_str())
    };
    let mut text = format!(
        "{}: {server}, {} queries run here",
        instance.name,
        all.len().saturating_sub(of_any.len())
    );
    if !of_any.is_empty() {
        let _ = write!(text, ", {} do not, or not everywhere:\n{}", of_any.len(), table(&causes));
    }
    if facts.databases.len() > DATABASES {
        let _ = write!(
            text,
            "\n  Tried in the first {DATABASES} of {} databases.",
            facts.databases.len()
        );
    }
    found.notes.push(text);
    for (cause, concerned) in &causes {
        let (place, what) = told(instance, cause, concerned);
        if let (Some(remedy), Some(place)) = (remedy(cause), place) {
            found.advise(place, what, remedy);
        }
    }
}

fn note(causes: &mut Causes, database: Option<&str>, query: &Arc<Query>, run: &OnceRun) {
    if run.reason == QueryReason::Ok {
        return;
    }
    let mut why = run.message.clone().unwrap_or_default();
    if let Some(rest) = why.strip_prefix("database ")
        && let Some((_, lacks)) = rest.split_once(" lacks ")
    {
        why = format!("the database lacks {lacks}");
    }
    let concerned = causes.entry(Cause { reason: run.reason, why }).or_default();
    concerned.queries.insert(Arc::clone(&query.name), Arc::clone(query));
    concerned.databases.extend(database.map(str::to_owned));
}

/// The causes as a table, what fails first; names of packs stand before those of queries.
fn table(causes: &Causes) -> String {
    let mut rows: Vec<[String; 3]> = Vec::new();
    for (cause, concerned) in causes {
        let names: Vec<String> = concerned.queries.values().map(|query| named(query)).collect();
        let why = match cause.reason {
            QueryReason::Unavailable => cause.why.clone(),
            reason => format!("{}: {}", reason.as_str(), cause.why),
        };
        rows.push([why.replace('\n', " "), databases(concerned), names.join(", ")]);
    }
    let heads = ["why", "databases", "pack/query"];
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count()).filter(|width| *width <= 70);
        cells.max().unwrap_or(0).max(heads[at].len())
    };
    let widths = [width(0), width(1)];
    let mut out = String::new();
    for [why, of, names] in std::iter::once(heads.map(str::to_owned)).chain(rows) {
        let _ = writeln!(out, "  {why:0$}  {of:1$}  {names}", widths[0], widths[1]);
    }
    out.trim_end().to_owned()
}

fn named(query: &Query) -> String {
    if query.pack == query.name {
        query.name.to_string()
    } else {
        format!("{}/{}", query.pack, query.name)
    }
}

/// Whether the user wrote it.
fn is_own(query: &Query) -> bool {
    let built_in = packs::load_builtin(&query.pack);
    !built_in.is_some_and(|pack| {
        pack.queries.iter().any(|known| known.name == query.name && known.place == query.place)
    })
}

/// Some names, and how many more there are.
fn databases(concerned: &Concerned) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = concerned.databases.iter().map(String::as_str).collect();
    match names.len() {
        ..=SHOWN => names.join(", "),
        more => format!("{} and {} more", names[..SHOWN].join(", "), more - SHOWN),
    }
}

/// What fails, in words, and where it was written: at the user's own query, else at the instance. Nothing
/// for what a built-in query merely lacks.
fn told<'q>(
    instance: &'q Instance,
    cause: &Cause,
    concerned: &'q Concerned,
) -> (Option<&'q Place>, String) {
    let names: Vec<&str> = concerned.queries.keys().map(|name| &**name).collect();
    let of = match databases(concerned) {
        none if none.is_empty() => String::new(),
        some => format!(" in {some}"),
    };
    let own = concerned.queries.values().find(|query| is_own(query));
    let place = own.map(|query| &query.place);
    let why = cause.why.rsplit_once("; ").map_or(&*cause.why, |(why, _)| why);
    let why = why.replace('\n', " ").replace("; ", ", ");
    let what = format!(
        "{}: {} {}{of} ({}): {why}",
        instance.name,
        names.join(", "),
        if names.len() == 1 { "does not run" } else { "do not run" },
        cause.reason.as_str()
    );
    let place = match cause.reason {
        QueryReason::Unavailable => place,
        _ => Some(place.unwrap_or(&instance.place)),
    };
    (place, what)
}

/// What to do about a query that ends so; where its message knows better, that.
fn remedy(cause: &Cause) -> Option<&str> {
    let own = cause.why.rsplit_once("; ").map(|(_, remedy)| remedy);
    if let (Some(own), false) = (own, cause.reason == QueryReason::Permission) {
        return Some(own);
    }
    Some(match cause.reason {
        QueryReason::Ok => return None,
        QueryReason::Permission => {
            "grant it to the agent's role (`pgvigil export grants` writes what the built-in packs need)"
        }
        QueryReason::Timeout => "give the query a longer `timeout`, or leave it out by `packs`",
        QueryReason::LockTimeout => "see who holds the lock; the agent tries again by itself",
        QueryReason::MissingObject => "make it, or leave the query out by `packs`",
        QueryReason::Type | QueryReason::Duplicate | QueryReason::Error => {
            "correct its SQL and columns, `pgvigil query` shows what it gives"
        }
        QueryReason::Truncated => "raise `max_series`, or ask for less",
        QueryReason::Connect | QueryReason::Disconnected => "see the server's log",
        QueryReason::Unavailable => "make what it requires, or leave it out by `packs`",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_grouped() {
        let pack = packs::load_builtin("bloat").unwrap();
        let run = |reason, message: &str| OnceRun {
            query: String::new(),
            reason,
            message: Some(message.to_owned()),
            rows: 0,
            series: 0,
            duration: Duration::ZERO,
            cost: None,
            advice: Vec::new(),
        };
        let mut causes = Causes::new();
        for database in ["d", "c", "b", "a"] {
            let lacks = run(
                QueryReason::Unavailable,
                &format!("database {database} lacks the extension x"),
            );
            note(&mut causes, Some(database), &pack.queries[0], &lacks);
            note(&mut causes, Some(database), &pack.queries[1], &lacks);
        }
        note(
            &mut causes,
            None,
            &pack.queries[0],
            &run(QueryReason::Permission, "permission denied"),
        );
        note(&mut causes, None, &pack.queries[1], &run(QueryReason::Ok, ""));
        let names = [0, 1].map(|at| named(&pack.queries[at]));
        let table = table(&causes);
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|row| row.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect())
            .collect();
        assert_eq!(rows[0], ["why", "databases", "pack/query"]);
        assert_eq!(rows[1], ["permission: permission denied", &*names[0]]);
        let both = names.join(", ");
        assert_eq!(rows[2], ["the database lacks the extension x", "a, b, c and 1 more", &*both]);
        assert_eq!(rows.len(), 3);
        let own =
            causes.values().flat_map(|concerned| concerned.queries.values()).any(|q| is_own(q));
        assert!(!own, "a built-in query is the user's");
    }
}
