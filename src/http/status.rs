//! What the door shows of the house: plain values that `app` fills, so that the door knows neither
//! PostgreSQL nor Loki. No value here may hold a statement's text or a log line's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use std::future::Future;
use std::pin::Pin;

use crate::metric::Family;

/// Families, some time later.
pub type Scrape<'a> = Pin<Box<dyn Future<Output = Vec<Arc<Family>>> + Send + 'a>>;

/// What stands behind the door.
pub trait House: Send + Sync + 'static {
    /// What is known of all instances and of the logs, or (`/probe`) of the one instance named, after
    /// waiting for fresher results for at most `patience`. The agent's own counters are not among it.
    fn scrape<'a>(&'a self, patience: Duration, instance: Option<&'a str>) -> Scrape<'a>;

    /// The configured instances, in the order of the configuration.
    fn targets(&self) -> Vec<Target>;

    fn status(&self) -> Status;

    /// False from the moment the agent is told to stop. Never a matter of PostgreSQL or Loki.
    fn ready(&self) -> bool;
}

/// An instance as service discovery tells of it.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Its name, which `/probe` takes.
    pub name: String,
    pub cluster: String,
    /// The configuration's labels on its series.
    pub labels: BTreeMap<String, String>,
}

/// How a row looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Known to be well.
    Good,
    /// Not begun, or nothing to say.
    #[default]
    Quiet,
    /// To be looked at some time.
    Warn,
    /// Something does not work.
    Bad,
}

/// The status page's rows.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub instances: Vec<InstanceRow>,
    pub queries: Vec<QueryRow>,
    pub logs: Vec<LogRow>,
    pub destinations: Vec<DestinationRow>,
    pub retention: Vec<RetentionRow>,
    pub backups: Vec<BackupRow>,
    pub certificates: Vec<CertificateRow>,
    pub problems: Vec<ProblemRow>,
}

#[derive(Clone, Debug, Default)]
pub struct InstanceRow {
    pub name: String,
    pub cluster: String,
    /// Host, port and database, never a DSN.
    pub address: String,
    pub tone: Tone,
    /// The word of `pgvigil_instance_state`.
    pub state: String,
    /// How long it has been in this state.
    pub since: Option<Duration>,
    /// What is wrong and what to do, one sentence.
    pub message: Option<String>,
    pub version: Option<String>,
    pub role: Option<String>,
    /// In use, and at most.
    pub sessions: Option<(usize, usize)>,
    /// What is worth knowing though it works, such as that the connection is not encrypted.
    pub notices: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct QueryRow {
    /// The name of its instance.
    pub instance: String,
    /// None for a query about the whole instance.
    pub database: Option<String>,
    pub name: String,
    pub pack: String,
    /// `fast`, `medium`, `slow`, `hourly`, or a duration.
    pub interval: String,
    pub tone: Tone,
    /// The word of `pgvigil_query_outcome`; empty before the first run.
    pub outcome: String,
    /// The server's own words about a failure, or why the query does not run here.
    pub message: Option<String>,
    /// Since the last run ended.
    pub age: Option<Duration>,
    pub took: Option<Duration>,
    pub series: usize,
}

#[derive(Clone, Debug, Default)]
pub struct LogRow {
    /// A path, or `stdin`.
    pub file: String,
    pub source: String,
    pub server: String,
    pub tone: Tone,
    /// A word or two: `following`, `gone` …
    pub state: String,
    pub message: Option<String>,
    /// Bytes written but not yet acknowledged.
    pub behind: Option<u64>,
    /// Bytes in it.
    pub size: u64,
}

/// Where the records of one server go on one route.
#[derive(Clone, Debug, Default)]
pub struct DestinationRow {
    pub route: String,
    pub server: String,
    /// Loki's URL without credentials, or the local store's directory.
    pub place: String,
    pub tone: Tone,
    pub state: String,
    pub message: Option<String>,
    /// Entries acknowledged since the agent started.
    pub entries: u64,
    /// Since the last acknowledgement.
    pub last: Option<Duration>,
}

/// How long the destination keeps a route's records, beside how long it should.
#[derive(Clone, Debug, Default)]
pub struct RetentionRow {
    pub route: String,
    pub tone: Tone,
    /// A word or two: `ok`, `too short` …
    pub verdict: String,
    /// As the configuration says; none where it says nothing.
    pub configured: Option<String>,
    /// None where it is not known.
    pub effective: Option<String>,
    /// The verdict in a sentence.
    pub message: String,
}

/// What one source tells of the backups of one server.
#[derive(Clone, Debug, Default)]
pub struct BackupRow {
    pub server: String,
    pub source: String,
    pub tone: Tone,
    /// The words of `pg_backup_state` that hold.
    pub state: String,
    /// Why the source cannot be read and what to do, one sentence.
    pub message: Option<String>,
    /// Since the last success ended.
    pub last: Option<Duration>,
    /// Bytes of that one.
    pub size: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct CertificateRow {
    /// Whose: an instance, Loki, this page.
    pub of: String,
    /// `server`, `ca`, `client` …
    pub usage: String,
    pub expires: SystemTime,
}

#[derive(Clone, Debug, Default)]
pub struct ProblemRow {
    /// A file with line and column, or what else is concerned.
    pub place: String,
    pub tone: Tone,
    pub what: String,
    pub remedy: String,
}
