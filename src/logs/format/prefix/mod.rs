//! `log_line_prefix`, compiled to a matcher: what PostgreSQL's `log_line_prefix()` (elog.c) prints,
//! read backwards. No pattern engine and no allocation: fields of a closed alphabet are read
//! exactly, free text ends at the next literal behind which the whole rest fits.

mod alphabet;
mod compile;
mod field;
mod matcher;
#[cfg(test)]
mod tests;

pub use compile::Prefix;
pub use field::{Escape, Match};
