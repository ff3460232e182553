//! One session: statements one at a time, each with a limit on both sides, rows as text.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::Severity;
use tokio_postgres::{Client, Error, SimpleQueryMessage, SimpleQueryStream};

use super::cancel::{Cancelled, Canceller};
use super::failure::one_line;
use super::pooler::of_pgbouncer;
use super::rows::{Column, Reader, Rows, Taken, in_hexadecimal};
use super::socket::Link;
use super::wire::{Halt, Wire};
use crate::postgres::{QueryReason, Version};

/// The search path of our own statements; it is pinned from the startup message on.
pub const SEARCH_PATH: &str = "pg_catalog, pg_temp";

/// After a deadline: for the cancel request and for the statement's end.
const GRACE: Duration = Duration::from_millis(1500);
/// After a cap: how long the statement may end by itself before it is cancelled, which the server logs.
const NEARLY_DONE: Duration = Duration::from_millis(30);
/// What a message may hold beside its values.
const OVERHEAD: u64 = 1 << 20;
/// Statements whose columns are remembered; packs have some hundred.
const MAX_PREPARED: usize = 2000;

/// The bounds of one statement.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The server's own limit (`statement_timeout`), in whole milliseconds.
    pub statement_timeout: Duration,
    /// When we stop waiting and cancel. [`Session::run`] returns at most 1.5 s later.
    pub deadline: Instant,
    pub max_rows: usize,
    /// Of all values together.
    pub max_bytes: usize,
    /// [`SEARCH_PATH`], or what a foreign dialect needs.
    pub search_path: &'static str,
}

/// Why a statement gave no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    pub reason: QueryReason,
    pub sqlstate: Option<String>,
    /// What happened and what to do, in one sentence.
    pub message: String,
    /// The session is no more: connect anew.
    pub session_lost: bool,
}

/// How a session speaks with what is at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// With PostgreSQL itself: types are asked for, limits set, late statements cancelled.
    Full,
    /// With PgBouncer's console, or through PgBouncer: simple statements alone. Nothing is set, for that
    /// would be refused or met by the next client, and nothing cancelled.
    Plain,
}

/// A session with one database of one server. Dropping it lets go of the connection at once.
pub struct Session {
    pub(super) client: Client,
    pub(super) wire: Wire,
    manner: Manner,
    canceller: Canceller,
    version: Version,
    /// Whether the database declares no encoding.
    sql_ascii: bool,
    link: Link,
    columns: HashMap<String, Arc<[Column]>>,
    /// Statements that gave bytes that are no UTF-8.
    hexadecimal: HashSet<String>,
    applied: Applied,
}

/// The session's settings as they are known to be.
#[derive(Default)]
struct Applied {
    statement_timeout: Option<Duration>,
    search_path: Option<&'static str>,
}

/// How an attempt ended without rows.
pub(super) enum Stop {
    Failed(Error),
    Halted(Halt),
    /// Something else, told already.
    Told(QueryError),
    /// Ask again in hexadecimal form.
    Unreadable,
}

impl Session {
    pub(super) fn new(
        client: Client,
        wire: Wire,
        canceller: Canceller,
        version: Version,
        sql_ascii: bool,
        link: Link,
        manner: Manner,
    ) -> Self {
        Self {
            client,
            wire,
            manner,
            canceller,
            version,
            sql_ascii,
            link,
            columns: HashMap::new(),
            hexadecimal: HashSet::new(),
            applied: Applied { search_path: Some(SEARCH_PATH), ..Applied::default() },
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.manner == Manner::Plain
    }

    /// What the server said at the login.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The columns of a statement that it has run, as the server described them.
    pub fn columns_of(&self, sql: &str) -> Option<Arc<[Column]>> {
        self.columns.get(sql).map(Arc::clone)
    }

    /// What its connection knows of the server's end.
    pub(super) fn link(&self) -> Link {
        self.link
    }

    /// Whether the session is no more; looks whether the server has hung up meanwhile.
    pub fn is_closed(&mut self) -> bool {
        self.wire.is_closed()
    }

    /// Waits, while nothing is asked, until the server ends the session; says why.
    pub async fn ended(&mut self) -> QueryError {
        let last_word = self.wire.ended().await;
        ended(last_word.as_ref())
    }

    /// Says goodbye and waits, at most a second, until the server has closed the connection.
    pub async fn close(self) {
        let Self { client, wire, .. } = self;
        drop(client);
        wire.close(Instant::now() + Duration::from_secs(1)).await;
    }

    /// Ends a session of which a [`Session::run`] was dropped before its end: its statement is cancelled
    /// first, so that the server does not go on with it for nobody. Takes at most 2.5 s.
    pub async fn abandon(mut self) {
        if self.manner == Manner::Plain || self.interrupt(std::future::ready(())).await {
            self.close().await;
        } else {
            self.lose();
        }
    }

    /// Runs one statement that gives rows. At the caps it is cut and cancelled, after the deadline it
    /// is cancelled, and if it does not end then, the session is given up.
    ///
    /// # Errors
    /// With a reason of the closed list.
    pub async fn run(&mut self, sql: &str, limits: &Limits) -> Result<Rows, QueryError> {
        let started = Instant::now();
        if self.manner == Manner::Plain {
            return match self.show(sql, limits, started).await {
                Ok(rows) => Ok(rows),
                Err(stop) => Err(self.explain(stop, limits, started).await),
            };
        }
        let mut hexadecimal = self.hexadecimal.contains(sql);
        loop {
            match Box::pin(self.attempt(sql, limits, hexadecimal, started)).await {
                Ok(rows) => return Ok(rows),
                Err(Stop::Unreadable) if !hexadecimal => {
                    self.hexadecimal.insert(sql.to_owned());
                    hexadecimal = true;
                }
                Err(stop) => return Err(self.explain(stop, limits, started).await),
            }
        }
    }

    /// Runs statements that give no rows, such as SET.
    pub(super) async fn execute(&mut self, sql: &str, deadline: Instant) -> Result<(), QueryError> {
        let started = Instant::now();
        let stop = match self.wire.drive(deadline, self.client.batch_execute(sql)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Stop::Failed(error),
            Err(halt) => Stop::Halted(halt),
        };
        let limits = Limits {
            statement_timeout: deadline - started,
            deadline,
            max_rows: 0,
            max_bytes: 0,
            search_path: SEARCH_PATH,
        };
        Err(self.explain(stop, &limits, started).await)
    }

    async fn attempt(
        &mut self,
        sql: &str,
        limits: &Limits,
        hexadecimal: bool,
        started: Instant,
    ) -> Result<Rows, Stop> {
        let room = room(limits);
        self.wire.gate.allow(room);
        let columns = self.prepare(sql, limits).await?;
        let statement = if hexadecimal {
            in_hexadecimal(sql, &columns, self.sql_ascii)
        } else {
            sql.to_owned()
        };
        let changes = self.changes(limits);
        let text = changes.clone() + &statement;
        let sent = self.wire.drive(limits.deadline, self.client.simple_query_raw(&text)).await;
        let mut stream = Box::pin(sent.map_err(Stop::Halted)?.map_err(Stop::Failed)?);
        let mut reader = Reader::new(columns, hexadecimal, limits.max_rows, limits.max_bytes);
        let taken = loop {
            match self.wire.drive(limits.deadline, next(&mut stream)).await {
                Ok(Some(Ok(message))) => match reader.take(&message) {
                    // The gate bounds one message, not the whole result.
                    Taken::More => self.wire.gate.allow(room),
                    other => break other,
                },
                Ok(Some(Err(error))) => {
                    // The settings before it in the same message are undone with it.
                    self.forget(&changes);
                    let unsendable = error.code().is_some_and(|c| c.code() == "22021");
                    if unsendable && !hexadecimal {
                        return Err(Stop::Unreadable);
                    }
                    return Err(Stop::Failed(error));
                }
                Ok(None) => {
                    self.apply(limits);
                    return Ok(reader.finish(false, started.elapsed()));
                }
                Err(halt) => {
                    self.forget(&changes);
                    return Err(Stop::Halted(halt));
                }
            }
        };
        self.cut(stream, &changes, limits).await;
        match taken {
            Taken::Unreadable => Err(Stop::Unreadable),
            Taken::Changed => {
                self.columns.remove(sql);
                Err(Stop::Told(QueryError {
                    reason: QueryReason::Error,
                    sqlstate: None,
                    message: "the result's columns have changed since the last run; the next run \
                              will see the new ones"
                        .to_owned(),
                    session_lost: self.wire.is_closed(),
                }))
            }
            Taken::More | Taken::Full => Ok(reader.finish(true, started.elapsed())),
        }
    }

    /// The columns of a statement; the first time the server is asked, which also refuses several
    /// statements in one.
    async fn prepare(&mut self, sql: &str, limits: &Limits) -> Result<Arc<[Column]>, Stop> {
        if let Some(columns) = self.columns.get(sql) {
            return Ok(Arc::clone(columns));
        }
        let changes = self.changes(limits);
        if !changes.is_empty() {
            let done = self.wire.drive(limits.deadline, self.client.batch_execute(&changes)).await;
            done.map_err(Stop::Halted)?.map_err(Stop::Failed)?;
            self.apply(limits);
        }
        let prepared = self.wire.drive(limits.deadline, self.client.prepare(sql)).await;
        let prepared = prepared.map_err(Stop::Halted)?.map_err(Stop::Failed)?;
        let columns: Arc<[Column]> = prepared
            .columns()
            .iter()
            .map(|c| Column { name: c.name().to_owned(), type_oid: c.type_().oid() })
            .collect();
        let refused = if !prepared.params().is_empty() {
            Some("it has parameters; write values instead of `$1`")
        } else if columns.is_empty() {
            Some("it gives no columns; write a SELECT")
        } else {
            None
        };
        if let Some(why) = refused {
            return Err(Stop::Told(QueryError {
                reason: QueryReason::Error,
                sqlstate: None,
                message: format!("the statement cannot be used: {why}"),
                session_lost: false,
            }));
        }
        if self.columns.len() >= MAX_PREPARED {
            self.columns.clear();
        }
        self.columns.insert(sql.to_owned(), Arc::clone(&columns));
        Ok(columns)
    }

    /// The settings that must change before a statement with these limits, as SQL; often none.
    fn changes(&self, limits: &Limits) -> String {
        let mut sql = String::new();
        if self.applied.statement_timeout != Some(limits.statement_timeout) {
            let milliseconds = limits.statement_timeout.as_millis().clamp(1, 86_400_000);
            sql.push_str(&format!("SET statement_timeout = {milliseconds}; "));
        }
        if self.applied.search_path != Some(limits.search_path) {
            sql.push_str(&format!("SET search_path = {}; ", limits.search_path));
        }
        sql
    }

    fn apply(&mut self, limits: &Limits) {
        self.applied = Applied {
            statement_timeout: Some(limits.statement_timeout),
            search_path: Some(limits.search_path),
        };
    }

    fn forget(&mut self, changes: &str) {
        if !changes.is_empty() {
            self.applied = Applied::default();
        }
    }

    /// Ends a statement of which nothing more is wanted. The session may be lost by it.
    async fn cut(&mut self, mut stream: Stream, changes: &str, limits: &Limits) {
        let gate = self.wire.gate.clone();
        let room = room(limits);
        let until = limits.deadline.min(Instant::now() + NEARLY_DONE);
        let drain = async |stream: &mut Stream| {
            while let Some(Ok(_)) = next(stream).await {
                gate.allow(room);
            }
        };
        if self.wire.drive(until, drain(&mut stream)).await.is_ok() {
            // It may have failed at its end, and the settings before it with it.
            self.forget(changes);
            return;
        }
        self.forget(changes);
        if !self.interrupt(drain(&mut stream)).await {
            self.lose();
        }
    }

    /// Cancels what runs and waits for its end, at most [`GRACE`]. False: the session is unusable.
    async fn interrupt(&mut self, drain: impl Future<Output = ()>) -> bool {
        if self.manner == Manner::Plain {
            return false;
        }
        let until = Instant::now() + GRACE;
        let cancel = self.canceller.cancel(self.client.cancel_token());
        let both = async { tokio::join!(cancel, drain) };
        let Ok((cancelled, ())) = self.wire.drive(until, both).await else { return false };
        // A request that may still be on its way would hit a later statement.
        cancelled != Cancelled::Unknown
            // This is answered when all before it has ended.
            && matches!(self.wire.drive(until, self.client.simple_query("")).await, Ok(Ok(_)))
    }

    fn lose(&mut self) {
        self.canceller.budgets.count_given_up();
        self.wire.give_up();
    }

    async fn explain(&mut self, stop: Stop, limits: &Limits, started: Instant) -> QueryError {
        match stop {
            Stop::Told(error) => error,
            Stop::Failed(error) => self.failed(&error),
            Stop::Unreadable => told(QueryReason::Error, "values are no text; cast them to bytea"),
            Stop::Halted(Halt::Deadline) => {
                if !self.interrupt(std::future::ready(())).await {
                    self.lose();
                }
                let waited = started.elapsed().as_secs_f64();
                let what = match self.manner {
                    Manner::Full => "it was cancelled",
                    Manner::Plain => "the session was given up",
                };
                QueryError {
                    session_lost: self.wire.is_closed(),
                    ..told(
                        QueryReason::Timeout,
                        &format!(
                            "no result after {waited:.1} s, so {what}; see what the server is busy \
                             with, or raise the query's `timeout`"
                        ),
                    )
                }
            }
            Stop::Halted(Halt::Ended(error)) => ended(error.as_ref()),
            Stop::Halted(Halt::Oversized) => {
                self.lose();
                QueryError {
                    session_lost: true,
                    ..told(
                        QueryReason::Truncated,
                        &format!(
                            "one row is larger than {} bytes, so the session was given up; select \
                             less of it",
                            limits.max_bytes
                        ),
                    )
                }
            }
        }
    }

    fn failed(&mut self, error: &Error) -> QueryError {
        let Some(refusal) = error.as_db_error() else {
            let lost = error.is_closed() || self.wire.is_closed();
            let reason = if lost { QueryReason::Disconnected } else { QueryReason::Error };
            let cause = std::error::Error::source(error).map(|c| format!(": {c}"));
            let what = format!("{error}{}", cause.unwrap_or_default());
            return QueryError {
                session_lost: lost,
                ..told(reason, &format!("{}; see the server's log", one_line(&what)))
            };
        };
        let fatal = matches!(refusal.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        if fatal {
            self.wire.give_up();
        }
        let code = refusal.code().code();
        let reason = match self.manner {
            Manner::Full => QueryReason::of_sqlstate(code),
            Manner::Plain => of_pgbouncer(code, refusal.message()),
        };
        let remedy = match reason {
            QueryReason::Timeout => "see why it is slow, or raise the query's `timeout`",
            QueryReason::LockTimeout => {
                "see who holds the lock; it is asked again at its next turn"
            }
            QueryReason::Permission => "grant the agent's role what it needs",
            QueryReason::MissingObject => {
                "correct the query, or restrict it by `versions` or `requires`"
            }
            QueryReason::Disconnected => "it is asked again after the next connect",
            _ => "correct the query",
        };
        QueryError {
            sqlstate: Some(code.to_owned()),
            session_lost: fatal,
            ..told(reason, &format!("{}; {remedy}", one_line(refusal.message())))
        }
    }
}

/// How many bytes may come for one message.
pub(super) fn room(limits: &Limits) -> u64 {
    (limits.max_bytes as u64).saturating_add(OVERHEAD)
}

/// What the end of the connection means, with the server's last word.
fn ended(last_word: Option<&Error>) -> QueryError {
    let word = last_word.and_then(Error::as_db_error);
    let what = word.map_or_else(
        || "the connection broke".to_owned(),
        |e| format!("the server ended the session ({})", one_line(e.message())),
    );
    QueryError {
        sqlstate: word.map(|e| e.code().code().to_owned()),
        session_lost: true,
        ..told(QueryReason::Disconnected, &format!("{what}; see the server's log"))
    }
}

fn told(reason: QueryReason, message: &str) -> QueryError {
    QueryError { reason, sqlstate: None, message: message.to_owned(), session_lost: false }
}

pub(super) type Stream = Pin<Box<SimpleQueryStream>>;

/// The stream's next message; None when the statement has ended.
pub(super) async fn next(stream: &mut Stream) -> Option<Result<SimpleQueryMessage, Error>> {
    std::future::poll_fn(|cx| futures_core::Stream::poll_next(stream.as_mut(), cx)).await
}
