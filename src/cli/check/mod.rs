//! `pgvigil check`: every problem in one run, in what the user wrote and in what it needs.
//!
//! `run` goes from subject to subject, each of which has a file here and adds to what is `found`.

mod backups;
mod files;
mod found;
mod log_settings;
mod loki;
mod queries;
mod run;
mod server;

use std::time::Duration;

pub(super) use run::run;

/// How long one server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
