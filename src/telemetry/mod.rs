//! What the agent says of itself: its counters (crate `prometheus`) and its log (crate `tracing`).

mod counters;
mod log;

pub use counters::Telemetry;
pub use log::start as start_log;
