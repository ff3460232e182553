//! The network: TLS, listeners, and the HTTP client.

mod client;
mod dial;
pub mod tls;
pub mod serve;
mod stall;

pub use client::{HttpClient, Reply, SendError, TlsFiles};
