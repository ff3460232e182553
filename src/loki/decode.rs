//! Encoded entries read back: what the local store and `logs cat` need of protobuf.

/// One entry, borrowed from its encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Nanoseconds since 1970.
    pub ns: i64,
    pub line: &'a str,
    pub metadata: Vec<(&'a str, &'a str)>,
}

impl<'a> Entry<'a> {
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.metadata.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }
}

/// The entries of a stream message's body; reading ends at the first damage.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (2, found, next) = field(bytes, at)? else { return None };
        at = next;
        entry(found)
    })
}

/// A length-delimited field: its number, its bytes, and where the next one starts.
pub(super) type Field<'b> = (u64, &'b [u8], usize);

/// The field at `at`.
pub(super) fn field(bytes: &[u8], at: usize) -> Option<Field<'_>> {
    let (key, at) = varint(bytes, at)?;
    if key & 7 != 2 {
        return None;
    }
    let (size, at) = varint(bytes, at)?;
    let end = at.checked_add(usize::try_from(size).ok()?)?;
    Some((key >> 3, bytes.get(at..end)?, end))
}

pub(super) fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let mut out = Entry::default();
    let mut at = 0;
    while at < bytes.len() {
        let (number, value, next) = field(bytes, at)?;
        at = next;
        match number {
            1 => out.ns = time(value)?,
            2 => out.line = std::str::from_utf8(value).ok()?,
            3 => out.metadata.push(pair(value)?),
            _ => {}
        }
    }
    Some(out)
}

fn time(bytes: &[u8]) -> Option<i64> {
    let (mut seconds, mut nanos, mut at) = (0, 0, 0);
    while at < bytes.len() {
        let (key, value_at) = varint(bytes, at)?;
        let (value, next) = varint(bytes, value_at)?;
        at = next;
        match key {
            0x08 => seconds = value.cast_signed(),
            0x10 => nanos = value.cast_signed(),
            _ => return None,
        }
    }
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// The pairs of an entry's metadata, as they stand in it.
pub(super) fn pairs(bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (3, found, next) = field(bytes, at)? else { return None };
        at = next;
        pair(found)
    })
}

/// Name and value of a pair.
pub(super) fn pair(bytes: &[u8]) -> Option<(&str, &str)> {
    let (mut name, mut value, mut at) = ("", "", 0);
    while at < bytes.len() {
        let (number, text, next) = field(bytes, at)?;
        at = next;
        let text = std::str::from_utf8(text).ok()?;
        match number {
            1 => name = text,
            2 => value = text,
            _ => {}
        }
    }
    Some((name, value))
}

fn varint(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value, at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Entries;
    use super::*;

    #[test]
    fn reads_what_entries_write() {
        let mut encoded = Entries::default();
        let two = [("level", "info"), ("pid", "7")].into_iter().collect();
        encoded.push(1_700_000_000_000_000_001, "LOG:  one", &[&two]);
        encoded.push(-5, "", &[&[("a", "")].into_iter().collect()]);
        let bytes = encoded.bytes();
        let read: Vec<_> = entries(&bytes).collect();
        assert_eq!(read[0].ns, 1_700_000_000_000_000_001);
        assert_eq!((read[0].line, read[0].get("pid")), ("LOG:  one", Some("7")));
        assert_eq!((read[1].ns, read[1].line), (-5, ""));
        assert_eq!(read.len(), 2);
        // Damage ends the reading; it never panics.
        for cut in 0..encoded.size() {
            assert!(entries(&bytes[..cut]).count() < 2);
        }
    }
}
