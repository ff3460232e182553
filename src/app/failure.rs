//! How a run of the program ends when it does not end well, and the exit code that says so.

use crate::config::Problem;

/// Why the program could not do what it was asked (sysexits.h has the codes).
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong: 64.
    Usage(String),
    /// Something that is needed does not answer: 69.
    Unavailable(String),
    /// A bug, or a task that would not stop: 70.
    Internal(String),
    /// The configuration cannot run: 78. Empty where its problems are printed already.
    Configuration(Vec<Problem>),
    /// The same, found only when it was put to work: 78.
    Unusable(String),
}

impl Failure {
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Unavailable(_) => 69,
            Self::Internal(_) => 70,
            Self::Configuration(_) | Self::Unusable(_) => 78,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(text)
            | Self::Unavailable(text)
            | Self::Internal(text)
            | Self::Unusable(text) => f.write_str(text),
            Self::Configuration(problems) => {
                for (at, problem) in problems.iter().enumerate() {
                    if at > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{problem}")?;
                }
                Ok(())
            }
        }
    }
}
