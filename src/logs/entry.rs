//! What an entry says: its line and its structured metadata. Both are functions of the record alone,
//! so that a record that is sent again is the same entry.

use std::borrow::Cow;

use super::{Event, Record};

/// The server's text log without prefixes: `SEVERITY:  message`, then `DETAIL:  …` and so on.
pub fn line(record: &Record) -> Cow<'_, str> {
    if record.left_out == 0 {
        return Cow::Borrowed(record.line());
    }
    Cow::Owned(format!("{}\n[cut: {} more bytes]", record.line(), record.left_out))
}

/// Names and values, in a fixed order. Absent facts are absent pairs.
pub fn metadata<'r>(record: &'r Record, event: &Event) -> Vec<(&'static str, Cow<'r, str>)> {
    let mut pairs: Vec<(&'static str, Cow<'r, str>)> = Vec::with_capacity(16);
    match record.severity {
        Some(severity) => {
            pairs.push(("severity", severity.as_str().into()));
            pairs.push(("level", severity.level().into()));
        }
        None if record.is_plain() => pairs.push(("format", "plain".into())),
        None => {}
    }
    if let Some(sqlstate) = &record.sqlstate {
        pairs.push(("sqlstate", sqlstate.as_str().into()));
    }
    if let Some(kind) = event.kind {
        pairs.push(("event", kind.as_str().into()));
    }
    if let Some(duration) = event.duration_ms {
        pairs.push(("duration_ms", duration.to_string().into()));
    }
    pairs.extend(record.fields.iter().map(|(key, value)| (key.as_str(), value.into())));
    pairs
}
