//! Dumps, by their files: the time of the last write is when a dump ended, if it grows no more.

use std::time::Duration;

use jiff::Timestamp;

use crate::backups::findings::{Findings, Kind, Outcome, Taken};

/// A file, or a directory with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dump {
    pub(crate) bytes: u64,
    /// The newest write.
    pub(crate) written: Timestamp,
}

/// What the dumps tell: those written within `settle` before `now` are still being made, empty ones
/// have failed.
pub(crate) fn dumps(
    found: &[Dump],
    space: Option<u64>,
    settle: Duration,
    now: Timestamp,
) -> Findings {
    #[expect(clippy::cast_precision_loss, reason = "a size beyond 2^53 may be rounded")]
    let taken = |dump: &Dump| {
        let quiet = now.duration_since(dump.written);
        let settled = Duration::try_from(quiet).is_ok_and(|quiet| quiet >= settle);
        let outcome = match (settled, dump.bytes) {
            (false, _) => Outcome::Running,
            (true, 0) => Outcome::Failed,
            (true, _) => Outcome::Done,
        };
        Taken {
            kind: Kind::Dump,
            outcome,
            repository: None,
            // What is being written now began at some time before: the last write is the nearest
            // that is known.
            began: (!settled).then_some(dump.written),
            ended: settled.then_some(dump.written),
            bytes: Some(dump.bytes as f64),
            listed: true,
        }
    };
    Findings {
        taken: found.iter().map(taken).collect(),
        listed: true,
        space,
        ..Findings::default()
    }
}
