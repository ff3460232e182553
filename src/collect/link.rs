//! A session from login to loss: opened with the server's facts, and what a lost one says of its
//! instance; with the waits that the stop ends.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::standing::Failure;
use crate::instances::{Connector, QueryError, Session};
use crate::postgres::{Facts, InstanceReason, QueryReason};
use crate::task::Stop;

/// How long a login may take, from the first packet to the facts.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// How long a statement may go on after the stop has begun, before it is cancelled.
const LAST_WORD: Duration = Duration::from_millis(500);

/// A session whose server has told its facts.
///
/// # Errors
/// Why there is none.
pub(crate) async fn stand(
    connector: &Connector,
    database: Option<&str>,
    deadline: Instant,
) -> Result<(Session, Facts), Failure> {
    let mut session = connector
        .connect(database, deadline)
        .await
        .map_err(|error| Failure::new(error.reason, error.message))?;
    let facts = match session.facts(deadline).await {
        Ok(facts) => facts,
        Err(error) => {
            session.close().await;
            return Err(of_query(&error));
        }
    };
    Ok((session, facts))
}

/// Ends when the time is over in which a statement in hand may end by itself.
pub(super) async fn over(stop: &Stop) {
    stop.draining().await;
    tokio::select! {
        () = stop.cut() => {}
        () = tokio::time::sleep(LAST_WORD) => {}
    }
}

/// Waits until `until`; false when the stop begins before.
pub(super) async fn idle(until: Instant, stop: &Stop) -> bool {
    tokio::select! {
        biased;
        () = stop.draining() => false,
        () = sleep_until(until) => true,
    }
}

/// What a lost session says of its instance.
pub(super) fn of_query(error: &QueryError) -> Failure {
    let reason = match error.reason {
        QueryReason::Timeout | QueryReason::LockTimeout => InstanceReason::Timeout,
        QueryReason::Permission => InstanceReason::Permission,
        QueryReason::Disconnected => match error.sqlstate.as_deref() {
            Some(code) => InstanceReason::of_sqlstate(code),
            None => InstanceReason::Unreachable,
        },
        _ => InstanceReason::Error,
    };
    Failure::new(reason, error.message.clone())
}
