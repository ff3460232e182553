//! What the process is given: its environment and its terminal.

use std::io::IsTerminal;
use std::path::PathBuf;

use crate::config::{Flags, Input, host_name};

/// Whether to colour what is written there: only on a terminal, and not where `NO_COLOR` says
/// anything or the terminal is a dumb one.
pub(super) fn coloured(stream: &impl IsTerminal) -> bool {
    let said = environment("NO_COLOR").is_some_and(|text| !text.is_empty());
    stream.is_terminal() && !said && environment("TERM").as_deref() != Some("dumb")
}

/// One environment variable; the only place that reads the process's own.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where settings come from, for the commands that take a configuration.
pub(super) fn input(file: Option<PathBuf>, flags: Flags) -> Input<'static> {
    Input { file, flags, environment: &environment, host_name: host_name() }
}
