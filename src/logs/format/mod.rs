//! Formats: how bytes of a file spell records. Here the server's text log ("stderr"), whose lines
//! begin with whatever `log_line_prefix` says.

mod clock;
mod guess;
mod keyword;
mod prefix;
mod reading;

pub use clock::Zone;
pub use keyword::Keyword;
pub use prefix::{Escape, Match, Prefix};
pub use reading::{Reading, Verbosity};

pub(in crate::logs) use clock::Clock;
pub(in crate::logs) use guess::known;
pub(in crate::logs) use keyword::{foreign_position, is_unknown};
pub(in crate::logs) use reading::verbose;
