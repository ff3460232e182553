//! The log river: source → envelope → record → events → redact → route → batch.

mod record;

pub use record::{Record, Severity};
