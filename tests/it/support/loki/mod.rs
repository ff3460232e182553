//! A real Loki, and a stub of one that does to pushes whatever a test tells it.

mod stub;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::agent::{get, get_within, project};
use super::process::{Server, component, free_port};
use super::prometheus::escape;
pub use stub::{Push, Stub};

/// A query over days is dozens for Loki, and a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

const PAGE: usize = 5000;

/// An entry as it lies in Loki: nanoseconds, line, metadata in the order of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub ns: i64,
    pub line: String,
    pub metadata: BTreeMap<String, String>,
}

/// A running Loki with a directory of its own.
pub struct Loki {
    server: Option<Server>,
    directory: TempDir,
    pub address: SocketAddr,
    grpc: u16,
    /// What is replaced in the template beside its marks.
    changes: &'static [(&'static str, &'static str)],
}

impl Loki {
    /// None where no Loki is installed (a failure in CI).
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// With some lines of its configuration changed.
    pub fn start_with(changes: &'static [(&'static str, &'static str)]) -> Option<Self> {
        component("LOKI")?;
        let directory = TempDir::new().expect("a temporary directory");
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let mut loki = Self { server: None, directory, address, grpc: free_port(), changes };
        loki.resume();
        Some(loki)
    }

    /// SIGKILL; what it has acknowledged stays on disk.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again on what it has.
    pub fn resume(&mut self) {
        let template = project("tests/tools/loki/loki.yaml");
        let mut text = std::fs::read_to_string(template)
            .expect("the template")
            .replace("{{http_port}}", &self.address.port().to_string())
            .replace("{{grpc_port}}", &self.grpc.to_string())
            .replace("{{dir}}", &self.directory.path().display().to_string());
        for (line, changed) in self.changes {
            assert!(text.contains(line), "{line} is not in the template");
            text = text.replace(line, changed);
        }
        let file = self.directory.path().join("loki.yaml");
        std::fs::write(&file, text).expect("a configuration");
        let mut command = Command::new(component("LOKI").expect("seen before"));
        command.arg(format!("-config.file={}", file.display()));
        let mut server = Server::start("loki", command, self.directory.path());
        let address = self.address;
        server.await_ready(Duration::from_secs(60), || {
            TcpStream::connect(address).is_ok() && get(address, "/ready", &[]).status == 200
        });
        self.server = Some(server);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every entry of the last two days that a log query finds, oldest first.
    pub fn entries(&self, query: &str) -> Vec<Entry> {
        let mut found: Vec<Entry> = Vec::new();
        let mut start = 0;
        loop {
            // The newest of one page is the oldest of the next: the limit may cut one nanosecond.
            let page = self.page(query, start);
            let Some(last) = page.last().map(|entry| entry.ns) else { break };
            let full = page.len() == PAGE;
            found.extend(page);
            if !full {
                break;
            }
            assert!(last > start, "more entries of one nanosecond than a page holds");
            start = last;
            found.retain(|entry| entry.ns < last);
        }
        found
    }

    fn page(&self, query: &str, start: i64) -> Vec<Entry> {
        // Loki asks hour by hour, so years would take minutes.
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as i64;
        let day = 86_400_000_000_000;
        let start = start.max(now - 2 * day);
        let path = format!(
            "/loki/api/v1/query_range?query={}&start={start}&end={}&limit={PAGE}&direction=forward",
            escape(query),
            now + day
        );
        let headers = [("X-Loki-Response-Encoding-Flags", "categorize-labels")];
        let reply = get_within(PATIENCE, self.address, &path, &headers);
        assert_eq!(reply.status, 200, "{query}: {}", reply.body);
        let answer: Value = serde_json::from_str(&reply.body).expect("JSON");
        let mut entries = Vec::new();
        for stream in answer["data"]["result"].as_array().expect("streams") {
            for value in stream["values"].as_array().expect("values") {
                let metadata = value[2]["structuredMetadata"].as_object();
                entries.push(Entry {
                    ns: value[0].as_str().and_then(|ns| ns.parse().ok()).expect("a time"),
                    line: value[1].as_str().expect("a line").to_owned(),
                    metadata: metadata
                        .into_iter()
                        .flatten()
                        .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
                        .collect(),
                });
            }
        }
        entries.sort();
        entries
    }

    /// How many entries Loki itself counts over the last `hours`.
    pub fn count(&self, query: &str, hours: u32) -> u64 {
        let path = format!(
            "/loki/api/v1/query?query={}",
            escape(&format!("sum(count_over_time({query} [{hours}h]))"))
        );
        let reply = get_within(PATIENCE, self.address, &path, &[]);
        let answer: Value = serde_json::from_str(&reply.body).expect("JSON");
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}
