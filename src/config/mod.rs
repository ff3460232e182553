//! What the user wrote, checked: one YAML file (or none), the environment and the flags become
//! [`Settings`], or a list of every [`Problem`] found.
//!
//! [`load`] reads the file into a tree that knows where everything stands ([`yaml`]), and each block
//! has a file here that walks its part of the tree. A step of the walk that fails notes a problem and
//! leaves the default in place, so one run tells everything.

mod backups;
mod collection;
mod environment;
mod host;
mod http;
mod input;
mod instances;
mod labels;
mod load;
mod logs;
mod loki;
mod packs;
mod problem;
mod routes;
mod scalar;
mod schedule;
mod secret;
mod settings;
mod walk;
pub mod yaml;

pub use backups::{Backup, BackupCommand, BackupInput, BackupSource};
pub use environment::{Lookup, PgEnvironment, host_name};
pub use input::{Flags, Input};
pub use load::{Examined, Loaded, examine, load};
pub use packs::DIALECTS;
pub use problem::{Place, Problem};
pub use routes::{EVENT_KINDS, STATEMENT_KINDS};
pub use scalar::{byte_size, duration, nearest};
pub use schedule::Schedule;
pub use secret::{Current, SecretReader, SecretSource};
pub use settings::{
    Collection, DatabaseFilter, Destination, Docker, Host, Http, Instance, InstanceKind, Intervals,
    Kubernetes, LogFormat, LogInput, LogSource, Logs, LokiTarget, Masking, PackDirectory, Packs,
    Probe, Proxy, Redaction, Route, Settings, Start, Storage, Store, Volume,
};
