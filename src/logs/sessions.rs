//! Session line numbers: csvlog and jsonlog count the records of each session from 1, so a gap is a
//! record that somebody lost before us, and a repeat one that was written twice.

use std::collections::HashMap;

use super::checkpoint::FileId;
use super::{Format, Key, Record};

/// Sessions are remembered in two generations of so many.
const SESSIONS: usize = 4096;

/// The last number seen of each session, in each file. Where a session goes on in another file, nothing
/// is said of what lies between: files need not be read in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    young: HashMap<(FileId, String), u64>,
    old: HashMap<(FileId, String), u64>,
}

/// What a record's number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Next,
    /// So many records are missing before it.
    Gap(u64),
    Repeat,
}

impl Sessions {
    pub(super) fn see(&mut self, file: FileId, record: &Record) -> Line {
        if !matches!(record.format, Format::Csv | Format::Json | Format::Cnpg) {
            return Line::Next;
        }
        let number = record.field(Key::LineNum).and_then(|number| number.parse::<u64>().ok());
        let (Some(id), Some(number)) = (record.field(Key::SessionId), number) else {
            return Line::Next;
        };
        let key = (file, id.to_owned());
        let last = self.young.get(&key).or_else(|| self.old.get(&key)).copied();
        if self.young.len() >= SESSIONS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, last.map_or(number, |last| last.max(number)));
        match last {
            Some(last) if number > last => match number - last - 1 {
                0 => Line::Next,
                missing => Line::Gap(missing),
            },
            Some(_) => Line::Repeat,
            None => Line::Next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Severity;

    #[test]
    fn gaps_and_repeats_are_seen() {
        let mut sessions = Sessions::default();
        let mut see = |format, id: &str, number: &str| {
            let mut record = Record::new(Severity::Log, "x");
            record.format = format;
            record.fields.set(Key::SessionId, id);
            record.fields.set(Key::LineNum, number);
            sessions.see(FileId(1), &record)
        };
        assert_eq!(see(Format::Csv, "a.1", "7"), Line::Next, "the first seen may be any");
        assert_eq!(see(Format::Csv, "a.1", "8"), Line::Next);
        assert_eq!(see(Format::Csv, "a.2", "1"), Line::Next);
        assert_eq!(see(Format::Csv, "a.1", "11"), Line::Gap(2));
        assert_eq!(see(Format::Csv, "a.1", "11"), Line::Repeat);
        assert_eq!(see(Format::Stderr, "a.1", "90"), Line::Next, "counts lines, not records");
        for other in 0..SESSIONS {
            see(Format::Json, &format!("b.{other}"), "1");
        }
        assert_eq!(see(Format::Csv, "a.1", "13"), Line::Gap(1), "remembered for a while");
        assert_eq!(see(Format::Csv, "a.1", "x"), Line::Next);
    }
}
