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
