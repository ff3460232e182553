//! What an entry says: its line and its structured metadata. Both are functions of the record alone,
//! so that a record that is sent again is the same entry.

use std::borrow::Cow;

use super::{Event, Format, Record};
use crate::loki::Metadata;

/// The server's text log without prefixes: `SEVERITY:  message`, then `DETAIL:  …` and so on.
pub fn line(record: &Record) -> Cow<'_, str> {
    if record.left_out == 0 {
        return Cow::Borrowed(record.line());
    }
    Cow::Owned(format!("{}\n[cut: {} more bytes]", record.line(), record.left_out))
}

/// Names and values, in a fixed order. Absent facts are absent pairs.
pub fn metadata(record: &Record, event: &Event) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    pairs(record, event, |name, value| all.push((name, value.to_owned())));
    all
}

/// The same as an entry holds it.
pub(super) fn encode(record: &Record, event: &Event, out: &mut Metadata) {
    out.clear();
    pairs(record, event, |name, value| out.push(name, value));
}

fn pairs(record: &Record, event: &Event, mut give: impl FnMut(&'static str, &str)) {
    match record.severity {
        Some(severity) => {
            if record.format == Format::Pgbouncer {
                give("format", "pgbouncer");
            }
            give("severity", severity.as_str());
            give("level", severity.level());
        }
        None if record.is_plain() => give("format", "plain"),
        None => {}
    }
    if let Some(sqlstate) = &record.sqlstate {
        give("sqlstate", sqlstate.as_str());
    }
    if let Some(kind) = event.kind {
        give("event", kind.as_str());
    }
    if let Some(micros) = event.duration_us {
        give("duration_ms", milliseconds(micros, &mut [0; 24]));
    }
    record.fields.iter().for_each(|(key, value)| give(key.as_str(), value));
}

/// `811.002`: to the microsecond, as the server writes it, without zeros at the end.
fn milliseconds(micros: u64, room: &mut [u8; 24]) -> &str {
    let digit = |value: u64| b'0' + (value % 10).to_le_bytes()[0];
    let point = room.len() - 4;
    room[point] = b'.';
    for (at, unit) in [(1, 100), (2, 10), (3, 1)] {
        room[point + at] = digit(micros / unit);
    }
    let zeros = room.iter().rev().take(3).take_while(|b| **b == b'0').count();
    let end = if zeros == 3 { point } else { room.len() - zeros };
    let (mut start, mut whole) = (point, micros / 1000);
    loop {
        start -= 1;
        room[start] = digit(whole);
        whole /= 10;
        if whole == 0 {
            break;
        }
    }
    std::str::from_utf8(&room[start..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Key, Part, Severity, SqlState, classify};

    #[test]
    fn metadata_stands_under_its_names_in_one_order() {
        let mut record = Record::new(Severity::Log, "duration: 811.002 ms  statement: SELECT 1");
        record.sqlstate = Some(SqlState::SUCCESS);
        record.fields.set(Key::QueryId, "-7");
        record.fields.set(Key::User, "app");
        let pairs = metadata(&record, &classify(&record));
        let text: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            text.join(" "),
            "severity=LOG level=info sqlstate=00000 event=duration duration_ms=811.002 user=app query_id=-7"
        );
        let plain = Record::plain("hello");
        assert_eq!(metadata(&plain, &Event::default()), [("format", "plain".to_owned())]);
    }

    #[test]
    fn a_cut_is_told_behind_the_text() {
        let mut record = Record::new(Severity::Error, "long");
        record.add(Part::Hint, "none");
        assert_eq!(line(&record), "ERROR:  long\nHINT:  none");
        record.left_out = 7;
        assert_eq!(line(&record), "ERROR:  long\nHINT:  none\n[cut: 7 more bytes]");
    }

    #[test]
    fn durations_are_written_as_the_server_does() {
        for (micros, text) in [
            (811_002, "811.002"),
            (0, "0"),
            (100, "0.1"),
            (31_270_000, "31270"),
            (1_050, "1.05"),
            (u64::MAX, "18446744073709551.615"),
        ] {
            assert_eq!(milliseconds(micros, &mut [0; 24]), text);
        }
    }
}
