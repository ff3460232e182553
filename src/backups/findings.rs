//! What a source tells of backups, whatever tool made them.

use std::collections::BTreeSet;

use jiff::Timestamp;

/// The type of a backup, out of a closed list: the label `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Full,
    Differential,
    Incremental,
    Snapshot,
    Dump,
    Other,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Differential => "differential",
            Self::Incremental => "incremental",
            Self::Snapshot => "snapshot",
            Self::Dump => "dump",
            Self::Other => "other",
        }
    }

    /// By the words of the tools; nothing said is a full backup.
    pub(crate) fn of(word: Option<&str>) -> Self {
        match word.unwrap_or_default().to_ascii_lowercase().as_str() {
            "" | "full" | "rsync" | "base" => Self::Full,
            "diff" | "differential" => Self::Differential,
            "incr" | "incremental" => Self::Incremental,
            "snapshot" | "volumesnapshot" => Self::Snapshot,
            "dump" => Self::Dump,
            _ => Self::Other,
        }
    }

    /// Whether it stands for itself, so that its size can be compared with the one before.
    pub(crate) fn is_whole(self) -> bool {
        matches!(self, Self::Full | Self::Dump)
    }
}

/// How a backup went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
    Running,
}

/// One backup.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Taken {
    pub(crate) kind: Kind,
    pub(crate) outcome: Outcome,
    /// Where the tool has several places to put them.
    pub(crate) repository: Option<String>,
    pub(crate) began: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    /// What it takes where it lies.
    pub(crate) bytes: Option<f64>,
    /// False where a tool tells the last one alone: it is not one of a list that can be counted.
    pub(crate) listed: bool,
}

impl Taken {
    /// When it ended, else when it began: failed ones often tell only that.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.ended.or(self.began)
    }
}

/// All that one reading told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Findings {
    pub(crate) taken: Vec<Taken>,
    /// Repositories that the tool names, also those without a backup; empty where it has none.
    pub(crate) repositories: BTreeSet<String>,
    /// The first moment that can be restored to, where the tool tells it.
    pub(crate) window_start: Option<Timestamp>,
    /// A backup runs now, of which no more is told.
    pub(crate) running: bool,
    /// Whether what is in `taken` is a list, so that none there means that there is none.
    pub(crate) listed: bool,
    /// Bytes free where dumps are written.
    pub(crate) space: Option<u64>,
    /// What the tool itself finds wrong, in its own words.
    pub(crate) complaint: Option<String>,
}

impl Findings {
    /// Repositories that are named or have a backup; where there is neither, the one without a name.
    pub(crate) fn places(&self) -> Vec<Option<String>> {
        let mut all: Vec<Option<String>> = self.repositories.iter().cloned().map(Some).collect();
        all.extend(self.taken.iter().map(|taken| taken.repository.clone()));
        all.sort_unstable();
        all.dedup();
        if all.is_empty() {
            all.push(None);
        }
        all
    }
}
