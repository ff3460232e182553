//! The texts of the tools, one file for each: JSON in, findings out, no I/O.

mod barman;
mod cnpg;
mod dump;
mod pgbackrest;
mod plain;
mod words;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;

pub(crate) use self::dump::{Dump, dumps};
use super::fault::Fault;
use super::findings::Findings;
use crate::config::BackupSource;

/// Whose backups are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// As configured.
    pub(crate) server: Option<&'a str>,
    pub(crate) repository: Option<&'a str>,
    /// The instance and its cluster: what a server is probably called where none is configured.
    pub(crate) probable: [&'a str; 2],
    pub(crate) zone: &'a TimeZone,
}

/// What a tool's JSON tells.
///
/// # Errors
/// Why it tells nothing.
pub(crate) fn parse(
    source: BackupSource,
    text: &[u8],
    wanted: &Wanted<'_>,
) -> Result<Findings, Fault> {
    match source {
        BackupSource::PgBackRest => pgbackrest::parse(text, wanted),
        BackupSource::Barman => barman::parse(text, wanted),
        BackupSource::Cnpg => cnpg::parse(text, wanted),
        BackupSource::Json | BackupSource::Dump => plain::parse(text, wanted),
    }
}
