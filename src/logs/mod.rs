//! The log river: source → envelope → record → events → redact → route → batch.

mod assemble;
pub mod entry;
mod events;
pub mod format;
mod record;
mod redact;

pub use assemble::{Assembler, Break, Counts, IDLE};
pub use events::{Event, EventKind, classify};
pub use format::{Prefix, Reading, Verbosity};
pub use record::{Fields, Key, Part, Record, Severity, SqlState};
pub use redact::{Counts as Redacted, Level, redact};
