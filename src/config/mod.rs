//! What the user wrote, checked: one YAML file (or none), the environment and the flags become
//! [`Settings`], or a list of every [`Problem`] found.

mod problem;
mod secret;
mod settings;

pub use problem::{Place, Problem};
pub use secret::SecretSource;
pub use settings::{
    Collection, DatabaseFilter, Destination, Http, Instance, InstanceKind, Intervals, LogInput,
    LogSource, Logs, LokiTarget, PackDirectory, Packs, Redaction, Route, Settings, Start, Store,
};
