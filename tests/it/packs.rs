//! The built-in packs on real servers of every major, primary and standby, as a role that is only in
//! `pg_monitor`; and one test for each trap that their SQL walks around.

use std::collections::{BTreeMap, HashSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgvigil::packs::{self, Query, Usage, select};
use pgvigil::postgres::{Facts, LogSettings, Role, Version};
use rustix::process::Signal;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::support::postgres::{Cluster, MONITOR, Options, Stop, majors};

/// A value that must never leave the server, in every setting that could hold one.
const SECRET: &str = "hunter2-4711";

/// Queries that may find nothing: on an empty server, and on a standby even if loaded.
const MAY_BE_EMPTY: &[&str] = &[
    "pg_archiver_backlog",
    "pg_replication_slots",
    "pg_replication_slots_wal_status",
    "pg_stat_replication",
];

/// Queries that find nothing where nothing is going on.
const MOSTLY_EMPTY: &[&str] = &[
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

/// One row of a result, by column.
pub(crate) type Row = BTreeMap<String, Option<String>>;

/// A session such as the agent's: the monitoring role, with the settings that it connects with.
pub(crate) struct Monitor {
    runtime: tokio::runtime::Runtime,
    client: Client,
    facts: Facts,
}

impl Monitor {
    pub(crate) fn connect(cluster: &Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async {
            let options = "-c search_path=pg_catalog,pg_temp -c default_transaction_read_only=on \
                           -c statement_timeout=10s -c lock_timeout=500ms -c timezone=UTC \
                           -c datestyle=ISO";
            let (client, connection) = Config::new()
                .host("127.0.0.1")
                .port(cluster.port)
                .user(MONITOR)
                .dbname("postgres")
                .options(options)
                .connect(NoTls)
                .await
                .expect("a session");
            runtime.spawn(connection);
            client
        });
        let mut monitor = Self { runtime, client, facts: no_facts() };
        let rows = monitor.rows(
            "SELECT current_setting('server_version_num') AS v, pg_is_in_recovery() AS r, \
             (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS s",
        );
        let is = |column: &str| text(&rows[0], column) == "t";
        assert!(!is("s"), "the test is worth nothing as a superuser");
        monitor.facts.version = Version(text(&rows[0], "v").parse().expect("a number"));
        monitor.facts.role = if is("r") { Role::Standby } else { Role::Primary };
        monitor
    }

    pub(crate) fn rows(&self, sql: &str) -> Vec<Row> {
        self.try_rows(sql).unwrap_or_else(|e| panic!("{e:?}\n{sql}"))
    }

    pub(crate) fn try_rows(&self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        // On a thread of its own, for a test may ask from inside another session's runtime.
        let messages = std::thread::scope(|scope| {
            scope.spawn(|| self.runtime.block_on(self.client.simple_query(sql))).join()
        });
        let messages = messages.expect("the thread ends")?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows
            .map(|row| {
                let columns = row.columns().iter().enumerate();
                columns
                    .map(|(i, column)| (column.name().to_owned(), row.get(i).map(str::to_owned)))
                    .collect()
            })
            .collect())
    }

    /// The rows of a built-in query; none where it is not for this server.
    pub(crate) fn query(&self, name: &str) -> Option<Vec<Row>> {
        let packs = packs::builtin();
        let query = packs.queries.iter().find(|q| &*q.name == name).expect("a built-in query");
        self.selected(query).map(|sql| self.rows(&sql))
    }

    /// A query's SQL, placeholders filled in; none where it is not for this server and database.
    fn selected(&self, query: &Query) -> Option<String> {
        let sql = select(query, &self.facts).ok()?;
        let open = |gate: &str| {
            self.rows(gate)
                .first()
                .is_some_and(|row| row.values().all(|v| v.as_deref() == Some("t")))
        };
        query
            .gates()
            .iter()
            .all(|gate| open(gate))
            .then(|| sql.replace("{tables}", "400").replace("{indexes}", "400"))
    }

    /// The only row of a built-in query.
    pub(crate) fn row(&self, name: &str) -> Row {
        let mut rows = self.query(name).expect("a query for this server");
        assert_eq!(rows.len(), 1, "{name}: {rows:?}");
        rows.remove(0)
    }

    /// The result's columns with their types, as `prepare` tells them.
    fn columns(&self, sql: &str) -> Vec<(String, Type)> {
        let statement = self.runtime.block_on(self.client.prepare(sql));
        let statement = statement.unwrap_or_else(|e| panic!("{e:?}\n{sql}"));
        statement.columns().iter().map(|c| (c.name().to_owned(), c.type_().clone())).collect()
    }
}

fn no_facts() -> Facts {
    Facts {
        version: Version::OLDEST,
        role: Role::Primary,
        system_identifier: String::new(),
        timeline: 1,
        cluster_name: String::new(),
        data_directory: None,
        database: "postgres".to_owned(),
        databases: Vec::new(),
        extensions: BTreeMap::new(),
        settings: BTreeMap::new(),
        superuser: false,
        monitor: true,
        log: LogSettings::default(),
    }
}

pub(crate) fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row[column].as_deref().unwrap_or_else(|| panic!("{column} is NULL in {row:?}"))
}

pub(crate) fn number(row: &Row, column: &str) -> f64 {
    match text(row, column) {
        "t" => 1.0,
        "f" => 0.0,
        text => text.parse().unwrap_or_else(|_| panic!("{column} is {text}")),
    }
}

fn settings() -> Options {
    Options::default().conf(
        "wal_level = logical\nmax_replication_slots = 8\nmax_wal_senders = 8\n\
         wal_receiver_timeout = 4s\nwal_retrieve_retry_interval = 500ms\n\
         log_min_messages = warning\nlog_min_error_statement = error",
    )
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
    for query in &packs::builtin().queries {
        check(&monitor, query, loaded);
    }
}

/// What makes every query find something, on the primary.
fn load(primary: &Cluster) {
    primary.sql("CREATE DATABASE shop");
    primary.sql("ALTER ROLE pgvigil CONNECTION LIMIT 6");
    primary.sql_in("shop", "CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 1000) AS g");
    primary.sql_in("shop", "DELETE FROM t WHERE id < 100");
    primary.sql(include_str!("../../queries/helpers.sql"));
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

#[test]
fn secrets_in_settings_stay_there() {
    for major in majors() {
        let hiding = settings().conf(&format!(
            "archive_mode = on\narchive_command = 'false # {SECRET}'\n\
             cluster_name = 'not a secret'"
        ));
        let Some(primary) = hiding.start(major) else { continue };
        let standby = Cluster::standby_of(&primary, &settings());
        standby.sql(&format!(
            "ALTER SYSTEM SET primary_conninfo = 'host={} port={} user=postgres password={SECRET}'",
            primary.directory().display(),
            primary.port
        ));
        standby.sql("SELECT pg_reload_conf()");
        for cluster in [&primary, &standby] {
            let monitor = Monitor::connect(cluster);
            // The trap is there: this role can read what must not be shown.
            let seen = "SELECT count(*) AS n FROM pg_settings WHERE setting LIKE '%hunter2%'";
            let deadline = Instant::now() + Duration::from_secs(10);
            while number(&monitor.rows(seen)[0], "n") == 0.0 {
                assert!(Instant::now() < deadline, "the role does not see the secret");
            }
            for query in &packs::builtin().queries {
                let Some(sql) = monitor.selected(query) else { continue };
                let shown = format!("{:?}", monitor.rows(&sql));
                assert!(!shown.contains(SECRET), "{} shows {shown}", query.name);
            }
        }
    }
}

#[test]
fn a_setting_that_only_this_session_has_is_absent() {
    let Some(cluster) = Cluster::start(18) else { return };
    assert_eq!(number(&Monitor::connect(&cluster).row("pg_settings"), "work_mem_bytes"), 4194304.0);
    cluster.sql(&format!("ALTER ROLE {MONITOR} SET work_mem = '1GB'"));
    let row = Monitor::connect(&cluster).row("pg_settings");
    assert_eq!(row["work_mem_bytes"], None);
    assert_eq!(number(&row, "shared_buffers_bytes"), 16777216.0);
    assert_eq!(number(&row, "checkpoint_timeout_seconds"), 300.0);
    assert_eq!(number(&row, "autovacuum_vacuum_cost_delay_seconds"), 0.002);
    assert_eq!(number(&row, "max_slot_wal_keep_size_bytes"), -1.0);
    assert_eq!(number(&row, "fsync"), 0.0);
}

/// The names carry the units that the server gives its settings, on every version.
#[test]
fn settings_are_named_by_their_units() {
    let packs = packs::builtin();
    let query = packs.queries.iter().find(|q| &*q.name == "pg_settings").expect("a pack");
    let mut known = HashSet::new();
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        for row in cluster.sql(
            "SELECT name || CASE WHEN unit IN ('us', 'ms', 's', 'min', 'h', 'd') THEN '_seconds' \
             WHEN unit IS NOT NULL THEN '_bytes' ELSE '' END \
             FROM pg_settings WHERE vartype IN ('bool', 'integer', 'real')",
        ) {
            known.insert(row[0].clone());
        }
    }
    if known.is_empty() {
        return;
    }
    for column in &query.columns {
        assert!(known.contains(&column.column), "{} is no setting with its unit", column.column);
    }
}

/// The majors between which the receiving side's views and functions changed.
fn some_majors() -> impl Iterator<Item = u32> {
    majors().into_iter().filter(|major| [13, 15, 18].contains(major))
}

#[test]
fn lag_of_an_idle_pair_is_0_and_grows_when_the_primary_is_gone() {
    for major in some_majors() {
        let Some(mut primary) = settings().start(major) else { continue };
        let standby = Cluster::standby_of(&primary, &settings());
        let monitor = Monitor::connect(&standby);
        primary.sql("CREATE TABLE t (id int)");
        let written = primary.sql("SELECT pg_current_wal_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{}'", written[0][0]);
        standby.await_sql(&replayed, "t");
        let idle = Instant::now();
        while idle.elapsed() < Duration::from_secs(8) {
            let row = monitor.row("pg_standby");
            assert_eq!(number(&row, "receiver_up"), 1.0, "{major}: {row:?}");
            // Between a message and its replay a fraction of a second may pass; the trap is a number
            // that grows with the primary's idleness.
            assert!(number(&row, "lag_seconds") < 1.0, "{major}, idle: {row:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
        let row = monitor.row("pg_standby");
        assert_eq!(number(&row, "lag_seconds"), 0.0, "{major}, idle: {row:?}");
        assert_eq!(number(&row, "lag_bytes"), 0.0, "{major}, idle: {row:?}");

        primary.stop(Stop::Immediate);
        let gone = Instant::now();
        std::thread::sleep(Duration::from_secs(4));
        let row = monitor.row("pg_standby");
        let lag = number(&row, "lag_seconds");
        assert_eq!(number(&row, "receiver_up"), 0.0, "{major}, gone: {row:?}");
        assert_eq!(row["lag_bytes"], None, "{major}, gone: {row:?}");
        // Not the age of the last commit (more than 12 s), but that of the last message: it was
        // asked for after half of wal_receiver_timeout at the latest.
        let since = gone.elapsed().as_secs_f64();
        assert!(lag > since - 0.5 && lag < since + 3.0, "{major}: {lag} s after {since} s");
        std::thread::sleep(Duration::from_secs(1));
        assert!(number(&monitor.row("pg_standby"), "lag_seconds") > lag + 0.9, "{major}: it grows");
        // A new session remembers nothing and says no less.
        let fresh = Monitor::connect(&standby).row("pg_standby");
        assert!(number(&fresh, "lag_seconds") >= lag, "{major}: {fresh:?}");

        primary.start_again();
        let deadline = Instant::now() + Duration::from_secs(30);
        while number(&monitor.row("pg_standby"), "lag_seconds") > 0.0 {
            assert!(Instant::now() < deadline, "{major}: the lag does not clear");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A link that was cut without a word leaves the row `streaming` and everything replayed that came.
#[test]
fn lag_of_a_cut_link_grows_though_all_that_came_is_replayed() {
    let clusters: Vec<_> = some_majors()
        .filter_map(|major| {
            let primary = settings().start(major)?;
            let standby = Cluster::standby_of(&primary, &settings());
            let monitor = Monitor::connect(&standby);
            let receiver = standby.sql("SELECT pid FROM pg_stat_wal_receiver");
            let receiver = receiver[0][0].parse().expect("a process id");
            monitor.row("pg_standby");
            standby.signal(receiver, Signal::STOP);
            Some((primary, standby, monitor, receiver))
        })
        .collect();
    let cut = Instant::now();
    for (primary, ..) in &clusters {
        primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    }
    // wal_receiver_timeout is 4 s, so silence is no proof until 7 s have passed.
    std::thread::sleep(Duration::from_secs(10).saturating_sub(cut.elapsed()));
    for (primary, standby, monitor, receiver) in &clusters {
        let major = primary.major;
        let seen = monitor.rows("SELECT status, pg_last_wal_replay_lsn() >= latest_end_lsn AS all FROM pg_stat_wal_receiver");
        assert_eq!(
            (text(&seen[0], "status"), text(&seen[0], "all")),
            ("streaming", "t"),
            "{major}"
        );
        let since = cut.elapsed().as_secs_f64();
        let row = monitor.row("pg_standby");
        let lag = number(&row, "lag_seconds");
        assert!(lag >= since - 0.1 && lag < since + 4.0, "{major}: {row:?} after {since} s");
        assert_eq!(number(&row, "receiver_up"), 0.0, "{major}: {row:?}");
        assert_eq!(row["lag_bytes"], None, "{major}: {row:?}");
        standby.signal(*receiver, Signal::CONT);
    }
}

#[test]
fn silence_says_nothing_without_a_receiver_timeout() {
    let Some(primary) = settings().conf("wal_receiver_timeout = 0").start(17) else { return };
    let standby = Cluster::standby_of(&primary, &settings().conf("wal_receiver_timeout = 0"));
    let monitor = Monitor::connect(&standby);
    assert_eq!(number(&monitor.row("pg_standby"), "lag_seconds"), 0.0);
    let receiver = standby.sql("SELECT pid FROM pg_stat_wal_receiver");
    let receiver = receiver[0][0].parse().expect("a process id");
    standby.signal(receiver, Signal::STOP);
    std::thread::sleep(Duration::from_secs(17));
    let row = monitor.row("pg_standby");
    standby.signal(receiver, Signal::CONT);
    assert_eq!((&row["lag_seconds"], &row["lag_bytes"]), (&None, &None), "{row:?}");
    assert_eq!(number(&row, "receiver_up"), 1.0, "{row:?}");
}

#[test]
fn lag_of_paused_replay_is_the_age_of_the_data() {
    let Some(primary) = settings().start(16) else { return };
    let standby = Cluster::standby_of(&primary, &settings());
    let monitor = Monitor::connect(&standby);
    monitor.row("pg_standby");
    standby.sql("SELECT pg_wal_replay_pause()");
    std::thread::sleep(Duration::from_secs(2));
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
    std::thread::sleep(Duration::from_secs(2));
    let row = monitor.row("pg_standby");
    assert_eq!(number(&row, "replay_paused"), 1.0);
    assert_eq!(number(&row, "receiver_up"), 1.0);
    assert!(number(&row, "lag_seconds") > 2.0 && number(&row, "lag_seconds") < 8.0, "{row:?}");
    assert!(number(&row, "lag_bytes") > 100_000.0, "{row:?}");
    assert!(number(&row, "replay_backlog_bytes") > 100_000.0, "{row:?}");
    standby.sql("SELECT pg_wal_replay_resume()");
}

#[test]
fn a_base_backup_is_no_replica() {
    let Some(primary) = settings().start(15) else { return };
    let Some(program) = pg_basebackup() else { return };
    let standby = Cluster::standby_of(&primary, &settings());
    let monitor = Monitor::connect(&primary);
    let target = tempfile::tempdir().expect("a directory");
    let mut backup = Command::new(program)
        .args(["-X", "stream", "--checkpoint=fast", "--max-rate=1M", "-U", "postgres", "-D"])
        .arg(target.path().join("copy"))
        .args(["-h", "127.0.0.1", "-p", &primary.port.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("pg_basebackup");
    // The trap: two walsenders, one of which says that it streams.
    primary.await_sql(
        "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg_basebackup' \
         AND state IN ('backup', 'streaming')",
        "2",
    );
    let rows = monitor.query("pg_stat_replication").expect("rows");
    let senders = monitor.query("pg_stat_replication_walsenders").expect("rows");
    backup.kill().expect("a child of ours");
    backup.wait().expect("a child of ours");
    let names: Vec<_> = rows.iter().map(|row| text(row, "application_name")).collect();
    assert_eq!(names, ["standby"]);
    assert_eq!(number(&rows[0], "streaming"), 1.0);
    assert_eq!(number(&rows[0], "replay_lag_bytes"), 0.0);
    let count = |state: &str| {
        let row = senders.iter().find(|row| text(row, "state") == state).expect("every state");
        number(row, "count")
    };
    assert_eq!((count("backup"), count("streaming"), count("catchup")), (1.0, 2.0, 0.0));
    drop(standby);
}

/// Debian's; the servers that tests install come without it.
fn pg_basebackup() -> Option<std::path::PathBuf> {
    let beside =
        std::env::var_os("PG15").map(|bin| std::path::Path::new(&bin).join("pg_basebackup"));
    let debian = std::path::PathBuf::from("/usr/lib/postgresql/15/bin/pg_basebackup");
    let found = beside.into_iter().chain([debian]).find(|path| path.is_file());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "pg_basebackup is not installed");
    found
}

#[test]
fn an_inactive_slot_and_what_it_keeps_are_seen() {
    for major in majors() {
        let Some(primary) = settings().start(major) else { continue };
        let monitor = Monitor::connect(&primary);
        assert_eq!(number(&monitor.row("pg_replication_slots_count"), "inactive"), 0.0);
        primary.sql("SELECT pg_create_physical_replication_slot('gone', true)");
        primary.sql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
        let row = monitor.row("pg_replication_slots");
        assert_eq!((text(&row, "slot_name"), number(&row, "active")), ("gone", 0.0));
        assert!(number(&row, "retained_bytes") > 100_000.0, "{major}: {row:?}");
        assert_eq!(number(&row, "invalidated"), 0.0);
        assert_eq!(row["confirmed_flush_lag_bytes"], None);
        if major >= 17 {
            assert!(number(&row, "inactive_since_timestamp_seconds") > 1e9, "{row:?}");
        }
        assert_eq!(number(&monitor.row("pg_replication_slots_count"), "inactive"), 1.0);
        assert_eq!(text(&monitor.row("pg_replication_slots_wal_status"), "wal_status"), "reserved");
    }
}

#[test]
fn a_database_dropped_while_sizes_are_read_costs_nothing() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let monitor = Monitor::connect(&cluster);
        let packs = packs::builtin();
        let query = packs.queries.iter().find(|q| &*q.name == "pg_database").expect("a pack");
        let sql = select(query, &monitor.facts).expect("a statement");
        // This snapshot still shows the database when its files are gone.
        let stale = |sql: &str, name: &str| {
            cluster.sql(&format!("CREATE DATABASE {name}"));
            monitor.rows("BEGIN ISOLATION LEVEL REPEATABLE READ");
            monitor.rows("SELECT count(*) FROM pg_database");
            cluster.sql(&format!("DROP DATABASE {name}"));
            let result = monitor.try_rows(sql);
            monitor.rows("ROLLBACK");
            result
        };
        let trap = stale("SELECT datname, pg_database_size(oid) FROM pg_database", "one");
        assert!(trap.is_err(), "{major}: the trap is not there");
        let rows = stale(&sql, "two").unwrap_or_else(|e| panic!("{major}: {e:?}"));
        assert!(rows.iter().all(|row| text(row, "datname") != "two"), "{major}: half dropped");
        // Where the mark of an interrupted DROP comes too late to be seen.
        let (guarded, mark) = sql.rsplit_once("WHERE").expect("a condition");
        assert!(mark.contains("datconnlimit"));
        let rows = stale(guarded, "three").unwrap_or_else(|e| panic!("{major}: {e:?}"));
        let three = rows.iter().find(|row| text(row, "datname") == "three").expect("a row");
        assert_eq!(three["size_bytes"], None);
        let one = rows.iter().find(|row| text(row, "datname") == "postgres").expect("a row");
        assert!(number(one, "size_bytes") > 1e6);
    }
}

#[test]
fn who_waits_for_a_lock_and_how_long() {
    for major in some_majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let monitor = Monitor::connect(&cluster);
        cluster.sql("CREATE TABLE t (id int)");
        let waiting = |monitor: &Monitor| {
            let rows = monitor.query("pg_locks_waiting").expect("rows");
            rows.into_iter().find(|row| text(row, "datname") == "postgres").expect("a row")
        };
        assert_eq!(number(&waiting(&monitor), "sessions"), 0.0);
        assert_eq!(number(&waiting(&monitor), "longest_seconds"), 0.0);
        let (row, locks) = cluster.with_client("postgres", async |holder| {
            holder.batch_execute("BEGIN; LOCK TABLE t").await.expect("a lock");
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| cluster.sql("SELECT count(*) FROM t"));
                cluster.await_sql("SELECT count(*) FROM pg_locks WHERE NOT granted", "1");
                std::thread::sleep(Duration::from_millis(1100));
                let seen = (waiting(&monitor), monitor.query("pg_locks").expect("rows"));
                // Before anything can fail: a waiter that waits for ever would hide it.
                cluster.sql("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted");
                drop(waiter.join());
                seen
            })
        });
        assert_eq!(number(&row, "sessions"), 1.0);
        match major {
            13 => assert_eq!(row["longest_seconds"], None),
            _ => assert!(number(&row, "longest_seconds") > 1.0, "{row:?}"),
        }
        let exclusive = locks.iter().find(|row| {
            text(row, "datname") == "postgres" && text(row, "mode") == "accessexclusivelock"
        });
        assert_eq!(number(exclusive.expect("every mode"), "count"), 1.0, "{major}");
    }
}

#[test]
fn connections_by_state_and_how_many_more_there_can_be() {
    let reserving = Options::default().conf("superuser_reserved_connections = 2");
    let Some(cluster) = reserving.conf("reserved_connections = 3").start(18) else { return };
    cluster.sql("CREATE DATABASE shop CONNECTION LIMIT 4");
    let monitor = Monitor::connect(&cluster);
    let before = monitor.row("pg_connections");
    assert_eq!((number(&before, "limit"), number(&before, "reserved")), (20.0, 5.0));
    cluster.with_client("shop", async |client| {
        client.batch_execute("BEGIN").await.expect("a transaction");
        let row = monitor.row("pg_connections");
        assert_eq!(number(&row, "available"), number(&before, "available") - 1.0);
        let rows = monitor.query("pg_stat_activity").expect("rows");
        let idle: Vec<_> = rows
            .iter()
            .filter(|row| {
                text(row, "datname") == "shop" && text(row, "state") == "idle in transaction"
            })
            .collect();
        assert_eq!(idle.len(), 1, "{rows:?}");
        assert_eq!((number(idle[0], "count"), text(idle[0], "usename")), (1.0, "postgres"));
        let disabled =
            rows.iter().find(|row| text(row, "state") == "disabled").expect("every state");
        assert_eq!(number(disabled, "count"), 0.0);
        let of = |rows: &[Row], label: &str, value: &str| {
            rows.iter().find(|row| text(row, label) == value).expect("a row").clone()
        };
        let shop = of(&monitor.query("pg_database_connections").expect("rows"), "datname", "shop");
        assert_eq!((number(&shop, "limit"), number(&shop, "available")), (4.0, 3.0));
        let role = of(&monitor.query("pg_roles_connections").expect("rows"), "rolname", MONITOR);
        assert_eq!((number(&role, "limit"), number(&role, "used")), (5.0, 1.0));
    });
}

#[test]
fn the_shared_catalogs_have_their_row() {
    for major in majors() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let rows = Monitor::connect(&cluster).query("pg_stat_database").expect("rows");
        let shared = rows.iter().find(|row| text(row, "datid") == "0").expect("a row of datid 0");
        assert_eq!(shared["datname"], None);
        assert!(number(shared, "blks_hit") >= 0.0);
    }
}

#[test]
fn an_archiver_that_fails_and_recovers() {
    let failing = settings().conf("archive_mode = on\narchive_command = 'false'");
    let Some(cluster) = failing.start(17) else { return };
    let monitor = Monitor::connect(&cluster);
    assert_eq!(number(&monitor.row("pg_archiver"), "enabled"), 1.0);
    cluster.sql("CREATE TABLE t (id int)");
    cluster.sql("SELECT pg_switch_wal()");
    cluster.await_sql("SELECT failed_count > 0 FROM pg_stat_archiver", "t");
    let row = monitor.row("pg_archiver");
    assert_eq!((number(&row, "failing"), &row["last_archive_age"]), (1.0, &None));
    let backlog = monitor.row("pg_archiver_backlog");
    assert_eq!(number(&backlog, "files"), 1.0);
    assert_eq!(number(&backlog, "bytes"), 16777216.0);
    cluster.sql("ALTER SYSTEM SET archive_command = 'true'");
    cluster.sql("SELECT pg_reload_conf()");
    cluster.await_sql("SELECT archived_count > 0 FROM pg_stat_archiver", "t");
    let row = monitor.row("pg_archiver");
    assert_eq!(number(&row, "failing"), 0.0);
    assert!(number(&row, "failed_count") > 0.0 && number(&row, "last_archive_age") < 60.0);
    let backlog = monitor.row("pg_archiver_backlog");
    assert_eq!((number(&backlog, "files"), &backlog["oldest"]), (0.0, &None));
}
