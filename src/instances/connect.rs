//! Opens sessions: servers in order, addresses in order, each with a deadline, and a session that
//! keeps its contract from the startup message on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::budget::{Address, Budgets, SESSIONS};
use super::cancel::Canceller;
use super::failure::{Attempt, ConnectError};
use super::login::{Goal, config, settings};
use super::place::{self, Shown};
use super::pooler::CONSOLE;
use super::session::Session;
use super::socket::Held;
use super::target::Target;
use super::tls::Plan;
use super::wire::Wire as Connection;
use crate::config::{Instance, InstanceKind, PgEnvironment, SecretReader};
use crate::postgres::{HostSpec, InstanceReason};
use crate::secret::Secret;

/// For one server, where the connection string says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connect waits for a place in the budget: a session that was just closed frees its own.
const PLACE_TIMEOUT: Duration = Duration::from_millis(500);

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
    probe: Option<Through>,
    seen: Mutex<Seen>,
}

/// The way through a pooler.
struct Through {
    database: String,
    user: Option<String>,
    password: Option<SecretReader>,
    /// One connection at a time: PgBouncer keeps a client that waits in a queue, also one that has
    /// hung up, until it is its turn or query_wait_timeout is over.
    turn: Arc<Semaphore>,
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
            probe: instance.probe.as_ref().map(|probe| Through {
                database: probe.database.clone(),
                user: probe.user.clone(),
                password: probe.password.as_ref().map(crate::config::SecretSource::reader),
                turn: Arc::new(Semaphore::new(1)),
            }),
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
        Box::pin(self.open(goal, database, deadline)).await
    }

    /// Opens a plain session through the pooler with the database that the configuration's `probe`
    /// names. As long as the one before is not closed there is no other.
    ///
    /// # Errors
    /// As [`Connector::connect`]; [`InstanceReason::Budget`] also while the one before is not closed.
    pub async fn through(&self, deadline: Instant) -> Result<Session, ConnectError> {
        match &self.probe {
            Some(probe) => {
                Box::pin(self.open(Goal::Through, Some(&probe.database), deadline)).await
            }
            None => Err(told(InstanceReason::Error, "no `probe` is configured; add it")),
        }
    }

    async fn open(
        &self,
        goal: Goal,
        database: Option<&str>,
        deadline: Instant,
    ) -> Result<Session, ConnectError> {
        let probe = self.probe.as_ref().filter(|_| goal == Goal::Through);
        let other_user = probe.and_then(|probe| probe.user.as_deref());
        let password = match probe {
            Some(Through { password: Some(own), .. }) => Some(own),
            // A password goes with its user.
            Some(Through { user: Some(_), .. }) => None,
            _ => self.password.as_ref(),
        };
        let mut notices = Vec::new();
        let dsn = self.secret(&self.dsn, &mut notices, InstanceReason::Error)?;
        let password = match password {
            Some(reader) => {
                Some(self.secret(reader, &mut notices, InstanceReason::Authentication)?)
            }
            None => None,
        };
        let password_of_dsn = password.is_none();
        let environment = |name: &str| self.environment.get(name);
        let default = (goal == Goal::Console).then_some(CONSOLE);
        let mut target = Target::new(dsn.expose(), &environment, password, database, default)
            .map_err(|e| told(InstanceReason::Error, &e))?;
        if let Some(user) = other_user {
            if password_of_dsn {
                target.info.password = None;
            }
            target.user = user.to_owned();
        }
        let mut last = None;
        for host in &target.info.hosts {
            // The way through a pooler may be long, and its time is the caller's.
            let limit = match (goal, target.info.connect_timeout) {
                (Goal::Through, _) => deadline - Instant::now(),
                (_, limit) => limit.unwrap_or(CONNECT_TIMEOUT),
            };
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
        let turn = match self.probe.as_ref().filter(|_| goal == Goal::Through) {
            Some(probe) => match Arc::clone(&probe.turn).try_acquire_owned() {
                Ok(turn) => Some(turn),
                Err(_) => {
                    return Err(attempt.error(
                        InstanceReason::Budget,
                        "the connection before still waits in PgBouncer's queue; raise pool_size, or \
                         see what holds the server connections",
                    ));
                }
            },
            None => None,
        };
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
        if let Some(turn) = turn {
            held.keep(turn);
        }
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
