//! Replication without its usual lies: lag, base backups, slots.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{settings, some_majors};
use crate::support::monitor::{Monitor, number, text};
use crate::support::postgres::{Cluster, Stop, majors};

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
            // Where a message tells of WAL that is not replayed at once, the one before it was the last
            // that is known to be complete: some 2 s ago. The trap is a number that grows with the
            // primary's idleness.
            assert!(number(&row, "lag_seconds") < 5.0, "{major}, idle: {row:?}");
            std::thread::sleep(Duration::from_millis(500));
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let row = monitor.row("pg_standby");
            if number(&row, "lag_seconds") == 0.0 && number(&row, "lag_bytes") == 0.0 {
                break;
            }
            assert!(Instant::now() < deadline, "{major}, idle: {row:?}");
            std::thread::sleep(Duration::from_millis(100));
        }

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
            Some((primary, standby, monitor, receiver))
        })
        .collect();
    // Starting them all takes its time: each is cut at its own.
    let cut = |(_, standby, monitor, receiver): &(_, Cluster, Monitor, _)| {
        monitor.row("pg_standby");
        standby.signal(*receiver, Signal::STOP);
        Instant::now()
    };
    let cuts: Vec<Instant> = clusters.iter().map(cut).collect();
    for (primary, ..) in &clusters {
        primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    }
    // wal_receiver_timeout is 4 s, so silence is no proof until 7 s have passed.
    let last = cuts.last().map_or(Duration::ZERO, Instant::elapsed);
    std::thread::sleep(Duration::from_secs(10).saturating_sub(last));
    for ((primary, standby, monitor, receiver), cut) in clusters.iter().zip(&cuts) {
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
    // Where nothing is archived, the server removes the history file at once.
    let archiving = settings().conf("archive_mode = on\narchive_command = 'true'");
    let Some(primary) = archiving.start(15) else { return };
    let Some(program) = pg_basebackup() else { return };
    let standby = Cluster::standby_of(&primary, &settings());
    let monitor = Monitor::connect(&primary);
    let target = tempfile::tempdir().expect("a directory");
    let copy = target.path().join("copy");
    let mut backup =
        base_backup(&primary, &program, &copy, &["--max-rate=1M"]).spawn().expect("pg_basebackup");
    // The trap: two walsenders, one of which says that it streams.
    primary.await_sql(
        "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg_basebackup' \
         AND state IN ('backup', 'streaming')",
        "2",
    );
    primary.await_sql("SELECT count(backup_total) FROM pg_stat_progress_basebackup", "1");
    let rows = monitor.query("pg_stat_replication").expect("rows");
    let senders = monitor.query("pg_stat_replication_walsenders").expect("rows");
    let running = monitor.row("pg_backup");
    let last = || number(&monitor.row("pg_backup_base_last"), "last");
    let of_standby = last();
    // Ended by the server: killed, the tool would leave its own child behind.
    primary.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = 'pg_basebackup'",
    );
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
    assert_eq!(number(&running, "in_progress"), 1.0);
    assert!(number(&running, "streamed_bytes") < number(&running, "bytes"), "{running:?}");
    // One that was broken off is not the last one; one that ended is, by whatever tool: the standby was
    // made with the low-level functions.
    primary.await_sql("SELECT count(*) FROM pg_stat_progress_basebackup", "0");
    assert_eq!(number(&monitor.row("pg_backup"), "in_progress"), 0.0);
    assert_eq!(last(), of_standby);
    // The server tells whole seconds.
    primary.await_sql(&format!("SELECT extract(epoch FROM now()) > {of_standby} + 1"), "t");
    let whole = base_backup(&primary, &program, &target.path().join("whole"), &[]).status();
    assert!(whole.expect("pg_basebackup").success());
    assert!(last() > of_standby);
}

fn base_backup(of: &Cluster, program: &Path, to: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-X", "stream", "--checkpoint=fast", "-U", "postgres", "-D"])
        .arg(to)
        .args(["-h", "127.0.0.1", "-p", &of.port.to_string()])
        .args(more)
        .stderr(Stdio::null());
    command
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
