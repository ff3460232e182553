//! Tasks with an owner: named groups, a stop in two phases, and waiting between attempts.

mod backoff;
mod group;

pub use backoff::{Backoff, jittered};
pub use group::{Group, Stop};
