//! Numbers in the server's words, whatever the language: found by their place, their unit or the words
//! before them.

/// The numbers in a text, one after another; some languages write a comma for the point.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = f64> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = &rest[rest.find(|c: char| c.is_ascii_digit())?..];
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(rest);
        let fraction = rest[whole..].strip_prefix(['.', ',']).map_or(0, digits);
        let end = if fraction > 0 { whole + 1 + fraction } else { whole };
        let (found, behind) = rest.split_at(end);
        rest = behind;
        found.replace(',', ".").parse().ok()
    })
}

/// The number at a text's end.
pub(super) fn last_number(text: &str) -> Option<f64> {
    let digits = text.bytes().rev().take(19).take_while(u8::is_ascii_digit).count();
    text[text.len() - digits..].parse().ok()
}

/// Durations in other languages, `Dauer: 811.002 ms  Anweisung: …`, in microseconds.
pub(super) fn foreign_duration(message: &str) -> Option<u64> {
    let mut end = message.len().min(40);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let (word, rest) = message[..end].split_once(':')?;
    let word = word.trim_end_matches([' ', '\u{a0}']);
    if word.is_empty() || word.contains(|c: char| c.is_ascii_digit() || c == '"' || c == '=') {
        return None;
    }
    let rest = rest.trim_start_matches([' ', '\u{a0}']);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let fraction = rest[digits..].strip_prefix(['.', ','])?;
    let decimals = fraction.bytes().take_while(u8::is_ascii_digit).count();
    let unit = fraction.get(decimals..)?;
    if digits == 0 || decimals != 3 || !unit.trim_start_matches([' ', '\u{a0}']).starts_with("ms") {
        return None;
    }
    micros(&format!("{}.{} ms", &rest[..digits], &fraction[..decimals]), " ms")
}

/// Autovacuum's last words in other languages: `… verstrichen: 0.12 s`, in seconds.
pub(super) fn foreign_elapsed(message: &str) -> Option<f64> {
    let usage = message.lines().rev().find(|line| line.contains("CPU"))?;
    let count = numbers(usage).count();
    (count == 3).then(|| numbers(usage).last())?
}

/// The rest of a text behind some words.
pub(super) fn behind<'m>(message: &'m str, words: &str) -> Option<&'m str> {
    let at = memchr::memmem::find(message.as_bytes(), words.as_bytes())?;
    message.get(at + words.len()..)
}

/// A time with its unit behind it, ` ms` or ` s`, in microseconds; what is below one is left out.
pub(super) fn micros(text: &str, unit: &str) -> Option<u64> {
    let mut rest = text.as_bytes();
    let mut sum = digit(&mut rest)?;
    while let Some(digit) = digit(&mut rest) {
        sum = sum.checked_mul(10)?.checked_add(digit)?;
    }
    let mut decimals = if unit == " s" { 6 } else { 3 };
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = fraction;
        while let Some(digit) = digit(&mut rest) {
            if decimals > 0 {
                decimals -= 1;
                sum = sum.checked_mul(10)?.checked_add(digit)?;
            }
        }
    }
    let whole = rest.starts_with(unit.as_bytes());
    whole.then(|| (0..decimals).try_fold(sum, |sum, _| sum.checked_mul(10)))?
}

fn digit(rest: &mut &[u8]) -> Option<u64> {
    let (first, behind) = rest.split_first()?;
    let digit = first.wrapping_sub(b'0');
    (digit < 10).then(|| {
        *rest = behind;
        u64::from(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_other_languages() {
        for (message, micros) in [
            ("Dauer: 811.002 ms  Anweisung: SELECT 1", Some(811_002)),
            ("durée : 0.100 ms", Some(100)),
            ("продолжительность: 5,250 мс, оператор: SELECT 1", None),
            ("длительность: 5.250 ms", Some(5_250)),
            ("total=5.250 ms", None),
            ("", None),
        ] {
            assert_eq!(foreign_duration(message), micros, "{message}");
        }
    }

    #[test]
    fn times_with_their_units() {
        for (text, unit, wanted) in [
            ("811.002 ms  execute", " ms", Some(811_002)),
            ("7 ms", " ms", Some(7_000)),
            ("7. ms", " ms", Some(7_000)),
            ("0.0019 ms", " ms", Some(1)),
            ("31.27 s;", " s", Some(31_270_000)),
            ("18446744073709551.615 ms", " ms", Some(u64::MAX)),
            ("18446744073709551.616 ms", " ms", None),
            ("7 s", " ms", None),
            (".5 ms", " ms", None),
            ("", " s", None),
        ] {
            assert_eq!(micros(text, unit), wanted, "{text:?}");
        }
    }
}
