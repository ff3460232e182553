//! Masks what must not be told: credentials always, literals where the route says so. Where text does
//! not tell what a piece of it is, it is masked.

mod credentials;
mod lexer;
mod literals;
mod mask;
mod patterns;
mod scan;

pub(in crate::logs) use lexer::{Kind, Lexer};
pub(in crate::logs) use patterns::Patterns;
pub(in crate::logs) use scan::first_sign;

use std::borrow::Cow;

use super::record::{Key, Part, Record};
use credentials::Finding;
use mask::Masked;

/// How much a route's readers may not see; each level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Passwords, in statements and connection strings.
    Credentials,
    /// Every literal of a statement, parameters, and the values of failing rows and keys.
    Literals,
}

/// How many values were masked, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub credentials: u64,
    pub literals: u64,
    /// By the user's own patterns.
    pub patterns: u64,
}

/// Names that clients choose: a connection string in the place of a database's name ends up there.
const NAMES: [Key; 4] = [Key::User, Key::Dbname, Key::ApplicationName, Key::Ps];

/// The same without a copy where nothing needs a mask.
pub(in crate::logs) fn redacted(record: &Record, level: Level) -> (Cow<'_, Record>, Counts) {
    let signs = scan::may_hold_credential(record);
    if level == Level::Credentials && !signs && !is_orphan(record) {
        return (Cow::Borrowed(record), Counts::default());
    }
    let (record, counts) = masked(record.clone(), level, signs);
    (Cow::Owned(record), counts)
}

/// A line without its beginning: what stood before its literals is unknown.
fn is_orphan(record: &Record) -> bool {
    record.is_plain() && record.line().starts_with('\t')
}

/// The record with what the level covers masked. A record that nothing in it calls for masking is
/// given back as it came, after one scan.
pub fn redact(record: Record, level: Level) -> (Record, Counts) {
    let signs = scan::may_hold_credential(&record);
    masked(record, level, signs)
}

/// `signs`: it may hold a credential that has a sign.
fn masked(mut record: Record, level: Level, signs: bool) -> (Record, Counts) {
    let mut counts = Counts::default();
    let severity = record.severity;
    for key in NAMES.into_iter().filter(|_| signs) {
        let Some(masked) = record.field(key).and_then(credentials::mask) else { continue };
        counts.credentials += masked.count;
        record.fields.set(key, &masked.text);
    }
    let orphan = is_orphan(&record);
    let finding = if signs { credentials::find(record.line()) } else { Finding::Nothing };
    if finding != Finding::Nothing || orphan {
        record = record.map(|part, text| {
            let first = credentials::mask(text);
            let known = first.as_ref().map_or(text, |masked| masked.text.as_str());
            let second = if orphan {
                literals::strings(known)
            } else if finding == Finding::Named {
                literals::values_beside(severity, part, known)
            } else {
                None
            };
            counts.credentials += count(&first) + count(&second);
            second.or(first).map(|masked| masked.text)
        });
    }
    if level >= Level::Literals {
        let plain = record.is_plain();
        record = record.map(|part, text| {
            let masked = match part {
                _ if orphan => literals::sql(text),
                Part::Message if plain => literals::plain(text),
                Part::Message => literals::message(severity, text),
                Part::Detail => literals::detail(text),
                Part::Context => literals::context(text),
                Part::Statement | Part::Query => literals::sql(text),
                Part::Hint | Part::Location | Part::Backtrace => None,
            };
            counts.literals += count(&masked);
            masked.map(|masked| masked.text)
        });
    }
    (record, counts)
}

fn count(masked: &Option<Masked>) -> u64 {
    masked.as_ref().map_or(0, |masked| masked.count)
}
