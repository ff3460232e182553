//! The texts of the tools, one file for each: JSON in, findings out, no I/O.

mod barman;
mod cnpg;
mod dump;
mod pgbackrest;
mod plain;
mod wanted;
mod words;

#[cfg(test)]
mod tests;

pub(crate) use self::dump::{Dump, dumps};
pub(crate) use self::wanted::Wanted;
use super::fault::Fault;
use super::findings::Findings;
use crate::config::BackupSource;

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
