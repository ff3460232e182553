//! What lint says of a query, where, and of which it says nothing.

use std::path::Path;

use super::*;

/// What is said of a file of one query with these columns, without the file's name.
fn said(sql: &str, columns: &str) -> Vec<String> {
    let text = format!("pg_q:\n  role: any\n  query: {sql}\n  metrics:\n{columns}");
    let packs = parse(&text, "mine", Path::new("mine.yaml"), None);
    assert_eq!(packs.queries.len(), 1, "advice leaves the query loaded: {:?}", packs.problems);
    packs.problems.iter().map(|problem| problem.to_string().replace("mine.yaml:", "")).collect()
}

#[test]
fn names() {
    let columns = "    - dbName: {usage: LABEL}
    - a: {usage: GAUGE, metric: pg_size_mb, description: D}
    - b: {usage: GAUGE, metric: pg_ageMinutes, description: D}
    - c: {usage: COUNTER, metric: pg_written_kb_total, description: D}
    - d: {usage: COUNTER, metric: pg_done, description: D}
    - e: {usage: GAUGE, metric: pg_seen_total, description: D}
    - f: {usage: GAUGE, metric: pg_wait_ms}
    - g: {usage: GAUGE, metric: pg_fine_bytes, description: D}
    - h: {usage: COUNTER, metric: pg_fine_seconds_total, description: D}
";
    assert_eq!(
        said("SELECT 1", columns),
        [
            "5:7: the label `dbName` is not in snake_case; write it in small letters, digits and _",
            "6:7: `pg_size_mb` is not in base units; convert it, and end in _bytes and not in _mb",
            "7:7: `pg_ageMinutes` is not in snake_case; write it in small letters, digits and _",
            "8:7: `pg_written_kb_total` is not in base units; \
             convert it, and end in _bytes and not in _kb",
            "9:7: the counter `pg_done` does not end in _total; \
             write `metric: pg_done_total`, or make it a GAUGE",
            "10:7: `pg_seen_total` ends in _total but is no counter; \
             make it a COUNTER, or give it another name",
            "11:7: `pg_wait_ms` has no description; say what it measures, with its unit",
            "11:7: `pg_wait_ms` is not in base units; \
             convert it, and end in _seconds and not in _ms",
        ]
    );
}

#[test]
fn labels_without_a_bound() {
    let said = |label: &str| {
        let columns =
            format!("    - {label}: {{usage: LABEL}}\n    - n: {{usage: GAUGE, description: D}}\n");
        said("SELECT 1", &columns)
    };
    for label in
        ["pid", "query", "client_port", "xid", "last_seen_at", "restart_lsn", "backend_xid"]
    {
        let expected = format!(
            "5:7: label `{label}` of query `pg_q` has no bound; \
             drop or aggregate it: each value is a new series"
        );
        assert_eq!(said(label), [expected]);
    }
    for label in ["datname", "queryid", "state", "wait_event", "client_addr", "relname"] {
        assert_eq!(said(label), Vec::<String>::new(), "{label}");
    }
}

#[test]
fn counters_that_are_none() {
    let about = |sql: &str, metric: &str| {
        let columns =
            format!("    - n: {{usage: COUNTER, metric: {metric}_total, description: D}}\n");
        said(sql, &columns)
    };
    let none = |sql: &str, metric: &str, why: &str| {
        let expected = format!(
            "5:7: `{metric}_total` is a COUNTER, but {why}; \
             make it a GAUGE: a counter that falls looks like a restart"
        );
        assert_eq!(about(sql, metric), [expected], "{sql}");
    };
    none("SELECT count(*) AS n FROM t", "pg_rows", "count() goes down too");
    none("SELECT pg_database_size('a') AS n", "pg_a", "pg_database_size() goes down too");
    none("SELECT age(datfrozenxid) AS n FROM pg_database", "pg_a", "age() goes down too");
    none("SELECT n FROM t", "pg_table_size_bytes", "what it is called goes down too");
    for sql in
        ["SELECT sum(calls) AS n FROM t", "SELECT n FROM t", "SELECT count(*) AS m, n FROM t"]
    {
        assert_eq!(about(sql, "pg_calls"), Vec::<String>::new(), "{sql}");
    }
    let columns = "    - n_live_tup: {usage: COUNTER, metric: pg_live_total, description: D}\n";
    let told = said("SELECT n_live_tup FROM pg_stat_user_tables", columns);
    assert!(told[0].contains("n_live_tup goes down too"), "{told:?}");
}

#[test]
fn the_guides_example_is_clean() {
    let guide = include_str!("../../CONTRIBUTING.md");
    let (_, rest) = guide.split_once("```yaml\n").unwrap();
    let text = rest.split("```").next().unwrap();
    let packs = parse(text, "pg_prepared_transactions", Path::new("example.yaml"), None);
    assert_eq!(packs.problems, []);
    assert_eq!(packs.queries.len(), 1);
}
