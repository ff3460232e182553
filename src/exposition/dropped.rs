//! What could not stand on a page, counted by why.

use std::ops::AddAssign;

/// Series that could not stand on a page, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Another series of the family has the same labels.
    pub duplicate: u64,
    /// The family's name belongs to a family of another kind.
    pub kind: u64,
    /// The family or a label has a name that Prometheus does not take.
    pub name: u64,
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, more: Self) {
        self.duplicate += more.duplicate;
        self.kind += more.kind;
        self.name += more.name;
    }
}

impl Dropped {
    /// Each count with the word for its reason.
    pub fn by_reason(self) -> [(&'static str, u64); 3] {
        [("duplicate", self.duplicate), ("kind", self.kind), ("name", self.name)]
    }
}
