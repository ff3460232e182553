//! Everything that settings come from.

use std::path::PathBuf;

use super::environment::Lookup;

/// What was given on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--listen`: takes the place of `http.listen`.
    pub listen: Vec<String>,
    /// `--logs`: takes the place of `logs.sources`.
    pub logs: Vec<String>,
    /// `--loki`: takes the place of `logs.loki.url`, and makes Loki the destination.
    pub loki: Option<String>,
    /// `--state-directory`.
    pub state_directory: Option<PathBuf>,
    /// `--dsn`: takes the place of all instances.
    pub dsn: Option<String>,
}

/// Where settings come from: `--config`, the other flags, the environment.
pub struct Input<'a> {
    /// `--config`.
    pub file: Option<PathBuf>,
    pub flags: Flags,
    pub environment: Lookup<'a>,
    /// The machine's name ([`super::host_name`]), for instances and logs that have no better one.
    pub host_name: String,
}
