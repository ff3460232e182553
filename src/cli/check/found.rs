//! What was found, and how it is printed: problems to stdout, what is well to stderr.

use std::io::Write;

use crate::cli::args::Format;
use crate::config::{Place, Problem};

/// What was found, in the order in which it is printed.
#[derive(Default)]
pub(super) struct Found {
    pub(super) problems: Vec<Problem>,
    /// What the configuration needs does not answer, or not as it must.
    pub(super) unavailable: bool,
    /// What is well, for people.
    pub(super) notes: Vec<String>,
}

impl Found {
    pub(super) fn needs(&mut self, place: &Place, what: String, remedy: &str) {
        self.unavailable = true;
        self.advise(place, what, remedy);
    }

    pub(super) fn advise(&mut self, place: &Place, what: String, remedy: &str) {
        let remedy = remedy.to_owned();
        self.problems.push(Problem { place: place.clone(), what, remedy, fatal: false });
    }
}

pub(super) fn print(found: &Found, format: Format) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for problem in &found.problems {
        match format {
            Format::Text => writeln!(out, "{problem}")?,
            Format::Json => {
                let line = serde_json::json!({
                    "file": problem.place.file,
                    "line": problem.place.line,
                    "column": problem.place.column,
                    "what": problem.what,
                    "remedy": problem.remedy,
                    "fatal": problem.fatal,
                });
                writeln!(out, "{line}")?;
            }
        }
    }
    let mut notes = std::io::stderr().lock();
    for note in &found.notes {
        writeln!(notes, "{note}")?;
    }
    if found.problems.is_empty() {
        writeln!(notes, "no problem found")?;
    }
    Ok(())
}
