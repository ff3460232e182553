//! A collector in the test's own process, and what is asked of it.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgvigil::collect::Collector;
use pgvigil::config::{self, Flags, Input};
use pgvigil::exposition::{Choice, Format, render};
use pgvigil::instances::Budgets;
use pgvigil::packs;
use pgvigil::task::Group;
use pgvigil::telemetry::Telemetry;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::exposition::{Parsed, parse_text};
use crate::support::postgres::Cluster;

/// What `/metrics` waits for at most.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The name of the only instance.
pub(super) const NAME: &str = "one";

/// A running collector; stopped when dropped.
pub(super) struct Watch {
    pub(super) collector: Arc<Collector>,
    pub(super) runtime: Runtime,
    group: Group,
    _directory: TempDir,
}

impl Watch {
    /// Watches `dsn` with the built-in packs, and `pack` (YAML) where it is not empty.
    pub(super) fn start(dsn: &str, pack: &str) -> Self {
        Self::with(dsn, pack, "")
    }

    /// Watches with `pack` alone.
    pub(super) fn alone(dsn: &str, pack: &str) -> Self {
        let names: Vec<&str> = packs::builtin_names().collect();
        Self::with(dsn, pack, &format!("packs: {{exclude: [{}]}}\n", names.join(", ")))
    }

    /// Watches with more configuration, as top-level YAML. A `packs` block there may hold `exclude`.
    pub(super) fn with(dsn: &str, pack: &str, more: &str) -> Self {
        Self::of(&format!("[{{name: {NAME}, dsn: '{dsn}'}}]"), pack, more)
    }

    /// Watches `instances` (YAML).
    pub(super) fn of(instances: &str, pack: &str, more: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("pgvigil.yml");
        let queries = directory.path().join("queries");
        fs::create_dir_all(&queries).unwrap();
        if !pack.is_empty() {
            fs::write(queries.join("own.yaml"), pack).unwrap();
        }
        let mut text = format!("cluster: c\ninstances: {instances}\n{more}");
        let directories = format!("directories: ['{}']", queries.display());
        text = match text.split_once("packs: {") {
            Some((before, after)) => format!("{before}packs: {{{directories}, {after}"),
            None => format!("{text}packs: {{{directories}}}\n"),
        };
        fs::write(&file, text).unwrap();
        let loaded = config::load(&Input {
            file: Some(file),
            flags: Flags::default(),
            environment: &|_| None,
            host_name: "host".to_owned(),
        });
        let settings = loaded.unwrap_or_else(|problems| panic!("{problems:?}")).settings;
        let packs = packs::load(&settings.packs);
        let fatal: Vec<_> = packs.problems.iter().filter(|p| p.fatal).collect();
        assert!(fatal.is_empty(), "{fatal:?}");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let group = Group::new();
        let collector = {
            let _inside = runtime.enter();
            Collector::start(&settings, &packs, &Budgets::new(&group, &Telemetry::new()), &group)
        };
        Self { collector, runtime, group, _directory: directory }
    }

    /// A scrape, and how long it took.
    pub(super) fn timed_scrape(&self) -> (Parsed, Duration) {
        self.scrape_for(PATIENCE)
    }

    pub(super) fn scrape_for(&self, patience: Duration) -> (Parsed, Duration) {
        let begin = Instant::now();
        let families = self.runtime.block_on(self.collector.scrape(patience, None));
        let took = begin.elapsed();
        let page = render(&families, Choice { format: Format::Text, gzip: false });
        let dropped: u64 = page.dropped.by_reason().iter().map(|(_, number)| number).sum();
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        assert_eq!(dropped, 0, "{text}");
        (parse_text(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), took)
    }

    pub(super) fn scrape(&self) -> Parsed {
        self.timed_scrape().0
    }

    /// Scrapes until `found` holds, at most for `within`.
    pub(super) fn await_scrape(&self, within: Duration, found: impl Fn(&Parsed) -> bool) -> Parsed {
        let deadline = Instant::now() + within;
        loop {
            let page = self.scrape();
            if found(&page) {
                return page;
            }
            assert!(Instant::now() < deadline, "not seen within {within:?}: {:#?}", self.told());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until every query has run once.
    pub(super) fn settle(&self) -> Parsed {
        self.await_scrape(Duration::from_secs(30), |_| {
            self.collector.status()[0].queries.iter().all(|query| query.reason.is_some())
        })
    }

    /// The status page's words, for messages.
    pub(super) fn told(&self) -> String {
        format!("{:#?}", self.collector.status())
    }

    /// Ends the collector; whether it ended by itself.
    pub(super) fn stop(&self, drain: Duration, cut: Duration) -> bool {
        self.runtime.block_on(self.group.stop(drain, cut)).is_empty()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(1), Duration::from_secs(2));
    }
}

/// Whether the page calls the instance up.
pub(super) fn up(page: &Parsed) -> bool {
    match page.value("pg_up", &[("cluster", "c"), ("server", NAME)]) {
        Some(1.0) => true,
        Some(0.0) => false,
        other => panic!("pg_up is {other:?}"),
    }
}

/// The one reason that the page gives for the instance's state.
pub(super) fn state(page: &Parsed) -> String {
    let present: Vec<_> =
        page.series("pgvigil_instance_state").filter(|sample| sample.value == 1.0).collect();
    assert_eq!(page.series("pgvigil_instance_state").count(), 13);
    let [one] = present.as_slice() else { panic!("{present:?}") };
    one.label("reason").unwrap().to_owned()
}

/// How a query's last run ended.
pub(super) fn outcome(page: &Parsed, query: &str) -> String {
    let found: Vec<_> = page
        .series("pgvigil_query_outcome")
        .filter(|sample| sample.label("query") == Some(query))
        .collect();
    let [one] = found.as_slice() else { panic!("{query}: {found:?}") };
    assert_eq!(one.value, 1.0);
    one.label("reason").unwrap().to_owned()
}

/// The agent's sessions on the server, as another session counts them. It touches no relation, so
/// that no lock hides them.
pub(super) const SESSIONS: &str =
    "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE application_name LIKE 'pgvigil%'";

pub(super) fn sessions(cluster: &Cluster) -> usize {
    cluster.sql(SESSIONS)[0][0].parse().unwrap()
}
