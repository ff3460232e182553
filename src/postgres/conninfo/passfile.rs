//! libpq's password file (PostgreSQL manual 34.16): lines of `host:port:database:user:password`.

use crate::secret::Secret;

/// The password of the first line that fits, as libpq finds it: `*` alone fits everything, `\` makes
/// the next character plain, `#` begins a comment. `host` is `localhost` for a default socket.
pub fn password_from(
    text: &str,
    host: &str,
    port: u16,
    database: &str,
    user: &str,
) -> Option<Secret> {
    let port = port.to_string();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line.trim_end_matches('\r');
        for wanted in [host, &port, database, user] {
            let (raw, value, after) = field(rest);
            if raw != "*" && value != wanted {
                return None;
            }
            rest = after?;
        }
        Some(Secret::new(field(rest).1)).filter(|password| !password.expose().is_empty())
    })
}

/// The first field as written and as meant, and what follows its colon.
fn field(text: &str) -> (&str, String, Option<&str>) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, next)| next)),
            ':' => return (&text[..at], value, Some(&text[at + 1..])),
            other => value.push(other),
        }
    }
    (text, value, None)
}
