//! The two spellings of a connection string, split into keywords and values. What is refused is told
//! without quoting it.

use percent_encoding::percent_decode_str;

use super::keyword::known;

/// What a string says: keywords of the known list, in its order; a later one outranks an earlier.
pub(super) type Pairs = Vec<(&'static str, String)>;

pub(super) fn pairs(dsn: &str) -> Result<Pairs, String> {
    if dsn.contains('\0') {
        return Err("the connection string holds a zero byte; remove it".to_owned());
    }
    let dsn = dsn.trim();
    for scheme in ["postgresql://", "postgres://"] {
        if let Some(rest) = dsn.strip_prefix(scheme) {
            return uri(rest);
        }
    }
    let before_equals = dsn.split('=').next().unwrap_or_default();
    if before_equals.contains("://") {
        return Err(
            "the connection string is a URI of another kind; begin it with `postgresql://`"
                .to_owned(),
        );
    }
    keywords(dsn)
}

// ---- postgresql://[user[:password]@][host[:port]][,…][/database][?keyword=value[&…]]

fn uri(rest: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let stop = rest.find(['@', '/']);
    let (has_user, rest) = match stop.map(|at| (rest.as_bytes()[at], at)) {
        Some((b'@', at)) => {
            user_part(&rest[..at], &mut pairs)?;
            (true, &rest[at + 1..])
        }
        _ => (false, rest),
    };
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let (hosts, database) = match place.split_once('/') {
        Some((hosts, database)) => (hosts, Some(database)),
        None => (place, None),
    };
    // libpq ends the user part at the first `@`, and sees none behind a `/`: what follows would be
    // the rest of a password, taken for a host or a database and shown in every error.
    if hosts.contains('@') || database.is_some_and(|d| d.contains('@')) {
        return Err(
            "the connection URI holds an `@` where none can stand; write `%40` for an `@`, \
                    `%2F` for a `/` and `%3A` for a `:` inside the user, password or database"
                .to_owned(),
        );
    }
    host_part(hosts, &mut pairs)?;
    if let Some(database) = database.filter(|d| !d.is_empty()) {
        pairs.push(("dbname", decode(database, "the database")?));
    }
    if let Some(query) = query.filter(|q| !q.is_empty()) {
        query_part(query, has_user || !query.contains('@'), &mut pairs)?;
    }
    Ok(pairs)
}

fn user_part(text: &str, pairs: &mut Pairs) -> Result<(), String> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    if !user.is_empty() {
        pairs.push(("user", decode(user, "the user")?));
    }
    if let Some(password) = password.filter(|p| !p.is_empty()) {
        pairs.push(("password", decode(password, "the password")?));
    }
    Ok(())
}

fn host_part(text: &str, pairs: &mut Pairs) -> Result<(), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, port) = if let Some(inner) = one.strip_prefix('[') {
            let (address, after) = inner
                .split_once(']')
                .ok_or("an IPv6 address in the connection URI has no closing `]`; write `[::1]`")?;
            if address.is_empty() {
                return Err("the brackets for an IPv6 address in the connection URI are empty; \
                            write `[::1]`, or a host without brackets"
                    .to_owned());
            }
            let port = match after.strip_prefix(':') {
                Some(port) => port,
                None if after.is_empty() => "",
                None => {
                    return Err("something stands behind the `]` in the connection URI; only \
                                `:port`, `,`, `/` or `?` may follow"
                        .to_owned());
                }
            };
            (address, port)
        } else {
            one.split_once(':').unwrap_or((one, ""))
        };
        let host = decode(host, "the host")?;
        if host.contains(',') {
            return Err(
                "a host in the connection URI holds an encoded comma; write several hosts \
                        with bare commas"
                    .to_owned(),
            );
        }
        hosts.push(host);
        ports.push(decode(port, "the port")?);
    }
    if hosts.len() > 1 || !hosts[0].is_empty() {
        pairs.push(("host", hosts.join(",")));
    }
    if ports.iter().any(|p| !p.is_empty()) {
        pairs.push(("port", ports.join(",")));
    }
    Ok(())
}

/// `nameable`: whether a keyword that nobody knows may be shown, since no password can be cut there.
fn query_part(query: &str, nameable: bool, pairs: &mut Pairs) -> Result<(), String> {
    let mut after_password = false;
    for one in query.split('&') {
        let Some((keyword, value)) = one.split_once('=') else {
            return Err(
                "a parameter in the connection URI has no `=`; write `?keyword=value`, with \
                        `%26` for an `&` inside a value"
                    .to_owned(),
            );
        };
        let keyword = decode(keyword, "a keyword")?;
        // JDBC's spelling, as libpq takes it.
        if keyword == "ssl" && value == "true" {
            pairs.push(("sslmode", "require".to_owned()));
            continue;
        }
        let keyword = known(&keyword, nameable && !after_password)?;
        if value.contains('=') {
            return Err(format!(
                "the value of `{keyword}` in the connection URI holds a bare `=`; write `%3D`"
            ));
        }
        after_password = keyword.ends_with("password");
        pairs.push((keyword, decode(value, keyword)?));
    }
    Ok(())
}

fn decode(text: &str, part: &str) -> Result<String, String> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        if after.len() < 2 || !after.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit) {
            return Err(format!(
                "{part} in the connection URI holds a `%` that two hexadecimal digits do not \
                 follow; write `%25` for a `%`"
            ));
        }
        if after.starts_with("00") {
            return Err(format!("{part} in the connection URI holds `%00`; remove it"));
        }
        rest = &after[2..];
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| format!("{part} in the connection URI is not UTF-8; encode it as UTF-8"))
}

// ---- keyword = value, keyword = 'value with blanks, \' and \\'

fn keywords(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    let mut after_bare_password = false;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return Err("a word in the connection string has no `=` behind it; write \
                        `keyword=value`, with single quotes around a value that holds a blank"
                .to_owned());
        };
        let keyword = known(word, !after_bare_password)?;
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('\'') {
            Some(quoted) => quoted_value(quoted).ok_or_else(|| {
                format!(
                    "the value of `{keyword}` in the connection string has no closing quote; end \
                     it with `'`, and write `\\'` for a quote inside"
                )
            })?,
            None => bare_value(after),
        };
        after_bare_password = keyword.ends_with("password");
        pairs.push((keyword, value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// Up to the closing quote; a backslash makes the next character plain.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (_, '\\') => value.push(characters.next()?.1),
            (at, '\'') => return Some((value, &text[at + 1..])),
            (_, other) => value.push(other),
        }
    }
}

/// Up to the next blank; a backslash makes the next character plain.
fn bare_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, next)| next)),
            c if c.is_ascii_whitespace() => return (value, &text[at..]),
            other => value.push(other),
        }
    }
    (value, "")
}
