//! Watches the machine around each server: a task an instance, which looks every few seconds, and sooner when
//! a scrape asks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::cgroup;
use super::directories::{Directory, Purpose, directories, folder};
use super::files::Seen;
use super::lane::Lane;
use super::locate::{Located, Postmaster, postmaster};
use super::machine;
use super::reading::{Cpu, Memory, Pressure, Space};
use super::report::{self, Reading, Volume};
use super::sizes::Sizes;
use super::volume;
use crate::config::{Host, InstanceKind, LogInput, Settings, Storage};
use crate::metric::{Family, Labels};
use crate::postgres::{HostReason, Whereabouts};
use crate::task::{Group, Stop};

/// How often it looks unasked; counters that a scrape shows are never older.
const INTERVAL: Duration = Duration::from_secs(5);
/// Fresh enough for a scrape.
const MIN_AGE: Duration = Duration::from_secs(1);
/// How long a look may take. What is not done then is late, and not begun again before its end.
const PATIENCE: Duration = Duration::from_secs(1);
/// A scrape waits no longer than that for a fresh look.
const SCRAPE: Duration = Duration::from_millis(300);
/// How long a directory's files may be summed up.
const SUMMING: Duration = Duration::from_secs(60);

/// Watches the machines of all instances.
pub struct Watcher {
    posts: Vec<Arc<Post>>,
}

/// What is known of one instance's machine.
struct Post {
    name: String,
    /// On everything about the instance.
    labels: Labels,
    known: watch::Sender<Known>,
    wanted: Notify,
}

/// The last look, and when it began.
type Known = Option<(Instant, Reading)>;

impl Watcher {
    /// Starts watching; ends with `group`. `servers`: where each instance's server is, as its sessions
    /// learn it, in the order of the configuration.
    pub fn start(
        settings: &Settings,
        servers: impl IntoIterator<Item = watch::Receiver<Option<Whereabouts>>>,
        group: &Group,
    ) -> Arc<Self> {
        let posts = settings
            .instances
            .iter()
            .zip(servers)
            .enumerate()
            // A pooler has none of the directories, and its machine's figures are its server's.
            .filter(|(_, (instance, _))| instance.kind == InstanceKind::Postgres)
            .map(|(index, (instance, whereabouts))| {
                let post = Arc::new(Post {
                    name: instance.name.clone(),
                    labels: settings.labels_of(instance),
                    known: watch::Sender::new(None),
                    wanted: Notify::new(),
                });
                let look = Look {
                    host: Arc::new(settings.host.clone()),
                    storage: instance.storage.clone(),
                    logs: log_folder(settings, index),
                    summing: settings.collection.intervals.slow,
                    whereabouts,
                    postmaster: None,
                    groups: None,
                    machine: Lane::default(),
                    volumes: BTreeMap::new(),
                };
                let (task, stop) = (Arc::clone(&post), group.signal());
                group.spawn("host", async move { task.watch(look, &stop).await });
                post
            })
            .collect();
        Arc::new(Self { posts })
    }

    /// Asks for a fresh look at every instance's machine, or at that of the one named, and waits for it a
    /// moment, at most `patience`.
    pub async fn refresh(&self, patience: Duration, instance: Option<&str>) {
        let begin = Instant::now();
        let fresh =
            |known: &Known| known.as_ref().is_some_and(|(read, _)| *read + MIN_AGE >= begin);
        for post in self.chosen(instance) {
            if !fresh(&post.known.borrow()) {
                post.wanted.notify_one();
            }
        }
        let deadline = begin + patience.min(SCRAPE);
        for post in self.chosen(instance) {
            let mut known = post.known.subscribe();
            // What is late is shown as it was.
            let _ = timeout_at(deadline, known.wait_for(fresh)).await;
        }
    }

    /// What is known of every instance's machine, or of that of the one named. `measured`: what the servers
    /// say of themselves, for directories that cannot be summed up here.
    pub fn families(&self, instance: Option<&str>, measured: &[Arc<Family>]) -> Vec<Arc<Family>> {
        let of_post = |post: &Arc<Post>| {
            let known = post.known.borrow();
            let Some((_, reading)) = known.as_ref() else { return Vec::new() };
            report::families(&post.labels, reading, &Sizes::of(measured, &post.labels))
        };
        self.chosen(instance).flat_map(of_post).collect()
    }

    fn chosen<'a>(&'a self, instance: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Post>> {
        self.posts.iter().filter(move |post| instance.is_none_or(|name| post.name == name))
    }
}

impl Post {
    async fn watch(&self, mut look: Look, stop: &Stop) {
        loop {
            let read = Instant::now();
            let reading = tokio::select! {
                () = stop.draining() => return,
                reading = look.look() => reading,
            };
            self.known.send_replace(Some((read, reading)));
            tokio::select! {
                () = stop.draining() => return,
                () = self.wanted.notified() => {}
                () = sleep(INTERVAL) => {}
                () = news(&mut look.whereabouts) => {}
            }
        }
    }
}

/// Ends when the server tells another place than before.
async fn news(whereabouts: &mut watch::Receiver<Option<Whereabouts>>) {
    if whereabouts.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The folder of the log files that the configuration reads for an instance.
fn log_folder(settings: &Settings, index: usize) -> Option<PathBuf> {
    let sources = settings.logs.iter().flat_map(|logs| &logs.sources);
    let mut own = sources.filter(|source| source.instance == Some(index));
    own.find_map(|source| match &source.input {
        LogInput::Files(patterns) => patterns.iter().find_map(|pattern| folder(pattern)),
        LogInput::Stdin | LogInput::Kubernetes(_) | LogInput::Docker(_) => None,
    })
}

/// One instance's eyes.
struct Look {
    host: Arc<Host>,
    storage: Storage,
    logs: Option<PathBuf>,
    /// How often a directory's files are summed up.
    summing: Duration,
    whereabouts: watch::Receiver<Option<Whereabouts>>,
    /// The server's first process, and since when the server says to run.
    postmaster: Option<(Postmaster, Option<i64>)>,
    /// The control groups that it was last seen in: a container outlives it.
    groups: Option<String>,
    machine: Lane<Machine>,
    volumes: BTreeMap<Purpose, Eye>,
}

/// What one look at the machine gives.
struct Machine {
    postmaster: Option<Postmaster>,
    groups: Option<String>,
    cpu: Seen<Cpu>,
    memory: Seen<Memory>,
    pressure: Seen<Pressure>,
    load: Seen<[f64; 3]>,
}

/// What looks at one directory: at its file system, and seldom at its files.
#[derive(Default)]
struct Eye {
    space: Lane<Seen<Space>>,
    sum: Lane<Seen<u64>>,
    summed: Option<Instant>,
    taken: Option<u64>,
}

impl Look {
    async fn look(&mut self) -> Reading {
        let server = self.whereabouts.borrow_and_update().clone();
        let started = server.as_ref().and_then(|server| server.started);
        let known = self.postmaster.take_if(|(_, since)| *since == started).map(|(found, _)| found);
        let (host, asked) = (Arc::clone(&self.host), server.clone());
        let groups = self.groups.clone();
        self.machine.begin(move || machine(&host, asked, known, groups));
        let machine = self.machine.end(PATIENCE).await;
        let late = || Machine {
            postmaster: known,
            groups: self.groups.clone(),
            cpu: Err(HostReason::Timeout),
            memory: Err(HostReason::Timeout),
            pressure: Err(HostReason::Timeout),
            load: Err(HostReason::Timeout),
        };
        let Machine { postmaster, groups, cpu, memory, pressure, load } =
            machine.unwrap_or_else(late);
        self.groups = groups;
        self.postmaster = postmaster.map(|found| (found, started));
        let located = Arc::new(Located { server, postmaster });
        let volumes = self.look_at_volumes(&located).await;
        let wal_apart = self.storage.wal.is_some();
        Reading { cpu, memory, pressure, load, volumes, wal_apart }
    }

    async fn look_at_volumes(&mut self, located: &Arc<Located>) -> Vec<Volume> {
        let wanted = directories(&self.storage, located.server.as_ref(), self.logs.as_deref());
        self.volumes.retain(|purpose, _| wanted.iter().any(|one| one.purpose == *purpose));
        for directory in &wanted {
            let eye = self.volumes.entry(directory.purpose.clone()).or_default();
            let (host, located) = (Arc::clone(&self.host), Arc::clone(located));
            let directory = directory.clone();
            eye.space.begin(move || volume::space(&host.proc, directory.find(&host, &located)?));
        }
        let deadline = Instant::now() + PATIENCE;
        let mut found = Vec::new();
        for Directory { purpose, allotted, .. } in wanted {
            let eye = self.volumes.entry(purpose.clone()).or_default();
            let space = eye.space.end(deadline.saturating_duration_since(Instant::now())).await;
            let space = space.unwrap_or(Err(HostReason::Timeout));
            if let Ok(space) = &space
                && (allotted.is_some() || purpose == Purpose::Log)
            {
                eye.sum_up(&space.path, self.summing, deadline).await;
            }
            let taken = eye.taken;
            found.push(Volume { purpose, space, allotted, taken });
        }
        found
    }
}

impl Eye {
    /// Sums up the directory's files when it is time for it.
    async fn sum_up(&mut self, path: &Path, every: Duration, deadline: Instant) {
        let due = self.summed.is_none_or(|summed| summed + every <= Instant::now());
        if due && !self.sum.is_busy() {
            self.summed = Some(Instant::now());
            let path = path.to_path_buf();
            self.sum.begin(move || volume::taken(&path, Clock::now() + SUMMING));
        }
        if self.sum.is_busy() {
            // A first sum is worth a moment; later ones come when they come.
            let left = match self.taken {
                None => deadline.saturating_duration_since(Instant::now()),
                Some(_) => Duration::ZERO,
            };
            if let Some(sum) = self.sum.end(left).await {
                self.taken = sum.ok();
            }
        }
    }
}

/// Looks at the machine; blocks.
fn machine(
    host: &Host,
    server: Option<Whereabouts>,
    known: Option<Postmaster>,
    groups: Option<String>,
) -> Machine {
    let proc = &host.proc;
    let alive = known.filter(|known| known.is_alive(proc));
    let postmaster = alive.or_else(|| postmaster(proc, server.as_ref()?));
    if let Err(reason) = (Located { server, postmaster }).beside() {
        let (cpu, memory) = (Err(reason), Err(reason));
        return Machine {
            postmaster,
            groups: None,
            cpu,
            memory,
            pressure: Err(reason),
            load: Err(reason),
        };
    }
    let mut cpu = machine::cpu(proc);
    let mut memory = machine::memory(proc);
    let mut pressure = None;
    let process = postmaster.map(|postmaster| postmaster.process);
    let groups = process.and_then(|process| cgroup::groups(proc, process).ok()).or(groups);
    if let Some(groups) = &groups {
        let place = cgroup::Place { proc, cgroup: &host.cgroup, groups, process };
        if let Ok(all) = &cpu
            && let Some(own) = cgroup::cpu(&place, all)
        {
            cpu = Ok(own);
        }
        if let Ok(all) = &memory
            && let Some(own) = cgroup::memory(&place, all)
        {
            memory = Ok(own);
        }
        pressure = cgroup::pressure(&place);
    }
    let pressure = pressure.map_or_else(|| machine::pressure(proc), Ok);
    Machine { postmaster, groups, cpu, memory, pressure, load: machine::load(proc) }
}
