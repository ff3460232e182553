//! Text with pieces of it masked.

use std::ops::Range;

/// Stands for a credential.
pub(super) const CREDENTIAL: &str = "***";

/// Stands for a literal.
pub(super) const LITERAL: &str = "?";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Masked {
    pub text: String,
    pub count: u64,
}

/// Replaces ranges, which may come in any order and overlap, by a mask each. None where there are
/// none.
pub(super) fn apply(text: &str, mut ranges: Vec<Range<usize>>, mask: &str) -> Option<Masked> {
    for range in &mut ranges {
        // Never less than what was meant, whatever character it was meant to begin or end in.
        range.end =
            (range.end..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        range.start =
            (0..=range.start.min(range.end)).rfind(|at| text.is_char_boundary(*at)).unwrap_or(0);
    }
    ranges.retain(|range| !matches!(&text[range.clone()], "" | CREDENTIAL | LITERAL));
    if ranges.is_empty() {
        return None;
    }
    ranges.sort_by_key(|range| range.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut count = 0;
    for range in ranges {
        if range.start >= at {
            out.push_str(&text[at..range.start]);
            out.push_str(mask);
            count += 1;
        }
        at = at.max(range.end);
    }
    out.push_str(&text[at..]);
    Some(Masked { text: out, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(range: Range<usize>) -> Vec<Range<usize>> {
        std::iter::once(range).collect()
    }

    #[test]
    fn overlapping_ranges_are_masked_once() {
        let masked = apply("abcdefgh", vec![5..7, 1..3, 2..4, 0..0], "*").unwrap();
        assert_eq!(masked, Masked { text: "a*e*h".into(), count: 2 });
        assert_eq!(apply("a***b", one(1..4), CREDENTIAL), None);
        assert_eq!(apply("aéb", one(2..9), "*").unwrap().text, "a*");
    }
}
