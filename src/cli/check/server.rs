//! One server: whether it lets the agent in, as whom, and what runs there.

use std::time::Duration;

use tokio::time::Instant;

use super::found::Found;
use super::queries::queries;
use super::{PATIENCE, log_settings};
use crate::collect::probe_once;
use crate::config::{Instance, Settings};
use crate::instances::{Budgets, Connector, Limits, SEARCH_PATH, Session};
use crate::packs::Packs;
use crate::postgres::Facts;

/// Asks one server.
pub(super) async fn server(
    settings: &Settings,
    index: usize,
    packs: &Packs,
    budgets: &Budgets,
    found: &mut Found,
) {
    let instance = &settings.instances[index];
    let connector = &Connector::new(instance, budgets);
    let deadline = Instant::now() + PATIENCE;
    let mut session = match connector.connect(None, deadline).await {
        Ok(session) => session,
        Err(error) => {
            let what = format!("{}: {}", instance.name, error.message);
            let (what, remedy) = what.rsplit_once("; ").unwrap_or((&what, "see the server's log"));
            return found.needs(&instance.place, what.to_owned(), remedy);
        }
    };
    for notice in connector.notices() {
        let (what, remedy) = notice.split_once("; ").unwrap_or((&notice, "nothing need be done"));
        found.advise(&instance.place, format!("{}: {what}", instance.name), remedy);
    }
    let facts = session.facts(deadline).await;
    let role = match &facts {
        Ok(facts) if !facts.version.is_pgbouncer() => {
            let role = role(&mut session, deadline).await;
            log(settings, index, &mut session, deadline, found).await;
            role
        }
        _ => None,
    };
    session.close().await;
    if let Some(wanted) = &instance.probe {
        match probe_once(connector, wanted.timeout).await {
            Ok(took) => found.notes.push(format!(
                "{}: {} answers through it in {:.1} ms",
                instance.name,
                wanted.database,
                took.answer.as_secs_f64() * 1000.0
            )),
            Err((_, message)) => {
                let what = format!("{}: probe of {}: {message}", instance.name, wanted.database);
                let (what, remedy) = what.rsplit_once("; ").unwrap_or((&what, "see its log"));
                found.needs(&instance.place, what.to_owned(), remedy);
            }
        }
    }
    match facts {
        Ok(facts) => {
            judge(instance, &facts, role.as_deref().unwrap_or("its role"), found);
            queries(settings, instance, &facts, packs, budgets, found).await;
        }
        Err(error) => found.needs(
            &instance.place,
            format!("{}: the server does not tell its facts: {}", instance.name, error.message),
            "see the server's log",
        ),
    }
}

/// What the role is, and what it should be.
fn judge(instance: &Instance, facts: &Facts, role: &str, found: &mut Found) {
    let name = &instance.name;
    if facts.version.is_pgbouncer() {
        return;
    }
    if facts.superuser {
        // A superuser's name is no good name for the agent's role.
        found.advise(
            &instance.place,
            format!("{name}: the agent connects as the superuser {role}"),
            "run `CREATE ROLE pgvigil LOGIN CONNECTION LIMIT 5; GRANT pg_monitor TO pgvigil;`, or all \
             that `pgvigil export grants` writes, and connect as that role",
        );
    } else if !facts.monitor {
        let quoted = format!("\"{}\"", role.replace('"', "\"\""));
        found.advise(
            &instance.place,
            format!("{name}: the role {role} is not in pg_monitor, so that much is hidden from it"),
            &format!(
                "run `GRANT pg_monitor TO {quoted};` as a superuser, or all that `pgvigil export grants` \
                 writes"
            ),
        );
    }
}

/// Limits of the questions asked here.
fn limits(deadline: Instant) -> Limits {
    Limits {
        statement_timeout: Duration::from_secs(2),
        deadline,
        max_rows: 1000,
        max_bytes: 1 << 20,
        search_path: SEARCH_PATH,
    }
}

async fn role(session: &mut Session, deadline: Instant) -> Option<String> {
    let rows = session.run("SELECT current_user::text", &limits(deadline)).await.ok()?;
    rows.rows.first()?.first()?.as_deref().map(str::to_owned)
}

/// What keeps this server's log from telling who did what, where a source reads it.
async fn log(
    settings: &Settings,
    index: usize,
    session: &mut Session,
    deadline: Instant,
    found: &mut Found,
) {
    let Some(logs) = &settings.logs else { return };
    let sources = || logs.sources.iter().filter(|source| source.instance == Some(index));
    if sources().next().is_none() {
        return;
    }
    let Ok(rows) = session.run(LOG_SETTINGS, &limits(deadline)).await else { return };
    let pairs = rows.rows.iter().filter_map(|row| match row.as_slice() {
        [Some(name), Some(value)] => Some((name.to_string(), value.to_string())),
        _ => None,
    });
    let told: log_settings::Settings = pairs.collect();
    for source in sources() {
        for (what, remedy) in log_settings::advice(&told, source, &logs.routes) {
            let what = format!("{}: {what}", settings.instances[index].name);
            found.advise(&source.place, what, &remedy);
        }
    }
}

const LOG_SETTINGS: &str = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN (\
    'log_destination', 'logging_collector', 'log_directory', 'log_filename', 'log_line_prefix', 'log_statement', 'log_connections', \
    'log_min_error_statement', 'log_parameter_max_length', 'shared_preload_libraries', 'session_preload_libraries', 'pgaudit.log')";
