//! What the tools' texts are searched for.

use jiff::tz::TimeZone;

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
