//! Records by their columns: the same entry as the text log's, whatever named the values.

use std::ops::Range;
use std::time::Instant;

use super::Assembler;
use super::open::Open;
use crate::logs::format::{Column, Columns, Pgbouncer, place, severity};
use crate::logs::record::{Format, Key, Part, Record, Severity, SqlState};

impl Assembler {
    pub(super) fn column_time(&mut self, columns: &Columns<'_>) -> Option<i64> {
        self.clock.civil(columns.some(Column::Time)?, &self.reading.zone)
    }
}

impl Open {
    /// A whole record.
    pub(super) fn of(
        record: Box<Record>,
        columns: &Columns<'_>,
        format: Format,
        bytes: Range<u64>,
        now: Instant,
    ) -> Self {
        let mut open = Self::new(record, 0, bytes, now);
        open.record.format = format;
        let code = columns.some(Column::SqlState).and_then(SqlState::parse);
        // jsonlog leaves out the code of success.
        let code = code.or((format == Format::Json).then_some(SqlState::SUCCESS));
        open.record.sqlstate = code;
        let known = columns.some(Column::Severity).and_then(severity);
        let severity = known.unwrap_or(match code {
            Some(code) if code != SqlState::SUCCESS => Severity::Error,
            _ => Severity::Log,
        });
        open.record.severity = Some(severity);
        let (host, port) = columns.remote();
        for key in Key::ALL {
            let value = match key {
                Key::RemoteHost => host,
                Key::RemotePort => port,
                _ => column(key).and_then(|column| columns.get(column)),
            };
            open.record.fields.push(key, value.unwrap_or_default());
        }
        let message = columns.get(Column::Message).unwrap_or_default();
        open.begin_message(severity, message.len());
        open.add(message);
        if let Some(position) = columns.position() {
            open.add(b" at character ");
            open.add(position);
        }
        let location = columns.location();
        let parts = [
            (Part::Detail, columns.get(Column::Detail)),
            (Part::Hint, columns.get(Column::Hint)),
            (Part::Query, columns.get(Column::Query)),
            (Part::Context, columns.get(Column::Context)),
            (Part::Location, location.as_deref()),
            (Part::Backtrace, columns.get(Column::Backtrace)),
            (Part::Statement, columns.get(Column::Statement)),
        ];
        for (part, text) in parts {
            if let Some(text) = text {
                open.begin(part);
                open.add(text);
            }
        }
        open
    }

    /// A whole record of PgBouncer.
    pub(super) fn of_pgbouncer(
        record: Box<Record>,
        found: &Pgbouncer<'_>,
        bytes: Range<u64>,
        now: Instant,
    ) -> Self {
        let mut open = Self::new(record, 0, bytes, now);
        open.record.format = Format::Pgbouncer;
        open.record.severity = Some(found.severity);
        let place = place(found.message);
        let told = [
            (Key::User, place.user),
            (Key::Dbname, place.dbname),
            (Key::Pid, Some(found.pid)),
            (Key::RemoteHost, place.host),
            (Key::RemotePort, place.port),
        ];
        for (key, value) in told {
            open.record.fields.push(key, value.unwrap_or_default());
        }
        open.begin_message(found.severity, found.message.len());
        open.add(found.message);
        open
    }
}

/// The column of a field that has one of its own.
fn column(key: Key) -> Option<Column> {
    Some(match key {
        Key::User => Column::User,
        Key::Dbname => Column::Dbname,
        Key::Pid => Column::Pid,
        Key::SessionId => Column::SessionId,
        Key::LineNum => Column::LineNum,
        Key::Ps => Column::Ps,
        Key::SessionStart => Column::SessionStart,
        Key::Vxid => Column::Vxid,
        Key::Txid => Column::Txid,
        Key::ApplicationName => Column::ApplicationName,
        Key::BackendType => Column::BackendType,
        Key::LeaderPid => Column::LeaderPid,
        Key::QueryId => Column::QueryId,
        Key::LocalHost | Key::RemoteHost | Key::RemotePort => return None,
    })
}
