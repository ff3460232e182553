//! The kinds of events.

/// The closed list of kinds: values of the metadata `event` and of metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    Deadlock,
    LockWait,
    Cancel,
    Terminate,
    Authentication,
    Connection,
    Checkpoint,
    Autovacuum,
    TempFile,
    Duration,
    Crash,
    Archive,
    Replication,
    Corruption,
    Resource,
}

impl EventKind {
    pub const ALL: [Self; 15] = [
        Self::Deadlock,
        Self::LockWait,
        Self::Cancel,
        Self::Terminate,
        Self::Authentication,
        Self::Connection,
        Self::Checkpoint,
        Self::Autovacuum,
        Self::TempFile,
        Self::Duration,
        Self::Crash,
        Self::Archive,
        Self::Replication,
        Self::Corruption,
        Self::Resource,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::LockWait => "lock_wait",
            Self::Cancel => "cancel",
            Self::Terminate => "terminate",
            Self::Authentication => "authentication",
            Self::Connection => "connection",
            Self::Checkpoint => "checkpoint",
            Self::Autovacuum => "autovacuum",
            Self::TempFile => "temp_file",
            Self::Duration => "duration",
            Self::Crash => "crash",
            Self::Archive => "archive",
            Self::Replication => "replication",
            Self::Corruption => "corruption",
            Self::Resource => "resource",
        }
    }
}

/// What a record tells beyond its text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Event {
    pub kind: Option<EventKind>,
    /// Microseconds, where the record logs how long something took.
    pub duration_us: Option<u64>,
}
