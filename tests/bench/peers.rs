//! Other exporters of PostgreSQL's statistics, where they are installed, told to give what they have of
//! tables and indexes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::support::postgres::Cluster;
use super::support::process::{Server, free_port};

/// A running peer.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
    _directory: TempDir,
}

/// What postgres_exporter shows of each table and index only when told.
const QUERIES: &str = r#"
pg_stat_user_tables:
  query: "SELECT current_database() AS datname, schemaname, relname, seq_scan, seq_tup_read, idx_scan, idx_tup_fetch, n_tup_ins, n_tup_upd, n_tup_del, n_tup_hot_upd, n_live_tup, n_dead_tup, n_mod_since_analyze, vacuum_count, autovacuum_count, analyze_count, autoanalyze_count, pg_table_size(relid) AS size_bytes FROM pg_stat_user_tables"
  metrics:
    - datname: {usage: "LABEL", description: "Database"}
    - schemaname: {usage: "LABEL", description: "Schema"}
    - relname: {usage: "LABEL", description: "Table"}
    - seq_scan: {usage: "COUNTER", description: "Sequential scans"}
    - seq_tup_read: {usage: "COUNTER", description: "Rows read by them"}
    - idx_scan: {usage: "COUNTER", description: "Index scans"}
    - idx_tup_fetch: {usage: "COUNTER", description: "Rows fetched by them"}
    - n_tup_ins: {usage: "COUNTER", description: "Rows inserted"}
    - n_tup_upd: {usage: "COUNTER", description: "Rows updated"}
    - n_tup_del: {usage: "COUNTER", description: "Rows deleted"}
    - n_tup_hot_upd: {usage: "COUNTER", description: "Rows updated in their page"}
    - n_live_tup: {usage: "GAUGE", description: "Live rows"}
    - n_dead_tup: {usage: "GAUGE", description: "Dead rows"}
    - n_mod_since_analyze: {usage: "GAUGE", description: "Rows changed since analyzed"}
    - vacuum_count: {usage: "COUNTER", description: "Vacuums"}
    - autovacuum_count: {usage: "COUNTER", description: "Vacuums by autovacuum"}
    - analyze_count: {usage: "COUNTER", description: "Analyzes"}
    - autoanalyze_count: {usage: "COUNTER", description: "Analyzes by autovacuum"}
    - size_bytes: {usage: "GAUGE", description: "Size"}
pg_statio_user_tables:
  query: "SELECT current_database() AS datname, schemaname, relname, heap_blks_read, heap_blks_hit, idx_blks_read, idx_blks_hit FROM pg_statio_user_tables"
  metrics:
    - datname: {usage: "LABEL", description: "Database"}
    - schemaname: {usage: "LABEL", description: "Schema"}
    - relname: {usage: "LABEL", description: "Table"}
    - heap_blks_read: {usage: "COUNTER", description: "Blocks read"}
    - heap_blks_hit: {usage: "COUNTER", description: "Blocks found in memory"}
    - idx_blks_read: {usage: "COUNTER", description: "Index blocks read"}
    - idx_blks_hit: {usage: "COUNTER", description: "Index blocks found in memory"}
pg_stat_user_indexes:
  query: "SELECT current_database() AS datname, schemaname, relname, indexrelname, idx_scan, idx_tup_read, idx_tup_fetch FROM pg_stat_user_indexes"
  metrics:
    - datname: {usage: "LABEL", description: "Database"}
    - schemaname: {usage: "LABEL", description: "Schema"}
    - relname: {usage: "LABEL", description: "Table"}
    - indexrelname: {usage: "LABEL", description: "Index"}
    - idx_scan: {usage: "COUNTER", description: "Scans"}
    - idx_tup_read: {usage: "COUNTER", description: "Entries read"}
    - idx_tup_fetch: {usage: "COUNTER", description: "Rows fetched"}
"#;

/// Debian's. None where it is not installed.
pub(crate) fn postgres_exporter(cluster: &Cluster) -> Option<Peer> {
    let program = program("POSTGRES_EXPORTER", "postgres-exporter")?;
    let directory = TempDir::new().expect("a temporary directory");
    let queries = directory.path().join("queries.yaml");
    std::fs::write(&queries, QUERIES).expect("a file of queries");
    let mut command = Command::new(program);
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    command
        .arg(format!("--web.listen-address={address}"))
        .arg(format!("--extend.query-path={}", queries.display()))
        .env("DATA_SOURCE_NAME", format!("{}?sslmode=disable", cluster.monitor_dsn()));
    Some(started("postgres_exporter", address, command, directory))
}

/// The crate. None where it is not installed.
pub(crate) fn pg_exporter(cluster: &Cluster) -> Option<Peer> {
    let program = program("PG_EXPORTER", "pg-exporter")?;
    let directory = TempDir::new().expect("a temporary directory");
    let mut command = Command::new(program);
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    command
        .args(["--listen", "127.0.0.1", "--port", &address.port().to_string()])
        .arg("--dsn")
        .arg(format!("{}?sslmode=disable", cluster.monitor_dsn()))
        .args(
            ["database", "stat", "index", "locks", "replication"]
                .map(|c| format!("--collector.{c}")),
        );
    Some(started("pg_exporter", address, command, directory))
}

fn program(variable: &str, component: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        println!("{variable} is not set (tests/install {component} sets it): one peer less");
    }
    found
}

fn started(name: &'static str, address: SocketAddr, command: Command, directory: TempDir) -> Peer {
    let mut server = Server::start(name, command, directory.path());
    server.await_ready(Duration::from_secs(10), || std::net::TcpStream::connect(address).is_ok());
    Peer { name, address, server, _directory: directory }
}
