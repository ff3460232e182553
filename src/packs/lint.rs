//! What can be seen wrong in a query without a server: a pure function of the [`Query`].

use std::collections::HashSet;

use super::Dialect;
use super::builtin::is_optional;
use super::query::{ColumnUse, Query, Usage};
use super::sql::{bare, function_of};
use crate::config::{InstanceKind, Problem};
use crate::metric::{is_label_name, is_metric_name};

/// Counters whose name other programs gave them, without `_total`; boards and rules select by them.
const INHERITED_COUNTERS: &[(&str, &[&str])] = &[
    (
        "pg_stat_database_",
        &[
            "xact_commit",
            "xact_rollback",
            "blks_read",
            "blks_hit",
            "tup_returned",
            "tup_fetched",
            "tup_inserted",
            "tup_updated",
            "tup_deleted",
            "conflicts",
            "temp_files",
            "temp_bytes",
            "deadlocks",
            "blk_read_time",
            "blk_write_time",
            "conflicts_confl_tablespace",
            "conflicts_confl_lock",
            "conflicts_confl_snapshot",
            "conflicts_confl_bufferpin",
            "conflicts_confl_deadlock",
        ],
    ),
    (
        "pg_stat_user_tables_",
        &[
            "seq_scan",
            "seq_tup_read",
            "idx_scan",
            "idx_tup_fetch",
            "n_tup_ins",
            "n_tup_upd",
            "n_tup_del",
            "n_tup_hot_upd",
            "vacuum_count",
            "autovacuum_count",
            "analyze_count",
            "autoanalyze_count",
        ],
    ),
    (
        "pg_statio_user_tables_",
        &[
            "heap_blocks_read",
            "heap_blocks_hit",
            "idx_blocks_read",
            "idx_blocks_hit",
            "toast_blocks_read",
            "toast_blocks_hit",
            "tidx_blocks_read",
            "tidx_blocks_hit",
        ],
    ),
    ("pg_stat_archiver_", &["archived_count", "failed_count"]),
];

/// Gauges whose name others gave them, against the same practice.
const INHERITED_GAUGES: &[&str] = &["pg_stat_activity_count", "pg_locks_count"];

/// Labels that take a new value with every session or statement, and so make series without end.
const UNBOUNDED: &[&str] = &[
    "pid",
    "client_port",
    "query",
    "backend_start",
    "xact_start",
    "query_start",
    "state_change",
    "backend_xid",
    "backend_xmin",
    "leader_pid",
    "session_id",
    "query_text",
    "sql_text",
    "xid",
    "transactionid",
    "virtualxid",
    "virtualtransaction",
];

/// Endings of labels that hold a time, a position or a transaction, and so have no bound either.
const UNBOUNDED_ENDINGS: &[&str] = &["_at", "_time", "_timestamp", "_lsn", "_xid", "_xmin"];

/// Columns of the server's own views that say what is now, and so go down too.
const CURRENT: &[&str] = &[
    "n_live_tup",
    "n_dead_tup",
    "n_mod_since_analyze",
    "n_ins_since_vacuum",
    "numbackends",
    "reltuples",
    "relpages",
    "setting",
];

/// Functions whose value goes down as well as up; `count` is the number of rows that are there now.
const CURRENT_FUNCTIONS: &[&str] = &[
    "count",
    "avg",
    "age",
    "mxid_age",
    "pg_database_size",
    "pg_tablespace_size",
    "pg_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_total_relation_size",
];

/// Endings of names that say what is now.
const CURRENT_ENDINGS: &[&str] =
    &["_size", "_size_bytes", "_age", "_age_seconds", "_ratio", "_percent"];

/// Endings that say the unit in other than base units, and the base unit.
const UNITS: &[(&str, &str)] = &[
    ("_milliseconds", "_seconds"),
    ("_ms", "_seconds"),
    ("_msec", "_seconds"),
    ("_us", "_seconds"),
    ("_usec", "_seconds"),
    ("_microseconds", "_seconds"),
    ("_minutes", "_seconds"),
    ("_hours", "_seconds"),
    ("_days", "_seconds"),
    ("_kb", "_bytes"),
    ("_kilobytes", "_bytes"),
    ("_mb", "_bytes"),
    ("_megabytes", "_bytes"),
    ("_gb", "_bytes"),
    ("_gigabytes", "_bytes"),
    ("_percent", "_ratio"),
];

/// Every problem of `query`: fatal ones keep it from being loaded.
pub(super) fn lint(query: &Query) -> Vec<Problem> {
    let mut found = Found { query, problems: Vec::new() };
    found.statements();
    found.names();
    // What a pack repeats of others is as they named it.
    if query.dialect == Dialect::Native && !is_optional(&query.pack) {
        found.style();
        found.labels();
        found.counters();
    }
    found.problems
}

/// What an author should know of a query in another program's file, whose names are as they are but
/// whose labels and counters cost the same. Native queries are told of it when they are loaded.
pub fn advise(query: &Query) -> Vec<Problem> {
    let mut found = Found { query, problems: Vec::new() };
    if query.dialect != Dialect::Native {
        found.labels();
        found.counters();
    }
    found.problems
}

/// Whether the counter `metric` keeps a name without `_total` because others already know it.
pub(super) fn is_inherited_counter(metric: &str) -> bool {
    INHERITED_COUNTERS
        .iter()
        .any(|(prefix, rest)| metric.strip_prefix(prefix).is_some_and(|m| rest.contains(&m)))
}

struct Found<'q> {
    query: &'q Query,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn push(&mut self, fatal: bool, what: String, remedy: impl Into<String>) {
        let (place, remedy) = (self.query.place.clone(), remedy.into());
        self.problems.push(Problem { place, what, remedy, fatal });
    }

    /// What is wrong with one column.
    fn refuse(&mut self, column: &ColumnUse, what: String, remedy: impl Into<String>) {
        self.problems.push(Problem::fatal(column.place.clone(), what, remedy));
    }

    /// What the author should know of one column.
    fn hint(&mut self, column: &ColumnUse, what: String, remedy: impl Into<String>) {
        let (place, remedy) = (column.place.clone(), remedy.into());
        self.problems.push(Problem { place, what, remedy, fatal: false });
    }

    fn statements(&mut self) {
        let name = &self.query.name;
        for statement in &self.query.statements {
            let text = bare(&statement.sql);
            let text = text.trim();
            if text.is_empty() {
                self.push(true, format!("query `{name}` has an empty SQL text"), "write a SELECT");
                continue;
            }
            if text.split(';').skip(1).any(|rest| !rest.trim().is_empty()) {
                let what = format!("query `{name}` holds several statements");
                self.push(true, what, "keep one; a server prepares only one at a time");
                continue;
            }
            let word = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            if self.query.kind == InstanceKind::Pgbouncer {
                if !word.eq_ignore_ascii_case("show") {
                    let what = format!("query `{name}` asks PgBouncer with {word}");
                    self.push(true, what, "write a SHOW; its console knows no SQL");
                }
                continue;
            }
            let reads = ["select", "with", "values", "table", "show", ""];
            if !reads.contains(&word.to_lowercase().as_str()) {
                let what = format!("query `{name}` begins with {word}, which is no query");
                self.push(true, what, "write a SELECT; every session is read-only");
            }
        }
    }

    /// Names that no page could show, and that would clash within one row.
    fn names(&mut self) {
        let query = self.query;
        let mut seen = HashSet::new();
        for column in &query.columns {
            let (name, label) = (&column.metric, column.usage == Usage::Label);
            if column.usage == Usage::Discard {
                continue;
            }
            if label && !is_label_name(name) {
                let what = format!("`{name}` of query `{}` is no label name", query.name);
                self.refuse(column, what, "use letters, digits and _, and no __ in front");
            } else if !label && !is_metric_name(name) {
                let what = format!("`{name}` of query `{}` is no metric name", query.name);
                self.refuse(column, what, "use letters, digits, _ and :, and no digit in front");
            }
            // What PgBouncer's versions call differently is one metric.
            let again = !label && query.kind == InstanceKind::Pgbouncer;
            if !seen.insert((label, name)) && !again {
                let kind = if label { "label" } else { "metric" };
                let what = format!("query `{}` has the {kind} `{name}` twice", query.name);
                self.refuse(column, what, "keep one of them");
            }
        }
        if query.columns.iter().all(|c| matches!(c.usage, Usage::Label | Usage::Discard))
            && query.dialect != Dialect::PostgresExporter
        {
            let what = format!("query `{}` has no metric, only labels", query.name);
            self.push(false, what, "give at least one column a usage such as GAUGE");
        }
    }

    /// Prometheus' naming practice, natively only: foreign names are as they are.
    fn style(&mut self) {
        let query = self.query;
        for column in &query.columns {
            let (name, counter) = (&*column.metric, column.usage == Usage::Counter);
            match column.usage {
                Usage::Label => {
                    if !is_snake_case(name) {
                        let what = format!("the label `{name}` is not in snake_case");
                        self.hint(column, what, "write it in small letters, digits and _");
                    }
                    continue;
                }
                Usage::Discard => continue,
                Usage::Duration if name.ends_with("_milliseconds") => {
                    let what = format!("`{name}` is in milliseconds");
                    self.hint(
                        column,
                        what,
                        "make it a GAUGE with `extract(epoch FROM …)` and the ending _seconds",
                    );
                }
                _ => {}
            }
            if !is_snake_case(name) {
                let what = format!("`{name}` is not in snake_case");
                self.hint(column, what, "write it in small letters, digits and _");
            }
            if column.help.is_empty() {
                let what = format!("`{name}` has no description");
                self.hint(column, what, "say what it measures, with its unit");
            }
            let total = name.ends_with("_total");
            if counter && !total && !is_inherited_counter(name) {
                let what = format!("the counter `{name}` does not end in _total");
                self.hint(
                    column,
                    what,
                    format!("write `metric: {name}_total`, or make it a GAUGE"),
                );
            } else if !counter && total {
                let what = format!("`{name}` ends in _total but is no counter");
                self.hint(column, what, "make it a COUNTER, or give it another name");
            }
            if matches!(column.usage, Usage::Gauge | Usage::Counter)
                && ["_count", "_sum", "_bucket"].iter().any(|ending| name.ends_with(ending))
                && !is_inherited_counter(name)
                && !INHERITED_GAUGES.contains(&name)
            {
                let what = format!("`{name}` ends like a part of a histogram");
                self.hint(column, what, "give it another name");
            }
            let stem = name.strip_suffix("_total").unwrap_or(name);
            if column.usage != Usage::Duration
                && let Some((ending, base)) = UNITS.iter().find(|(e, _)| stem.ends_with(e))
            {
                let what = format!("`{name}` is not in base units");
                self.hint(
                    column,
                    what,
                    format!("convert it, and end in {base} and not in {ending}"),
                );
            }
        }
    }

    /// Labels that make a new series with every value.
    fn labels(&mut self) {
        let query = self.query;
        for column in query.columns.iter().filter(|column| column.usage == Usage::Label) {
            let name = &*column.metric;
            if UNBOUNDED.contains(&name) || UNBOUNDED_ENDINGS.iter().any(|end| name.ends_with(end))
            {
                let what = format!("label `{name}` of query `{}` has no bound", query.name);
                self.hint(column, what, "drop or aggregate it: each value is a new series");
            }
        }
    }

    /// Counters that the SQL shows to be none.
    fn counters(&mut self) {
        let query = self.query;
        for column in query.columns.iter().filter(|column| column.usage == Usage::Counter) {
            let name = &*column.metric;
            let stem = name.strip_suffix("_total").unwrap_or(name);
            let function = query.statements.iter().find_map(|statement| {
                let function = function_of(&statement.sql, &column.column)?;
                CURRENT_FUNCTIONS.contains(&&*function).then_some(function)
            });
            let why = if let Some(function) = function {
                format!("{function}() goes down too")
            } else if CURRENT.contains(&&*column.column) {
                format!("{} goes down too", column.column)
            } else if CURRENT_ENDINGS.iter().any(|end| stem.ends_with(end)) {
                "what it is called goes down too".to_owned()
            } else {
                continue;
            };
            let what = format!("`{name}` is a COUNTER, but {why}");
            self.hint(column, what, "make it a GAUGE: a counter that falls looks like a restart");
        }
    }
}

/// Small letters, digits and `_`; `:` as in the names of rules.
fn is_snake_case(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':')
}
