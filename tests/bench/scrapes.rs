//! What a scrape costs, ours and the peers': CPU of the agent and of the server, latency, memory,
//! sessions; in one run on one server, first empty, then with many tables.

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;

use super::measure::{Table, cpu_seconds, peak_mib, server_cpu_seconds};
use super::peers;
use super::support::agent::{Agent, get_within};
use super::support::postgres::{Cluster, MONITOR, Options};

/// How much is measured.
pub(crate) struct Size {
    /// Scrapes of each subject, and the time from one to the next.
    pub(crate) scrapes: u32,
    pub(crate) every: Duration,
    pub(crate) tables: u32,
}

/// The time that a subject has for its first round of everything.
const FIRST_ROUND: Duration = Duration::from_secs(5);

/// Longer than any exporter takes for a page.
const PATIENCE: Duration = Duration::from_secs(60);

/// No caps, as the peers have none.
const WITHOUT_CAPS: &str = "collection: {tables: all, indexes: all, max_series: none}\n";

/// Prints a table for the server as it is made and one for the server with many tables.
pub(crate) fn costs(size: &Size) {
    // Every session is a line in the log, and so counted.
    let options = Options::default()
        .conf("log_connections = on\nautovacuum = off\nmax_locks_per_transaction = 4096");
    let majors = [18, 17, 16, 15, 14, 13];
    let Some(cluster) = majors.into_iter().find_map(|major| options.clone().start(major)) else {
        return;
    };
    measured("an empty server", &cluster, size);
    if size.tables > 0 {
        for first in (0..size.tables).step_by(1000) {
            let last = (first + 999).min(size.tables - 1);
            cluster.sql(&format!(
                "DO $$ BEGIN FOR n IN {first}..{last} LOOP EXECUTE format('CREATE TABLE \
                 a_table_of_many_%s (id int PRIMARY KEY, word text)', n); END LOOP; END $$"
            ));
        }
        cluster.sql("ANALYZE");
        measured(&format!("{} tables", size.tables), &cluster, size);
    }
}

fn measured(what: &str, cluster: &Cluster, size: &Size) {
    println!(
        "\n{what}, {} scrapes {} s apart; the first round of everything apart",
        size.scrapes,
        size.every.as_secs_f64()
    );
    let mut table = Table::new(&[
        "series",
        "median ms",
        "worst ms",
        "CPU ms",
        "us per series",
        "server CPU ms",
        "sessions",
        "peak MiB",
        "first CPU s",
        "first server CPU s",
    ]);
    for (name, more) in [("pgvigil", ""), ("pgvigil, no caps", WITHOUT_CAPS)] {
        let before = Before::now(cluster);
        let dsn = cluster.monitor_dsn();
        let agent = Agent::start(&format!("instances: [{{name: bench, dsn: \"{dsn}\"}}]\n{more}"));
        Subject { name, address: agent.address, pid: agent.pid(), cluster, before }
            .measure(size, &mut table);
    }
    for start in [peers::postgres_exporter, peers::pg_exporter] {
        let before = Before::now(cluster);
        let Some(peer) = start(cluster) else { continue };
        Subject { name: peer.name, address: peer.address, pid: peer.server.pid(), cluster, before }
            .measure(size, &mut table);
    }
    table.print();
}

/// What the server had done before the subject came.
struct Before {
    cpu: f64,
    sessions: usize,
}

impl Before {
    fn now(cluster: &Cluster) -> Self {
        Self { cpu: server_cpu_seconds(cluster.postmaster()), sessions: sessions(cluster) }
    }
}

/// The sessions that the monitoring role ever had.
fn sessions(cluster: &Cluster) -> usize {
    let authorized = format!("connection authorized: user={MONITOR} ");
    cluster.output().lines().filter(|line| line.contains(&authorized)).count()
}

/// What is scraped.
struct Subject<'a> {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    cluster: &'a Cluster,
    before: Before,
}

impl Subject<'_> {
    fn measure(&self, size: &Size, table: &mut Table) {
        // What is wanted anew at each scrape is there only after one.
        self.scrape();
        std::thread::sleep(FIRST_ROUND);
        self.scrape();
        let first = cpu_seconds(self.pid);
        let server_first = server_cpu_seconds(self.cluster.postmaster());
        let mut took = Vec::new();
        let mut page = Vec::new();
        let started = Instant::now();
        for n in 1..=size.scrapes {
            std::thread::sleep((size.every * n).saturating_sub(started.elapsed()));
            let begin = Instant::now();
            page = self.scrape();
            took.push(begin.elapsed().as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        let a_scrape = |seconds: f64| seconds * 1000.0 / f64::from(size.scrapes);
        let spent = a_scrape(cpu_seconds(self.pid) - first);
        let server = a_scrape(server_cpu_seconds(self.cluster.postmaster()) - server_first);
        let series = series(&page);
        table.row(
            self.name,
            &[
                series.to_string(),
                format!("{:.1}", took[took.len() / 2]),
                format!("{:.1}", took[took.len() - 1]),
                format!("{spent:.1}"),
                format!("{:.2}", spent * 1000.0 / series as f64),
                format!("{server:.1}"),
                (sessions(self.cluster) - self.before.sessions).to_string(),
                format!("{:.1}", peak_mib(self.pid)),
                format!("{first:.2}"),
                format!("{:.2}", server_first - self.before.cpu),
            ],
        );
    }

    /// A page as Prometheus asks for it.
    fn scrape(&self) -> Vec<u8> {
        let gzip = [("Accept-Encoding", "gzip")];
        get_within(PATIENCE, self.address, "/metrics", &gzip).bytes
    }
}

fn series(page: &[u8]) -> usize {
    let mut text = Vec::new();
    if GzDecoder::new(page).read_to_end(&mut text).is_err() {
        text = page.to_vec();
    }
    text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty() && !l.starts_with(b"#")).count()
}
