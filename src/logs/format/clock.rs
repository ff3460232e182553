//! Times of log lines to nanoseconds since 1970.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// The zone in which the server writes its times (`log_timezone`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Zone {
    name: Option<String>,
    zone: Option<TimeZone>,
}

impl Zone {
    /// An IANA name, or a POSIX one as the server takes it (`<+03>-3`). One that is unknown here is
    /// as none: then the line's own words decide.
    pub fn new(name: Option<&str>) -> Self {
        let name = name.filter(|name| !name.is_empty());
        let zone =
            name.and_then(|name| TimeZone::get(name).or_else(|_| TimeZone::posix(name)).ok());
        Self { name: name.map(str::to_owned), zone }
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the name given is known here.
    pub fn is_known(&self) -> bool {
        self.name.is_none() || self.zone.is_some()
    }

    /// Seconds since 1970 of a local time with the word behind it: a numeric offset or UTC is exact;
    /// an abbreviation is looked up in the zone, where it also settles the hour that comes twice.
    fn seconds(&self, local: DateTime, word: &[u8]) -> Option<i64> {
        let at = |offset: Offset| offset.to_timestamp(local).ok();
        if let Some(offset) = numeric(word) {
            return Some(at(offset)?.as_second());
        }
        if let Some(zone) = &self.zone {
            let ambiguous = zone.to_ambiguous_timestamp(local);
            let (first, second) = match ambiguous.offset() {
                AmbiguousOffset::Unambiguous { offset } => (offset, offset),
                AmbiguousOffset::Gap { before, after }
                | AmbiguousOffset::Fold { before, after } => (before, after),
            };
            for offset in [first, second] {
                let timestamp = at(offset)?;
                let info = zone.to_offset_info(timestamp);
                if info.offset() == offset && info.abbreviation().as_bytes() == word {
                    return Some(timestamp.as_second());
                }
            }
        }
        if let Some(offset) = abbreviation(word) {
            return Some(at(offset)?.as_second());
        }
        let zone = self.zone.as_ref()?;
        Some(zone.to_ambiguous_timestamp(local).compatible().ok()?.as_second())
    }
}

/// `+03`, `-0330`, `+054500`, `UTC`, `GMT`.
fn numeric(word: &[u8]) -> Option<Offset> {
    if word == b"UTC" || word == b"GMT" || word == b"Z" {
        return Some(Offset::UTC);
    }
    let (sign, rest) = match word.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    if !matches!(rest.len(), 2 | 4 | 6) {
        return None;
    }
    let mut seconds = 0;
    for (two, unit) in rest.chunks(2).zip([3600, 60, 1]) {
        seconds += number(two)? * unit;
    }
    Offset::from_seconds(sign * seconds).ok()
}

/// The words that mean one offset nearly everywhere, for files whose zone nobody told; those that
/// several zones share (IST, CST, BST) are not guessed.
fn abbreviation(word: &[u8]) -> Option<Offset> {
    let hours = match word {
        b"WET" => 0,
        b"WEST" | b"CET" | b"MET" => 1,
        b"CEST" | b"MEST" | b"EET" | b"SAST" => 2,
        b"EEST" | b"MSK" => 3,
        b"JST" | b"KST" => 9,
        b"EST" => -5,
        b"EDT" => -4,
        b"CDT" => -5,
        b"MST" => -7,
        b"MDT" => -6,
        b"PST" => -8,
        b"PDT" => -7,
        b"AEST" => 10,
        b"AEDT" => 11,
        b"NZST" => 12,
        b"NZDT" => 13,
        _ => return None,
    };
    Offset::from_hours(hours).ok()
}

fn number(bytes: &[u8]) -> Option<i32> {
    bytes.iter().try_fold(0_i32, |sum, b| {
        let digit = b.is_ascii_digit().then(|| i32::from(b - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Reads times; remembers the last second, since neighbours in a log mostly share it.
#[derive(Debug, Default)]
pub(in crate::logs) struct Clock {
    /// The text of the second with its zone's word, and what it means.
    seen: Vec<u8>,
    means: Option<i64>,
}

impl Clock {
    /// `2026-11-20 10:00:21.633 UTC`, `2026-11-20 10:00:21 UTC`.
    pub(in crate::logs) fn civil(&mut self, text: &[u8], zone: &Zone) -> Option<i64> {
        let second = text.get(..19)?;
        let (millis, word) = match text.get(19)? {
            b'.' => (number(text.get(20..23)?)?, text.get(24..)?),
            _ => (0, text.get(20..)?),
        };
        if self.seen.get(..19) != Some(second) || self.seen.get(19..) != Some(word) {
            self.seen.clear();
            self.seen.extend_from_slice(second);
            self.seen.extend_from_slice(word);
            self.means = local(second).and_then(|local| zone.seconds(local, word));
        }
        nanoseconds(self.means?, millis)
    }

    /// `1795168821.633`
    pub(in crate::logs) fn epoch(text: &[u8]) -> Option<i64> {
        let dot = memchr::memchr(b'.', text)?;
        let seconds = std::str::from_utf8(&text[..dot]).ok()?.parse().ok()?;
        nanoseconds(seconds, number(text.get(dot + 1..dot + 4)?)?)
    }

    /// A time as programs write it in their JSON: like [`Clock::rfc3339`], or seconds since 1970 with any
    /// fraction.
    pub(in crate::logs) fn told(text: &[u8]) -> Option<i64> {
        if let Some(time) = Self::rfc3339(text) {
            return Some(time);
        }
        let (seconds, fraction) = match memchr::memchr(b'.', text) {
            Some(dot) => (&text[..dot], &text[dot + 1..]),
            None => (text, &b""[..]),
        };
        // Ten digits are seconds; more would be of a smaller unit.
        let whole = seconds.len() == 10 && fraction.len() <= 9;
        if !whole || !seconds.iter().chain(fraction).all(u8::is_ascii_digit) {
            return None;
        }
        let mut digits = fraction.to_vec();
        digits.resize(9, b'0');
        let (seconds, nanos) = (number(seconds)?, number(&digits)?);
        i64::from(seconds).checked_mul(1_000_000_000)?.checked_add(i64::from(nanos))
    }

    /// `2026-03-04T09:15:01.207551342Z`, with up to nine digits of a fraction, and any offset.
    pub(in crate::logs) fn rfc3339(text: &[u8]) -> Option<i64> {
        if text.get(10) != Some(&b'T') {
            return None;
        }
        let mut word = text.get(19..)?;
        let mut nanos = 0;
        if let Some(rest) = word.strip_prefix(b".") {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            let (fraction, behind) = rest.split_at(digits);
            if digits == 0 || digits > 9 {
                return None;
            }
            nanos = number(fraction)? * 10_i32.pow(9 - u32::try_from(digits).ok()?);
            word = behind;
        }
        let offset = match word {
            [sign, h1, h2, b':', m1, m2] => numeric(&[*sign, *h1, *h2, *m1, *m2])?,
            _ => numeric(word)?,
        };
        let second = offset.to_timestamp(local(&text[..19])?).ok()?.as_second();
        second.checked_mul(1_000_000_000)?.checked_add(i64::from(nanos))
    }

    /// Another zone may give the remembered second another meaning.
    pub(in crate::logs) fn forget(&mut self) {
        self.seen.clear();
    }
}

fn nanoseconds(seconds: i64, millis: i32) -> Option<i64> {
    seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(millis) * 1_000_000)
}

/// `2026-11-20 10:00:21`; a leap second is the second before it.
fn local(text: &[u8]) -> Option<DateTime> {
    let part =
        |at: usize, len: usize| number(text.get(at..at + len)?).and_then(|n| i8::try_from(n).ok());
    let year = i16::try_from(number(text.get(..4)?)?).ok()?;
    let date = Date::new(year, part(5, 2)?, part(8, 2)?).ok()?;
    let time = Time::new(part(11, 2)?, part(14, 2)?, part(17, 2)?.min(59), 0).ok()?;
    Some(DateTime::from_parts(date, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str, zone: &str) -> Option<i64> {
        let zone = Zone::new(Some(zone).filter(|zone| !zone.is_empty()));
        Clock::default().civil(text.as_bytes(), &zone).map(|time| time / 1_000_000_000)
    }

    #[test]
    fn times_are_read_with_their_zone() {
        let noon = Some(1_772_625_600);
        for (text, zone) in [
            ("2026-03-04 12:00:00.000 UTC", ""),
            ("2026-03-04 12:00:00 GMT", "Europe/Berlin"),
            ("2026-03-04 13:00:00 CET", "Europe/Berlin"),
            ("2026-03-04 13:00:00 CET", ""),
            ("2026-03-04 07:00:00 EST", "America/New_York"),
            ("2026-03-04 17:30:00 IST", "Asia/Kolkata"),
            ("2026-03-04 20:00:00 CST", "Asia/Shanghai"),
            ("2026-03-04 06:00:00 CST", "America/Chicago"),
            ("2026-03-04 15:00:00 +03", "Europe/Istanbul"),
            ("2026-03-04 17:45:00 +0545", ""),
            ("2026-03-04 08:30:00 -0330", ""),
            ("2026-03-04 15:00:00 +03", "<+03>-3"),
        ] {
            assert_eq!(seconds(text, zone), noon, "{text} in {zone}");
        }
        assert_eq!(seconds("2026-03-04 20:00:00 CST", ""), None, "of which country?");
        assert_eq!(seconds("2026-13-04 20:00:00 UTC", ""), None);
        assert_eq!(seconds("0000-00-00 99:99:99 UTC", ""), None);
    }

    #[test]
    fn the_hour_that_comes_twice_is_told_by_its_word() {
        let first = seconds("2026-10-25 02:30:00 CEST", "Europe/Berlin").unwrap();
        let second = seconds("2026-10-25 02:30:00 CET", "Europe/Berlin").unwrap();
        assert_eq!(second - first, 3600);
    }

    #[test]
    fn the_remembered_second_is_of_its_zone() {
        let mut clock = Clock::default();
        let zone = Zone::new(None);
        let a = clock.civil(b"2026-03-04 12:00:00.001 UTC", &zone).unwrap();
        let b = clock.civil(b"2026-03-04 12:00:00.002 UTC", &zone).unwrap();
        let c = clock.civil(b"2026-03-04 12:00:00.003 +01", &zone).unwrap();
        assert_eq!((b - a, b - c), (1_000_000, 3_599_999_000_000));
        assert_eq!(Clock::epoch(b"1795168821.633"), Some(1_795_168_821_633_000_000));
        for (text, time) in [
            ("2026-03-04T12:00:00.207551342Z", Some(1_772_625_600_207_551_342)),
            ("2026-03-04T13:00:00.2+01:00", Some(1_772_625_600_200_000_000)),
            ("2026-03-04T12:00:00Z", Some(1_772_625_600_000_000_000)),
            ("2026-03-04T12:00:00", None),
            ("2026-03-04T12:00:00.Z", None),
            ("2026-03-04 12:00:00Z", None),
        ] {
            assert_eq!(Clock::rfc3339(text.as_bytes()), time, "{text}");
        }
    }
}
