//! One server: whether it lets the agent in, as whom, and what runs there.

use tokio::time::Instant;

use super::PATIENCE;
use super::found::Found;
use crate::collect::probe_once;
use crate::config::Instance;
use crate::instances::{Budgets, Connector};
use crate::packs::{self, Packs};
use crate::postgres::Facts;

/// Asks one server.
pub(super) async fn server(
    instance: &Instance,
    budgets: &Budgets,
    packs: &Packs,
    found: &mut Found,
) {
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
        Ok(facts) => judge(instance, &facts, packs, found),
        Err(error) => found.needs(
            &instance.place,
            format!("{}: the server does not tell its facts: {}", instance.name, error.message),
            "see the server's log",
        ),
    }
}

fn judge(instance: &Instance, facts: &Facts, packs: &Packs, found: &mut Found) {
    let name = &instance.name;
    if facts.superuser {
        found.advise(
            &instance.place,
            format!("{name}: the agent's role is a superuser"),
            "watch with a role that only `GRANT pg_monitor TO …` was given",
        );
    } else if !facts.monitor {
        found.advise(
            &instance.place,
            format!(
                "{name}: the agent's role is not in pg_monitor, so that much is hidden from it"
            ),
            "run `GRANT pg_monitor TO …` as a superuser",
        );
    }
    let mut running = 0;
    let mut waiting = Vec::new();
    for query in packs.of(instance.kind, &instance.exclude_packs) {
        match packs::select(&query, facts) {
            Ok(_) => running += 1,
            Err(unavailable) => waiting.push(format!("{} ({})", query.name, unavailable.why)),
        }
    }
    let server = if facts.version.is_pgbouncer() {
        format!("PgBouncer {}", facts.version)
    } else {
        format!("PostgreSQL {}, {}", facts.version, facts.role.as_str())
    };
    found.notes.push(format!(
        "{name}: {server}, {running} queries run here{}",
        if waiting.is_empty() {
            String::new()
        } else {
            format!(", {} do not: {}", waiting.len(), waiting.join(", "))
        }
    ));
}
