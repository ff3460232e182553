//! What many lanes hold together, and what stays of a source that has ended.

use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::{Checkpoint, FileState, Mark};
use super::lane::{LEAST_BATCH, QUEUED_BYTES};
use super::source::{Head, RouteSet, Taken};
use super::store::Store;
use super::wake::Wake;
use super::works::Works;
use super::{Record, Severity, classify};
use crate::config::{Flags, Input, LogSource, Settings};
use crate::loki::{Loki, Metadata, Packer};
use crate::task::Group;
use crate::telemetry::Telemetry;

struct Bench {
    _directory: tempfile::TempDir,
    works: Arc<Works>,
    source: LogSource,
    group: Group,
}

impl Bench {
    fn new(routes: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgvigil.yml");
        let text = format!(
            "state_directory: {}\nlogs:\n  sources: [{{name: pods, server: s, files: [/nowhere/pg.log]}}]\n  \
             loki: {{url: \"http://127.0.0.1:9\"}}\n  routes: {routes}\n",
            directory.path().display()
        );
        std::fs::write(&file, text).unwrap();
        let input = Input {
            file: Some(file),
            flags: Flags::default(),
            environment: &|_| None,
            host_name: "host".to_owned(),
        };
        let settings: Settings = crate::config::load(&input).unwrap().settings;
        let logs = settings.logs.clone().unwrap();
        let telemetry = Telemetry::new();
        let (checkpoint, lock) = Checkpoint::open(&settings.state_directory, &telemetry).unwrap();
        let loki = Arc::new(Loki::new(logs.loki.as_ref().unwrap(), &telemetry).unwrap());
        let store = Arc::new(Store::new(&settings.state_directory, 1 << 30, &telemetry));
        let works =
            Works::new(&settings, &logs, Arc::new(checkpoint), &lock, Some(loki), store).unwrap();
        Self {
            _directory: directory,
            works: Arc::new(works),
            source: logs.sources[0].clone(),
            group: Group::new(),
        }
    }

    /// A pod's source.
    fn pod(&self, name: &str) -> LogSource {
        LogSource { name: format!("pods/{name}"), server: name.to_owned(), ..self.source.clone() }
    }
}

fn taken(file: super::checkpoint::FileId, message: &str) -> Taken {
    let record = Record::new(Severity::Log, message);
    Taken {
        file,
        event: classify(&record),
        record: Box::new(record),
        ns: 1_800_000_000_000_000_000,
        mark: Mark::default(),
        routes: RouteSet::default(),
        first_seen: true,
    }
}

// No sender gets a turn here: there is one thread, and it never waits.
#[tokio::test]
async fn the_queues_of_a_thousand_lanes_share_their_memory() {
    const RECORD: usize = 2000;
    for (lanes, early) in [(3, false), (60, false), (60, true), (768, false), (1200, true)] {
        let bench = Bench::new("[{name: a}, {name: b}, {name: c}]");
        let id = bench.works.checkpoint.change(|state| state.name_file(file("pods/0")));
        let one = taken(id, &"x".repeat(RECORD));
        let fill = || {
            let mut packer = Packer::default();
            for lane in bench.works.lanes() {
                while let Some(place) = lane.place() {
                    let metadata = Metadata::default();
                    place.put(&one, &one.record, &metadata, Instant::now(), None, &mut packer);
                }
            }
        };
        for pod in 0..lanes / 3 {
            let wake = Arc::new(Wake::default());
            bench.works.feed(&bench.pod(&pod.to_string()), &wake, &bench.group).unwrap();
            if early {
                fill();
            }
        }
        fill();
        assert_eq!(bench.works.lanes().len(), lanes);
        let held: usize = bench.works.lanes().iter().map(|lane| lane.held()).sum();
        // What many lanes need at the least is little; the last record of a batch may stand over.
        let least = 2 * lanes * LEAST_BATCH;
        let over = 2 * lanes * (RECORD + 100);
        let most = if early { QUEUED_BYTES + least } else { QUEUED_BYTES.max(least) } + over;
        assert!((least..=most).contains(&held), "{held} of {most} bytes in {lanes} lanes");
    }
}

fn file(source: &str) -> FileState {
    FileState {
        source: source.to_owned(),
        path: "/nowhere/pg.log".to_owned(),
        name: String::new(),
        device: 1,
        inode: 2,
        head: Head::default(),
        met: 0,
        size: 0,
        modified: 0,
        looked: 0,
        cuts: Vec::new(),
        routes: std::collections::BTreeMap::new(),
        end: None,
        missing_since: None,
        given_up: false,
    }
}

#[tokio::test]
async fn nothing_stays_of_a_pod_that_is_gone() {
    let bench = Bench::new("[{name: a}]");
    let works = &bench.works;
    let knows = |source: &str| {
        works.checkpoint.read(|state| {
            let files = state.files.values().any(|file| file.source == source);
            let known = state.known_sources.iter().any(|known| known == source);
            assert_eq!(files, known);
            known
        })
    };
    // By the pod's name: whether its source leaves of itself, whether reading fails.
    for (name, leaves, fails) in
        [("gone", true, false), ("stays", false, false), ("failed", true, true)]
    {
        let kept = !leaves || fails;
        let read = move || if fails { Err(std::io::Error::other("no")) } else { Ok(()) };
        let source = bench.pod(name);
        let wake = Arc::new(Wake::default());
        let feed = works.feed(&source, &wake, &bench.group).unwrap();
        let lane = Arc::clone(&feed.lanes[0]);
        works.is_known(&source.name);
        works.checkpoint.change(|state| state.name_file(file(&source.name)));
        assert!(works.runs(&source.name) && knows(&source.name));
        let stop = bench.group.signal();
        Arc::clone(works).reading(source.name.clone(), feed, wake, leaves, stop, read).await;
        assert_eq!(works.runs(&source.name), kept, "{name}");
        assert_eq!(knows(&source.name), kept, "{name}");
        assert!(lane.is_closed(), "{name}");
    }
    // It comes back under its name, and is met as one that nobody knows.
    let feed = works.feed(&bench.pod("gone"), &Arc::new(Wake::default()), &bench.group).unwrap();
    assert!(works.runs("pods/gone") && works.is_new("pods/gone") && !feed.lanes[0].is_closed());
}
