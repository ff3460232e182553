//! The checked configuration: every default filled in, every name valid.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Backup, PgEnvironment, Place, SecretSource};
use crate::metric::Labels;
use crate::secret::Secret;

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
    pub host: Host,
}

/// Where the machine around the servers is seen: a container sees its node's at other places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub proc: PathBuf,
    pub cgroup: PathBuf,
    /// What stands before the paths that a server tells of itself.
    pub root: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), root: "/".into() }
    }
}

impl Settings {
    /// The labels on everything about an instance: who it is, then its own, then everybody's.
    pub fn labels_of(&self, instance: &Instance) -> Labels {
        let identity = [
            (self.cluster_label.as_str(), instance.cluster.as_str()),
            (self.server_label.as_str(), instance.name.as_str()),
        ];
        let labels = instance.labels.iter().chain(&self.labels);
        Labels::new(identity.into_iter().chain(labels.map(|(name, value)| (&**name, &**value))))
    }
}

#[derive(Clone, Debug)]
pub struct Http {
    /// Never empty, no address twice.
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
    /// The value of the label `cluster`.
    pub cluster: String,
    pub kind: InstanceKind,
    /// Any spelling libpq takes: URI or keywords. Its gaps are filled from `environment`.
    pub dsn: SecretSource,
    /// Outranks the password in the DSN.
    pub password: Option<SecretSource>,
    /// libpq's variables as they were when the agent started, for the gaps in the DSN.
    pub environment: PgEnvironment,
    pub databases: DatabaseFilter,
    /// The way through a pooler that is tried regularly; only with [`InstanceKind::Pgbouncer`].
    pub probe: Option<Probe>,
    /// Own labels beside the top level's.
    pub labels: BTreeMap<String, String>,
    /// Packs that this instance alone leaves out.
    pub exclude_packs: Vec<String>,
    /// What was allotted to it, where the file system doesn't tell.
    pub storage: Storage,
    /// How it is backed up.
    pub backups: Vec<Backup>,
    /// Where the user wrote it, for problems that show later.
    pub place: Place,
}

/// A connection through PgBouncer to one of its databases.
#[derive(Clone)]
pub struct Probe {
    pub database: String,
    /// None: the DSN's.
    pub user: Option<String>,
    /// None: where `user` is the DSN's, as for the console, else from the password file.
    pub password: Option<SecretSource>,
    /// For the login and the answer together; 5 s by default.
    pub timeout: Duration,
}

/// Shell patterns (`*`, `?`, `[…]`) over database names: those that a pattern of `include` fits
/// and none of `exclude`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFilter {
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

impl Default for DatabaseFilter {
    fn default() -> Self {
        Self { include: vec!["*".to_owned()], exclude: Vec::new() }
    }
}

/// Directories of an instance as the agent sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    pub data: Option<Volume>,
    pub wal: Option<Volume>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// None: where the server says that it is.
    pub path: Option<PathBuf>,
    /// Bytes allotted; none: what the file system has.
    pub size: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Packs {
    /// Patterns over the names of built-in packs that are off until named, and where they stand.
    pub include: Vec<(String, Place)>,
    /// Read after the built-in ones; a query of the same name replaces the built-in.
    pub directories: Vec<PackDirectory>,
    pub exclude: Vec<String>,
    /// What pgsty's `tags` are compared with.
    pub tags: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct PackDirectory {
    pub path: PathBuf,
    /// `native`, `postgres_exporter`, `cnpg` or `pgsty`; detected when none is given.
    pub dialect: Option<String>,
    /// `nan` or `skip`: what a NULL becomes; the dialect's own way when none is given.
    pub null_values: Option<String>,
    /// Where the user wrote it, for problems that show later.
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervals {
    pub fast: Duration,
    pub medium: Duration,
    pub slow: Duration,
    pub hourly: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            fast: Duration::from_secs(15),
            medium: Duration::from_secs(60),
            slow: Duration::from_secs(300),
            hourly: Duration::from_secs(3600),
        }
    }
}

/// | key | default | lifted by |
/// | --- | --- | --- |
/// | `intervals` | fast 15 s, medium 1 min, slow 5 min, hourly 1 h | |
/// | `tables`, `indexes` | 200 | `all` |
/// | `max_series` | 5000 | `none` |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    pub intervals: Intervals,
    /// Per query; none lifts the cap.
    pub max_series: Option<usize>,
    /// Tables shown one by one, the rest in totals; none shows all.
    pub tables: Option<usize>,
    /// As `tables`.
    pub indexes: Option<usize>,
}

impl Default for Collection {
    fn default() -> Self {
        Self {
            intervals: Intervals::default(),
            max_series: Some(5000),
            tables: Some(200),
            indexes: Some(200),
        }
    }
}

#[derive(Clone)]
pub struct Logs {
    /// Never empty, no name twice.
    pub sources: Vec<LogSource>,
    /// Never empty: by default one route `admin`.
    pub routes: Vec<Route>,
    /// Always there where `destination` is Loki.
    pub loki: Option<LokiTarget>,
    pub destination: Destination,
    pub store: Store,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Loki,
    Local,
}

/// The local store, and what standard input is spooled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// 1 GiB by default; it outranks every `keep`.
    pub max_bytes: u64,
    /// 7 days by default; for routes that say nothing of their own.
    pub keep: Duration,
}

impl Default for Store {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, keep: Duration::from_secs(7 * 86400) }
    }
}

/// Where reading begins in a file that is met for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Beginning,
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogInput {
    /// Absolute glob patterns, at least one.
    Files(Vec<String>),
    Stdin,
    Kubernetes(Kubernetes),
    Docker(Docker),
}

/// The logs of a node's pods; each pod is a server of its own. Lists hold glob patterns, an empty one
/// fits all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    pub root: PathBuf,
    pub namespaces: Vec<String>,
    pub pods: Vec<String>,
    pub containers: Vec<String>,
    /// The cluster of all of them, where the user named one; else each pod's own name tells it.
    pub cluster: Option<String>,
}

/// The logs of a machine's containers, as Docker's json-file driver writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Docker {
    pub root: PathBuf,
    /// Glob patterns over containers' names; empty: all.
    pub names: Vec<String>,
    /// All its containers are this one server's, for the user named it; else each is its own.
    pub one_server: bool,
    /// The cluster of all of them, where the user named one; else each container's own name.
    pub cluster: Option<String>,
}

/// How a source's records are written; `Auto` decides for each record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Auto,
    Stderr,
    Csv,
    Json,
    Cnpg,
    Plain,
}

impl LogFormat {
    /// The configuration's words.
    pub const WORDS: [(&str, Self); 6] = [
        ("auto", Self::Auto),
        ("stderr", Self::Stderr),
        ("csv", Self::Csv),
        ("json", Self::Json),
        ("cnpg", Self::Cnpg),
        ("plain", Self::Plain),
    ];
}

#[derive(Clone, Debug)]
pub struct LogSource {
    pub name: String,
    pub input: LogInput,
    /// The stream's identity labels.
    pub cluster: String,
    pub server: String,
    /// What its streams carry beside the identity: the top level's labels and its instance's.
    pub labels: BTreeMap<String, String>,
    /// The instance that it belongs to, by its index in `Settings::instances`.
    pub instance: Option<usize>,
    pub format: LogFormat,
    /// `log_line_prefix`; none: from the session, else guessed from the lines.
    pub line_prefix: Option<String>,
    /// An IANA name for the times in the lines; none: from the session, else the lines' own words.
    pub time_zone: Option<String>,
    pub start: Start,
    /// Where the user wrote it, for problems that show later.
    pub place: Place,
}

/// What is masked before a record leaves the process. Each level masks what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redaction {
    Credentials,
    Literals,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The value of the stream label `route`.
    pub name: String,
    pub redact: Redaction,
    pub tenant: Option<String>,
    /// How long its records are kept; none: as long as the destination does by itself.
    pub keep: Option<Duration>,
    /// Patterns over database names; empty: all records, also those of no database.
    pub databases: Vec<String>,
    /// Kinds of events and of statements that it is for; empty: all records.
    pub include_events: Vec<String>,
    /// Those that it leaves out.
    pub exclude_events: Vec<String>,
    /// What is masked beside `redact`, in this order.
    pub patterns: Vec<Masking>,
}

impl Route {
    /// The route that is there when none is written.
    pub fn everything() -> Self {
        Self {
            name: "admin".to_owned(),
            redact: Redaction::Credentials,
            tenant: None,
            keep: None,
            databases: Vec::new(),
            include_events: Vec::new(),
            exclude_events: Vec::new(),
            patterns: Vec::new(),
        }
    }
}

/// What users want masked in their logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masking {
    /// A regular expression that compiles within [`PATTERN_BYTES`](Self::PATTERN_BYTES).
    pub pattern: String,
    /// What stands in its place; `$1` is the first group.
    pub replace: String,
}

impl Masking {
    /// The memory that a compiled pattern may take, and as much for its cache.
    pub const PATTERN_BYTES: usize = 4 << 20;
    /// What stands in the place of a secret, unless the user says otherwise.
    pub const MASK: &str = "***";

    /// # Errors
    /// A sentence's end, when the pattern is none, or takes too much memory.
    pub fn compile(pattern: &str) -> Result<regex::Regex, String> {
        regex::RegexBuilder::new(pattern)
            .size_limit(Self::PATTERN_BYTES)
            .dfa_size_limit(Self::PATTERN_BYTES)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => "takes more than 4 MiB of memory".to_owned(),
                other => {
                    // The reason stands in the last line, below the pattern and a mark.
                    let text = other.to_string();
                    let reason = text.lines().last().unwrap_or("").trim_start_matches("error: ");
                    format!("is no regular expression ({reason})")
                }
            })
    }
}

#[derive(Clone)]
pub struct LokiTarget {
    /// The base URL, without `/loki/api/v1/push` and without a slash at its end.
    pub url: String,
    /// On every stream, beside the other labels.
    pub labels: BTreeMap<String, String>,
    pub basic_auth: Option<(String, SecretSource)>,
    pub bearer_token: Option<SecretSource>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub proxy: Option<Proxy>,
    /// Where the user wrote it, for problems that show later.
    pub place: Place,
}

/// An HTTP proxy on the way to Loki.
#[derive(Clone)]
pub struct Proxy {
    /// `http://HOST:PORT`, with a user and a password where it asks for them.
    pub url: Secret,
    /// What is reached without it, as `NO_PROXY` says: hosts, domains, networks, separated by commas.
    pub bypass: String,
}
