//! What kind of event a record tells of, by SQLSTATE first and by the server's English wording else.

mod classify;
mod figures;
mod kind;
mod numbers;
mod statements;
mod wording;

pub use classify::classify;
pub(in crate::logs) use figures::{Figure, figures};
pub use kind::{Event, EventKind};
pub(in crate::logs) use statements::statements;

#[cfg(test)]
mod tests;
