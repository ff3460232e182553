//! PgBouncer's own log: `TIME [PID] LEVEL MESSAGE`, where messages about a connection begin with its
//! place, `C-0x55: database/user@host:port`.

use crate::logs::record::Severity;

/// A line of PgBouncer's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) struct Pgbouncer<'l> {
    pub time: &'l [u8],
    pub pid: &'l [u8],
    pub severity: Severity,
    pub message: &'l [u8],
}

/// Reads a line; none where it is not PgBouncer's.
pub(in crate::logs) fn pgbouncer(line: &[u8]) -> Option<Pgbouncer<'_>> {
    if !line.first()?.is_ascii_digit() || line.get(10) != Some(&b' ') {
        return None;
    }
    let open = memchr::memchr(b'[', line.get(..line.len().min(48))?)?;
    let time = line[..open].strip_suffix(b" ")?;
    let rest = &line[open + 1..];
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (pid, rest) = rest.split_at(digits);
    let rest = rest.strip_prefix(b"] ")?;
    let blank = memchr::memchr(b' ', rest)?;
    let severity = severity(&rest[..blank])?;
    Some(Pgbouncer { time, pid, severity, message: &rest[blank + 1..] })
}

/// PgBouncer's levels.
pub(in crate::logs) fn severity(word: &[u8]) -> Option<Severity> {
    Some(match word {
        b"NOISE" | b"DEBUG" => Severity::Debug,
        b"LOG" => Severity::Log,
        b"WARNING" => Severity::Warning,
        b"ERROR" => Severity::Error,
        b"FATAL" => Severity::Fatal,
        _ => return None,
    })
}

/// Whose connection a message is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::logs) struct Place<'l> {
    pub dbname: Option<&'l [u8]>,
    pub user: Option<&'l [u8]>,
    /// A client's address; a server's own is not told here.
    pub host: Option<&'l [u8]>,
    pub port: Option<&'l [u8]>,
}

/// `C-0x5581: shop/app@10.0.0.7:41744 closing because: …`
pub(in crate::logs) fn place(message: &[u8]) -> Place<'_> {
    read(message).unwrap_or_default()
}

fn read(message: &[u8]) -> Option<Place<'_>> {
    let client = message.starts_with(b"C-0x");
    if !client && !message.starts_with(b"S-0x") {
        return None;
    }
    let colon = memchr::memmem::find(message, b": ")?;
    let rest = &message[colon + 2..];
    let place = &rest[..memchr::memchr(b' ', rest).unwrap_or(rest.len())];
    let slash = memchr::memchr(b'/', place)?;
    let at = memchr::memrchr(b'@', place).filter(|at| *at > slash)?;
    let known = |value: &'_ [u8]| !matches!(value, b"" | b"(nodb)" | b"(nouser)");
    let (dbname, user, address) = (&place[..slash], &place[slash + 1..at], &place[at + 1..]);
    let (host, port) = match memchr::memrchr(b':', address) {
        Some(colon) => (&address[..colon], Some(&address[colon + 1..])),
        None => (address, None),
    };
    Some(Place {
        dbname: Some(dbname).filter(|value| known(value)),
        user: Some(user).filter(|value| known(value)),
        host: Some(host).filter(|value| client && known(value)),
        port: port.filter(|value| client && known(value)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = b"2026-03-04 09:15:01.207 UTC [12] WARNING C-0x5581: shop/app@10.0.0.7:41744 pooler error: x";
        let found = pgbouncer(line).unwrap();
        assert_eq!((found.time, found.pid), (&b"2026-03-04 09:15:01.207 UTC"[..], &b"12"[..]));
        assert_eq!(found.severity, Severity::Warning);
        let place = place(found.message);
        assert_eq!((place.dbname, place.user), (Some(&b"shop"[..]), Some(&b"app"[..])));
        assert_eq!((place.host, place.port), (Some(&b"10.0.0.7"[..]), Some(&b"41744"[..])));
        for other in [
            &b"2026-03-04 09:15:01.207 UTC [12] LOG:  hello"[..],
            b"2026-03-04 09:15:01,207 INFO: no action. I am (db-0), the leader with the lock",
            b"2026-03-04 09:15:01.207 UTC [12]",
            b"",
        ] {
            assert_eq!(pgbouncer(other), None);
        }
        assert_eq!(super::place(b"S-0x1: shop/app@[::1]:5432 new connection").host, None);
        assert_eq!(super::place(b"stats: 0 xacts/s").user, None);
    }
}
