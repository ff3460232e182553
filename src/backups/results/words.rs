//! Values as the tools write them: times and numbers in several spellings, servers by name.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::wanted::Wanted;
use crate::backups::fault::{Fault, Reason};

/// A number, or a number in quotes, or a time in words; anything else says nothing.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Loose {
    Number(f64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl Loose {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Other(_) => None,
        }
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
    }

    /// Unix seconds, RFC 3339, or what C's `ctime` and ISO 8601 write without a zone, in `zone`. The
    /// zero of any of these is no time.
    pub(super) fn time(&self, zone: &TimeZone) -> Option<Timestamp> {
        let found = match self {
            Self::Number(_) => seconds(self.number()?),
            Self::Text(text) => match self.number() {
                Some(number) => seconds(number),
                None => words(text.trim(), zone),
            },
            Self::Other(_) => None,
        };
        found.filter(|time| *time > Timestamp::UNIX_EPOCH)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what is beyond jiff's range is refused by it")]
fn seconds(number: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((number * 1000.0) as i64).ok()
}

fn words(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let one_space = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let clock = text
        .parse::<DateTime>()
        .or_else(|_| DateTime::strptime("%a %b %d %H:%M:%S %Y", &one_space))
        .or_else(|_| DateTime::strptime("%Y%m%dT%H%M%S", text))
        .ok()?;
    zone.to_timestamp(clock).ok()
}

/// Which of the servers that a text tells of is meant; none where it tells of none.
pub(super) fn choose(
    what: &str,
    known: &BTreeSet<&str>,
    wanted: &Wanted<'_>,
) -> Result<Option<String>, Fault> {
    if let Some(server) = wanted.server {
        return match known.contains(server) {
            true => Ok(Some(server.to_owned())),
            false if known.is_empty() => Ok(None),
            false => Err(Fault::new(
                Reason::Absent,
                format!("the {what} {server} is not in it, but {}; correct `server`", list(known)),
            )),
        };
    }
    let mut names = known.iter();
    match (names.next(), names.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => Ok(Some((*only).to_owned())),
        _ => match wanted.probable.iter().find(|name| known.contains(*name)) {
            Some(name) => Ok(Some((*name).to_owned())),
            None => Err(Fault::new(
                Reason::Ambiguous,
                format!(
                    "it tells of more than one {what}: {}; say by `server` which is meant",
                    list(known)
                ),
            )),
        },
    }
}

/// A few names.
fn list(names: &BTreeSet<&str>) -> String {
    let mut shown: Vec<&str> = names.iter().copied().take(5).collect();
    if names.len() > shown.len() {
        shown.push("…");
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let time = |text: &str| {
            serde_json::from_str::<Loose>(text).unwrap().time(&zone).map(|time| time.to_string())
        };
        for (text, expected) in [
            ("1767225600", "2026-01-01T00:00:00Z"),
            ("1767225600.25", "2026-01-01T00:00:00.25Z"),
            ("\"1767225600\"", "2026-01-01T00:00:00Z"),
            ("\"2026-01-01T00:00:00Z\"", "2026-01-01T00:00:00Z"),
            ("\"2026-01-01 01:00:00.5+01:00\"", "2026-01-01T00:00:00.5Z"),
            ("\"2026-01-01 01:00:00\"", "2026-01-01T00:00:00Z"),
            ("\"Thu Jan  1 01:00:00 2026\"", "2026-01-01T00:00:00Z"),
            ("\"20260101T010000\"", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(time(text).as_deref(), Some(expected), "{text}");
        }
        for text in
            ["0", "\"\"", "null", "-5", "1e300", "\"0001-01-01T00:00:00Z\"", "[]", "\"NaN\""]
        {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
