//! The checked configuration: every default filled in, every name valid.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::SecretSource;

/// All that the agent needs to know to run.
#[derive(Clone)]
pub struct Settings {
    /// On every series about an instance and on every stream (design: `labels`).
    pub labels: BTreeMap<String, String>,
    /// The names under which the identity labels are written; `cluster` and `server` by default.
    pub cluster_label: String,
    pub server_label: String,
    pub state_directory: PathBuf,
    pub http: Http,
    pub instances: Vec<Instance>,
    pub packs: Packs,
    pub collection: Collection,
    /// None where no log source is configured.
    pub logs: Option<Logs>,
}

#[derive(Clone, Debug)]
pub struct Http {
    pub listen: Vec<SocketAddr>,
    /// exporter-toolkit's `web.config.file`.
    pub web_config_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceKind {
    Postgres,
    Pgbouncer,
}

#[derive(Clone)]
pub struct Instance {
    /// The value of the label `server`.
    pub name: String,
    pub cluster: String,
    pub kind: InstanceKind,
    /// Any spelling libpq takes: URI or keywords. Gaps are filled already from `PG*`.
    pub dsn: SecretSource,
    pub password: Option<SecretSource>,
    pub databases: DatabaseFilter,
    /// Own labels beside the top level's.
    pub labels: BTreeMap<String, String>,
    /// Packs that this instance alone leaves out.
    pub exclude_packs: Vec<String>,
}

/// Shell patterns (`*`, `?`) over database names.
#[derive(Clone, Debug)]
pub struct DatabaseFilter {
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Packs {
    /// Read after the built-in ones; a query of the same name replaces the built-in.
    pub directories: Vec<PackDirectory>,
    pub exclude: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct PackDirectory {
    pub path: PathBuf,
    /// `native`, `postgres_exporter`, `cnpg` or `pgsty`; detected when none is given.
    pub dialect: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Intervals {
    pub fast: Duration,
    pub medium: Duration,
    pub slow: Duration,
    pub hourly: Duration,
}

#[derive(Clone, Debug)]
pub struct Collection {
    pub intervals: Intervals,
    /// Per query; none lifts the cap.
    pub max_series: Option<usize>,
    pub tables: Option<usize>,
    pub indexes: Option<usize>,
}

#[derive(Clone)]
pub struct Logs {
    pub sources: Vec<LogSource>,
    /// Never empty: by default one route `admin`.
    pub routes: Vec<Route>,
    pub loki: Option<LokiTarget>,
    pub destination: Destination,
    pub store: Store,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Loki,
    Local,
}

#[derive(Clone, Debug)]
pub struct Store {
    pub max_bytes: u64,
    pub keep: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Beginning,
    End,
}

#[derive(Clone, Debug)]
pub enum LogInput {
    /// Glob patterns.
    Files(Vec<String>),
    Stdin,
}

#[derive(Clone, Debug)]
pub struct LogSource {
    pub name: String,
    pub input: LogInput,
    /// The stream's identity labels.
    pub cluster: String,
    pub server: String,
    /// The instance that it belongs to, by its index in `Settings::instances`.
    pub instance: Option<usize>,
    /// `log_line_prefix`; none: from the session, else guessed from the lines.
    pub line_prefix: Option<String>,
    /// An IANA name for the times in the lines; none: from the session, else the lines' own words.
    pub time_zone: Option<String>,
    pub start: Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redaction {
    Credentials,
    Literals,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    pub redact: Redaction,
    pub tenant: Option<String>,
    pub keep: Option<Duration>,
    /// Patterns over database names; empty: all.
    pub databases: Vec<String>,
    pub exclude_events: Vec<String>,
}

#[derive(Clone)]
pub struct LokiTarget {
    /// The base URL, without `/loki/api/v1/push`.
    pub url: String,
    pub labels: BTreeMap<String, String>,
    pub basic_auth: Option<(String, SecretSource)>,
    pub bearer_token: Option<SecretSource>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}
