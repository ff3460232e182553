//! The log river alone, in the test's own process: a configuration in, a running river out.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgvigil::config::{self, Flags, Input};
use pgvigil::logs::Shipper;
use pgvigil::metric::Point;
use pgvigil::task::Group;
use pgvigil::telemetry::Telemetry;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A configuration of one log file, or of a pattern, that goes to one Loki.
pub fn one_source(files: &Path, url: &str) -> String {
    let files = files.display();
    format!(
        "logs:\n  sources: [{{name: pg, files: [\"{files}\"], server: s1}}]\n  loki: {{url: \"{url}\"}}\n"
    )
}

/// Where a river's files live: its logs in `logs`, its state in `state`.
pub struct Bed {
    directory: TempDir,
}

impl Bed {
    pub fn new() -> Self {
        pgvigil::telemetry::start_log(std::env::var("PGVIGIL_TEST_LOG").ok().as_deref());
        let directory = TempDir::new().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("logs")).expect("a directory");
        Self { directory }
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join("logs").join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Appends to a log file; made if need be.
    pub fn append(&self, name: &str, text: &str) {
        append(&self.log(name), text);
    }

    /// A river on `*.log` that pushes to `url`; `more` is YAML of the block `logs`.
    pub fn river(&self, url: &str, more: &str) -> River {
        self.river_of(&format!(
            "{{sources: [{{name: pg, files: [\"{}\"], server: s1}}], loki: {{url: \"{url}\"}}{more}}}",
            self.log("*.log").display(),
        ))
    }

    /// A river with the block `logs` as given.
    pub fn river_of(&self, logs: &str) -> River {
        self.try_river(logs).unwrap_or_else(|e| panic!("{e}"))
    }

    pub fn try_river(&self, logs: &str) -> Result<River, String> {
        let file = self.directory.path().join("pgvigil.yml");
        let text = format!(
            "state_directory: {}\nlabels: {{environment: test}}\nlogs: {logs}\n",
            self.state().display()
        );
        std::fs::write(&file, text).expect("a configuration");
        let loaded = config::load(&Input {
            file: Some(file),
            flags: Flags::default(),
            environment: &|_| None,
            host_name: "machine".to_owned(),
        });
        let settings = loaded
            .map_err(|problems| {
                problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            })?
            .settings;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let group = Group::new();
        let telemetry = Telemetry::new();
        let shipper = {
            let _inside = runtime.enter();
            Shipper::start(&settings, Vec::new(), &group, &telemetry).map_err(|e| e.to_string())?
        };
        Ok(River { runtime, group, shipper, telemetry })
    }
}

/// A running river.
pub struct River {
    // Dropped first, so that a failed test ends: its tasks stop with their group.
    group: Group,
    pub shipper: Arc<Shipper>,
    telemetry: Telemetry,
    runtime: Runtime,
}

impl River {
    /// Stops it in order; returns whether all ended by itself.
    pub fn stop(self, drain: Duration) -> bool {
        let Self { runtime, group, shipper, .. } = self;
        drop(shipper);
        let left = runtime.block_on(group.stop(drain, Duration::from_secs(5)));
        drop(group);
        runtime.shutdown_timeout(Duration::from_secs(5));
        left.is_empty()
    }

    /// As a SIGKILL would: nothing is finished.
    pub fn abandon(self) {
        let Self { runtime, group, shipper, .. } = self;
        drop(shipper);
        runtime.block_on(group.stop(Duration::ZERO, Duration::ZERO));
        drop(group);
        runtime.shutdown_timeout(Duration::from_secs(5));
    }

    /// The value of a series, summed over those whose labels hold all of `labels`.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let families = self.shipper.families().into_iter().chain(self.telemetry.families());
        let mut found = None;
        for family in families.filter(|family| &*family.name == name) {
            for sample in &family.samples {
                let fits = labels.iter().all(|(n, v)| sample.labels.get(n) == Some(*v));
                if let (true, Point::Number(value)) = (fits, &sample.point) {
                    *found.get_or_insert(0.0) += value;
                }
            }
        }
        found
    }

    /// Waits until so many records were read, and all of them are acknowledged.
    pub fn await_done(&self, records: usize) {
        self.await_value("pg_log_records_total", &[], |count| count >= records as f64);
        self.await_value("pgvigil_log_file_bytes_behind", &[], |bytes| bytes == 0.0);
    }

    pub fn await_value(&self, name: &str, labels: &[(&str, &str)], wanted: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let value = self.value(name, labels);
            if value.is_some_and(&wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{name} {labels:?} is {value:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let mut file: File = file.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.write_all(text.as_bytes()).expect("room on the disk");
}

/// A record as PostgreSQL writes it with `%m [%p] %q%u@%d `, `age` ago.
pub fn record(age: Duration, pid: u32, severity: &str, message: &str) -> String {
    let time = jiff::Timestamp::now()
        .checked_sub(jiff::SignedDuration::try_from(age).expect("short enough"))
        .expect("a time");
    let time = time.strftime("%Y-%m-%d %H:%M:%S%.3f");
    format!("{time} UTC [{pid}] app@shop {severity}:  {message}\n")
}
