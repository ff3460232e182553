//! Why there is no session, in one sentence with the remedy and one word of the closed list.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use super::pooler;
use crate::net::tls::explain;
use crate::postgres::InstanceReason;

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    pub reason: InstanceReason,
    /// What happened and what to do, in one sentence without secrets.
    pub message: String,
}

/// Who wanted what where, for the sentences.
pub(super) struct Attempt<'a> {
    pub(super) place: String,
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) with_password: bool,
    /// Whether PgBouncer is what is asked.
    pub(super) pooled: bool,
}

impl Attempt<'_> {
    pub(super) fn error(&self, reason: InstanceReason, what: &str) -> ConnectError {
        ConnectError { reason, message: format!("{}: {what}", self.place) }
    }

    /// What the socket said before a byte was exchanged.
    pub(super) fn socket(&self, error: &io::Error) -> ConnectError {
        use io::ErrorKind;
        let (reason, what) = match error.kind() {
            ErrorKind::ConnectionRefused => (
                InstanceReason::Refused,
                "nothing listens there; start PostgreSQL, or correct host and port".to_owned(),
            ),
            ErrorKind::NotFound => (
                InstanceReason::Refused,
                "there is no such socket; start PostgreSQL, or correct host and port".to_owned(),
            ),
            ErrorKind::PermissionDenied => (
                InstanceReason::Refused,
                "the socket's permissions keep the agent out; let its user in (see \
                 unix_socket_permissions)"
                    .to_owned(),
            ),
            _ => (
                InstanceReason::Unreachable,
                format!("there is no way to it ({error}); correct host and port, or the network"),
            ),
        };
        self.error(reason, &what)
    }

    /// What came of a handshake that did not end in a session.
    pub(super) fn handshake(&self, error: &Error) -> ConnectError {
        if let Some(refusal) = error.as_db_error() {
            return self.refusal(refusal);
        }
        let cause = error.source();
        let inner = cause.and_then(|c| c.downcast_ref::<io::Error>());
        if let Some(sentence) = inner.and_then(explain) {
            return self.error(InstanceReason::Tls, &sentence);
        }
        let text = cause.map(ToString::to_string).unwrap_or_default();
        // The kinds of tokio-postgres' errors show only in their words.
        match (error.to_string().as_str(), text.as_str()) {
            (_, "password missing") => self.error(
                InstanceReason::Authentication,
                &format!(
                    "the server asks for the password of `{}` and none is configured; set \
                     `password_file`",
                    self.user
                ),
            ),
            (_, "server does not support TLS") => self.error(
                InstanceReason::Tls,
                "the server offers no TLS; switch it on there (ssl = on), or say sslmode=disable",
            ),
            ("error performing TLS handshake", text) => self.error(
                InstanceReason::Tls,
                &format!("the TLS handshake failed ({text}); see the server's log"),
            ),
            ("authentication error", "server did not use channel binding") => self.error(
                InstanceReason::Authentication,
                "channel_binding=require is asked for and the server does not bind; use SCRAM over \
                 TLS, or remove it",
            ),
            ("authentication error", text) => self.error(
                InstanceReason::Authentication,
                &format!(
                    "no way to log in suits both sides ({text}); use scram-sha-256, md5, password \
                     or cert for `{}` in pg_hba.conf",
                    self.user
                ),
            ),
            (_, "bytes remaining on stream") => self.error(
                InstanceReason::Error,
                "what answers does not speak as PostgreSQL; correct host and port",
            ),
            ("error communicating with the server" | "connection closed", text) => self.error(
                InstanceReason::Refused,
                &format!(
                    "the connection was closed during the login{}; see the server's log",
                    if text.is_empty() { String::new() } else { format!(" ({text})") }
                ),
            ),
            (kind, text) => self.error(
                InstanceReason::Error,
                &format!("what answers does not speak as PostgreSQL ({kind}: {text}); correct host and port"),
            ),
        }
    }

    /// The server's own no.
    fn refusal(&self, refusal: &DbError) -> ConnectError {
        let code = refusal.code().code();
        let said = one_line(refusal.message());
        let (user, database) = (self.user, self.database);
        if self.pooled
            && let Some((reason, what)) = pooler::refusal(code, user, database, &said)
        {
            return self.error(reason, &what);
        }
        let what = match code {
            "28P01" if self.with_password => format!(
                "the password of `{user}` is not accepted ({said}); correct it, or the role's"
            ),
            "28P01" => {
                format!("`{user}` may not log in without a password ({said}); set `password_file`")
            }
            "28000" if said.contains("pg_hba.conf") => format!(
                "pg_hba.conf does not let `{user}` in ({said}); add a line for it there and reload"
            ),
            "28000" if said.contains("client certificate") => format!(
                "the server wants a client certificate ({said}); name one in `sslcert` and its key \
                 in `sslkey`"
            ),
            "28000" => format!(
                "`{user}` may not log in ({said}); create the role with LOGIN, or correct `user`"
            ),
            "3D000" => format!("there is no database `{database}` ({said}); correct `dbname`"),
            "55000" => {
                format!("the database `{database}` takes no connections ({said}); name another")
            }
            "42501" => format!(
                "`{user}` may not connect to `{database}` ({said}); GRANT CONNECT ON DATABASE to it"
            ),
            "53300" => format!(
                "no connection is free for `{user}` ({said}); close some, or raise max_connections, \
                 or the role's CONNECTION LIMIT"
            ),
            "57P03" => format!("the server is not ready ({said}); wait until it is"),
            "57P01" | "57P02" => format!("the server hung up ({said}); wait until it is back"),
            "08P01" | "0A000" | "22023" | "42704" => {
                return self.error(
                    InstanceReason::Unsupported,
                    &format!(
                        "the server refuses the session's settings ({said}); correct `options`, and \
                         connect to PostgreSQL itself, not through a pooler"
                    ),
                );
            }
            _ => format!("the server refuses the login ({code}: {said}); see its log"),
        };
        self.error(InstanceReason::of_sqlstate(code), &what)
    }
}

/// A server's message without its line breaks, cut to a readable length.
pub(super) fn one_line(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(300) {
        line.truncate(cut);
        line.push('…');
    }
    line
}
