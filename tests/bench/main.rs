//! What the agent costs, beside peers where they are installed: CPU of a scrape, its own and the
//! server's, latency, memory; CPU seconds per GiB of log. `cargo bench` prints it; nothing is asserted.
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `PGVIGIL_BENCH_SCRAPES` | 12 | scrapes of each subject |
//! | `PGVIGIL_BENCH_EVERY` | 5 | seconds from one scrape to the next |
//! | `PGVIGIL_BENCH_TABLES` | 10000 | tables of the second server; 0: no second server |
//! | `PGVIGIL_BENCH_MIB` | 64 | size of the log; 0: no log |

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../it/support/mod.rs"]
mod support;

mod generate;
mod measure;
mod peers;
mod scrapes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use measure::{Table, cpu_seconds, peak_mib};
use support::agent::{Agent, pgvigil, sample};
use tempfile::TempDir;

fn main() {
    // `cargo test` runs benchmarks once with --test, to see that they start: this one has tests' own.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    scrapes::costs(&scrapes::Size {
        scrapes: number("PGVIGIL_BENCH_SCRAPES", 12).max(1),
        every: Duration::from_secs(number("PGVIGIL_BENCH_EVERY", 5)),
        tables: number("PGVIGIL_BENCH_TABLES", 10_000),
    });
    let mebibytes = number("PGVIGIL_BENCH_MIB", 64);
    if mebibytes > 0 {
        log_cost(mebibytes);
    }
}

fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
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
    println!("\na log from its file to acknowledged pushes");
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
