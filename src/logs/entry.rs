//! What an entry says: its line and its structured metadata. Both are functions of the record alone,
//! so that a record that is sent again is the same entry.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{Event, EventKind, Format, Record, Severity};
use crate::loki::Metadata;

/// The server's text log without prefixes: `SEVERITY:  message`, then `DETAIL:  …` and so on.
pub fn line(record: &Record) -> Cow<'_, str> {
    if record.left_out == 0 {
        return Cow::Borrowed(record.line());
    }
    Cow::Owned(format!("{}\n[cut: {} more bytes]", record.line(), record.left_out))
}

/// What nearly every entry says, encoded once.
static SEVERITIES: LazyLock<[Metadata; Severity::ALL.len()]> = LazyLock::new(|| {
    let pairs = |own: Severity| [("severity", own.as_str()), ("level", own.level())];
    Severity::ALL.map(|severity| pairs(severity).into_iter().collect())
});
static EVENTS: LazyLock<[Metadata; EventKind::ALL.len()]> =
    LazyLock::new(|| EventKind::ALL.map(|kind| [("event", kind.as_str())].into_iter().collect()));

/// Names and values, in a fixed order. Absent facts are absent pairs.
pub fn metadata(record: &Record, event: &Event) -> Metadata {
    let mut all = Metadata::default();
    first(record, event, &mut all);
    all.append(record.fields.encoded());
    all
}

/// Those that stand before the record's own fields, in memory that is used again.
pub(super) fn first(record: &Record, event: &Event, out: &mut Metadata) {
    out.clear();
    match record.severity {
        Some(severity) => {
            if record.format == Format::Pgbouncer {
                out.push("format", "pgbouncer");
            }
            out.append(&SEVERITIES[severity as usize]);
        }
        None if record.is_plain() => out.push("format", "plain"),
        None => {}
    }
    if let Some(sqlstate) = &record.sqlstate {
        out.push("sqlstate", sqlstate.as_str());
    }
    if let Some(kind) = event.kind {
        out.append(&EVENTS[kind as usize]);
    }
    if let Some(micros) = event.duration_us {
        out.push("duration_ms", milliseconds(micros, &mut [0; 24]));
    }
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
    use crate::logs::{Key, Part, SqlState, classify};

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
        let pairs = metadata(&plain, &Event::default());
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("format", "plain")]);
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
