//! `pgvigil check`: every problem in one run, in what the user wrote and in what it needs.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use super::args::{Check, Format};
use super::input;
use crate::app::Failure;
use crate::backups::{self, State};
use crate::collect::probe_once;
use crate::config::{self, Examined, Flags, Instance, LogInput, Logs, Place, Problem, Settings};
use crate::instances::{Budgets, Connector};
use crate::logs::kept_in_loki;
use crate::loki::Loki;
use crate::loki::retention::{self, Verdict};
use crate::packs::{self, Packs};
use crate::postgres::Facts;
use crate::task::Group;
use crate::telemetry::Telemetry;

/// How long one server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found, in the order in which it is printed.
#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    /// What the configuration needs does not answer, or not as it must.
    unavailable: bool,
    /// What is well, for people.
    notes: Vec<String>,
}

impl Found {
    fn needs(&mut self, place: &Place, what: String, remedy: &str) {
        self.unavailable = true;
        self.advise(place, what, remedy);
    }

    fn advise(&mut self, place: &Place, what: String, remedy: &str) {
        let remedy = remedy.to_owned();
        self.problems.push(Problem { place: place.clone(), what, remedy, fatal: false });
    }
}

/// Runs the check and prints what it found to stdout; what is well goes to stderr.
pub(super) async fn run(args: Check) -> Result<(), Failure> {
    let file = args.config.clone();
    let Examined { settings, problems } = config::examine(&input(file, Flags::default()));
    let packs = packs::load(&settings.packs);
    let mut found = Found { problems, ..Found::default() };
    let fatal = found.problems.iter().any(|problem| problem.fatal);
    // No problem of a pack keeps the agent from running.
    found.problems.extend(packs.problems.iter().cloned());
    found.notes.push(format!(
        "configuration: {} instances, {} queries in packs, {} log sources",
        settings.instances.len(),
        packs.queries.len(),
        settings.logs.as_ref().map_or(0, |logs| logs.sources.len())
    ));
    if !args.offline && !fatal {
        online(&settings, &packs, &mut found).await;
    }
    print(&found, args.format).map_err(|e| Failure::Internal(format!("cannot print: {e}")))?;
    match (fatal, found.unavailable) {
        (true, _) => Err(Failure::Configuration(Vec::new())),
        (false, true) => Err(Failure::Unavailable(
            "something that the configuration needs does not answer as it must; see above"
                .to_owned(),
        )),
        (false, false) => Ok(()),
    }
}

async fn online(settings: &Settings, packs: &Packs, found: &mut Found) {
    let (group, telemetry) = (Group::new(), Telemetry::new());
    let budgets = Budgets::new(&group, &telemetry);
    for instance in &settings.instances {
        let connector = Connector::new(instance, &budgets);
        ask(instance, &connector, packs, found).await;
        backups(instance, found).await;
    }
    if let Some(logs) = &settings.logs {
        files(logs, found);
        loki(logs, &telemetry, found).await;
        retention(settings, found).await;
    }
}

async fn ask(instance: &Instance, connector: &Connector, packs: &Packs, found: &mut Found) {
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

/// Whether every source of backups tells something, and whether that is well.
async fn backups(instance: &Instance, found: &mut Found) {
    for backup in instance.backups.iter().filter(|backup| backup.input.is_some()) {
        let told = backups::look(instance, backup).await;
        let name = format!("{}: backups by {}", instance.name, told.source);
        if let Some(sentence) = &told.message {
            let (what, remedy) =
                sentence.rsplit_once("; ").unwrap_or((sentence, "see its own log"));
            found.needs(&backup.place, format!("{name}: {what}"), remedy);
        }
        for state in &told.states {
            let Some((what, remedy)) = state.advice() else { continue };
            // Nothing known of a source that cannot be read has been said.
            if told.read.is_some() {
                found.advise(&backup.place, format!("{name}: {what}"), remedy);
            }
        }
        if told.states == [State::Ok] {
            found.notes.push(format!("{name}: ok"));
        }
    }
}

/// Whether the patterns of log files find something, and something readable.
fn files(logs: &Logs, found: &mut Found) {
    for source in &logs.sources {
        let LogInput::Files(patterns) = &source.input else { continue };
        for pattern in patterns {
            let paths: Vec<_> = glob::glob(pattern).into_iter().flatten().collect();
            if paths.is_empty() {
                found.advise(
                    &source.place,
                    format!("{}: no file is named as {pattern} says", source.name),
                    "correct the pattern, or let the agent read the directory; files that come later are read",
                );
            }
            for path in paths {
                let opened = match path {
                    Ok(path) => std::fs::File::open(&path).map(drop).map_err(|e| (path, e)),
                    Err(error) => {
                        Err((error.path().to_owned(), std::io::Error::other(error.to_string())))
                    }
                };
                if let Err((path, error)) = opened {
                    found.needs(
                        &source.place,
                        format!("{}: cannot read {}: {error}", source.name, path.display()),
                        "let the agent's user read it (on Debian: group adm, and log_file_mode 0640)",
                    );
                }
            }
        }
    }
}

async fn loki(logs: &Logs, telemetry: &Telemetry, found: &mut Found) {
    let Some(target) = &logs.loki else { return };
    let answer = match Loki::new(target, telemetry) {
        Ok(loki) => {
            let mut answer = Ok(loki.address());
            for route in &logs.routes {
                if let Err(sentence) = loki.reach(route.tenant.as_deref(), PATIENCE).await {
                    answer = Err(sentence);
                }
            }
            answer
        }
        Err(sentence) => Err(sentence),
    };
    match answer {
        Ok(address) => found.notes.push(format!("Loki: {address} answers")),
        Err(sentence) => {
            let (what, remedy) = sentence
                .rsplit_once("; ")
                .unwrap_or((&sentence, "start it, or correct `logs.loki.url`"));
            found.needs(&target.place, format!("Loki: {what}"), remedy);
        }
    }
}

/// What Loki does with the routes' periods.
async fn retention(settings: &Settings, found: &mut Found) {
    let routes = kept_in_loki(settings);
    let target = settings.logs.as_ref().and_then(|logs| logs.loki.as_ref());
    let (Some(target), false) = (target, routes.is_empty()) else { return };
    let Ok(loki) = Loki::new(target, &Telemetry::new()) else { return };
    let told = retention::look(&loki, &routes, Instant::now() + PATIENCE).await;
    if told.trouble.is_some() {
        // That Loki does not answer is told already.
        return;
    }
    for kept in &routes {
        let old = retention::older(&loki, kept, &told, Instant::now() + PATIENCE).await;
        let judged = retention::judge(kept, &told, old);
        match judged.verdict {
            Verdict::Ok | Verdict::Unset => found.notes.push(format!("Loki: {}", judged.what)),
            _ => found.advise(&target.place, judged.what, judged.remedy),
        }
    }
    if told.sharding == Some(true) {
        found.advise(
            &target.place,
            "Loki splits up streams with many records (shard_streams), so that after a crash some may \
             show twice"
                .to_owned(),
            "turn it off as `pgvigil export loki-retention` writes",
        );
    }
}

fn print(found: &Found, format: Format) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for problem in &found.problems {
        match format {
            Format::Text => writeln!(out, "{problem}")?,
            Format::Json => {
                let line = serde_json::json!({
                    "file": problem.place.file,
                    "line": problem.place.line,
                    "column": problem.place.column,
                    "what": problem.what,
                    "remedy": problem.remedy,
                    "fatal": problem.fatal,
                });
                writeln!(out, "{line}")?;
            }
        }
    }
    let mut notes = std::io::stderr().lock();
    for note in &found.notes {
        writeln!(notes, "{note}")?;
    }
    if found.problems.is_empty() {
        writeln!(notes, "no problem found")?;
    }
    Ok(())
}
