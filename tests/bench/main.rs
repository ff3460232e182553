//! What the agent costs: CPU seconds and latency per 1,000 scrapes, CPU seconds per GiB of log, and
//! memory, each beside a peer where one is installed. `cargo bench` prints it; nothing is asserted.
//!
//! `PGVIGIL_BENCH_MIB` sets the size of the log (default 64), `PGVIGIL_BENCH_SCRAPES` the scrapes (1000).

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../it/support/mod.rs"]
mod support;

mod generate;
mod measure;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use measure::{Table, cpu_seconds, peak_mib};
use support::agent::{Agent, get, pgvigil, sample};
use support::postgres::Cluster;
use support::process::{Server, free_port};
use tempfile::TempDir;

fn main() {
    // `cargo test` runs benchmarks once with --test, to see that they start: this one has tests' own.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let scrapes = number("PGVIGIL_BENCH_SCRAPES", 1000);
    let mebibytes = number("PGVIGIL_BENCH_MIB", 64);
    scrape_cost(scrapes);
    log_cost(mebibytes);
}

/// `count` scrapes in a row of one idle server: ours, and postgres_exporter's where it is installed.
fn scrape_cost(count: u64) {
    let Some(cluster) = [18, 17, 16, 15, 14, 13].into_iter().find_map(Cluster::start) else {
        return;
    };
    let mut table = Table::new(&[
        "scrapes",
        "series",
        "median ms",
        "worst ms",
        "CPU s per 1,000",
        "server CPU s",
        "peak MiB",
    ]);

    let agent = Agent::start(&format!(
        "instances: [{{name: bench, dsn: \"{}\"}}]\n",
        cluster.monitor_dsn()
    ));
    agent.await_metrics(Duration::from_secs(20), |page| sample(page, "pg_up", &[]) == Some(1.0));
    // Its first round of the slow queries is not what is measured here.
    std::thread::sleep(Duration::from_secs(5));
    let ours = Subject { name: "pgvigil", address: agent.address, pid: agent.pid() };
    let ours = ours.measure(&cluster, count, &mut table);
    drop(agent);

    if let Some(peer) = std::env::var_os("POSTGRES_EXPORTER") {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let directory = TempDir::new().expect("a temporary directory");
        let mut command = Command::new(&peer);
        command
            .arg(format!("--web.listen-address={address}"))
            .env("DATA_SOURCE_NAME", format!("{}?sslmode=disable", cluster.monitor_dsn()));
        let mut server = Server::start("postgres_exporter", command, directory.path());
        server
            .await_ready(Duration::from_secs(10), || std::net::TcpStream::connect(address).is_ok());
        let theirs = Subject { name: "postgres_exporter", address, pid: server.pid() };
        let theirs = theirs.measure(&cluster, count, &mut table);
        table.ratio("pgvigil / postgres_exporter, a scrape a second", ours / theirs);
    } else {
        println!(
            "POSTGRES_EXPORTER is not set (tests/install postgres-exporter sets it): no peer for scrapes"
        );
    }
    table.print();
}

/// What is scraped.
struct Subject {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
}

impl Subject {
    /// Scrapes a second apart, so that each asks the server anew, then `count` in a row, of which most
    /// read what is known already. Gives the CPU of the former.
    fn measure(&self, cluster: &Cluster, count: u64, table: &mut Table) -> f64 {
        let spent =
            self.run("a second apart", Duration::from_millis(1050), count / 5, cluster, table);
        self.run("in a row", Duration::from_millis(10), count, cluster, table);
        spent
    }

    fn run(
        &self,
        how: &str,
        pause: Duration,
        count: u64,
        cluster: &Cluster,
        table: &mut Table,
    ) -> f64 {
        let server_before: f64 = cluster.children().into_iter().map(cpu_seconds).sum();
        let before = cpu_seconds(self.pid);
        let mut took = Vec::new();
        let mut series = 0;
        for _ in 0..count {
            let started = Instant::now();
            let reply = get(self.address, "/metrics", &[]);
            took.push(started.elapsed().as_secs_f64() * 1000.0);
            series = reply.body.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).count();
            std::thread::sleep(pause);
        }
        took.sort_by(f64::total_cmp);
        let spent = (cpu_seconds(self.pid) - before) * 1000.0 / count as f64;
        let server = cluster.children().into_iter().map(cpu_seconds).sum::<f64>() - server_before;
        table.row(
            &format!("{}, {how}", self.name),
            &[
                count.to_string(),
                series.to_string(),
                format!("{:.2}", took[took.len() / 2]),
                format!("{:.2}", took[took.len() - 1]),
                format!("{spent:.2}"),
                format!("{server:.2}"),
                format!("{:.1}", peak_mib(self.pid)),
            ],
        );
        spent
    }
}

/// A generated log from the file to the acknowledged push, against a stub that answers only 204.
fn log_cost(mebibytes: u64) {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    let file = directory.path().join("postgresql.log");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970");
    let first = i64::try_from(now.as_secs()).unwrap_or(0) - 1800;
    let records = generate::log(&file, mebibytes << 20, first).expect("a log file");
    let bytes = std::fs::metadata(&file).expect("the log file").len();
    let stub = measure::Acknowledge::start();
    let configuration = directory.path().join("pgvigil.yml");
    std::fs::write(&configuration, format!(
        "http: {{listen: [\"127.0.0.1:0\"]}}\nstate_directory: {0}/state\nlogs:\n  sources:\n    - {{name: bench, files: [\"{0}/*.log\"], line_prefix: \"%m [%p] %q%u@%d \"}}\n  loki: {{url: \"http://{1}\"}}\n",
        directory.path().display(), stub.address
    )).expect("a configuration");
    let mut command = pgvigil(&["run", "--config"]);
    command.arg(&configuration);
    let started = Instant::now();
    let agent = Agent::spawn(command, Arc::clone(&directory));
    let shipped =
        |page: &str| sample(page, "pgvigil_log_settled_entries_total", &[]).unwrap_or(0.0);
    agent.await_metrics(Duration::from_secs(600), |page| shipped(page) >= records as f64);
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds(agent.pid());
    let gib = bytes as f64 / f64::from(1 << 30);
    let mut table =
        Table::new(&["MiB", "records", "seconds", "CPU s per GiB", "MiB per CPU s", "peak MiB"]);
    table.row(
        "pgvigil",
        &[
            format!("{}", bytes >> 20),
            records.to_string(),
            format!("{elapsed:.1}"),
            format!("{:.2}", cpu / gib),
            format!("{:.0}", gib * 1024.0 / cpu),
            format!("{:.1}", peak_mib(agent.pid())),
        ],
    );
    table.print();
}
