//! What users want masked: their own patterns, on everything that an entry holds, behind our own masks.

use regex::Regex;

use crate::config::Masking;
use crate::logs::record::{Key, Record};

/// A route's patterns, ready for use.
#[derive(Debug, Default)]
pub(in crate::logs) struct Patterns(Vec<(Regex, String)>);

impl Patterns {
    /// The configuration has seen to it that they compile.
    pub(in crate::logs) fn new(maskings: &[Masking]) -> Self {
        let compile = |masking: &Masking| {
            Some((Masking::compile(&masking.pattern).ok()?, masking.replace.clone()))
        };
        Self(maskings.iter().filter_map(compile).collect())
    }

    pub(in crate::logs) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The record with every place masked that a pattern fits, and how many there were.
    pub(in crate::logs) fn mask(&self, mut record: Record) -> (Record, u64) {
        let mut count = 0;
        for key in Key::ALL {
            let masked = record.field(key).and_then(|value| self.text(value, &mut count));
            if let Some(masked) = masked {
                record.fields.set(key, &masked);
            }
        }
        let record = record.map(|_, text| self.text(text, &mut count));
        (record, count)
    }

    fn text(&self, text: &str, count: &mut u64) -> Option<String> {
        let mut masked: Option<String> = None;
        for (pattern, replace) in &self.0 {
            let known = masked.as_deref().unwrap_or(text);
            let mut here = 0;
            let new = pattern.replace_all(known, |captures: &regex::Captures<'_>| {
                here += 1;
                let mut out = String::new();
                captures.expand(replace, &mut out);
                out
            });
            if here > 0 {
                *count += here;
                masked = Some(new.into_owned());
            }
        }
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::record::{Part, Severity};

    #[test]
    fn everything_that_an_entry_holds_is_looked_at() {
        let patterns = Patterns::new(&[
            Masking { pattern: r"\b(\d{4})-\d{4}\b".into(), replace: "$1-####".into() },
            Masking { pattern: "^shop$".into(), replace: "***".into() },
        ]);
        let mut record = Record::new(Severity::Error, "no card 1234-5678");
        record.add(Part::Detail, "shop");
        record.add(Part::Statement, "SELECT '1234-5678', '9999-0000'");
        record.fields.set(Key::Dbname, "shop");
        record.fields.set(Key::ApplicationName, "1234-5678");
        record.fields.set(Key::User, "app");
        let (masked, count) = patterns.mask(record.clone());
        assert_eq!(
            masked.line(),
            "ERROR:  no card 1234-####\nDETAIL:  ***\nSTATEMENT:  SELECT '1234-####', '9999-####'"
        );
        assert_eq!(masked.field(Key::ApplicationName), Some("1234-####"));
        assert_eq!(
            (masked.field(Key::User), masked.field(Key::Dbname)),
            (Some("app"), Some("***"))
        );
        assert_eq!(count, 6);
        assert_eq!(Patterns::default().mask(record.clone()), (record, 0));
    }
}
