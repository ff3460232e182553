//! What a session learns about its server right after it connects.

use std::collections::BTreeMap;

use super::{Role, Version};

/// An installed extension of the database that the session is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// `pg_extension.extversion`: not the server's version, since upgrades leave extensions behind.
    pub version: String,
    /// Where its objects live; packs write `{schema}` for it.
    pub schema: String,
}

/// A server as one session sees it. Plain values: selection of queries is a function of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub version: Version,
    pub role: Role,
    /// `pg_control_system().system_identifier`: the same on a primary and its standbys.
    pub system_identifier: String,
    pub timeline: u32,
    /// `cluster_name`, possibly empty.
    pub cluster_name: String,
    pub data_directory: Option<String>,
    /// The database of this session.
    pub database: String,
    /// Those that allow connections and are no templates.
    pub databases: Vec<String>,
    pub extensions: BTreeMap<String, Extension>,
    /// Settings that packs may require, by name (booleans `on`/`off`).
    pub settings: BTreeMap<String, String>,
    pub superuser: bool,
    /// Member of `pg_monitor` (or superuser).
    pub monitor: bool,
    pub log: LogSettings,
    pub whereabouts: Whereabouts,
}

/// Where a server is and what it keeps where: what is needed to find it from outside. Paths are as the
/// server sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Nothing stands between this agent and the server, and both are on one machine: each saw the same
    /// two ends of the connection.
    pub same_machine: bool,
    /// `pg_backend_pid()` of the session that asked, in the server's own numbering of processes.
    pub backend: Option<u32>,
    /// `pg_postmaster_start_time()`, in seconds since 1970.
    pub started: Option<i64>,
    pub system_identifier: String,
    /// `data_directory`; none where the role may not read it.
    pub data_directory: Option<String>,
    /// `log_directory`, absolute or relative to the data directory; none where the server's own collector
    /// does not run, or the role may not read it.
    pub log_directory: Option<String>,
    /// Name and place of each tablespace that has a place of its own.
    pub tablespaces: Vec<(String, String)>,
}

/// How this server writes its stderr log (PostgreSQL manual 20.8, "Error Reporting and Logging").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    pub line_prefix: String,
    /// `log_timezone`, an IANA name.
    pub time_zone: String,
    /// `log_error_verbosity`: terse, default or verbose.
    pub verbosity: String,
}
