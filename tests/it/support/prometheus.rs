//! A real Prometheus.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::agent::get;
use super::process::{Server, component, free_port};

/// A running Prometheus that scrapes `targets` every second and has `rules` loaded.
pub struct Prometheus {
    _server: Server,
    _directory: TempDir,
    pub address: SocketAddr,
}

impl Prometheus {
    /// One that scrapes every second. None where no Prometheus is installed (a failure in CI).
    pub fn start(targets: &[SocketAddr], rules: &[&Path]) -> Option<Self> {
        let program = component("PROMETHEUS")?;
        Some(Self::start_program(&program, Duration::from_secs(1), targets, rules))
    }

    /// The Prometheus `program`, scraping and evaluating at `every`.
    pub fn start_program(
        program: &Path,
        every: Duration,
        targets: &[SocketAddr],
        rules: &[&Path],
    ) -> Self {
        let list = |items: Vec<String>| items.join(", ");
        let configuration = format!(
            "global: {{scrape_interval: {0}s, evaluation_interval: {0}s}}\nrule_files: [{1}]\n\
             scrape_configs:\n- job_name: pgvigil\n  static_configs: [{{targets: [{2}]}}]\n",
            every.as_secs(),
            list(rules.iter().map(|r| format!("\"{}\"", r.display())).collect()),
            list(targets.iter().map(|t| format!("\"{t}\"")).collect()),
        );
        Self::start_configured(program, &configuration)
    }

    /// The Prometheus `program` with a configuration of any kind.
    pub fn start_configured(program: &Path, configuration: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, configuration).expect("a configuration");
        let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let mut server = Server::start("prometheus", command, directory.path());
        server.await_ready(Duration::from_secs(30), || {
            std::net::TcpStream::connect(address).is_ok()
                && get(address, "/-/ready", &[]).status == 200
        });
        Self { _server: server, _directory: directory, address }
    }

    /// The samples of an instant query: labels and value each.
    pub fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let answer = self.api(&format!("/api/v1/query?query={}", escape(expression)));
        answer["data"]["result"]
            .as_array()
            .unwrap_or_else(|| panic!("{expression}: {answer}"))
            .iter()
            .map(|series| {
                let value = series["value"][1].as_str().and_then(|v| v.parse().ok());
                (series["metric"].clone(), value.unwrap_or(f64::NAN))
            })
            .collect()
    }

    pub fn api(&self, path: &str) -> Value {
        serde_json::from_str(&get(self.address, path, &[]).body).expect("JSON")
    }
}

/// Percent-encoding of everything that is not plainly safe in a query.
pub fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
