//! What tests stand on: real servers on free loopback ports, the built binary, readers of its pages.
#![allow(dead_code, reason = "each test binary uses its own part of these helpers")]

pub mod agent;
pub mod process;
pub mod prometheus;
