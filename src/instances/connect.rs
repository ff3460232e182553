//! Opens sessions: servers in order, addresses in order, each with a deadline, and a session that
//! keeps its contract from the startup message on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{ChannelBinding as Wire, SslMode};

use super::budget::{Address, Budgets, SESSIONS};
use super::cancel::Canceller;
use super::failure::{Attempt, ConnectError};
use super::place::{self, Shown};
use super::pooler::CONSOLE;
use super::session::{Manner, Session};
use super::socket::Held;
use super::target::Target;
use super::tls::Plan;
use super::wire::Wire as Connection;
use crate::config::{Instance, InstanceKind, PgEnvironment, SecretReader};
use crate::postgres::{ChannelBinding, HostSpec, InstanceReason, Version};
use crate::secret::Secret;

/// For one server, where the connection string says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connect waits for a place in the budget: a session that was just closed frees its own.
const PLACE_TIMEOUT: Duration = Duration::from_millis(500);

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

/// A certificate that the last connect met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSeen {
    /// `server`, `ca` (the earliest of the root file) or `client`.
    pub usage: &'static str,
    pub expires: SystemTime,
}

/// Opens sessions with one instance.
pub struct Connector {
    kind: InstanceKind,
    dsn: SecretReader,
    password: Option<SecretReader>,
    environment: PgEnvironment,
    budgets: Budgets,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    certificates: BTreeMap<&'static str, SystemTime>,
    notices: Vec<String>,
}

impl Connector {
    pub fn new(instance: &Instance, budgets: &Budgets) -> Self {
        Self {
            kind: instance.kind,
            dsn: instance.dsn.reader(),
            password: instance.password.as_ref().map(crate::config::SecretSource::reader),
            environment: instance.environment.clone(),
            budgets: budgets.clone(),
            seen: Mutex::default(),
        }
    }

    /// Opens a session with `database`, or the connection string's. Connection string, password and
    /// certificates are read anew each time.
    ///
    /// # Errors
    /// With a reason of the closed list; of several servers, the last one's.
    pub async fn connect(
        &self,
        database: Option<&str>,
        deadline: Instant,
    ) -> Result<Session, ConnectError> {
        let goal = match self.kind {
            InstanceKind::Postgres => Goal::Server,
            InstanceKind::Pgbouncer => Goal::Console,
        };
        self.open(goal, self.password.as_ref(), database, deadline).await
    }

    async fn open(
        &self,
        goal: Goal,
        password: Option<&SecretReader>,
        database: Option<&str>,
        deadline: Instant,
    ) -> Result<Session, ConnectError> {
        let mut notices = Vec::new();
        let dsn = self.secret(&self.dsn, &mut notices, InstanceReason::Error)?;
        let password = match password {
            Some(reader) => {
                Some(self.secret(reader, &mut notices, InstanceReason::Authentication)?)
            }
            None => None,
        };
        let environment = |name: &str| self.environment.get(name);
        let default = (goal == Goal::Console).then_some(CONSOLE);
        let target = Target::new(dsn.expose(), &environment, password, database, default)
            .map_err(|e| told(InstanceReason::Error, &e))?;
        let mut last = None;
        for host in &target.info.hosts {
            let limit = target.info.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
            let until = deadline.min(Instant::now() + limit);
            match Box::pin(self.host(goal, &target, host, until, notices.clone())).await {
                Ok(session) => return Ok(session),
                Err(error) if self.is_final(error.reason) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        // A connection string names at least one host.
        Err(last.unwrap_or_else(|| told(InstanceReason::Error, "no host is named; correct `dsn`")))
    }

    /// The certificates that the last connects met, for their expiry.
    pub fn certificates(&self) -> Vec<CertificateSeen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = seen.certificates.iter();
        pairs.map(|(usage, expires)| CertificateSeen { usage, expires: *expires }).collect()
    }

    /// What the user should know about the last connect although it succeeded.
    pub fn notices(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).notices.clone()
    }

    fn secret(
        &self,
        reader: &SecretReader,
        notices: &mut Vec<String>,
        reason: InstanceReason,
    ) -> Result<Secret, ConnectError> {
        let current = reader.current().map_err(|e| told(reason, &e))?;
        notices.extend(current.stale.map(|why| format!("{why} (its last value is used)")));
        Ok(current.secret)
    }

    /// Whether the next server would say the same, or must not be tried.
    fn is_final(&self, reason: InstanceReason) -> bool {
        matches!(
            reason,
            InstanceReason::Authentication
                | InstanceReason::Permission
                | InstanceReason::Database
                | InstanceReason::Tls
                | InstanceReason::Unsupported
        )
    }

    async fn host(
        &self,
        goal: Goal,
        target: &Target,
        host: &HostSpec,
        until: Instant,
        mut notices: Vec<String>,
    ) -> Result<Session, ConnectError> {
        let (password, notice) = target.password(host);
        notices.extend(notice);
        let attempt = Attempt {
            place: Shown(host).to_string(),
            user: &target.user,
            database: &target.database,
            with_password: password.is_some(),
            pooled: goal != Goal::Server,
        };
        let plan = Plan::new(target, host).map_err(|e| attempt.error(InstanceReason::Tls, &e))?;
        let addresses = match timeout_at(until, place::addresses(host)).await {
            Ok(found) => found.map_err(|e| attempt.error(InstanceReason::Unreachable, &e))?,
            Err(_) => {
                return Err(attempt.error(
                    InstanceReason::Unreachable,
                    "the name service does not answer; mend it, or write `hostaddr`",
                ));
            }
        };
        let config = config(goal, target, password.as_ref(), &plan);
        let mut last = None;
        for (at, address) in addresses.iter().enumerate() {
            // Each gets its share of the time, so that a dead first one leaves some for the second.
            let left = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
            let share = Instant::now() + until.saturating_duration_since(Instant::now()) / left;
            let opened = self.address(goal, &attempt, &config, &plan, address, share).await;
            let (certificates_notices, expiries) = plan.afterwards();
            match opened {
                Ok(session) => {
                    notices.extend(certificates_notices);
                    self.remember(notices, &expiries);
                    return Ok(session);
                }
                Err(error) => {
                    self.remember_certificates(&expiries);
                    let connected = !matches!(
                        error.reason,
                        InstanceReason::Refused | InstanceReason::Unreachable
                    );
                    if connected {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            attempt.error(InstanceReason::Unreachable, "no address is known; correct the host")
        }))
    }

    async fn address(
        &self,
        goal: Goal,
        attempt: &Attempt<'_>,
        config: &tokio_postgres::Config,
        plan: &Plan,
        address: &Address,
        until: Instant,
    ) -> Result<Session, ConnectError> {
        let place_until = until.min(Instant::now() + PLACE_TIMEOUT);
        let Some(permit) = self.budgets.take(address, place_until).await else {
            return Err(attempt.error(
                InstanceReason::Budget,
                &format!(
                    "{SESSIONS} connections of this agent are open there, among them those that the \
                     server has not closed yet; see why it does not"
                ),
            ));
        };
        let mut held = match timeout_at(until, Held::open(address, &self.budgets, permit)).await {
            Ok(opened) => opened.map_err(|e| attempt.socket(&e))?,
            Err(_) => {
                return Err(attempt.error(
                    InstanceReason::Unreachable,
                    "nothing answers there; correct host and port, or see what drops the packets",
                ));
            }
        };
        let (gate, closed, link) = (held.gate(), held.closed(), held.link());
        let login = config.connect_raw(held, plan.connector());
        let (client, connection) = match timeout_at(until, Box::pin(login)).await {
            Ok(done) => done.map_err(|e| attempt.handshake(&e))?,
            Err(_) => {
                return Err(attempt.error(
                    InstanceReason::Timeout,
                    "the server took the connection and does not answer; see whether it hangs, or \
                     raise `connect_timeout`",
                ));
            }
        };
        let said = connection.parameter("server_version").unwrap_or_default().to_owned();
        let sql_ascii = connection.parameter("server_encoding") == Some("SQL_ASCII");
        let version = goal
            .version(&said, attempt.database)
            .map_err(|e| attempt.error(InstanceReason::Unsupported, &e))?;
        let canceller = Canceller {
            address: address.clone(),
            plan: plan.clone(),
            budgets: self.budgets.clone(),
        };
        let wire = Connection::new(connection, gate, closed);
        let manner = goal.manner();
        let mut session = Session::new(client, wire, canceller, version, sql_ascii, link, manner);
        if goal == Goal::Server
            && let Some(settings) = settings(version)
        {
            session.execute(settings, until).await.map_err(|e| {
                let reason = if e.sqlstate.is_some() {
                    InstanceReason::Unsupported
                } else {
                    InstanceReason::Timeout
                };
                attempt.error(reason, &e.message)
            })?;
        }
        self.budgets.count_opened();
        Ok(session)
    }

    fn remember(&self, notices: Vec<String>, expiries: &[(&'static str, SystemTime)]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.notices = notices;
        // What the last good connect did not meet is in use no more.
        seen.certificates = expiries.iter().copied().collect();
    }

    fn remember_certificates(&self, expiries: &[(&'static str, SystemTime)]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.certificates.extend(expiries.iter().copied());
    }
}

fn told(reason: InstanceReason, message: &str) -> ConnectError {
    ConnectError { reason, message: message.to_owned() }
}

/// What a session is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// PostgreSQL itself.
    Server,
    /// PgBouncer's console.
    Console,
}

impl Goal {
    fn manner(self) -> Manner {
        match self {
            Self::Server => Manner::Full,
            Self::Console => Manner::Plain,
        }
    }

    /// The version that `server_version` says.
    fn version(self, said: &str, database: &str) -> Result<Version, String> {
        match self {
            Self::Server => supported(said),
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
fn config(
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
        Goal::Console if own.is_empty() => {}
        Goal::Console => drop(config.options(own)),
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
fn settings(version: Version) -> Option<&'static str> {
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
