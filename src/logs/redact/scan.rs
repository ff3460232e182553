//! A look at text that rules out credentials: most records hold nothing that looks like one, and this
//! is all that they cost.

/// How many places are looked at together. Without branches, the compiler makes vectors of it.
const BLOCK: usize = 64;

/// A place is judged by four bytes.
const WINDOW: usize = BLOCK + 3;

/// Whether the text may hold a sign of a credential; where this says no, there is none.
pub(super) fn may_hold_credential(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(window) = text.get(at..).and_then(<[u8]>::first_chunk) {
        if block(window) {
            return true;
        }
        at += BLOCK;
    }
    let rest = &text[at..];
    let mut last = [0; WINDOW];
    last[..rest.len()].copy_from_slice(rest);
    block(&last)
}

/// A piece of each sign that other words seldom hold. Setting bit 5 makes letters small; it also
/// makes `_` 0x7f.
fn block(window: &[u8; WINDOW]) -> bool {
    let mut hit = 0;
    for at in 0..BLOCK {
        let a = window[at] | 0x20;
        let b = window[at + 1] | 0x20;
        let c = window[at + 2] | 0x20;
        let d = window[at + 3] | 0x20;
        let is = |byte: u8, wanted: u8| u8::from(byte == wanted);
        // pass, password, passwd, passphrase, passcode
        hit |= is(a, b'p') & is(b, b'a') & is(c, b's') & is(d, b's');
        // authorization
        hit |= is(a, b'h') & is(b, b'o') & is(c, b'r') & is(d, b'i');
        hit |= is(a, b'p') & is(b, b'w') & is(c, b'd');
        // secret, credential, SCRAM
        hit |= is(a, b'e') & is(b, b'c') & is(c, b'r') & is(d, b'e');
        hit |= is(a, b'c') & is(b, b'r') & is(c, b'e') & is(d, b'd');
        hit |= is(a, b'c') & is(b, b'r') & is(c, b'a') & is(d, b'm');
        hit |= is(a, b't') & is(b, b'o') & is(c, b'k');
        // api_key, apikey, access_key, accesskey, secretkey, privatekey, encryptionkey
        let before =
            is(a, 0x7f) | is(a, b'i') | is(a, b's') | is(a, b't') | is(a, b'e') | is(a, b'n');
        hit |= is(b, b'k') & is(c, b'e') & is(d, b'y') & before;
        // crypt(), pgp_sym_…()
        hit |= is(a, b'r') & is(b, b'y') & is(c, b'p') & is(d, b't');
        hit |= is(a, b'g') & is(b, b'p') & is(c, 0x7f) & is(d, b's');
        hit |= is(a, b'm') & is(b, b'd') & is(c, b'5');
        hit |= is(a, b':') & is(b, b'/') & is(c, b'/');
        hit |= is(a, b':') & is(b, b'*') & is(c, b':');
        // :5432:, :6432:
        hit |= is(a, b'4') & is(b, b'3') & is(c, b'2') & is(d, b':');
    }
    hit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_text_is_looked_at() {
        for sign in ["PassWord", "pwd", "SECRET", "token", "api_key", "://", ":*:", ":5432:", "md5"]
        {
            for before in 0..200 {
                for behind in [0, 1, 2, 3, 70] {
                    let text = format!("{}{sign}{}", " ".repeat(before), " ".repeat(behind));
                    assert!(may_hold_credential(text.as_bytes()), "{before} {text:?}");
                }
            }
        }
        assert!(!may_hold_credential(b""));
        assert!(!may_hold_credential(
            "created orders_pkey parameter class week parse ".repeat(9).as_bytes()
        ));
    }
}
