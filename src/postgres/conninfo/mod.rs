//! libpq's connection strings (PostgreSQL manual 34.1.1): URIs and keywords, read by our own parser,
//! since tokio-postgres knows neither `verify-full` nor the certificate files.
//!
//! No error of this room quotes a value: a password with a bare `@`, `/` or blank ends up in any part of
//! a string that is split in the wrong place.

mod info;
mod keyword;
mod parse;
mod passfile;
mod syntax;
#[cfg(test)]
mod tests;

pub use info::{ChannelBinding, ConnInfo, HostSpec, SslMode};
pub use parse::password_in_argument;
pub use passfile::password_from;
