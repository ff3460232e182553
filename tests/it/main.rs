//! Every test that drives the built binary or crosses rooms, one module a subject.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail, and say so")]

mod config; // configuration files and what is said about them
mod collect; // scrapes of real servers: outages, locks, bad queries
mod exposition; // pages: golden files, promtool, an independent reader
mod sessions; // sessions with real servers, TLS, budgets
mod logs; // the log river: rotation, outages, restarts
mod http; // endpoints, limits, TLS and users of the door
mod assembling; // records made up, written as the server does, read back
mod records; // logs to records, masked: fixtures
mod support; // real servers, the built binary, readers of pages
mod tidy; // imports between rooms, length of files, the dependency tree
