//! Statements of a plain session: with PgBouncer's console, which knows the simple protocol alone and
//! tells no types that matter, or through PgBouncer to a database.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;

use super::rows::{Column, Reader, Rows, Taken};
use super::session::{Limits, Session, Stop, next, room};

/// `text` in `pg_type.dat`: what a value means is left to its usage.
const TEXT: u32 = 25;

impl Session {
    /// Sends one statement as it stands and reads its rows, up to the caps. What is left of it is read
    /// to its end, for there is no cancel request; after the deadline the session is given up.
    pub(super) async fn show(
        &mut self,
        sql: &str,
        limits: &Limits,
        started: Instant,
    ) -> Result<Rows, Stop> {
        let room = room(limits);
        self.wire.gate.allow(room);
        let sent = self.wire.drive(limits.deadline, self.client.simple_query_raw(sql)).await;
        let mut stream = Box::pin(sent.map_err(Stop::Halted)?.map_err(Stop::Failed)?);
        let reader = |columns| Reader::new(columns, false, limits.max_rows, limits.max_bytes);
        let mut reading = reader(Arc::default());
        let mut cut = false;
        loop {
            let message = self.wire.drive(limits.deadline, next(&mut stream)).await;
            match message.map_err(Stop::Halted)? {
                Some(Ok(SimpleQueryMessage::RowDescription(columns))) => {
                    let column = |name: &str| Column { name: name.to_owned(), type_oid: TEXT };
                    reading = reader(columns.iter().map(|c| column(c.name())).collect());
                }
                Some(Ok(_)) if cut => {}
                Some(Ok(message)) => match reading.take(&message) {
                    Taken::More => {}
                    Taken::Unreadable => return Err(Stop::Unreadable),
                    Taken::Full | Taken::Changed => cut = true,
                },
                Some(Err(error)) => return Err(Stop::Failed(error)),
                None => return Ok(reading.finish(cut, started.elapsed())),
            }
            self.wire.gate.allow(room);
        }
    }
}
