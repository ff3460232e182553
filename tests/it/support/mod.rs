//! What tests stand on: real servers on free loopback ports, the built binary, readers of its pages.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the tests, the benchmark and the demo share these helpers, and each uses its own part"
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
