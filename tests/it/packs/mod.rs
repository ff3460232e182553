//! The built-in packs on real servers of every major, primary and standby, as a role that is only in
//! `pg_monitor`; and one test for each trap that their SQL walks around.

mod activity; // sessions, locks, who waits for whom
mod archiver; // archiving that fails and recovers
mod replication; // both sides of replication, slots
mod settings; // what settings may tell
mod storage; // databases, tablespaces, WAL that is kept
mod tables; // tables and indexes, in every database

use std::collections::HashSet;

use pgvigil::config::InstanceKind;
use pgvigil::packs::{self, Query, Usage};
use pgvigil::postgres::{Role, Version};
use tokio_postgres::types::Type;

use crate::support::monitor::{Monitor, number};
use crate::support::postgres::{Cluster, Options, majors};

/// Queries that may find nothing: on an empty server, and on a standby even if loaded.
const MAY_BE_EMPTY: &[&str] = &[
    "pg_archiver_backlog",
    "pg_replication_slots",
    "pg_replication_slots_wal_status",
    "pg_stat_replication",
    "pg_stat_replication_wal",
];

/// Queries that find nothing where nothing is going on.
const MOSTLY_EMPTY: &[&str] = &[
    "pg_backup_base_last",
    "pg_database_collation",
    "pg_index_invalid",
    "pg_roles_expiry",
    "pg_stat_progress_analyze",
    "pg_stat_progress_cluster",
    "pg_stat_progress_copy",
    "pg_stat_progress_create_index",
    "pg_stat_progress_vacuum",
    "pg_stat_subscription",
    "pg_stat_subscription_stats",
];

/// Queries of objects that an empty server has none of.
const NEED_OBJECTS: &[&str] = &[
    "pg_bloat",
    "pg_sequences",
    "pg_stat_user_indexes",
    "pg_stat_user_tables",
    "pg_stat_user_tables_rows",
    "pg_statio_user_tables",
    "pg_table",
];

/// What the oldest servers have no view for, and the first that has it.
const NEWER: &[(&str, u32)] = &[
    ("pg_database_collation", 15),
    ("pg_stat_io", 16),
    ("pg_stat_progress_copy", 14),
    ("pg_stat_subscription_stats", 15),
    ("pg_stat_wal", 14),
];

fn settings() -> Options {
    Options::default().conf(
        "wal_level = logical\nmax_replication_slots = 8\nmax_wal_senders = 8\n\
         wal_receiver_timeout = 4s\nwal_retrieve_retry_interval = 500ms\n\
         log_min_messages = warning\nlog_min_error_statement = error",
    )
}

/// The majors between which the receiving side's views and functions changed.
fn some_majors() -> impl Iterator<Item = u32> {
    majors().into_iter().filter(|major| [13, 15, 18].contains(major))
}

/// Runs one built-in query as an agent would and looks at all that the pack promises of it.
fn check(monitor: &Monitor, query: &Query, loaded: bool) {
    let server = format!("{} on {} ({:?})", query.name, monitor.facts.version, monitor.facts.role);
    let Some(sql) = monitor.selected(query) else {
        let newer = NEWER.iter().find(|(name, _)| *name == &*query.name);
        assert!(
            query.role.is_some_and(|role| role != monitor.facts.role)
                || query.requires.extension.is_some()
                || (query.requires.function.is_some() && !loaded)
                || newer.is_some_and(|(_, first)| monitor.facts.version < Version(first * 10_000)),
            "{server} has no statement"
        );
        return;
    };
    let columns = monitor.columns(&sql);
    let named: HashSet<&str> = query.columns.iter().map(|c| &*c.column).collect();
    let present: HashSet<&str> = columns.iter().map(|(name, _)| &**name).collect();
    assert_eq!(named, present, "{server}: columns");
    for (name, kind) in &columns {
        let value = query.columns.iter().any(|c| c.column == *name && c.usage != Usage::Label);
        let numeric = [Type::BOOL, Type::INT4, Type::INT8, Type::FLOAT8, Type::NUMERIC];
        assert!(!value || numeric.contains(kind), "{server}: {name} is a {kind}");
    }
    let rows = monitor.rows(&sql);
    let may_be_empty = MOSTLY_EMPTY.contains(&&*query.name)
        || (NEED_OBJECTS.contains(&&*query.name) && !loaded)
        || (MAY_BE_EMPTY.contains(&&*query.name)
            && (!loaded || monitor.facts.role == Role::Standby));
    assert!(may_be_empty || !rows.is_empty(), "{server} finds nothing");
    let labels: Vec<_> = query.columns.iter().filter(|c| c.usage == Usage::Label).collect();
    let mut seen = HashSet::new();
    for row in &rows {
        let of_row: Vec<_> = labels.iter().map(|label| row[&label.column].clone()).collect();
        assert!(seen.insert(of_row), "{server}: two rows with the labels of {row:?}");
        for value in query.columns.iter().filter(|c| c.usage != Usage::Label) {
            if row[&value.column].is_some() {
                assert!(number(row, &value.column).is_finite(), "{server}: {row:?}");
            }
        }
    }
    if loaded {
        let empty = |column: &str| rows.iter().all(|row| row[column].is_none());
        assert!(
            rows.is_empty()
                || query.columns.iter().any(|c| c.usage != Usage::Label && !empty(&c.column)),
            "{server}: nothing but NULL"
        );
    }
}

fn check_all(cluster: &Cluster, loaded: bool) {
    let monitor = Monitor::connect(cluster);
    for query in &packs::builtin().of(InstanceKind::Postgres, &[]) {
        check(&monitor, query, loaded);
    }
}

/// What makes every query find something, on the primary.
fn load(primary: &Cluster) {
    primary.sql("CREATE DATABASE shop");
    primary.sql("ALTER ROLE pgvigil CONNECTION LIMIT 6");
    primary.sql_in("shop", "CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 1000) AS g");
    primary.sql_in("shop", "DELETE FROM t WHERE id < 100");
    primary.sql(include_str!("../../../queries/helpers.sql"));
    primary.sql(
        "CREATE TABLE t (id serial PRIMARY KEY, v text DEFAULT 'x'); INSERT INTO t SELECT generate_series(1, 1000)",
    );
    primary.sql("VACUUM ANALYZE t");
    primary.sql("SELECT nextval('t_id_seq')");
    primary.sql("SELECT pg_create_physical_replication_slot('gone', true)");
    primary.sql_in("shop", "SELECT pg_create_logical_replication_slot('feed', 'pgoutput')");
    primary.sql("SELECT pg_switch_wal()");
    primary.sql("CHECKPOINT");
}

#[test]
fn every_query_on_every_server() {
    for major in majors() {
        let archiving = settings().conf("archive_mode = on\narchive_command = 'false'");
        let Some(primary) = archiving.start(major) else { continue };
        let standby = Cluster::standby_of(&primary, &settings());
        check_all(&primary, false);
        check_all(&standby, false);
        load(&primary);
        let written = primary.sql("SELECT pg_current_wal_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{}'", written[0][0]);
        standby.await_sql(&replayed, "t");
        check_all(&primary, true);
        check_all(&standby, true);
        for cluster in [&primary, &standby] {
            let log = cluster.output();
            let errors: Vec<_> = log
                .lines()
                .filter(|line| ["ERROR:", "FATAL:", "PANIC:"].iter().any(|e| line.contains(e)))
                .collect();
            assert!(errors.is_empty(), "PostgreSQL {major} says {errors:#?}");
        }
    }
}
