//! The archiver.

use super::settings;
use crate::support::monitor::{Monitor, number};

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
