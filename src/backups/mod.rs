//! Backups: what the tools that make them tell, as one family whoever tells it.
//!
//! A source is a file of JSON, a command that prints JSON, or the dumps themselves. Each is read by
//! its own clock ([`watcher`]; the I/O is in [`file`], [`command`] and [`listing`]), its text becomes
//! [`Findings`] ([`results`], one file for each tool, pure), and at each scrape findings, schedule and
//! the time become states and families ([`judge`], [`report`], pure).
//!
//! What is not known is a state too: a source that fails, that is old, or that knows no backup is
//! said, and what was known before stays.

mod command;
mod fault;
mod file;
mod findings;
mod judge;
#[cfg(test)]
mod judge_tests;
mod listing;
mod read;
mod report;
mod results;
mod watcher;

pub use judge::State;
pub use report::OWN;
pub use watcher::{BackupStatus, Watcher, look};
