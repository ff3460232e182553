//! Both rivers as one set of settings made them: started together, stopped together.

use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use crate::backups::Watcher;
use crate::collect::Collector;
use crate::config::{Loaded, Problem, Settings};
use crate::host;
use crate::instances::Budgets;
use crate::logs::{Shipper, StartError, kept_in_loki};
use crate::loki::{Loki, retention};
use crate::packs;
use crate::task::Group;
use crate::telemetry::Telemetry;

/// Begins to look whether Loki keeps records as long as it should.
fn retention(settings: &Settings, group: &Group) -> Result<Option<Arc<retention::Watch>>, Failure> {
    let routes = kept_in_loki(settings);
    let target = settings.logs.as_ref().and_then(|logs| logs.loki.as_ref());
    let (Some(target), false) = (target, routes.is_empty()) else { return Ok(None) };
    // It pushes nothing, so its counters of pushes are nobody's.
    let loki = Loki::new(target, &Telemetry::new()).map_err(Failure::Unusable)?;
    Ok(Some(retention::Watch::start(loki, routes, group)))
}

/// What runs behind the door.
pub(super) struct Rivers {
    pub(super) settings: Settings,
    /// What is doubtful in the configuration.
    warnings: Vec<Problem>,
    /// What is doubtful in the packs.
    pack_problems: Vec<Problem>,
    pub(super) collector: Arc<Collector>,
    pub(super) backups: Arc<Watcher>,
    pub(super) host: Arc<host::Watcher>,
    pub(super) shipper: Option<Arc<Shipper>>,
    /// Looks after Loki's retention, where records go there.
    pub(super) retention: Option<Arc<retention::Watch>>,
    /// These rivers' own counters: a reload begins them anew.
    pub(super) telemetry: Telemetry,
    collect: Group,
    logs: Group,
}

impl Rivers {
    pub(super) fn start(loaded: Loaded, budgets: &Budgets) -> Result<Self, Failure> {
        let Loaded { settings, warnings } = loaded;
        let telemetry = Telemetry::new();
        let packs = packs::load(&settings.packs);
        for problem in &packs.problems {
            tracing::warn!("{problem}");
        }
        let (collect, logs) = (Group::new(), Group::new());
        let collector = Collector::start(&settings, &packs, budgets, &collect);
        let backups = Watcher::start(&settings, &collect);
        let servers = (0..settings.instances.len()).map(|index| collector.whereabouts(index));
        let host = host::Watcher::start(&settings, servers, &collect);
        let shipper = match &settings.logs {
            None => None,
            Some(settings_of_logs) => {
                let sessions = settings_of_logs
                    .sources
                    .iter()
                    .map(|source| source.instance.map(|index| collector.log_settings(index)))
                    .collect();
                Some(Shipper::start(&settings, sessions, &logs, &telemetry).map_err(|error| {
                    match error {
                        StartError::State(error) => Failure::Unavailable(error.to_string()),
                        StartError::Store { .. } => Failure::Unavailable(error.to_string()),
                        StartError::Configuration(sentence) => Failure::Unusable(sentence),
                    }
                })?)
            }
        };
        let retention = retention(&settings, &logs)?;
        let pack_problems = packs.problems;
        Ok(Self {
            settings,
            warnings,
            pack_problems,
            collector,
            backups,
            host,
            shipper,
            retention,
            telemetry,
            collect,
            logs,
        })
    }

    /// What is doubtful in what the user wrote.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.warnings.iter().chain(&self.pack_problems)
    }

    /// What these rivers were made from, to start them again.
    pub(super) fn loaded(&self) -> Loaded {
        Loaded { settings: self.settings.clone(), warnings: self.warnings.clone() }
    }

    /// Stops in the order of flow; names the tasks that were not finished in time.
    pub(super) async fn stop(&self, drain: Duration, cut: Duration) -> Vec<&'static str> {
        let (logs, collect) = tokio::join!(self.logs.stop(drain, cut), self.collect.stop(cut, cut));
        [logs, collect].concat()
    }
}
