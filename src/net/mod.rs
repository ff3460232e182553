//! The network: TLS, listeners, and the HTTP client.

mod client;

pub use client::{HttpClient, Reply, SendError, TlsFiles};
