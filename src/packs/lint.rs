//! What can be seen wrong in a query without a server: a pure function of the [`Query`].

use std::collections::HashSet;

use super::Dialect;
use super::load::is_optional;
use super::query::{Query, Usage};
use super::sql::bare;
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
];

/// Endings that say the unit in other than base units, and the base unit.
const UNITS: &[(&str, &str)] = &[
    ("_milliseconds", "_seconds"),
    ("_ms", "_seconds"),
    ("_microseconds", "_seconds"),
    ("_minutes", "_seconds"),
    ("_hours", "_seconds"),
    ("_days", "_seconds"),
    ("_kb", "_bytes"),
    ("_kilobytes", "_bytes"),
    ("_mb", "_bytes"),
    ("_megabytes", "_bytes"),
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
                self.push(true, what, "use letters, digits and _, and no __ in front");
            } else if !label && !is_metric_name(name) {
                let what = format!("`{name}` of query `{}` is no metric name", query.name);
                self.push(true, what, "use letters, digits, _ and :, and no digit in front");
            }
            // What PgBouncer's versions call differently is one metric.
            let again = !label && query.kind == InstanceKind::Pgbouncer;
            if !seen.insert((label, name)) && !again {
                let kind = if label { "label" } else { "metric" };
                let what = format!("query `{}` has the {kind} `{name}` twice", query.name);
                self.push(true, what, "keep one of them");
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
                    if UNBOUNDED.contains(&name) {
                        let what = format!("label `{name}` of query `{}` has no bound", query.name);
                        self.push(false, what, "drop or aggregate it: each value is a new series");
                    }
                    continue;
                }
                Usage::Discard => continue,
                Usage::Duration if name.ends_with("_milliseconds") => {
                    let what = format!("`{name}` is in milliseconds");
                    self.push(
                        false,
                        what,
                        "make it a GAUGE with `extract(epoch FROM …)` and the ending _seconds",
                    );
                }
                _ => {}
            }
            if column.help.is_empty() {
                let what = format!("`{name}` has no description");
                self.push(false, what, "say what it measures, with its unit");
            }
            let total = name.ends_with("_total");
            if counter && !total && !is_inherited_counter(name) {
                let what = format!("the counter `{name}` does not end in _total");
                self.push(false, what, format!("write `metric: {name}_total`, or make it a GAUGE"));
            } else if !counter && total {
                let what = format!("`{name}` ends in _total but is no counter");
                self.push(false, what, "make it a COUNTER, or give it another name");
            }
            if matches!(column.usage, Usage::Gauge | Usage::Counter)
                && ["_count", "_sum", "_bucket"].iter().any(|ending| name.ends_with(ending))
                && !is_inherited_counter(name)
                && !INHERITED_GAUGES.contains(&name)
            {
                let what = format!("`{name}` ends like a part of a histogram");
                self.push(false, what, "give it another name");
            }
            let stem = name.strip_suffix("_total").unwrap_or(name);
            if column.usage != Usage::Duration
                && let Some((ending, base)) = UNITS.iter().find(|(e, _)| stem.ends_with(e))
            {
                let what = format!("`{name}` is not in base units");
                self.push(
                    false,
                    what,
                    format!("convert it, and end in {base} and not in {ending}"),
                );
            }
        }
    }
}
