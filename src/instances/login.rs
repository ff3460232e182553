//! How a session is opened, by what it is for: what the startup message asks for, which versions
//! there may be, what is set after the login.

use tokio_postgres::config::{ChannelBinding as Wire, SslMode};

use super::pooler::CONSOLE;
use super::session::Manner;
use super::target::Target;
use super::tls::Plan;
use crate::postgres::{ChannelBinding, Version};
use crate::secret::Secret;

/// In force from the first message on, above `ALTER DATABASE … SET` and `ALTER ROLE … SET`: nothing is
/// written, nobody plants operators in our way, nothing waits for long, text reads the same everywhere.
const OPTIONS: &str = "\
    -c search_path=pg_catalog,pg_temp \
    -c default_transaction_read_only=on \
    -c statement_timeout=5000 \
    -c lock_timeout=500 \
    -c idle_in_transaction_session_timeout=10000 \
    -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4 \
    -c tcp_user_timeout=30000 \
    -c jit=off -c max_parallel_workers_per_gather=0 \
    -c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC \
    -c extra_float_digits=1 -c bytea_output=hex";

/// What a session is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// PostgreSQL itself.
    Server,
    /// PgBouncer's console.
    Console,
    /// A database behind PgBouncer.
    Through,
}

impl Goal {
    pub(super) fn manner(self) -> Manner {
        match self {
            Self::Server => Manner::Full,
            Self::Console | Self::Through => Manner::Plain,
        }
    }

    /// The version that `server_version` says.
    pub(super) fn version(self, said: &str, database: &str) -> Result<Version, String> {
        match self {
            Self::Server => supported(said),
            // Whatever answers: nothing but its answer is wanted.
            Self::Through => Ok(Version(0)),
            Self::Console => Version::of_pgbouncer(said).ok_or_else(|| {
                format!(
                    "the database `{database}` is not PgBouncer's console; name that, which is \
                     `{CONSOLE}`, or write `kind: postgres`"
                )
            }),
        }
    }
}

/// What tokio-postgres sends to log in.
pub(super) fn config(
    goal: Goal,
    target: &Target,
    password: Option<&Secret>,
    plan: &Plan,
) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    let own = target.info.options.as_deref().unwrap_or_default();
    config
        .user(&target.user)
        .dbname(&target.database)
        .application_name(target.info.application_name.as_deref().unwrap_or("pgvigil"))
        .ssl_mode(plan.mode)
        .ssl_negotiation(plan.negotiation)
        .channel_binding(match target.info.channel_binding {
            ChannelBinding::Disable => Wire::Disable,
            ChannelBinding::Prefer => Wire::Prefer,
            ChannelBinding::Require => Wire::Require,
        });
    match goal {
        // The later one holds: what the contract asks for outranks the user's.
        Goal::Server => drop(config.options(format!("{own} {OPTIONS}").trim_start())),
        Goal::Console | Goal::Through if own.is_empty() => {}
        Goal::Console | Goal::Through => drop(config.options(own)),
    }
    if plan.mode == SslMode::Disable && target.info.channel_binding == ChannelBinding::Prefer {
        config.channel_binding(Wire::Disable);
    }
    if let Some(password) = password {
        config.password(password.expose());
    }
    config
}

/// Settings that only some majors know, hence none of the startup message's: statistics are read as
/// they are (15+), an idle session is kept (14+), and files for sorts are bounded where the role may.
pub(super) fn settings(version: Version) -> Option<&'static str> {
    match version.major() {
        ..14 => None,
        14 => Some("SET idle_session_timeout = 0"),
        _ => Some(
            "SET stats_fetch_consistency = none; SET idle_session_timeout = 0; \
             SELECT set_config('temp_file_limit', '1GB', false) \
             WHERE has_parameter_privilege('temp_file_limit', 'SET') \
               AND current_setting('temp_file_limit') = '-1'",
        ),
    }
}

/// The version behind `server_version`, such as `15.18 (Debian 15.18-1)` or `19rc1`.
fn supported(said: &str) -> Result<Version, String> {
    if said.contains("bouncer") {
        return Err(
            "this is PgBouncer's own console; name it as an instance of kind pgbouncer".into()
        );
    }
    let number = |text: &str| -> u32 {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..digits].parse().unwrap_or(0)
    };
    let (major, minor) = (number(said), said.split_once('.').map_or(0, |(_, minor)| number(minor)));
    let version = Version(major.saturating_mul(10_000).saturating_add(minor));
    if version < Version::OLDEST {
        return Err(format!(
            "PostgreSQL {said} is older than {}, the oldest that is supported; upgrade it",
            Version::OLDEST.major()
        ));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(supported("15.18 (Debian 15.18-1)"), Ok(Version(150_018)));
        assert_eq!(supported("19rc1"), Ok(Version(190_000)));
        assert!(supported("12.4").unwrap_err().contains("older than 13"));
        assert!(supported("9.6.24").is_err() && supported("").is_err());
        assert!(supported("1.18.0/bouncer").unwrap_err().contains("PgBouncer"));
    }
}
