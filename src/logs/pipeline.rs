//! The river as a whole: built from the settings, started, looked at, stopped in the direction of
//! flow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::Checkpoint;
use super::count::{self, Lag};
use super::follow::follow;
use super::lane::{Lane, Standing};
use super::store::Store;
use super::works::{Session, StartError, Works};
use crate::config::{Destination, LogInput, Settings};
use crate::loki::{Loki, StreamLabels};
use crate::metric::{Family, Kind, Labels};
use crate::task::{Group, Stop};
use crate::telemetry::Telemetry;

/// How often the local store is looked through for what is too old.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// The log river of one agent. Stopping is the task group's.
pub struct Shipper {
    works: Arc<Works>,
}

/// How the river stands; plain values for the status page. It shows no log line.
#[derive(Clone, Debug, Default)]
pub struct LogStatus {
    pub sources: Vec<SourceStatus>,
    pub lanes: Vec<LaneStatus>,
    /// What keeps the checkpoint from being written.
    pub checkpoint_problem: Option<String>,
}

#[derive(Clone, Debug)]
pub struct SourceStatus {
    pub name: String,
    pub files: Vec<FileStatus>,
    /// One sentence for each file that cannot be read.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct FileStatus {
    pub path: String,
    pub bytes: u64,
    /// By route: bytes that are not acknowledged.
    pub behind: Vec<(String, u64)>,
}

#[derive(Clone, Debug)]
pub struct LaneStatus {
    pub route: String,
    pub tenant: Option<String>,
    pub labels: StreamLabels,
    pub standing: Standing,
    /// Entries stored, or refused for good, since the start.
    pub settled: u64,
    /// For how long the oldest record that was read waits.
    pub waiting_seconds: f64,
}

impl Shipper {
    /// Starts the river of `settings.logs` in `group`. `log_settings` has for each source what a
    /// session tells of its server, where there is one.
    ///
    /// # Errors
    /// When the state directory is another agent's or cannot be used, or Loki's address, TLS files
    /// or secrets cannot.
    pub fn start(
        settings: &Settings,
        log_settings: Vec<Session>,
        group: &Group,
        telemetry: &Telemetry,
    ) -> Result<Arc<Self>, StartError> {
        let Some(logs) = &settings.logs else {
            return Err(StartError::Configuration(
                "there is no log source; set logs.sources".to_owned(),
            ));
        };
        let (checkpoint, lock) = Checkpoint::open(&settings.state_directory, telemetry)?;
        let checkpoint = Arc::new(checkpoint);
        let loki = match (logs.destination, &logs.loki) {
            (Destination::Loki, Some(target)) => {
                let loki = Loki::new(target, telemetry).map_err(StartError::Configuration)?;
                Some(Arc::new(loki))
            }
            _ => None,
        };
        let store =
            Arc::new(Store::new(&settings.state_directory, logs.store.max_bytes, telemetry));
        let works = Works::new(settings, logs, Arc::clone(&checkpoint), &lock, loki, store)?;
        let works = Arc::new(works);
        let stdin = logs.sources.iter().any(|source| source.input == LogInput::Stdin);
        if logs.destination == Destination::Local || stdin {
            group.spawn("log store's age", trim(works.store(), group.signal()));
        }
        let (saver, stop) = (checkpoint, group.signal());
        let saving = async move { saver.keep_saving(&stop).await };
        group.spawn("log checkpoint", Works::held(works.lock(), saving));
        let sessions = log_settings.into_iter().chain(std::iter::repeat_with(|| None));
        for (source, session) in logs.sources.iter().zip(sessions) {
            match &source.input {
                LogInput::Files(_) | LogInput::Stdin => works.begin(source, session, group)?,
                LogInput::Kubernetes(_) | LogInput::Docker(_) => {
                    let (works, source) = (Arc::clone(&works), source.clone());
                    group.spawn("log members", follow(works, source, session, group.clone()));
                }
            }
        }
        Ok(Arc::new(Self { works }))
    }

    /// What the river counts, beside what is in the telemetry's registry.
    pub fn families(&self) -> Vec<Arc<Family>> {
        let behind = self.behind();
        let sources: Vec<_> = self
            .works
            .feeds()
            .into_iter()
            .map(|feed| {
                let lags = feed.lanes.iter().map(|lane| Lag {
                    route: lane.route.clone(),
                    bytes: behind
                        .get(&(feed.counts.source.clone(), lane.route.clone()))
                        .copied()
                        .unwrap_or(0),
                    oldest_unsent_seconds: waiting(lane),
                });
                (Arc::clone(&feed.counts), lags.collect::<Vec<_>>())
            })
            .collect();
        let mut families = count::families(&sources);
        families.push(Arc::new(self.settled()));
        families
    }

    /// What each stream has behind it, under its own labels.
    fn settled(&self) -> Family {
        let mut family = Family::new(
            "pgvigil_log_settled_entries_total",
            "Entries that Loki or the local store has stored, or refused for good, since the start.",
            Kind::Counter,
        );
        for lane in self.works.lanes() {
            let labels = lane.labels.iter().filter(|(name, _)| *name != "service_name");
            family.push(Labels::new(labels), lane.settled() as f64);
        }
        family
    }

    /// By source and route: bytes that are not acknowledged.
    fn behind(&self) -> BTreeMap<(String, String), u64> {
        let mut behind = BTreeMap::new();
        self.works.checkpoint.read(|state| {
            for file in state.files.values() {
                let size = file.end.unwrap_or(file.size);
                for (route, own) in &file.routes {
                    *behind.entry((file.source.clone(), route.clone())).or_default() +=
                        size.saturating_sub(own.mark.offset);
                }
            }
        });
        behind
    }

    pub fn status(&self) -> LogStatus {
        let sources = self.works.feeds().into_iter().map(|feed| {
            let name = feed.counts.source.clone();
            let files = self.works.checkpoint.read(|state| {
                let own = state.files.values().filter(|f| f.source == name && f.end.is_none());
                own.map(|file| FileStatus {
                    path: file.path.clone(),
                    bytes: file.size,
                    behind: file
                        .routes
                        .iter()
                        .map(|(route, own)| {
                            (route.clone(), file.size.saturating_sub(own.mark.offset))
                        })
                        .collect(),
                })
                .collect()
            });
            SourceStatus { name, files, problems: feed.counts.files_now().problems }
        });
        let lanes = self.works.lanes().into_iter().map(|lane| LaneStatus {
            route: lane.route.clone(),
            tenant: lane.tenant.clone(),
            labels: lane.labels.clone(),
            standing: lane.standing(),
            settled: lane.settled(),
            waiting_seconds: waiting(&lane),
        });
        LogStatus {
            sources: sources.collect(),
            lanes: lanes.collect(),
            checkpoint_problem: self.works.checkpoint.problem(),
        }
    }
}

/// Takes away what is too old, whether anything is written or not.
async fn trim(store: Arc<Store>, stop: Stop) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TRIM_EVERY) => {}
            () = stop.draining() => return,
        }
        let store = Arc::clone(&store);
        let _ = tokio::task::spawn_blocking(move || store.trim()).await;
    }
}

fn waiting(lane: &Lane) -> f64 {
    lane.waiting_since().map_or(0.0, |since| since.elapsed().as_secs_f64())
}
