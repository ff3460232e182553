//! What runs for the sources: a reader each, and for each stream a lane with its sender. Sources are
//! begun at the start and, for pods and containers, whenever they appear.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use super::checkpoint::{Checkpoint, Lock, OpenError, WeakLock};
use super::count::SourceCounts;
use super::desk::SourceDesk;
use super::keep::{self, Bell, Ending};
use super::lane::{Lane, LaneKind, Room};
use super::route::{self, Rules};
use super::sender;
use super::source::{self, Files, Patterns, Readings, Stdin};
use super::store::{Kept, Store};
use super::wake::Wake;
use crate::config::{Destination, LogInput, LogSource, Logs, Redaction, Settings};
use crate::loki::Loki;
use crate::postgres::LogSettings;
use crate::task::{Group, Stop};

/// What a session tells of its server's log, where there is one.
pub type Session = Option<watch::Receiver<Option<LogSettings>>>;

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

/// One source and its lanes, by route number.
#[derive(Clone)]
pub(super) struct Feed {
    pub(super) counts: Arc<SourceCounts>,
    pub(super) lanes: Vec<Arc<Lane>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    route: usize,
    stream: String,
    /// Of standard input, which must never stand still, while files can wait.
    spooled: bool,
}

/// See the module.
pub(super) struct Works {
    settings: Settings,
    logs: Logs,
    rules: Arc<[Rules]>,
    pub(super) checkpoint: Arc<Checkpoint>,
    lock: WeakLock,
    loki: Option<Arc<Loki>>,
    store: Arc<Store>,
    /// The routes' shelves, by route number, where the store is the destination.
    endings: Vec<Ending>,
    room: Arc<Room>,
    /// Sources of one server share their lanes, for a stream has one sender; a lane stays.
    lanes: Mutex<BTreeMap<LaneKey, Arc<Lane>>>,
    feeds: Mutex<BTreeMap<String, Feed>>,
}

impl Works {
    pub(super) fn new(
        settings: &Settings,
        logs: &Logs,
        checkpoint: Arc<Checkpoint>,
        lock: &Lock,
        loki: Option<Arc<Loki>>,
        store: Arc<Store>,
    ) -> Result<Self, StartError> {
        let endings = endings(logs, &store, &checkpoint)?;
        Ok(Self {
            settings: settings.clone(),
            rules: logs.routes.iter().map(Rules::new).collect(),
            logs: logs.clone(),
            checkpoint,
            lock: lock.weak(),
            loki,
            store,
            endings,
            room: Arc::new(Room::new()),
            lanes: Mutex::default(),
            feeds: Mutex::default(),
        })
    }

    /// The sources that run, in the order of their names.
    pub(super) fn feeds(&self) -> Vec<Feed> {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.values().cloned().collect()
    }

    pub(super) fn lanes(&self) -> Vec<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().cloned().collect()
    }

    /// Lets the state directory be held until the work is done.
    pub(super) async fn held(lock: Option<Lock>, work: impl Future<Output = ()>) {
        work.await;
        drop(lock);
    }

    pub(super) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    pub(super) fn lock(&self) -> Option<Lock> {
        self.lock.lock()
    }

    /// Begins a source that names its input.
    ///
    /// # Errors
    /// When the local store cannot be used.
    pub(super) fn begin(
        self: &Arc<Self>,
        source: &LogSource,
        session: Session,
        group: &Group,
    ) -> Result<(), StartError> {
        match &source.input {
            LogInput::Files(patterns) => {
                let patterns = Arc::new(RwLock::new(patterns.clone()));
                self.begin_files(source, session, patterns, false, group)
            }
            LogInput::Stdin => self.begin_stdin(source, session, group),
            // Their members are begun one by one.
            LogInput::Kubernetes(_) | LogInput::Docker(_) => Ok(()),
        }
    }

    /// Begins a source of files; `leaves`: it ends when its files are gone for long.
    ///
    /// # Errors
    /// When the local store cannot be used.
    pub(super) fn begin_files(
        self: &Arc<Self>,
        source: &LogSource,
        session: Session,
        patterns: Patterns,
        leaves: bool,
        group: &Group,
    ) -> Result<(), StartError> {
        let wake = Arc::new(Wake::default());
        let feed = self.feed(source, &wake, group)?;
        let mut desk = self.desk(&feed);
        let files = Files {
            source: source.name.clone(),
            patterns,
            leaves,
            start: source.start,
            routes: self.rules.iter().map(|rules| rules.name.clone()).collect(),
            readings: readings(source, session),
            checkpoint: Arc::clone(&self.checkpoint),
            counts: Arc::clone(&feed.counts),
            stop: group.signal(),
        };
        let stop = group.signal();
        let bell = Arc::clone(&wake);
        let read = move || {
            source::run(files, &mut desk, &bell);
            Ok(())
        };
        let name = source.name.clone();
        let reading = Arc::clone(self).reading(name, feed, wake, leaves, stop, read);
        group.spawn("log files", reading);
        Ok(())
    }

    fn begin_stdin(
        self: &Arc<Self>,
        source: &LogSource,
        session: Session,
        group: &Group,
    ) -> Result<(), StartError> {
        let wake = Arc::new(Wake::default());
        let feed = self.feed(source, &wake, group)?;
        let mut desk = self.desk(&feed);
        let stdin = Stdin {
            routes: self.rules.len(),
            readings: readings(source, session),
            counts: Arc::clone(&feed.counts),
        };
        let stop = group.signal();
        let (bell, until) = (Arc::clone(&wake), stop.clone());
        let read = move || source::run_stdin(stdin, &mut desk, &bell, &until);
        let name = source.name.clone();
        let reading = Arc::clone(self).reading(name, feed, wake, false, stop, read);
        group.spawn("log standard input", reading);
        Ok(())
    }

    /// Whether the source has never been looked at.
    pub(super) fn is_new(&self, source: &str) -> bool {
        self.checkpoint.read(|state| !state.known_sources.iter().any(|known| known == source))
    }

    /// Notes that it has been.
    pub(super) fn is_known(&self, source: &str) {
        if self.is_new(source) {
            self.checkpoint.change(|state| state.known_sources.push(source.to_owned()));
            self.checkpoint.save_soon();
        }
    }

    pub(super) fn runs(&self, source: &str) -> bool {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner).contains_key(source)
    }

    /// Shows what keeps a source from finding its members; none: nothing does.
    pub(super) fn complain(&self, source: &LogSource, problem: Option<String>) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(problem) => {
                let identity = route::identity(&self.settings, source);
                let counts = Arc::new(SourceCounts::new(&source.name, identity));
                counts.files(0, vec![problem]);
                feeds.insert(source.name.clone(), Feed { counts, lanes: Vec::new() });
            }
            None => drop(feeds.remove(&source.name)),
        }
    }

    /// Forgets those members of a source that do not run.
    pub(super) fn forget_members(&self, source: &str) {
        let prefix = format!("{source}/");
        let gone = |name: &String| name.starts_with(&prefix) && !self.runs(name);
        self.checkpoint.change(|state| {
            state.files.retain(|_, file| !gone(&file.source));
            state.known_sources.retain(|name| !gone(name));
        });
    }

    fn desk(&self, feed: &Feed) -> SourceDesk {
        self.checkpoint.read(|state| {
            let rules = Arc::clone(&self.rules);
            SourceDesk::new(rules, feed.lanes.clone(), Arc::clone(&feed.counts), state)
        })
    }

    /// Counters and lanes of a source; a lane that is new gets its sender.
    pub(super) fn feed(
        &self,
        source: &LogSource,
        wake: &Arc<Wake>,
        group: &Group,
    ) -> Result<Feed, StartError> {
        let kind = match (self.logs.destination, source.input == LogInput::Stdin) {
            (Destination::Loki, true) => LaneKind::Spool,
            (Destination::Loki, false) => LaneKind::Loki,
            (Destination::Local, _) => LaneKind::Local,
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = Vec::new();
        for (at, rules) in self.rules.iter().enumerate() {
            let labels = route::stream(&self.settings, source, &rules.name);
            let spooled = source.input == LogInput::Stdin;
            let key = LaneKey { route: at, stream: labels.text(), spooled };
            let lane = match lanes.get(&key) {
                Some(lane) => Arc::clone(lane),
                None => {
                    let newest =
                        self.checkpoint.read(|state| state.streams.get(&key.stream).copied());
                    let (tenant, room) = (rules.tenant.clone(), Arc::clone(&self.room));
                    let lane = Arc::new(Lane::new(&rules.name, tenant, labels, kind, newest, room));
                    self.start_lane(&key, &lane, group)?;
                    lanes.insert(key, Arc::clone(&lane));
                    lane
                }
            };
            lane.add_feeder(Arc::clone(wake));
            own.push(lane);
        }
        self.room.share(lanes.len());
        drop(lanes);
        let identity = route::identity(&self.settings, source);
        let counts = Arc::new(SourceCounts::new(&source.name, identity));
        let feed = Feed { counts, lanes: own };
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.insert(source.name.clone(), feed.clone());
        Ok(feed)
    }

    fn start_lane(&self, key: &LaneKey, lane: &Arc<Lane>, group: &Group) -> Result<(), StartError> {
        let (lane, checkpoint) = (Arc::clone(lane), Arc::clone(&self.checkpoint));
        let stop = group.signal();
        match &self.loki {
            Some(loki) if key.spooled => {
                let spool = spool(&self.logs, &lane, &self.store)?;
                let bell = Arc::new(Bell::default());
                let writer = keep::write(
                    Arc::clone(&lane),
                    spool.clone(),
                    Arc::clone(&checkpoint),
                    Some(Arc::clone(&bell)),
                    stop.clone(),
                );
                group.spawn("log spool", Self::held(self.lock(), writer));
                let loki = Arc::clone(loki);
                let sender = keep::send(lane, spool, loki, checkpoint, bell, stop);
                group.spawn("log sender", Self::held(self.lock(), sender));
            }
            Some(loki) => {
                let sender = sender::run(lane, Arc::clone(loki), checkpoint, stop);
                group.spawn("log sender", Self::held(self.lock(), sender));
            }
            None => {
                let ending = Ending { make_room: key.spooled, ..self.endings[key.route].clone() };
                let writer = keep::write(lane, ending, checkpoint, None, stop);
                group.spawn("log store", Self::held(self.lock(), writer));
            }
        }
        Ok(())
    }

    /// Runs a source to its end on a thread for blocking work; then its lanes are closed, however it
    /// ended.
    pub(super) async fn reading(
        self: Arc<Self>,
        source: String,
        feed: Feed,
        wake: Arc<Wake>,
        leaves: bool,
        stop: Stop,
        read: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    ) {
        let left = match tokio::task::spawn_blocking(read).await {
            Ok(Ok(())) => true,
            Ok(Err(e)) => {
                tracing::error!(
                    %source,
                    "cannot read standard input: {e}; restart the agent with a pipe that it can read"
                );
                false
            }
            Err(e) => {
                tracing::error!(%source, "reading the log has ended by a bug: {e}; report it");
                false
            }
        };
        for lane in feed.lanes {
            lane.close(&wake);
        }
        // Else it goes on at the next start; and what failed is still of interest.
        if left && leaves && !stop.is_draining() {
            self.feeds.lock().unwrap_or_else(PoisonError::into_inner).remove(&source);
            self.checkpoint.change(|state| {
                state.files.retain(|_, file| file.source != source);
                state.known_sources.retain(|name| *name != source);
            });
        }
    }
}

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

fn readings(source: &LogSource, session: Session) -> Readings {
    Readings::new(session, source.line_prefix.clone(), source.time_zone.clone()).of(source.format)
}
