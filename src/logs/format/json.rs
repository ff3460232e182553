//! jsonlog, and the objects around it: CloudNativePG's `{"level":…,"msg":"record","record":{…}}` and
//! Docker's `{"log":…,"stream":…,"time":…}`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize as _;
use serde::de::{self, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::columns::{Column, Columns, csv_name, json_key};

/// What a line that is one JSON object is.
#[derive(Debug)]
pub(in crate::logs) enum Object<'l> {
    /// A record of the server.
    Record(Box<Columns<'l>>, Wrapped),
    /// A record of PgBouncer, as CloudNativePG wraps it.
    Pooler(Pooler<'l>),
    /// A line that Docker kept, of its standard error or output; without its newline it is a part.
    Docker { log: Cow<'l, str>, stderr: bool, time: Cow<'l, str> },
    /// Some other program's: the time it tells, and what it says where that came through a pipe.
    Other { time: Option<Cow<'l, str>>, piped: Option<Cow<'l, str>> },
}

/// Who named the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) enum Wrapped {
    No,
    Cnpg,
}

#[derive(Debug, Default)]
pub(in crate::logs) struct Pooler<'l> {
    pub time: Cow<'l, str>,
    pub pid: Cow<'l, str>,
    pub level: Cow<'l, str>,
    pub message: Cow<'l, str>,
}

/// Reads a line that begins with `{"`; none where it is no JSON object, or is not UTF-8.
pub(in crate::logs) fn object(line: &[u8]) -> Option<Object<'_>> {
    Some(Pairs::read(std::str::from_utf8(line).ok()?)?.settle())
}

/// The same for a line that is not UTF-8 or has lost its end: mended, then read.
pub(in crate::logs) fn mended(line: &[u8], cut: bool) -> String {
    let mut text = String::from_utf8_lossy(line).into_owned();
    if !cut {
        return text;
    }
    // Within a string, perhaps within an escape of at most six characters.
    for _ in 0..14 {
        for end in ["\"}", "}", "\"}}"] {
            let closed = format!("{text}{end}");
            if Pairs::read(&closed).is_some() {
                return closed;
            }
        }
        if text.pop().is_none() {
            break;
        }
    }
    text
}

/// The same for a line whose middle is missing: the string in which it breaks off ends there, and what
/// follows the next end of a string counts again. None where the beginning and the end do not fit.
pub(in crate::logs) fn joined(beginning: &[u8], end: &[u8]) -> Option<String> {
    let mut text = String::from_utf8_lossy(beginning).into_owned();
    // An escape of at most six characters may be cut.
    if let Some(at) = text.rfind('\\').filter(|at| text.len() - at < 6) {
        text.truncate(at);
    }
    let slashes = text.len() - text.trim_end_matches('\\').len();
    text.truncate(text.len() - slashes % 2);
    let end = String::from_utf8_lossy(end);
    // Whether what it begins with is escaped, is not here.
    let mut rest = end.trim_start_matches(['"', '\\']);
    let mut skip = rest.chars().next().map_or(0, char::len_utf8);
    loop {
        let at = skip + rest.get(skip..)?.find(['"', '\\'])?;
        rest = &rest[at..];
        if rest.starts_with('"') {
            text.push_str(rest);
            return Pairs::read(&text).is_some().then_some(text);
        }
        // A backslash and what it escapes, which is ASCII.
        skip = 2;
    }
}

/// Where behind its start another record begins in a line that holds parts of two.
pub(in crate::logs) fn resync(line: &[u8]) -> Option<usize> {
    memchr::memmem::find_iter(line, b"{\"timestamp\":\"").find(|at| *at > 0)
}

/// The pairs of an object, values as they are written.
struct Pairs<'l>(Vec<(&'l str, &'l RawValue)>);

impl<'l> Pairs<'l> {
    fn read(text: &'l str) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let pairs = Self::deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(pairs)
    }

    fn get(&self, key: &str) -> Option<Cow<'l, str>> {
        self.0.iter().find(|(name, _)| *name == key).and_then(|(_, raw)| scalar(raw))
    }

    fn nested(&self, key: &str) -> Option<Self> {
        let (_, raw) = self.0.iter().find(|(name, _)| *name == key)?;
        Self::read(raw.get())
    }

    fn columns(&self, column: fn(&str) -> Option<Column>) -> Columns<'l> {
        let mut columns = Columns::default();
        for (name, raw) in &self.0 {
            let Some(column) = column(name) else { continue };
            match scalar(raw) {
                Some(Cow::Borrowed(value)) => columns.set(column, Cow::Borrowed(value.as_bytes())),
                Some(Cow::Owned(value)) => columns.set(column, Cow::Owned(value.into_bytes())),
                None => {}
            }
        }
        columns
    }

    fn settle(&self) -> Object<'l> {
        let first = self.0.first().map_or("", |(name, _)| *name);
        if first == "log" {
            let (log, time) = (self.get("log"), self.get("time"));
            if let (Some(log), Some(time), Some(stream)) = (log, time, self.get("stream")) {
                return Object::Docker { log, stderr: stream == "stderr", time };
            }
        }
        if first == "timestamp" || self.get("error_severity").is_some() {
            let columns = self.columns(json_key);
            if columns.some(Column::Severity).is_some() && columns.some(Column::Time).is_some() {
                return Object::Record(Box::new(columns), Wrapped::No);
            }
        }
        if self.get("msg").is_some_and(|message| message == "record")
            && let Some(record) = self.nested("record")
        {
            if let (Some(time), Some(message)) = (record.get("timestamp"), record.get("msg")) {
                let pid = record.get("pid").unwrap_or_default();
                let level = record.get("level").unwrap_or_default();
                return Object::Pooler(Pooler { time, pid, level, message });
            }
            let mut columns = record.columns(csv_name);
            // Some versions write what is NULL, and what is an empty text, as one.
            columns.forget_empty();
            if columns.some(Column::Severity).is_some() {
                if let Some(audit) = record.nested("audit") {
                    columns.set(Column::Message, Cow::Owned(audit.message().into_bytes()));
                }
                return Object::Record(Box::new(columns), Wrapped::Cnpg);
            }
        }
        let time = ["ts", "time", "timestamp"].iter().find_map(|key| self.get(key));
        // `source` names the pipe of the collector's text log.
        let piped = self.get("pipe").or_else(|| self.get("source")).and_then(|_| self.get("msg"));
        Object::Other { time, piped }
    }

    /// pgaudit's own text, which the wrapper took apart (pgaudit.c: values are quoted where they hold a
    /// comma, a quote or a line break).
    fn message(&self) -> String {
        let mut text = "AUDIT: ".to_owned();
        let names = [
            "audit_type",
            "statement_id",
            "substatement_id",
            "class",
            "command",
            "object_type",
            "object_name",
            "statement",
            "parameter",
            "rows",
        ];
        for (at, name) in names.into_iter().enumerate() {
            let value = self.get(name).unwrap_or_default();
            if name == "rows" && value.is_empty() {
                break;
            }
            if at > 0 {
                text.push(',');
            }
            if value.contains([',', '"', '\n', '\r']) {
                text.push('"');
                text.push_str(&value.replace('"', "\"\""));
                text.push('"');
            } else {
                text.push_str(&value);
            }
        }
        text
    }
}

/// A text without its quotes and escapes, a number or word as it is written; none for NULL, lists and
/// objects.
fn scalar(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' if !text.contains('\\') => text.get(1..text.len() - 1).map(Cow::Borrowed),
        b'"' => serde_json::from_str(text).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

impl<'de> de::Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(32);
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_told_apart() {
        let kind = |line: &str| match object(line.as_bytes()) {
            Some(Object::Record(_, Wrapped::No)) => "json",
            Some(Object::Record(_, Wrapped::Cnpg)) => "cnpg",
            Some(Object::Pooler(_)) => "pooler",
            Some(Object::Docker { .. }) => "docker",
            Some(Object::Other { .. }) => "other",
            None => "none",
        };
        for (line, wanted) in [
            (
                r#"{"timestamp":"2026-03-04 09:15:01.207 UTC","pid":7,"error_severity":"LOG","message":"x"}"#,
                "json",
            ),
            (
                r#"{"level":"info","ts":"2026-03-04T09:15:01.3Z","logger":"postgres","msg":"record","record":{"log_time":"2026-03-04 09:15:01.207 UTC","error_severity":"LOG"}}"#,
                "cnpg",
            ),
            (
                r#"{"level":"info","msg":"record","record":{"timestamp":"2026-03-04 09:15:01.207 UTC","pid":"7","level":"LOG","msg":"x"}}"#,
                "pooler",
            ),
            (
                r#"{"level":"info","ts":"2026-03-04T09:15:01.3Z","msg":"Cluster is healthy"}"#,
                "other",
            ),
            (r#"{"log":"x\n","stream":"stderr","time":"2026-03-04T09:15:01.2Z"}"#, "docker"),
            (
                r#"{"timestamp":"2026-03-04 09:15:01.207 UTC","message":"of another program"}"#,
                "other",
            ),
            (r#"{"timestamp":"2026-03-04 09"#, "none"),
            (r#"{"a":1} and more"#, "none"),
        ] {
            assert_eq!(kind(line), wanted, "{line}");
        }
    }

    #[test]
    fn a_line_that_lost_its_end_is_mended() {
        let line = r#"{"timestamp":"2026-03-04 09:15:01.207 UTC","error_severity":"ERROR","message":"x","statement":"SELECT 'é\u0001\n"#;
        for cut in 0..8 {
            let text = mended(&line.as_bytes()[..line.len() - cut], true);
            assert!(matches!(object(text.as_bytes()), Some(Object::Record(..))), "{cut}: {text}");
        }
    }

    #[test]
    fn a_line_that_lost_its_middle_is_joined() {
        let line = concat!(
            r#"{"timestamp":"2026-03-04 09:15:01.207 UTC","error_severity":"ERROR","message":"x","#,
            r#""statement":"SELECT \u0001\n \"a\", 'b\\' FROM \"c\"","query_id":-7}"#
        );
        let from = line.find("SELECT").unwrap();
        // Behind that stands nothing but quotes, of which nobody knows what is before them.
        let to = line.find("c\\\"\",\"query_id").unwrap() + 1;
        for (a, b) in (from..to).flat_map(|a| (a..to).map(move |b| (a, b))) {
            let text = joined(&line.as_bytes()[..a], &line.as_bytes()[b..]);
            // Where nothing but the end of the string is left, it cannot be told from a part of it.
            let text = text.unwrap_or_else(|| panic!("{a} {b}: {}", &line[b..]));
            let Some(Object::Record(columns, _)) = object(text.as_bytes()) else {
                panic!("{text}")
            };
            assert_eq!(columns.get(Column::QueryId), Some(&b"-7"[..]), "{text}");
            assert!(columns.get(Column::Statement).is_some(), "{text}");
        }
        assert_eq!(joined(b"{\"a\":\"b", b"no more quotes"), None);
        assert_eq!(joined(b"{\"a\":\"b\",", b"x\":1}"), None);
    }

    #[test]
    fn the_audit_is_put_together_again() {
        let line = r#"{"msg":"record","record":{"error_severity":"LOG","audit":{"audit_type":"SESSION","statement_id":"1","substatement_id":"1","class":"READ","command":"SELECT","statement":"select \"a\", 1","parameter":"<not logged>"}}}"#;
        let Some(Object::Record(columns, _)) = object(line.as_bytes()) else { panic!() };
        assert_eq!(
            String::from_utf8_lossy(columns.get(Column::Message).unwrap()),
            r#"AUDIT: SESSION,1,1,READ,SELECT,,,"select ""a"", 1",<not logged>"#
        );
    }
}
