//! A look at text that rules out credentials: most records hold nothing that looks like one, and this
//! is all that they cost.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::logs::Record;

/// In small letters a piece of everything that may begin a credential.
const SIGNS: [&str; 20] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "private_key",
    "privatekey",
    "crypt",
    "edential",
    "authorization",
    "pgp_sym_",
    "://",
    "scram-sha-256$",
    "md5",
    ":*:",
    ":5432:",
    ":6432:",
];

/// Left-most matches allow the search by vectors.
static SEARCH: LazyLock<AhoCorasick> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constant words, used in every test")]
    AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(SIGNS).expect("few words")
});

/// Whether the record's fields or line may hold a sign of a credential; where this says no, there is
/// none. `room` is used again for each record.
pub(super) fn may_hold_credential(record: &Record, room: &mut Vec<u8>) -> bool {
    room.clear();
    room.extend_from_slice(record.fields.encoded().bytes());
    room.push(b'\n');
    room.extend_from_slice(record.line().as_bytes());
    room.make_ascii_lowercase();
    SEARCH.is_match(&*room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Key, Severity};

    #[test]
    fn every_place_of_a_record_is_looked_at() {
        let mut room = Vec::new();
        for sign in SIGNS.map(str::to_uppercase) {
            for before in 0..200 {
                for behind in [0, 1, 2, 3, 70] {
                    let text = format!("{}{sign}{}", " ".repeat(before), " ".repeat(behind));
                    let record = Record::new(Severity::Log, &text);
                    assert!(may_hold_credential(&record, &mut room), "{before} {text:?}");
                }
            }
        }
        let mut record = Record::default();
        assert!(!may_hold_credential(&record, &mut room));
        record.fields.set(Key::Dbname, "postgres://x");
        assert!(may_hold_credential(&record, &mut room));
        let harmless = "created orders_pkey parameter class week parse ".repeat(9);
        assert!(!may_hold_credential(&Record::new(Severity::Log, &harmless), &mut room));
    }
}
