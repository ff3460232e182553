//! Where in a shelf something is.

use serde::{Deserialize, Serialize};

/// A place in a shelf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::logs) struct Place {
    pub segment: u64,
    pub offset: u64,
}
