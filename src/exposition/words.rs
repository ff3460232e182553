//! The smallest parts of a page: escaped text and numbers.

use std::io::Write;

use memchr::{memchr2, memchr3};

/// Above this (2^53) not every integer has a float of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes a label's value between its quotes: backslash, quote and line feed are escaped, every other
/// character stands for itself in both formats.
pub(super) fn label_value(out: &mut Vec<u8>, text: &str) {
    escaped(out, text.as_bytes(), |rest| memchr3(b'\\', b'\n', b'"', rest));
}

/// Writes a help text. The text format leaves quotes alone, OpenMetrics escapes them.
pub(super) fn help(out: &mut Vec<u8>, text: &str, quotes: bool) {
    if quotes {
        label_value(out, text);
    } else {
        escaped(out, text.as_bytes(), |rest| memchr2(b'\\', b'\n', rest));
    }
}

fn escaped(out: &mut Vec<u8>, mut rest: &[u8], next: impl Fn(&[u8]) -> Option<usize>) {
    while let Some(at) = next(rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(if rest[at] == b'\n' { b'n' } else { rest[at] });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Writes a value: integers up to 2^53 as digits, all else as the shortest text that reads back as the
/// same float, with an exponent only where the digits would run long.
pub(super) fn number(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if value.fract() == 0.0 && value.abs() <= EXACT {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        integer(out, value.abs() as u64);
    } else {
        let size = value.abs();
        // Writing to a vector cannot fail.
        let _ = if (1e-5..1e17).contains(&size) {
            write!(out, "{value}")
        } else {
            write!(out, "{value:e}")
        };
    }
}

/// Writes a bucket's upper bound: always with a point (`1.0`), which OpenMetrics asks for and
/// Prometheus 3 makes of it anyway, so that the series is the same in every format.
pub(super) fn bound(out: &mut Vec<u8>, value: f64) {
    let start = out.len();
    number(out, value);
    if out[start..].iter().all(|c| c.is_ascii_digit() || *c == b'-') {
        out.extend_from_slice(b".0");
    }
}

/// Writes digits.
pub(super) fn integer(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_short_and_exact() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (7.0, "7"),
            (-12.0, "-12"),
            (1_700_000_000.25, "1700000000.25"),
            (0.1, "0.1"),
            (1e-5, "0.00001"),
            (1e-6, "1e-6"),
            (1e15, "1000000000000000"),
            (EXACT, "9007199254740992"),
            (1e17, "1e17"),
            (1.5e300, "1.5e300"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(written(|out| number(out, value)), text);
        }
    }

    #[test]
    fn bounds_have_a_point() {
        for (value, text) in
            [(1.0, "1.0"), (0.0, "0.0"), (-2.0, "-2.0"), (0.25, "0.25"), (1e20, "1e20")]
        {
            assert_eq!(written(|out| bound(out, value)), text);
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(written(|out| label_value(out, "a\"b\\c\nd\0é")), "a\\\"b\\\\c\\nd\0é");
        assert_eq!(written(|out| help(out, "a\"b\\c\n", false)), "a\"b\\\\c\\n");
        assert_eq!(written(|out| help(out, "a\"b", true)), "a\\\"b");
    }

    proptest! {
        #[test]
        fn every_number_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let text = written(|out| number(out, value));
            let back: f64 = text.parse().unwrap();
            prop_assert!(back.to_bits() == value.to_bits() || back.is_nan() && value.is_nan());
            prop_assert!(text.len() <= 24, "{}", text);
        }
    }
}
