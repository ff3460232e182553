//! Reading the local store: what `pgvigil logs cat` shows.

use std::io;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::shelf;
use super::shelves::{STORE, directory_name};
use crate::logs::Severity;
use crate::loki;

/// Which entries are wanted; what is not set wants all.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Nanoseconds since 1970: from there on.
    pub since: Option<i64>,
    /// Before there.
    pub until: Option<i64>,
    /// At least this severe. Lines that are no record have no severity.
    pub severity: Option<Severity>,
    pub database: Option<String>,
    /// A SQLSTATE, or its first two characters for the class.
    pub sqlstate: Option<String>,
    /// Part of the line.
    pub text: Option<String>,
}

/// One entry of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Nanoseconds since 1970.
    pub ns: i64,
    pub line: String,
    pub metadata: Vec<(String, String)>,
    /// The stream's labels as the push API takes them.
    pub labels: String,
}

impl Query {
    fn wants_span(&self, oldest: i64, newest: i64) -> bool {
        self.since.is_none_or(|since| newest >= since)
            && self.until.is_none_or(|until| oldest < until)
    }

    fn wants(&self, entry: &loki::Entry<'_>) -> bool {
        let has = |name: &str, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| entry.get(name) == Some(wanted))
        };
        let severity = || {
            let word = entry.get("severity")?;
            Severity::ALL.into_iter().find(|severity| severity.as_str() == word)
        };
        self.wants_span(entry.ns, entry.ns)
            && self.severity.is_none_or(|least| severity().is_some_and(|own| own >= least))
            && has("dbname", &self.database)
            && self.sqlstate.as_deref().is_none_or(|wanted| {
                let code = entry.get("sqlstate").unwrap_or_default();
                code == wanted || (wanted.len() == 2 && code.starts_with(wanted))
            })
            && self.text.as_deref().is_none_or(|text| entry.line.contains(text))
    }
}

/// The routes that have a shelf in the state directory, by name.
pub fn routes(state_directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(state_directory.join(STORE)) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(percent_encoding::percent_decode_str(&name).decode_utf8_lossy().into_owned())
        })
        .collect();
    names.sort();
    names
}

/// A reading of one route's shelf that can go on with what is stored later.
#[derive(Clone, Debug)]
pub struct Rows {
    directory: PathBuf,
    query: Query,
    place: Place,
}

/// The entries of `route` in the state directory's store that `query` wants.
pub fn cat(state_directory: &Path, route: &str, query: Query) -> Rows {
    let directory = state_directory.join(STORE).join(directory_name(route));
    Rows { directory, query, place: Place::default() }
}

impl Rows {
    /// Gives the rows that are stored by now and were not given before, in the order in which they
    /// were stored, as long as `give` says true.
    ///
    /// # Errors
    /// When the store is not there or cannot be read.
    pub fn each(&mut self, mut give: impl FnMut(Row) -> bool) -> io::Result<()> {
        // A directory that is not there or may not be read is told, not taken for an empty one.
        std::fs::read_dir(&self.directory)?;
        for segment in shelf::segments(&self.directory) {
            if segment.number < self.place.segment {
                continue;
            }
            let offset = if segment.number == self.place.segment { self.place.offset } else { 0 };
            let mut more = true;
            let read = shelf::read(&segment.path, offset, |frame, _| {
                if self.query.wants_span(frame.head.oldest, frame.head.newest) {
                    for entry in loki::decode(&frame.entries().unwrap_or_default()) {
                        if more && self.query.wants(&entry) {
                            more = give(Row {
                                ns: entry.ns,
                                line: entry.line.to_owned(),
                                metadata: entry
                                    .metadata
                                    .iter()
                                    .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                                    .collect(),
                                labels: frame.head.labels.clone(),
                            });
                        }
                    }
                }
                more
            });
            match read {
                Ok(read) => self.place = Place { segment: segment.number, offset: read.end },
                // Its time was over while it was being read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
            if !more {
                break;
            }
        }
        Ok(())
    }
}
