//! The order of the looks, and what the whole comes to.

use super::backups::backups;
use super::files::files;
use super::found::{Found, print};
use super::loki::{loki, retention};
use super::server::server;
use crate::app::Failure;
use crate::cli::args::Check;
use crate::cli::process::input;
use crate::config::{self, Examined, Flags, Settings};
use crate::instances::Budgets;
use crate::packs::{self, Packs};
use crate::task::Group;
use crate::telemetry::Telemetry;

/// Runs the check and prints what it found to stdout; what is well goes to stderr.
pub(in crate::cli) async fn run(args: Check) -> Result<(), Failure> {
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
    for (index, instance) in settings.instances.iter().enumerate() {
        server(settings, index, packs, &budgets, found).await;
        backups(instance, found).await;
    }
    if let Some(logs) = &settings.logs {
        files(logs, found);
        loki(logs, &telemetry, found).await;
        retention(settings, found).await;
    }
}
