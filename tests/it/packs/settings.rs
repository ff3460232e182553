//! What settings may tell, and what they must not.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgvigil::packs;

use super::settings;
use crate::support::monitor::{Monitor, number};
use crate::support::postgres::{Cluster, MONITOR, majors};

/// A value that must never leave the server, in every setting that could hold one.
const SECRET: &str = "hunter2-4711";

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
