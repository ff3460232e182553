//! Where lines come from: files by pattern, and standard input. Here are the input and the clock of
//! the river; what becomes of the lines is decided elsewhere.

mod arrived;
mod content;
mod crowd;
mod files;
mod identity;
mod kin;
mod leave;
mod lines;
mod lost;
#[cfg(test)]
mod lost_tests;
mod meet;
#[cfg(test)]
mod packed_tests;
mod reader;
mod reading;
mod scan;
mod stdin;
#[cfg(test)]
mod tests;
mod track;

pub use crowd::{Container, Member, containers, docker_members, pods};
pub(super) use files::{Files, Patterns, run};
pub(super) use identity::{Head, Tail};
pub(super) use reader::{Desk, RouteSet, Taken};
pub(super) use reading::Readings;
pub(super) use stdin::{Stdin, run as run_stdin};
