//! Why a source could not be read, out of a closed list.

use std::io;

/// The label `reason` of `pgvigil_backup_source_outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Not read yet.
    Unread,
    Ok,
    /// Neither file nor command is configured.
    Unconfigured,
    Missing,
    Permission,
    /// It did not end within its time.
    Timeout,
    /// More bytes than a result has.
    TooLarge,
    /// The program could not be started.
    Start,
    /// The program ended with an error.
    Exit,
    /// No JSON.
    Syntax,
    /// JSON of another shape.
    Shape,
    /// It does not tell of the server that is asked for.
    Absent,
    /// It tells of several servers, and none is asked for.
    Ambiguous,
    /// The tool reports an error of its own.
    Tool,
    Error,
}

impl Reason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Ok => "ok",
            Self::Unconfigured => "unconfigured",
            Self::Missing => "missing",
            Self::Permission => "permission",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Start => "start",
            Self::Exit => "exit",
            Self::Syntax => "syntax",
            Self::Shape => "shape",
            Self::Absent => "absent",
            Self::Ambiguous => "ambiguous",
            Self::Tool => "tool",
            Self::Error => "error",
        }
    }
}

/// A reading that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    /// `what; remedy`, without the program's own output, which may hold a secret.
    pub(crate) sentence: String,
}

impl Fault {
    pub(crate) fn new(reason: Reason, sentence: impl Into<String>) -> Self {
        Self { reason, sentence: sentence.into() }
    }

    /// Of a file or directory that cannot be read.
    pub(crate) fn of_file(path: &str, error: &io::Error) -> Self {
        let (reason, what, remedy) = match error.kind() {
            io::ErrorKind::NotFound => (
                Reason::Missing,
                "it does not exist".to_owned(),
                "let the backup job write it, or correct the path",
            ),
            io::ErrorKind::PermissionDenied => {
                (Reason::Permission, "permission denied".to_owned(), "let the agent's user read it")
            }
            _ => (Reason::Error, error.to_string(), "see to its file system"),
        };
        Self::new(reason, format!("cannot read {path}: {what}; {remedy}"))
    }

    /// Of a text that is not what it should be.
    pub(crate) fn of_json(error: &serde_json::Error) -> Self {
        if error.is_data() {
            return Self::new(
                Reason::Shape,
                format!(
                    "the JSON has another shape than expected, at line {}; check which command wrote it",
                    error.line()
                ),
            );
        }
        Self::new(
            Reason::Syntax,
            format!(
                "it is no JSON, or only a part of it, at line {}; write it aside and rename it, and let \
                 the tool print JSON alone",
                error.line()
            ),
        )
    }
}
