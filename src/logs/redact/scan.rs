//! A look at text that rules out credentials: most records hold nothing that looks like one, and this
//! is all that they cost.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::logs::Record;

/// In small letters a piece of everything that may begin a credential, lines hold it whole. Each place
/// that begins like one is looked at twice: `secret`, `crypt` and ports go without what is frequent.
const SIGNS: [&str; 19] = [
    "pass",
    "pwd",
    "ecret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
    "private_key",
    "privatekey",
    "rypt",
    "edential",
    "authorization",
    "pgp_sym_",
    "://",
    "scram-sha-256$",
    "md5",
    ":*:",
    "432:",
];

/// No sign is longer.
const LONGEST: usize = 14;

/// As much text is looked through at once, in memory that is near.
const PIECE: usize = 1024;

/// Left-most matches allow the search by vectors.
static SEARCH: LazyLock<AhoCorasick> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constant words, used in every test")]
    AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(SIGNS).expect("few words")
});

/// Where the first sign of a credential begins; where there is none, neither is a credential.
pub(in crate::logs) fn first_sign(text: &[u8]) -> Option<usize> {
    let mut room = [0; PIECE];
    let mut from = 0;
    loop {
        let piece = &text[from..text.len().min(from + PIECE)];
        let small = &mut room[..piece.len()];
        small.copy_from_slice(piece);
        small.make_ascii_lowercase();
        if let Some(found) = SEARCH.find(&*small) {
            return Some(from + found.start());
        }
        if piece.len() < PIECE {
            return None;
        }
        // One may lie across the end of the piece.
        from += PIECE - (LONGEST - 1);
    }
}

/// Whether the record's fields or line may hold a sign of a credential; where this says no, there is
/// none.
pub(super) fn may_hold_credential(record: &Record) -> bool {
    let fields = record.fields.encoded().bytes();
    !record.clean
        && (first_sign(fields).is_some() || first_sign(record.line().as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Key, Severity};

    #[test]
    fn the_longest_sign_has_that_length() {
        assert_eq!(SIGNS.iter().map(|sign| sign.len()).max(), Some(LONGEST));
    }

    #[test]
    fn every_place_of_a_record_is_looked_at() {
        for sign in SIGNS.map(str::to_uppercase) {
            for before in (0..200).chain(PIECE - 50..PIECE + 50) {
                for behind in [0, 1, 2, 3, 70] {
                    let text = format!("{}{sign}{}", " ".repeat(before), " ".repeat(behind));
                    let record = Record::new(Severity::Log, &text);
                    assert!(may_hold_credential(&record), "{before} {text:?}");
                }
            }
        }
        let mut record = Record::default();
        assert!(!may_hold_credential(&record));
        record.fields.set(Key::Dbname, "postgres://x");
        assert!(may_hold_credential(&record));
        let harmless = "created orders_pkey parameter class week parse ".repeat(9);
        assert!(!may_hold_credential(&Record::new(Severity::Log, &harmless)));
    }
}
