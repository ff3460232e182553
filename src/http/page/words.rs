//! Values as people read them, and text that is safe within HTML.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::super::Tone;

/// Text within an element or a quoted attribute. Control characters show as a replacement: they have
/// no meaning here, and HTML has none for most of them.
pub(super) struct Safe<'a>(pub &'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(' ')?,
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The style class of a tone.
pub(super) fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Quiet => "quiet",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
    }
}

/// A length of time in its two largest units, from seconds up.
pub(super) fn span(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = time.as_secs();
    if seconds == 0 {
        return "0 s".to_owned();
    }
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (size, unit) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(format!("{count} {unit}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// How long something took: three digits at most.
pub(super) fn took(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    match millis {
        ..0.95 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        ..60_000.0 => format!("{:.1} s", millis / 1000.0),
        _ => span(time),
    }
}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes in its largest binary unit.
pub(super) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1023.95 {
            return match unit {
                "B" => format!("{number} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

/// A time to the second, in UTC; none where it lies outside the calendar.
pub(super) fn clock(time: SystemTime) -> Option<String> {
    let stamp = jiff::Timestamp::try_from(time).ok()?;
    Some(stamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_safe() {
        assert_eq!(
            Safe("<a href=\"x\" b='y'>&\n\0é").to_string(),
            "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp; \u{fffd}é"
        );
    }

    #[test]
    fn spans() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (3_600, "1 h"),
            (3_605, "1 h"),
            (90_000, "1 d 1 h"),
            (86_400 * 400, "400 d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        for (micros, text) in [
            (40, "0.0 ms"),
            (400, "0.4 ms"),
            (12_300, "12 ms"),
            (1_250_000, "1.2 s"),
            (125_000_000, "2 min 5 s"),
        ] {
            assert_eq!(took(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 1023, 1024, 1_572_864, 1 << 40, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "1.0 TiB", "16384.0 PiB"]
        );
        assert_eq!(clock(SystemTime::UNIX_EPOCH).as_deref(), Some("1970-01-01 00:00:00 UTC"));
    }
}
