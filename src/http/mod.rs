//! The door: what the agent answers over HTTP.
//!
//! `open` binds the listeners and reads the web configuration, so that a mistake in either is told
//! before anything starts; `serve` then answers: metrics and service discovery for Prometheus, health
//! for what runs the agent, and a status page for people. `routes` finds the endpoint, `guard` lets in
//! or turns away, `web_config`, `tls` and `clients` read exporter-toolkit's file, `page` writes the
//! status page. All of it is shown what `status` defines, by whoever implements `House`.

mod clients;
mod guard;
mod routes;
mod server;
mod sd;
mod page;
mod status;
mod tls;
pub mod web_config;

pub use server::{OpenError, Opened, open, serve};
pub use status::{
    BackupRow, CertificateRow, DestinationRow, House, InstanceRow, LogRow, ProblemRow, QueryRow,
    RetentionRow, Scrape, Status, Target, Tone,
};
