//! What container runtimes and supervisors put around a line: Kubernetes' CRI (`TIME stream P|F TEXT`)
//! and Pebble's `TIME [service] TEXT`.

use super::Clock;

/// An envelope at the start of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::logs) struct Envelope {
    /// Its time, in nanoseconds since 1970.
    pub time: i64,
    pub kind: Kind,
    pub stderr: bool,
    /// The runtime cut the line here; the rest is in the next of the same stream.
    pub partial: bool,
    /// Where the text begins.
    pub from: usize,
}

/// Who put it around the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) enum Kind {
    Cri,
    /// Pebble, around a service's line.
    Pebble,
    /// Pebble's own words, whose envelope belongs to the line.
    Own,
}

/// Rules other lines out after a look at two bytes.
pub(in crate::logs) fn envelope(line: &[u8]) -> Option<Envelope> {
    if line.get(10) != Some(&b'T') || !line[0].is_ascii_digit() {
        return None;
    }
    let blank = memchr::memchr(b' ', line.get(..line.len().min(41))?)?;
    let time = Clock::rfc3339(&line[..blank])?;
    let rest = &line[blank + 1..];
    if rest.first() == Some(&b'[') {
        let close = memchr::memchr(b']', rest.get(..rest.len().min(80))?)?;
        if rest.get(close + 1) != Some(&b' ') {
            return None;
        }
        let kind = if &rest[1..close] == b"pebble" { Kind::Own } else { Kind::Pebble };
        let from = blank + close + 3;
        return Some(Envelope { time, kind, stderr: true, partial: false, from });
    }
    let stderr = rest.starts_with(b"stderr ");
    if !stderr && !rest.starts_with(b"stdout ") {
        return None;
    }
    let tags = &rest[7..];
    let partial = match tags.first()? {
        b'P' => true,
        b'F' => false,
        _ => return None,
    };
    // More tags may follow behind a colon.
    let length = match tags.get(1) {
        None => 1,
        Some(b' ') => 2,
        Some(b':') => memchr::memchr(b' ', tags).map_or(tags.len(), |blank| blank + 1),
        Some(_) => return None,
    };
    Some(Envelope { time, kind: Kind::Cri, stderr, partial, from: blank + 8 + length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_opened() {
        let open = |line: &'static str| {
            let found = envelope(line.as_bytes())?;
            Some((&line[found.from..], found.stderr, found.partial, found.kind == Kind::Own))
        };
        for (line, wanted) in [
            ("2026-03-04T09:15:01.207551342Z stderr P head", Some(("head", true, true, false))),
            (
                "2026-03-04T09:15:01.207+01:00 stdout F \ttail",
                Some(("\ttail", false, false, false)),
            ),
            ("2026-03-04T09:15:01Z stdout F ", Some(("", false, false, false))),
            ("2026-03-04T09:15:01Z stdout F", Some(("", false, false, false))),
            ("2026-03-04T09:15:01Z stdout F:x y", Some(("y", false, false, false))),
            ("2026-03-04T09:15:01.207Z [postgresql] x", Some(("x", true, false, false))),
            ("2026-03-04T09:15:01.207Z [pebble] Started", Some(("Started", true, false, true))),
            ("2026-03-04T09:15:01.207Z something else", None),
            ("2026-03-04 09:15:01.207 UTC [4411] LOG:  x", None),
            ("2026-03-04T09:15:01Z stdout X x", None),
            ("aaaaaaaaaaT stdout F x", None),
            ("", None),
        ] {
            assert_eq!(open(line), wanted, "{line}");
        }
    }
}
