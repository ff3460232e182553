//! What tests stand on: real servers on free loopback ports, the built binary, readers of its pages.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "two programs share these helpers, the tests and the demo; each uses its own part"
)]

pub mod agent;
pub mod exposition;
pub mod loki;
pub mod monitor;
pub mod pki;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod river;
