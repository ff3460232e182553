//! The log river: source → envelope → record → events → redact → route → batch.

mod assemble;
mod batch;
mod checkpoint;
mod count;
mod counter;
mod desk;
pub mod entry;
mod events;
mod follow;
pub mod format;
mod keep;
mod lane;
mod pipeline;
mod record;
mod redact;
mod route;
mod sender;
mod sessions;
mod source;
mod stamp;
pub mod store;
mod sums;
mod wake;
mod works;
#[cfg(test)]
mod works_tests;

pub use assemble::{Assembler, Break, Counts, IDLE};
pub use checkpoint::OpenError;
pub use events::{Event, EventKind, classify};
pub use format::{Prefix, Reading, Verbosity};
pub use lane::Standing;
pub use pipeline::{FileStatus, LaneStatus, LogStatus, Shipper, SourceStatus};
pub use record::{Fields, Format, Key, Part, Record, Severity, SqlState};
pub use redact::{Counts as Redacted, Level, redact};
pub use route::{Rules, kept_in_loki};
pub use source::{Container, Member, containers, docker_members, pods};
pub use works::{Session, StartError};
