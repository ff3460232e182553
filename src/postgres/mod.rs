//! PostgreSQL's own words as plain values: versions, roles, SQLSTATE, connection strings, and what a
//! session learns about its server.

mod conninfo;
mod facts;
mod reason;
mod version;

pub use conninfo::{
    ChannelBinding, ConnInfo, HostSpec, SslMode, password_from, password_in_argument,
};
pub use facts::{Extension, Facts, LogSettings, Whereabouts};
pub use reason::{HostReason, InstanceReason, QueryReason};
pub use version::{Version, VersionRange};

/// Whether a server writes its own WAL or replays another's (`pg_is_in_recovery()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Primary,
    Standby,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        }
    }
}
