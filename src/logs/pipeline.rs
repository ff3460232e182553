//! The river as a whole: built from the settings, started, looked at, stopped in the direction of
//! flow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::checkpoint::{Checkpoint, Lock, OpenError};
use super::count::{self, Lag, SourceCounts};
use super::desk::SourceDesk;
use super::keep::{self, Bell, Ending};
use super::lane::{Lane, LaneKind, Standing};
use super::route::{self, Rules};
use super::sender;
use super::source::{self, Files, Readings, Stdin};
use super::store::{Kept, Store};
use super::wake::Wake;
use crate::config::{Destination, LogInput, LogSource, Logs, Redaction, Settings};
use crate::loki::{Loki, StreamLabels};
use crate::metric::{Family, Kind, Labels};
use crate::postgres::LogSettings;
use crate::task::{Group, Stop};
use crate::telemetry::Telemetry;

/// How often the local store is looked through for what is too old.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// Why the log river does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    State(#[from] OpenError),
    /// Something in the configuration that cannot be used.
    #[error("{0}")]
    Configuration(String),
    #[error(
        "cannot use the local log store in the state directory: {source}; make it writable for the \
         agent's user"
    )]
    Store { source: std::io::Error },
}

/// The log river of one agent. Stopping is the task group's.
pub struct Shipper {
    checkpoint: Arc<Checkpoint>,
    sources: Vec<Feed>,
    lanes: Vec<Arc<Lane>>,
}

/// One source and its lanes, by route number.
struct Feed {
    counts: Arc<SourceCounts>,
    lanes: Vec<Arc<Lane>>,
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
        log_settings: Vec<Option<watch::Receiver<Option<LogSettings>>>>,
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
        let endings = endings(logs, &store, &checkpoint)?;
        let mut plan = Plan::new(settings, logs, &checkpoint);
        let shipper = Arc::new(Self {
            sources: plan.feeds(),
            lanes: plan.lanes.values().cloned().collect(),
            checkpoint: Arc::clone(&checkpoint),
        });
        for (key, lane) in &plan.lanes {
            let (lane, checkpoint) = (Arc::clone(lane), Arc::clone(&checkpoint));
            let stop = group.signal();
            match &loki {
                Some(loki) if key.spooled => {
                    let spool = spool(logs, &lane, &store)?;
                    let bell = Arc::new(Bell::default());
                    let writer = keep::write(
                        Arc::clone(&lane),
                        spool.clone(),
                        Arc::clone(&checkpoint),
                        Some(Arc::clone(&bell)),
                        stop.clone(),
                    );
                    group.spawn("log spool", held(lock.clone(), writer));
                    let loki = Arc::clone(loki);
                    let sender = keep::send(lane, spool, loki, checkpoint, bell, stop);
                    group.spawn("log sender", held(lock.clone(), sender));
                }
                Some(loki) => {
                    let sender = sender::run(lane, Arc::clone(loki), checkpoint, stop);
                    group.spawn("log sender", held(lock.clone(), sender));
                }
                None => {
                    let ending = Ending { make_room: key.spooled, ..endings[key.route].clone() };
                    let writer = keep::write(lane, ending, checkpoint, None, stop);
                    group.spawn("log store", held(lock.clone(), writer));
                }
            }
        }
        if logs.destination == Destination::Local || plan.lanes.keys().any(|key| key.spooled) {
            group.spawn("log store's age", trim(Arc::clone(&store), group.signal()));
        }
        let (saver, stop) = (Arc::clone(&checkpoint), group.signal());
        let saving = async move { saver.keep_saving(&stop).await };
        group.spawn("log checkpoint", held(lock.clone(), saving));
        plan.start_sources(logs, log_settings, group, &checkpoint);
        Ok(shipper)
    }

    /// What the river counts, beside what is in the telemetry's registry.
    pub fn families(&self) -> Vec<Arc<Family>> {
        let behind = self.behind();
        let sources: Vec<_> = self
            .sources
            .iter()
            .map(|feed| {
                let lags = feed.lanes.iter().map(|lane| Lag {
                    route: lane.route.clone(),
                    bytes: behind
                        .get(&(feed.counts.source.clone(), lane.route.clone()))
                        .copied()
                        .unwrap_or(0),
                    oldest_unsent_seconds: waiting(lane),
                });
                (Arc::clone(&feed.counts), lags.collect())
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
        for lane in &self.lanes {
            let labels = lane.labels.iter().filter(|(name, _)| *name != "service_name");
            family.push(Labels::new(labels), lane.settled() as f64);
        }
        family
    }

    /// By source and route: bytes that are not acknowledged.
    fn behind(&self) -> BTreeMap<(String, String), u64> {
        let mut behind = BTreeMap::new();
        self.checkpoint.read(|state| {
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
        let sources = self.sources.iter().map(|feed| {
            let name = feed.counts.source.clone();
            let files = self.checkpoint.read(|state| {
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
        let lanes = self.lanes.iter().map(|lane| LaneStatus {
            route: lane.route.clone(),
            tenant: lane.tenant.clone(),
            labels: lane.labels.clone(),
            standing: lane.standing(),
            settled: lane.settled(),
            waiting_seconds: waiting(lane),
        });
        LogStatus {
            sources: sources.collect(),
            lanes: lanes.collect(),
            checkpoint_problem: self.checkpoint.problem(),
        }
    }
}

/// The routes' shelves, by route number, where the store is the destination.
fn endings(
    logs: &Logs,
    store: &Arc<Store>,
    checkpoint: &Checkpoint,
) -> Result<Vec<Ending>, StartError> {
    if logs.destination == Destination::Loki {
        return Ok(Vec::new());
    }
    let routes = logs.routes.iter().map(|route| {
        let keep = route.keep.unwrap_or(logs.store.keep);
        let shelf = store
            .open_route(&route.name, Kept { keep, redact: route.redact })
            .map_err(|source| StartError::Store { source })?;
        store.outrank(&shelf, &route.name, checkpoint);
        Ok(Ending { store: Arc::clone(store), shelf, make_room: false })
    });
    routes.collect()
}

/// Where a lane of standard input waits for Loki.
fn spool(logs: &Logs, lane: &Lane, store: &Arc<Store>) -> Result<Ending, StartError> {
    let kept = Kept { keep: logs.store.keep, redact: Redaction::Credentials };
    let shelf =
        store.open_spool(&lane.text, kept).map_err(|source| StartError::Store { source })?;
    Ok(Ending { store: Arc::clone(store), shelf, make_room: true })
}

/// Holds the state directory until the work is done.
async fn held(lock: Lock, work: impl Future<Output = ()>) {
    work.await;
    drop(lock);
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

/// What is built before anything runs.
struct Plan {
    rules: Arc<[Rules]>,
    /// Sources of one server share their lanes, for a stream has one sender.
    lanes: BTreeMap<LaneKey, Arc<Lane>>,
    sources: Vec<PlannedSource>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    route: usize,
    stream: String,
    /// Of standard input, which must never stand still, while files can wait.
    spooled: bool,
}

struct PlannedSource {
    counts: Arc<SourceCounts>,
    wake: Arc<Wake>,
    /// By route number.
    lanes: Vec<LaneKey>,
}

impl Plan {
    fn new(settings: &Settings, logs: &Logs, checkpoint: &Checkpoint) -> Self {
        let rules: Arc<[Rules]> = logs.routes.iter().map(Rules::new).collect();
        let kind = |spooled| match (logs.destination, spooled) {
            (Destination::Loki, true) => LaneKind::Spool,
            (Destination::Loki, false) => LaneKind::Loki,
            (Destination::Local, _) => LaneKind::Local,
        };
        let mut lanes: BTreeMap<LaneKey, Lane> = BTreeMap::new();
        let sources = logs
            .sources
            .iter()
            .map(|source| {
                let wake = Arc::new(Wake::default());
                let keys = rules.iter().enumerate().map(|(at, rules)| {
                    let labels = route::stream(settings, source, &rules.name);
                    let spooled = source.input == LogInput::Stdin;
                    let key = LaneKey { route: at, stream: labels.text(), spooled };
                    let lane = lanes.entry(key.clone()).or_insert_with(|| {
                        let newest =
                            checkpoint.read(|state| state.streams.get(&key.stream).copied());
                        let tenant = rules.tenant.clone();
                        Lane::new(&rules.name, tenant, labels, kind(spooled), newest)
                    });
                    lane.add_feeder(Arc::clone(&wake));
                    key
                });
                let lanes = keys.collect();
                let identity = route::identity(settings, source);
                let counts = Arc::new(SourceCounts::new(&source.name, identity));
                PlannedSource { counts, wake, lanes }
            })
            .collect();
        let lanes = lanes.into_iter().map(|(key, lane)| (key, Arc::new(lane))).collect();
        Self { rules, lanes, sources }
    }

    fn lanes_of(&self, source: &PlannedSource) -> Vec<Arc<Lane>> {
        source.lanes.iter().map(|key| Arc::clone(&self.lanes[key])).collect()
    }

    fn feeds(&mut self) -> Vec<Feed> {
        let feed = |source: &PlannedSource| Feed {
            counts: Arc::clone(&source.counts),
            lanes: self.lanes_of(source),
        };
        self.sources.iter().map(feed).collect()
    }

    fn start_sources(
        self,
        logs: &Logs,
        log_settings: Vec<Option<watch::Receiver<Option<LogSettings>>>>,
        group: &Group,
        checkpoint: &Arc<Checkpoint>,
    ) {
        let sessions = log_settings.into_iter().chain(std::iter::repeat_with(|| None));
        for ((source, planned), session) in logs.sources.iter().zip(&self.sources).zip(sessions) {
            let lanes = self.lanes_of(planned);
            let desk = checkpoint.read(|state| {
                let rules = Arc::clone(&self.rules);
                SourceDesk::new(rules, lanes.clone(), Arc::clone(&planned.counts), state)
            });
            match &source.input {
                LogInput::Files(patterns) => {
                    let files = Files {
                        source: source.name.clone(),
                        patterns: patterns.clone(),
                        start: source.start,
                        routes: self.rules.iter().map(|rules| rules.name.clone()).collect(),
                        readings: readings(source, session),
                        checkpoint: Arc::clone(checkpoint),
                        counts: Arc::clone(&planned.counts),
                    };
                    start_files(files, desk, lanes, Arc::clone(&planned.wake), group);
                }
                LogInput::Stdin => {
                    let stdin = Stdin {
                        routes: self.rules.len(),
                        readings: readings(source, session),
                        counts: Arc::clone(&planned.counts),
                    };
                    start_stdin(stdin, desk, lanes, Arc::clone(&planned.wake), group);
                }
            }
        }
    }
}

fn readings(source: &LogSource, session: Option<watch::Receiver<Option<LogSettings>>>) -> Readings {
    Readings::new(session, source.line_prefix.clone(), source.time_zone.clone()).of(source.format)
}

/// Reads on a thread for blocking work.
fn start_files(
    files: Files,
    mut desk: SourceDesk,
    lanes: Vec<Arc<Lane>>,
    wake: Arc<Wake>,
    group: &Group,
) {
    let stop = group.signal();
    let name = files.source.clone();
    let read = move || {
        source::run(files, &mut desk, &wake, &stop);
        Ok(())
    };
    group.spawn("log files", reading(name, lanes, read));
}

fn start_stdin(
    stdin: Stdin,
    mut desk: SourceDesk,
    lanes: Vec<Arc<Lane>>,
    wake: Arc<Wake>,
    group: &Group,
) {
    let stop = group.signal();
    let name = stdin.counts.source.clone();
    let read = move || source::run_stdin(stdin, &mut desk, &wake, &stop);
    group.spawn("log standard input", reading(name, lanes, read));
}

/// Runs a source to its end; then its lanes are closed, however it ended.
async fn reading(
    source: String,
    lanes: Vec<Arc<Lane>>,
    read: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::error!(
            %source, "cannot read standard input: {e}; restart the agent with a pipe that it can read"
        ),
        Err(e) => tracing::error!(%source, "reading the log has ended by a bug: {e}; report it"),
    }
    for lane in lanes {
        lane.close();
    }
}
