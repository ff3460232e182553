//! One column's text to a number or a label, by the type that the server declared for it.
//!
//! Rows come as text and one decoder serves every type, so that `numeric` on one major version and
//! `double precision` on another are the same number. The session pins `DateStyle=ISO`,
//! `TimeZone=UTC` and UTF-8, which this relies on.

use std::borrow::Cow;

/// Type OIDs that need more than "a number, if it looks like one" (`pg_type.dat`; they never change).
mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const FLOAT4: u32 = 700;
    pub(super) const FLOAT8: u32 = 701;
    pub(super) const DATE: u32 = 1082;
    pub(super) const TIME: u32 = 1083;
    pub(super) const TIMESTAMP: u32 = 1114;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const INTERVAL: u32 = 1186;
    pub(super) const TIMETZ: u32 = 1266;
}

/// Where dialects differ in what a value means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Timestamps lose their fraction of a second, as in the Go exporters.
    pub(crate) whole_seconds: bool,
    /// Floating point labels are spelled as Go's `%v` does (`1e+08`), not as the server does.
    pub(crate) go_floats: bool,
}

/// The number in `text`, or why there is none.
///
/// # Errors
/// What stands there instead of a number, in words that end a sentence about the column.
pub(crate) fn number(type_oid: u32, text: &str, reading: Reading) -> Result<f64, &'static str> {
    match type_oid {
        oid::BOOL => match text {
            "t" | "true" => Ok(1.0),
            "f" | "false" => Ok(0.0),
            _ => Err("is no boolean"),
        },
        oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ => {
            let seconds = epoch(text).ok_or("is no time that can be read")?;
            Ok(if reading.whole_seconds { seconds.floor() } else { seconds })
        }
        oid::INTERVAL => Err("is an interval: write EXTRACT(EPOCH FROM …) in the query"),
        oid::TIME | oid::TIMETZ => Err("is a time of day, which is no number"),
        _ => parse(text).ok_or("is no number"),
    }
}

/// Whether a column of that type is multiplied by a pack's `scale`: not times, nor booleans.
pub(crate) fn is_scaled(type_oid: u32) -> bool {
    !matches!(type_oid, oid::BOOL | oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ)
}

/// `text` as a label's value.
pub(crate) fn label(type_oid: u32, text: &str, reading: Reading) -> Cow<'_, str> {
    match type_oid {
        oid::BOOL => Cow::Borrowed(if text == "t" { "true" } else { "false" }),
        oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ => match epoch(text) {
            Some(seconds) if seconds.is_finite() => Cow::Owned(format!("{:.0}", seconds.floor())),
            _ => Cow::Borrowed(text),
        },
        oid::FLOAT4 | oid::FLOAT8 if reading.go_floats => {
            parse(text).map_or(Cow::Borrowed(text), |number| Cow::Owned(go_float(number)))
        }
        _ => Cow::Borrowed(text),
    }
}

/// A floating point number as Go's `strconv.ParseFloat` takes it: decimal, exponent, hexadecimal,
/// `nan`, `inf` and `infinity` in any case, no blanks; what exceeds the range is no number.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let value = hexadecimal(digits)?;
        return Some(if text.starts_with('-') { -value } else { value });
    }
    let number: f64 = text.parse().ok()?;
    let spelled_out = unsigned.starts_with(|c: char| c.is_ascii_alphabetic());
    match number {
        n if n.is_nan() => (unsigned.len() == text.len()).then_some(n),
        n if n.is_infinite() => spelled_out.then_some(n),
        n => Some(n),
    }
}

/// What follows `0x`: hexadecimal digits with an optional point, `p`, a decimal exponent of two.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let places = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let value = value * 2f64.powi(exponent.checked_sub(places)?);
    value.is_finite().then_some(value)
}

/// `%v` of Go (tried with Go 1.26): the shortest digits that read back, with an exponent below 1e-4
/// and from 1e+06 on.
pub(crate) fn go_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Unix seconds of a date or timestamp in ISO style; without an offset it is UTC.
fn epoch(text: &str) -> Option<f64> {
    match text {
        "infinity" => return Some(f64::INFINITY),
        "-infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, ""));
    let mut parts = date.split('-');
    let (year, month, day) =
        (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // 1 BC is the year 0 of the calendar that counts through.
    let year = if before_christ { 1 - year } else { year };
    let midnight = days_since_epoch(year, month, day).checked_mul(86_400)?;
    let (whole, fraction) = time_of_day(time)?;
    // Whole seconds are summed as integers, so that the fraction alone is rounded.
    #[expect(clippy::cast_precision_loss, reason = "PostgreSQL's last year is below 2^53 seconds")]
    let whole = (midnight + whole) as f64;
    Some(whole + fraction)
}

/// Seconds since midnight UTC, and their fraction, of `HH:MM:SS[.ffffff][±HH[:MM[:SS]]]` or nothing.
fn time_of_day(text: &str) -> Option<(i64, f64)> {
    if text.is_empty() {
        return Some((0, 0.0));
    }
    let (clock, offset) = match text.find(['+', '-']) {
        Some(at) => {
            let seconds = sexagesimal(&text[at + 1..])?;
            (&text[..at], if text[at..].starts_with('-') { -seconds } else { seconds })
        }
        None => (text.strip_suffix('Z').unwrap_or(text), 0),
    };
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, digits)) => (clock, format!("0.{digits}").parse().ok()?),
        None => (clock, 0.0),
    };
    Some((sexagesimal(clock)? - offset, fraction))
}

/// `HH[:MM[:SS]]` in seconds.
fn sexagesimal(text: &str) -> Option<i64> {
    let mut total = 0;
    let mut unit = 3600;
    for part in text.split(':') {
        if unit == 0 {
            return None;
        }
        total += digits(part)? * unit;
        unit /= 60;
    }
    Some(total)
}

/// At most nine digits, so that no sum of theirs overflows.
fn digits(text: &str) -> Option<i64> {
    ((1..=9).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Milliseconds of a duration in Go's syntax (`1h2m3.5s`, `-300ms`, `0`), cut toward zero.
pub(crate) fn go_duration(text: &str) -> Option<f64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut milliseconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount = &rest[..end];
        if !amount.bytes().any(|c| c.is_ascii_digit()) {
            return None;
        }
        let amount: f64 = amount.parse().ok()?;
        rest = &rest[end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ns" => 1e-6,
            "us" | "µs" | "μs" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3600e3,
            _ => return None,
        };
        milliseconds += amount * unit;
        rest = &rest[unit_end..];
    }
    // Above 2^63 nanoseconds Go refuses.
    (milliseconds <= 9_223_372_036_854.0)
        .then(|| if negative { -milliseconds.trunc() } else { milliseconds.trunc() })
}

/// The elements of a one-dimensional array's text, `None` for NULL.
pub(crate) fn array(text: &str) -> Option<Vec<Option<Cow<'_, str>>>> {
    // Bounds other than from 1 stand before the braces: `[0:2]={…}`.
    let braces = match text.split_once('=') {
        Some((bounds, rest)) if bounds.starts_with('[') => rest,
        _ => text,
    };
    let mut rest = braces.strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    if rest.is_empty() {
        return Some(elements);
    }
    loop {
        let (element, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (element, after) = unquote(quoted)?;
                (Some(Cow::Owned(element)), after)
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let element = &rest[..end];
                if element.is_empty() || element.contains(['{', '}', '"']) {
                    return None;
                }
                let null = element.eq_ignore_ascii_case("null");
                ((!null).then_some(Cow::Borrowed(element)), &rest[end..])
            }
        };
        elements.push(element);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some(elements),
            None => return None,
        }
    }
}

/// A quoted element and what follows its closing quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut element = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((element, &text[at + 1..])),
            '\\' => element.push(characters.next()?.1),
            other => element.push(other),
        }
    }
    None
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
