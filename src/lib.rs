//! pgvigil, bottom floor first: a module imports only what stands above it in this list.
//! `tests/it/tidy` reads the list and enforces it; ARCHITECTURE.md tells the story.

// Words: plain values; no input, no output, no clock.
pub mod secret;
pub mod metric;
pub mod postgres;

// Ground: what every room stands on.
pub mod config;
pub mod telemetry;
pub mod task;
pub mod net;

// Rooms that serve one river each.
pub mod exposition;
pub mod packs;
pub mod instances;
pub mod host;
pub mod loki;
pub mod backups;

// The rivers.
pub mod collect;
pub mod logs;

// The door, the house, its handle.
pub mod http;
pub mod app;
pub mod cli;
