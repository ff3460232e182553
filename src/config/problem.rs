//! Something wrong in what the user wrote, told so that it can be mended.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where a problem stands: a file, and line and column (both from 1) where they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Option<PathBuf>,
    pub line: u64,
    pub column: u64,
}

impl Place {
    /// A file as a whole.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) if self.line > 0 => {
                write!(f, "{}:{}:{}", file.display(), self.line, self.column.max(1))
            }
            Some(file) => write!(f, "{}:1:1", file.display()),
            None => f.write_str("command line or environment:1:1"),
        }
    }
}

/// One problem. `fatal` ones keep the program from running, the others do not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub place: Place,
    pub what: String,
    pub remedy: String,
    pub fatal: bool,
}

impl Problem {
    /// A problem that keeps the program from running.
    pub fn fatal(place: Place, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place, what: what.into(), remedy: remedy.into(), fatal: true }
    }

    /// A problem that the program can run with.
    pub fn warning(place: Place, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place, what: what.into(), remedy: remedy.into(), fatal: false }
    }
}

/// Why a file cannot be read, in a few words and without the system's number.
pub(super) fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        other => other.to_string(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.remedy)
    }
}
