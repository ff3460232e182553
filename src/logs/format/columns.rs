//! The columns of csvlog, jsonlog and their wrappers: one record's values, whatever named them.

use std::borrow::Cow;

/// A value of a record as csvlog and jsonlog know them; where the two cut differently, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::logs) enum Column {
    Time,
    User,
    Dbname,
    Pid,
    /// csv: host and port in one.
    ConnectionFrom,
    RemoteHost,
    RemotePort,
    SessionId,
    LineNum,
    Ps,
    SessionStart,
    Vxid,
    Txid,
    Severity,
    SqlState,
    Message,
    Detail,
    Hint,
    Query,
    QueryPosition,
    Context,
    Statement,
    StatementPosition,
    /// csv: function, file and line in one.
    Location,
    Function,
    File,
    FileLine,
    Backtrace,
    ApplicationName,
    BackendType,
    LeaderPid,
    QueryId,
}

impl Column {
    const COUNT: usize = Self::QueryId as usize + 1;
}

/// csvlog's order (manual, "Using CSV-Format Log Output"): 23 columns up to PostgreSQL 12, 24 in 13, 26
/// since 14. What comes behind them is of a version to come.
pub(super) const CSV: [Column; 26] = [
    Column::Time,
    Column::User,
    Column::Dbname,
    Column::Pid,
    Column::ConnectionFrom,
    Column::SessionId,
    Column::LineNum,
    Column::Ps,
    Column::SessionStart,
    Column::Vxid,
    Column::Txid,
    Column::Severity,
    Column::SqlState,
    Column::Message,
    Column::Detail,
    Column::Hint,
    Column::Query,
    Column::QueryPosition,
    Column::Context,
    Column::Statement,
    Column::StatementPosition,
    Column::Location,
    Column::ApplicationName,
    Column::BackendType,
    Column::LeaderPid,
    Column::QueryId,
];

/// jsonlog's keys (manual, "Using JSON-Format Log Output").
pub(super) fn json_key(key: &str) -> Option<Column> {
    Some(match key {
        "timestamp" => Column::Time,
        "user" => Column::User,
        "dbname" => Column::Dbname,
        "pid" => Column::Pid,
        "remote_host" => Column::RemoteHost,
        "remote_port" => Column::RemotePort,
        "session_id" => Column::SessionId,
        "line_num" => Column::LineNum,
        "ps" => Column::Ps,
        "session_start" => Column::SessionStart,
        "vxid" => Column::Vxid,
        "txid" => Column::Txid,
        "error_severity" => Column::Severity,
        "state_code" => Column::SqlState,
        "message" => Column::Message,
        "detail" => Column::Detail,
        "hint" => Column::Hint,
        "internal_query" => Column::Query,
        "internal_position" => Column::QueryPosition,
        "context" => Column::Context,
        "statement" => Column::Statement,
        "cursor_position" => Column::StatementPosition,
        "func_name" => Column::Function,
        "file_name" => Column::File,
        "file_line_num" => Column::FileLine,
        "backtrace" => Column::Backtrace,
        "application_name" => Column::ApplicationName,
        "backend_type" => Column::BackendType,
        "leader_pid" => Column::LeaderPid,
        "query_id" => Column::QueryId,
        _ => return None,
    })
}

/// csvlog's names, as CloudNativePG's wrapper uses them.
pub(super) fn csv_name(name: &str) -> Option<Column> {
    Some(match name {
        "log_time" => Column::Time,
        "user_name" => Column::User,
        "database_name" => Column::Dbname,
        "process_id" => Column::Pid,
        "connection_from" => Column::ConnectionFrom,
        "session_id" => Column::SessionId,
        "session_line_num" => Column::LineNum,
        "command_tag" => Column::Ps,
        "session_start_time" => Column::SessionStart,
        "virtual_transaction_id" => Column::Vxid,
        "transaction_id" => Column::Txid,
        "error_severity" => Column::Severity,
        "sql_state_code" => Column::SqlState,
        "message" => Column::Message,
        "detail" => Column::Detail,
        "hint" => Column::Hint,
        "internal_query" => Column::Query,
        "internal_query_pos" => Column::QueryPosition,
        "context" => Column::Context,
        "query" => Column::Statement,
        "query_pos" => Column::StatementPosition,
        "location" => Column::Location,
        "application_name" => Column::ApplicationName,
        "backend_type" => Column::BackendType,
        "leader_pid" => Column::LeaderPid,
        "query_id" => Column::QueryId,
        _ => return None,
    })
}

/// One record's values. What is absent or NULL is none.
#[derive(Debug, Default)]
pub(in crate::logs) struct Columns<'l> {
    values: [Option<Cow<'l, [u8]>>; Column::COUNT],
}

impl<'l> Columns<'l> {
    pub(in crate::logs) fn get(&self, column: Column) -> Option<&[u8]> {
        self.values[column as usize].as_deref()
    }

    /// The same where it is not empty.
    pub(in crate::logs) fn some(&self, column: Column) -> Option<&[u8]> {
        self.get(column).filter(|value| !value.is_empty())
    }

    pub(super) fn set(&mut self, column: Column, value: Cow<'l, [u8]>) {
        self.values[column as usize] = Some(value);
    }

    /// Takes empty values for none.
    pub(super) fn forget_empty(&mut self) {
        for value in &mut self.values {
            value.take_if(|value| value.is_empty());
        }
    }

    /// Host and port, from whichever columns tell.
    pub(in crate::logs) fn remote(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        if let Some(host) = self.some(Column::RemoteHost) {
            return (Some(host), self.some(Column::RemotePort));
        }
        let Some(from) = self.some(Column::ConnectionFrom) else { return (None, None) };
        // An IPv6 address has colons of its own, a socket no port.
        match memchr::memrchr(b':', from) {
            Some(colon)
                if colon + 1 < from.len() && from[colon + 1..].iter().all(u8::is_ascii_digit) =>
            {
                (Some(&from[..colon]), Some(&from[colon + 1..]))
            }
            _ => (Some(from), None),
        }
    }

    /// `function, file.c:line` as the text log writes it.
    pub(in crate::logs) fn location(&self) -> Option<Cow<'_, [u8]>> {
        if let Some(location) = self.some(Column::Location) {
            return Some(Cow::Borrowed(location));
        }
        let mut text = Vec::new();
        if let Some(function) = self.some(Column::Function) {
            text.extend_from_slice(function);
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(self.some(Column::File)?);
        if let Some(line) = self.some(Column::FileLine) {
            text.push(b':');
            text.extend_from_slice(line);
        }
        Some(Cow::Owned(text))
    }

    /// The cursor's position that the text log puts behind the message.
    pub(in crate::logs) fn position(&self) -> Option<&[u8]> {
        self.some(Column::StatementPosition).or_else(|| self.some(Column::QueryPosition))
    }
}
