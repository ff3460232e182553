//! TLS towards PostgreSQL: what a certificate says, how a server's is verified, and the configuration
//! made of it. The crypto provider is given explicitly: the process has no default.

mod certificate;
mod client;
mod explain;
mod verify;

pub use certificate::Certificate;
pub use client::{ClientTls, read_certificates, system_roots};
pub use explain::explain;
pub use verify::{Check, Seen};
