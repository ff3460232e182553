//! Where to begin again behind a record that left.

use std::ops::Range;

/// The records that left and in whose middle a later reading might begin.
#[derive(Debug, Default)]
pub(super) struct Overlaps(Vec<Left>);

#[derive(Debug)]
struct Left {
    bytes: Range<u64>,
    in_parts: bool,
}

impl Overlaps {
    /// A record leaves, and the first that did not begins at `next`: gives back where a reading must
    /// begin that is to find the records from there on. What has lines behind `next` is read from its
    /// beginning. So is what is in parts wherever the reading would begin within it, for its rest alone
    /// may look like the beginning of something else.
    pub(super) fn leave(&mut self, bytes: Range<u64>, in_parts: bool, next: u64) -> u64 {
        self.0.push(Left { bytes, in_parts });
        let reaches =
            |left: &Left, resume| left.bytes.end > if left.in_parts { resume } else { next };
        let mut resume = next;
        while let Some(left) =
            self.0.iter().find(|left| left.bytes.start < resume && reaches(left, resume))
        {
            resume = left.bytes.start;
        }
        self.0.retain(|left| reaches(left, resume));
        resume
    }
}
