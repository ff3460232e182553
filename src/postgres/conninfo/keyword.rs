//! libpq's keywords one by one: which are taken, which change nothing here, and which are refused since
//! to ignore them would make a connection weaker or other than its string says.

use std::time::Duration;

use super::info::{ChannelBinding, ConnInfo, SslMode};
use crate::secret::Secret;

enum Treatment {
    Taken,
    /// Means nothing to this agent, or what it does anyway.
    Ignored,
    /// Refused unless the value is one of these, which mean nothing; the text is what to do.
    Refused(&'static [&'static str], &'static str),
}
use Treatment::{Ignored, Refused, Taken};

/// Keyword, environment variable (empty where libpq has none that is taken), treatment.
/// Source: `PQconninfoOptions` in `src/interfaces/libpq/fe-connect.c`, 13 to 18.
const KEYWORDS: &[(&str, &str, Treatment)] = &[
    ("host", "PGHOST", Taken),
    ("hostaddr", "PGHOSTADDR", Taken),
    ("port", "PGPORT", Taken),
    ("user", "PGUSER", Taken),
    ("password", "PGPASSWORD", Taken),
    ("passfile", "PGPASSFILE", Taken),
    ("dbname", "PGDATABASE", Taken),
    ("options", "PGOPTIONS", Taken),
    ("application_name", "PGAPPNAME", Taken),
    ("connect_timeout", "PGCONNECT_TIMEOUT", Taken),
    ("sslmode", "PGSSLMODE", Taken),
    ("sslnegotiation", "PGSSLNEGOTIATION", Taken),
    ("sslrootcert", "PGSSLROOTCERT", Taken),
    ("sslcert", "PGSSLCERT", Taken),
    ("sslkey", "PGSSLKEY", Taken),
    ("sslcertmode", "PGSSLCERTMODE", Taken),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", Taken),
    ("channel_binding", "PGCHANNELBINDING", Taken),
    ("fallback_application_name", "", Ignored),
    ("client_encoding", "", Ignored),
    ("keepalives", "", Ignored),
    ("keepalives_idle", "", Ignored),
    ("keepalives_interval", "", Ignored),
    ("keepalives_count", "", Ignored),
    ("tcp_user_timeout", "", Ignored),
    ("sslcompression", "", Ignored),
    ("sslsni", "", Ignored),
    ("krbsrvname", "", Ignored),
    ("gsslib", "", Ignored),
    ("gssdelegation", "", Ignored),
    ("min_protocol_version", "", Ignored),
    ("max_protocol_version", "", Ignored),
    ("authtype", "", Ignored),
    ("tty", "", Ignored),
    ("service", "PGSERVICE", Refused(&[], "write its settings into the connection string")),
    ("servicefile", "", Refused(&[], "write the service's settings into the connection string")),
    ("sslpassword", "", Refused(&[], "give the agent a key without a passphrase")),
    ("sslcrl", "PGSSLCRL", Refused(&[], "remove it: revocation lists are not supported")),
    ("sslcrldir", "PGSSLCRLDIR", Refused(&[], "remove it: revocation lists are not supported")),
    ("requirepeer", "PGREQUIREPEER", Refused(&[], "remove it: it is not supported")),
    ("require_auth", "PGREQUIREAUTH", Refused(&[], "remove it: it is not supported")),
    ("gssencmode", "PGGSSENCMODE", Refused(&["disable", "prefer"], "use TLS instead of GSSAPI")),
    (
        "target_session_attrs",
        "PGTARGETSESSIONATTRS",
        Refused(
            &["any"],
            "name each server as an instance of its own: the agent watches servers, whatever their role",
        ),
    ),
    (
        "load_balance_hosts",
        "PGLOADBALANCEHOSTS",
        Refused(&["disable"], "name each server as an instance of its own"),
    ),
    (
        "ssl_max_protocol_version",
        "PGSSLMAXPROTOCOLVERSION",
        Refused(&["TLSv1.3"], "remove it: the newest version that both sides know is used"),
    ),
    ("replication", "", Refused(&["false", "off", "no", "0"], "remove it")),
    ("sslkeylogfile", "", Refused(&[], "remove it")),
    ("scram_client_key", "", Refused(&[], "give the password instead")),
    ("scram_server_key", "", Refused(&[], "give the password instead")),
    ("oauth_issuer", "", Refused(&[], "use a password or a client certificate")),
    ("oauth_client_id", "", Refused(&[], "use a password or a client certificate")),
    ("oauth_client_secret", "", Refused(&[], "use a password or a client certificate")),
    ("oauth_scope", "", Refused(&[], "use a password or a client certificate")),
];

/// The keyword as the table spells it. One that nobody knows is shown only where `nameable`, and only
/// if it looks like a keyword: it may be a piece of a password.
pub(super) fn known(word: &str, nameable: bool) -> Result<&'static str, String> {
    if let Some((keyword, ..)) = KEYWORDS.iter().find(|(keyword, ..)| *keyword == word) {
        return Ok(keyword);
    }
    let looks_right = !word.is_empty()
        && word.len() <= 40
        && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    Err(if nameable && looks_right {
        format!("`{word}` is no keyword of a connection string; correct or remove it")
    } else {
        "the connection string holds a word before an `=` that is no keyword; correct it, and if it \
         is part of a value, quote it ('…' between keywords, %XX in a URI)"
            .to_owned()
    })
}

/// Takes one value over. An empty one says nothing, as with libpq.
pub(super) fn set(info: &mut ConnInfo, keyword: &str, value: &str) -> Result<(), String> {
    let treatment = KEYWORDS.iter().find(|(name, ..)| *name == keyword).map(|(.., t)| t);
    match treatment {
        Some(Taken) => take(info, keyword, value),
        Some(Refused(harmless, remedy)) if !value.is_empty() && !harmless.contains(&value) => {
            Err(format!("`{keyword}` in a connection string is not supported; {remedy}"))
        }
        _ => Ok(()),
    }
}

fn take(info: &mut ConnInfo, keyword: &str, value: &str) -> Result<(), String> {
    let text = || Some(value.to_owned()).filter(|v| !v.is_empty());
    match keyword {
        "host" => info.lists.hosts = list(value, |one| Some(one.to_owned())).unwrap_or_default(),
        "hostaddr" => {
            info.lists.addresses = list(value, |one| match one {
                "" => Some(None),
                one => one.parse().ok().map(Some),
            })
            .ok_or("the value of `hostaddr` is no IP address; write a name as `host`")?;
        }
        "port" => {
            info.lists.ports = list(value, |one| match one {
                "" => Some(None),
                one => one.parse().ok().filter(|port| *port > 0).map(Some),
            })
            .ok_or("the value of `port` is no number from 1 to 65535; correct it")?;
        }
        "user" => info.user = text(),
        "dbname" => info.dbname = text(),
        "password" => info.password = text().map(Secret::new),
        "passfile" => info.passfile = text().map(Into::into),
        "options" => info.options = text(),
        "application_name" => info.application_name = text(),
        "sslrootcert" => info.sslrootcert = text().map(Into::into),
        "sslcert" => info.sslcert = text().map(Into::into),
        "sslkey" => info.sslkey = text().map(Into::into),
        "connect_timeout" => {
            let seconds: i32 = match value.trim() {
                "" => 0,
                number => number.parse().map_err(
                    |_| "the value of `connect_timeout` is no whole number of seconds; correct it",
                )?,
            };
            // Zero and below mean no limit to libpq; here the agent's own limit holds.
            info.connect_timeout =
                u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs);
        }
        "sslmode" => {
            info.sslmode = choose(keyword, value, &SslMode::ALL.map(|m| (m.as_str(), Some(m))))?;
        }
        "sslnegotiation" => {
            info.direct_tls = choose(keyword, value, &[("postgres", false), ("direct", true)])?;
        }
        "sslcertmode" => {
            info.no_client_certificate =
                choose(keyword, value, &[("allow", false), ("disable", true)])?;
        }
        "ssl_min_protocol_version" => {
            let versions =
                [("TLSv1.2", false), ("TLSv1", false), ("TLSv1.1", false), ("TLSv1.3", true)];
            info.tls13_only = choose(keyword, value, &versions)?;
        }
        "channel_binding" => {
            info.channel_binding = choose(
                keyword,
                value,
                &[
                    ("prefer", ChannelBinding::Prefer),
                    ("disable", ChannelBinding::Disable),
                    ("require", ChannelBinding::Require),
                ],
            )?;
        }
        _ => {}
    }
    Ok(())
}

/// A list with commas; an empty text is no list.
fn list<T>(value: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    value.split(',').map(|one| read(one.trim())).collect()
}

/// One of the words; an empty value says nothing.
fn choose<T: Copy + Default>(keyword: &str, value: &str, words: &[(&str, T)]) -> Result<T, String> {
    if value.is_empty() {
        return Ok(T::default());
    }
    words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("the value of `{keyword}` is not understood; use one of {}", words.join(", "))
    })
}

/// The environment, for what the string left open.
pub(super) fn fill(
    info: &mut ConnInfo,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let placed = !info.lists.hosts.is_empty() || !info.lists.addresses.is_empty();
    for (keyword, variable, _) in KEYWORDS.iter().filter(|(_, variable, _)| !variable.is_empty()) {
        if is_set(info, keyword, placed) {
            continue;
        }
        if let Some(value) = environment(variable).filter(|v| !v.is_empty()) {
            set(info, keyword, &value)
                .map_err(|problem| format!("{problem} (from the environment's {variable})"))?;
        }
    }
    Ok(())
}

fn is_set(info: &ConnInfo, keyword: &str, placed: bool) -> bool {
    match keyword {
        "host" | "hostaddr" => placed,
        "port" => !info.lists.ports.is_empty(),
        "user" => info.user.is_some(),
        "password" => info.password.is_some(),
        "passfile" => info.passfile.is_some(),
        "dbname" => info.dbname.is_some(),
        "options" => info.options.is_some(),
        "application_name" => info.application_name.is_some(),
        "connect_timeout" => info.connect_timeout.is_some(),
        "sslmode" => info.sslmode.is_some(),
        "sslnegotiation" => info.direct_tls,
        "sslrootcert" => info.sslrootcert.is_some(),
        "sslcert" => info.sslcert.is_some(),
        "sslkey" => info.sslkey.is_some(),
        "sslcertmode" => info.no_client_certificate,
        "ssl_min_protocol_version" => info.tls13_only,
        "channel_binding" => info.channel_binding != ChannelBinding::Prefer,
        _ => false,
    }
}
