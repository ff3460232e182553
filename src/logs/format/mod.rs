//! Formats: how bytes of a file spell records. The server's text log ("stderr"), whose lines begin with
//! whatever `log_line_prefix` says; csvlog and jsonlog, whose columns are named; PgBouncer's own log;
//! and what runtimes and operators put around each of them. Which it is, is decided line by line.

mod clock;
mod columns;
mod csv;
mod envelope;
mod guess;
mod json;
mod keyword;
mod long;
mod pgbouncer;
mod prefix;
mod reading;

pub use clock::Zone;
pub use keyword::Keyword;
pub use long::{LINE_BYTES, shorten};
pub use prefix::{Escape, Match, Prefix};
pub use reading::{Reading, Verbosity};

pub(in crate::logs) use clock::Clock;
pub(in crate::logs) use columns::{Column, Columns};
pub(in crate::logs) use csv::{Fed, Head, Scanner, head};
pub(in crate::logs) use envelope::{Kind, envelope};
pub(in crate::logs) use guess::known;
pub(in crate::logs) use json::{Object, Wrapped, joined, mended, object, resync};
pub(in crate::logs) use keyword::{foreign_position, is_unknown, severity};
pub(in crate::logs) use long::{BEGINNING_BYTES, joint};
pub(in crate::logs) use pgbouncer::{Pgbouncer, pgbouncer, place, severity as pooler_severity};
pub(in crate::logs) use reading::verbose;
