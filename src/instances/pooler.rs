//! What PgBouncer says, in our words. Its older versions give one SQLSTATE (08P01) to all that they
//! refuse, so that their words are what tells; the newer ones give those of PostgreSQL.

use crate::postgres::{InstanceReason, QueryReason};

/// The reason behind a statement that PgBouncer, or the server behind it, did not answer with rows.
pub(super) fn of_pgbouncer(code: &str, said: &str) -> QueryReason {
    match said {
        _ if said.starts_with("invalid command") => QueryReason::MissingObject,
        "admin access needed" => QueryReason::Permission,
        "query_wait_timeout" | "query_timeout" => QueryReason::Timeout,
        _ => QueryReason::of_sqlstate(code),
    }
}

/// Why PgBouncer did not let `user` in to `database`, and what to do, from its message in one line; none where its words are not known
/// and the SQLSTATE says as much.
pub(super) fn refusal(
    code: &str,
    user: &str,
    database: &str,
    said: &str,
) -> Option<(InstanceReason, String)> {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    Some(if has(&["not allowed"]) && database == CONSOLE {
        (
            InstanceReason::Permission,
            format!(
                "PgBouncer does not let `{user}` use its console ({said}); add it to `stats_users` \
                 in pgbouncer.ini and reload"
            ),
        )
    } else if has(&["unsupported startup parameter"]) {
        (
            InstanceReason::Unsupported,
            format!(
                "PgBouncer refuses what `options` asks for ({said}); remove it from the connection \
                 string"
            ),
        )
    } else if has(&["authentication failed", "no such user", "auth failed", "user blocked"]) {
        (
            InstanceReason::Authentication,
            format!(
                "PgBouncer does not let `{user}` in ({said}); correct the password, or the user's \
                 line in `auth_file`, `auth_hba_file` or the answer of `auth_query`"
            ),
        )
    } else if has(&["no more connections allowed"]) {
        (
            InstanceReason::TooManyConnections,
            format!(
                "PgBouncer takes no more clients ({said}); close some, or raise max_client_conn"
            ),
        )
    } else if has(&["no such database", "database is disabled", "config error"]) {
        (
            InstanceReason::Database,
            format!(
                "PgBouncer has no database `{database}` to give ({said}); correct `database`, or its \
                 line under `[databases]`"
            ),
        )
    } else if has(&["shutting down"]) {
        (InstanceReason::Refused, format!("PgBouncer is ending ({said}); wait until it is back"))
    } else if has(&["query_wait_timeout", "client_login_timeout"]) {
        (
            InstanceReason::Timeout,
            format!(
                "no server connection was free in PgBouncer ({said}); raise pool_size, or see what \
                 holds its connections"
            ),
        )
    } else if has(&["cannot connect to server", "server login has been failing", "connect failed"])
    {
        (
            InstanceReason::Unreachable,
            format!("PgBouncer has no way to its server ({said}); see whether PostgreSQL is up"),
        )
    } else if has(&["SSL required", "TLS required"]) {
        (
            InstanceReason::Tls,
            format!("PgBouncer takes no connection without TLS ({said}); remove sslmode=disable"),
        )
    } else if code == OLD_CODE {
        (
            InstanceReason::Error,
            format!(
                "PgBouncer refuses the login of `{user}` to `{database}` ({said}); see its log"
            ),
        )
    } else {
        return None;
    })
}

/// What PgBouncer's older versions give to everything.
const OLD_CODE: &str = "08P01";

/// The database that is PgBouncer's console.
pub(super) const CONSOLE: &str = "pgbouncer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_old_and_new_versions() {
        let of = |said: &str| refusal("28000", "u", CONSOLE, said).map(|(reason, _)| reason);
        assert_eq!(of("not allowed"), Some(InstanceReason::Permission));
        assert_eq!(of("\"trust\" authentication failed"), Some(InstanceReason::Authentication));
        assert_eq!(of("no such user: u"), Some(InstanceReason::Authentication));
        assert_eq!(of("password authentication failed"), Some(InstanceReason::Authentication));
        let full = of("no more connections allowed (max_client_conn)");
        assert_eq!(full, Some(InstanceReason::TooManyConnections));
        assert_eq!(of("no such database: x"), Some(InstanceReason::Database));
        assert_eq!(of("SSL required"), Some(InstanceReason::Tls));
        assert_eq!(of("role \"u\" does not exist"), None);
        let old = refusal("08P01", "u", "shop", "role \"u\" does not exist");
        assert_eq!(old.map(|(reason, _)| reason), Some(InstanceReason::Error));
        assert_eq!(
            of_pgbouncer("08P01", "invalid command 'X', use SHOW HELP;"),
            QueryReason::MissingObject
        );
        assert_eq!(of_pgbouncer("08P01", "query_wait_timeout"), QueryReason::Timeout);
        assert_eq!(of_pgbouncer("42501", "no"), QueryReason::Permission);
    }
}
