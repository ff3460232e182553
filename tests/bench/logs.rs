//! A generated log from its file to acknowledged pushes: ours, and Promtail's where it is installed, to
//! a stub that only acknowledges and to a real Loki.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::generate::{self, Log};
use super::measure::{Acknowledge, Table, cpu_seconds, peak_mib};
use super::support::agent::{Agent, get, pgvigil, sample};
use super::support::loki::Loki;
use super::support::process::{Server, free_port};

/// Longer than any of them takes for what is asked here.
const PATIENCE: Duration = Duration::from_secs(900);

/// Prints what `mebibytes` of log cost.
pub(crate) fn costs(mebibytes: u64) {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    let file = directory.path().join("postgresql.log");
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    let first = i64::try_from(now.as_secs()).unwrap_or(0) - 1800;
    let log = generate::log(&file, mebibytes << 20, first).expect("a log file");
    println!(
        "\na log from its file to acknowledged pushes: {} MiB, {} records in {} lines with a time",
        log.bytes >> 20,
        log.records,
        log.heads
    );
    let mut table = Table::new(&["seconds", "CPU s per GiB", "MiB per CPU s", "peak MiB"]);
    let promtail = std::env::var_os("PROMTAIL").map(PathBuf::from);
    let stub = Acknowledge::start();
    let stub = format!("http://{}", stub.address);
    let ours = pgvigil_cost(&log, &directory, &stub, "pgvigil, to a stub", &mut table);
    let theirs = promtail.as_ref().map(|program| {
        promtail_cost(&log, &file, program, &stub, "Promtail, to a stub", &mut table)
    });
    if std::env::var_os("LOKI").is_some() {
        if let Some(loki) = Loki::start() {
            pgvigil_cost(&log, &directory, &loki.url(), "pgvigil, to Loki", &mut table);
        }
        if let Some((program, loki)) = promtail.as_ref().zip(Loki::start()) {
            promtail_cost(&log, &file, program, &loki.url(), "Promtail, to Loki", &mut table);
        }
    }
    table.print();
    match theirs {
        Some(theirs) => println!("pgvigil / Promtail, MiB per CPU s: {:.1}", ours / theirs),
        None => println!("PROMTAIL is not set (tests/install promtail sets it): no peer for logs"),
    }
}

fn pgvigil_cost(
    log: &Log,
    directory: &Arc<TempDir>,
    url: &str,
    name: &str,
    table: &mut Table,
) -> f64 {
    let configuration = directory.path().join("pgvigil.yml");
    let state = TempDir::new().expect("a temporary directory");
    let text = format!(
        "http: {{listen: [\"127.0.0.1:0\"]}}\nstate_directory: {}\nlogs:\n  sources:\n    \
         - {{name: bench, files: [\"{}/*.log\"], line_prefix: \"%m [%p] %q%u@%d \"}}\n  loki: {{url: \"{url}\"}}\n",
        state.path().display(),
        directory.path().display(),
    );
    std::fs::write(&configuration, text).expect("a configuration");
    let mut command = pgvigil(&["run", "--config"]);
    command.arg(&configuration);
    let started = Instant::now();
    let agent = Agent::spawn(command, Arc::clone(directory));
    let settled =
        |page: &str| sample(page, "pgvigil_log_settled_entries_total", &[]).unwrap_or(0.0);
    agent.await_metrics(PATIENCE, |page| settled(page) >= log.records as f64);
    row(table, name, log, started.elapsed(), agent.pid())
}

/// Promtail makes an entry of each line with a time, and of what follows it without one.
fn promtail_cost(
    log: &Log,
    file: &Path,
    program: &Path,
    url: &str,
    name: &str,
    table: &mut Table,
) -> f64 {
    let directory = TempDir::new().expect("a temporary directory");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let configuration = directory.path().join("promtail.yaml");
    let text = format!(
        r"server: {{http_listen_address: 127.0.0.1, http_listen_port: {}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {}, log_level: error}}
positions: {{filename: {}/positions.yaml}}
clients: [{{url: '{url}/loki/api/v1/push'}}]
scrape_configs:
  - job_name: bench
    static_configs: [{{targets: [localhost], labels: {{service_name: postgresql, __path__: '{}'}}}}]
    pipeline_stages:
      - multiline: {{firstline: '^\d{{4}}-\d{{2}}-\d{{2}} ', max_wait_time: 1s}}
      - regex: {{expression: '^(?P<time>\S+ \S+ \S+) \[(?P<pid>\d+)\] (?P<user>\S+)@(?P<dbname>\S+) (?P<severity>\w+):'}}
      - timestamp: {{source: time, format: '2006-01-02 15:04:05.000 MST'}}
      - structured_metadata: {{pid: , user: , dbname: , severity: }}
",
        address.port(),
        free_port(),
        directory.path().display(),
        file.display(),
    );
    std::fs::write(&configuration, text).expect("a configuration");
    let mut command = Command::new(program);
    command.arg(format!("-config.file={}", configuration.display()));
    let started = Instant::now();
    let mut server = Server::start("promtail", command, directory.path());
    let sent = |page: &str| {
        let lines = page.lines().filter_map(|l| l.strip_prefix("promtail_sent_entries_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    server.await_ready(PATIENCE, || {
        std::net::TcpStream::connect(address).is_ok()
            && sent(&get(address, "/metrics", &[]).body) >= log.heads as f64
    });
    row(table, name, log, started.elapsed(), server.pid())
}

/// Adds what it took, and gives the MiB per CPU second.
fn row(table: &mut Table, name: &str, log: &Log, took: Duration, pid: u32) -> f64 {
    let cpu = cpu_seconds(pid);
    let mebibytes = log.bytes as f64 / f64::from(1 << 20);
    table.row(
        name,
        &[
            format!("{:.1}", took.as_secs_f64()),
            format!("{:.2}", cpu / mebibytes * 1024.0),
            format!("{:.1}", mebibytes / cpu),
            format!("{:.1}", peak_mib(pid)),
        ],
    );
    mebibytes / cpu
}
