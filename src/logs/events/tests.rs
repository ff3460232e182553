//! Messages of PostgreSQL 13 to 18 and what they tell.

use super::wording::BEGINNINGS;
use super::*;
use crate::logs::record::{Record, Severity, SqlState};

fn of(severity: Severity, sqlstate: &str, message: &str) -> (Option<&'static str>, Option<f64>) {
    let mut record = Record::new(severity, message);
    record.sqlstate = SqlState::parse(sqlstate.as_bytes());
    let event = classify(&record);
    (event.kind.map(EventKind::as_str), event.duration_us.map(|micros| micros as f64 / 1000.0))
}

#[test]
fn the_beginnings_are_in_order() {
    for pair in BEGINNINGS.windows(2) {
        assert!(pair[0].0 < pair[1].0, "{pair:?}");
    }
}

#[test]
fn sqlstate_tells_in_any_language() {
    for (sqlstate, kind) in [
        ("40P01", "deadlock"),
        ("55P03", "lock_wait"),
        ("57014", "cancel"),
        ("25P03", "terminate"),
        ("57P05", "terminate"),
        ("25P04", "terminate"),
        ("57P01", "terminate"),
        ("57P02", "terminate"),
        ("28P01", "authentication"),
        ("28000", "authentication"),
        ("53300", "resource"),
        ("53100", "resource"),
        ("XX001", "corruption"),
        ("08006", "connection"),
    ] {
        assert_eq!(of(Severity::Error, sqlstate, "Verklemmung").0, Some(kind), "{sqlstate}");
    }
    assert_eq!(of(Severity::Error, "23505", "doppelter Schlüssel").0, None);
    assert_eq!(of(Severity::Error, "40001", "could not serialize access").0, None);
}

#[test]
fn messages_tell_where_no_sqlstate_does() {
    use Severity::{Error, Fatal, Log, Panic, Warning};
    for (severity, message, kind, ms) in [
        (Error, "deadlock detected", "deadlock", None),
        (
            Log,
            "process 12 still waiting for ShareLock on transaction 742 after 1000.107 ms",
            "lock_wait",
            Some(1000.107),
        ),
        (
            Log,
            "process 12 acquired ShareLock on transaction 742 after 4000.5 ms",
            "lock_wait",
            Some(4000.5),
        ),
        (Log, "process 12 could not obtain ShareLock on transaction 7", "lock_wait", None),
        (
            Log,
            "recovery still waiting after 1001.5 ms: recovery conflict on lock",
            "lock_wait",
            Some(1001.5),
        ),
        (Error, "canceling statement due to statement timeout", "cancel", None),
        (Error, "canceling statement due to conflict with recovery", "cancel", None),
        (Fatal, "terminating connection due to idle-in-transaction timeout", "terminate", None),
        (
            Warning,
            "terminating connection because of crash of another server process",
            "terminate",
            None,
        ),
        (Fatal, "sorry, too many clients already", "resource", None),
        (
            Fatal,
            "remaining connection slots are reserved for roles with the SUPERUSER attribute",
            "resource",
            None,
        ),
        (Fatal, "too many connections for role \"app\"", "resource", None),
        (Fatal, "password authentication failed for user \"app\"", "authentication", None),
        (Fatal, "Peer authentication failed for user \"app\"", "authentication", None),
        (
            Fatal,
            "no pg_hba.conf entry for host \"10.0.0.1\", user \"a\", database \"b\", no encryption",
            "authentication",
            None,
        ),
        (Fatal, "role \"nobody\" does not exist", "authentication", None),
        (Fatal, "database \"nothing\" does not exist", "connection", None),
        (Log, "connection received: host=[local]", "connection", None),
        (
            Log,
            "connection authenticated: identity=\"app\" method=scram-sha-256",
            "connection",
            None,
        ),
        (
            Log,
            "connection authorized: user=app database=shop application_name=psql",
            "connection",
            None,
        ),
        (
            Log,
            "connection ready: setup total=11.034 ms, fork=0.5 ms, authentication=2.5 ms",
            "connection",
            Some(11.034),
        ),
        (
            Log,
            "disconnection: session time: 1:02:03.456 user=app database=shop host=[local]",
            "connection",
            Some(3_723_456.0),
        ),
        (Log, "checkpoint starting: time", "checkpoint", None),
        (
            Log,
            "checkpoint complete: wrote 3 buffers (0.0%); write=0.2 s, sync=0.004 s, total=31.270 s; sync files=41",
            "checkpoint",
            Some(31270.0),
        ),
        (
            Log,
            "restartpoint complete: wrote 1 buffers; total=0.270 s; x",
            "checkpoint",
            Some(270.0),
        ),
        (Log, "checkpoints are occurring too frequently (9 seconds apart)", "checkpoint", None),
        (
            Log,
            "automatic vacuum of table \"shop.public.orders\": index scans: 1\npages: 0 removed\nsystem usage: CPU: user: 0.01 s, system: 0.00 s, elapsed: 0.12 s",
            "autovacuum",
            Some(120.0),
        ),
        (
            Log,
            "automatic aggressive vacuum to prevent wraparound of table \"a.b.c\": index scans: 0",
            "autovacuum",
            None,
        ),
        (Log, "automatic analyze of table \"shop.public.orders\"", "autovacuum", None),
        (
            Warning,
            "database \"shop\" must be vacuumed within 39985967 transactions",
            "autovacuum",
            None,
        ),
        (
            Error,
            "database is not accepting commands that assign new transaction IDs to avoid wraparound data loss in database \"shop\"",
            "autovacuum",
            None,
        ),
        (
            Log,
            "temporary file: path \"base/pgsql_tmp/pgsql_tmp77.0\", size 14000000",
            "temp_file",
            None,
        ),
        (Log, "duration: 811.002 ms  statement: SELECT 1", "duration", Some(811.002)),
        (Log, "duration: 0.1 ms", "duration", Some(0.1)),
        (Log, "server process (PID 77) was terminated by signal 9: Killed", "crash", None),
        (
            Log,
            "checkpointer process (PID 77) was terminated by signal 11: Segmentation fault",
            "crash",
            None,
        ),
        (Log, "all server processes terminated; reinitializing", "crash", None),
        (
            Log,
            "database system was not properly shut down; automatic recovery in progress",
            "crash",
            None,
        ),
        (Panic, "could not locate anything", "crash", None),
        (Log, "archive command failed with exit code 1", "archive", None),
        (Log, "started streaming WAL from primary at 0/3000000 on timeline 1", "replication", None),
        (
            Error,
            "requested WAL segment 000000010000000000000001 has already been removed",
            "replication",
            None,
        ),
        (Log, "terminating walsender process due to replication timeout", "replication", None),
        (Log, "invalidating obsolete replication slot \"s\"", "replication", None),
        (Error, "invalid page in block 7 of relation base/1/2", "corruption", None),
        (Error, "invalid page in block 7 of relation \"base/1/2\"", "corruption", None),
        (
            Warning,
            "page verification failed, calculated checksum 1 but expected 2",
            "corruption",
            None,
        ),
        (Error, "could not extend file \"base/1/2\": No space left on device", "resource", None),
        (
            Error,
            "could not write to file \"base/pgsql_tmp/x\": No space left on device",
            "resource",
            None,
        ),
        (Error, "out of memory", "resource", None),
    ] {
        assert_eq!(of(severity, "", message), (Some(kind), ms), "{message}");
    }
}

#[test]
fn ordinary_records_tell_nothing_more() {
    for message in [
        "statement: SELECT 'deadlock detected'",
        "process of elimination",
        "listening on IPv4 address \"127.0.0.1\", port 5432",
        "database system is ready to accept connections",
        "zebra",
        "",
    ] {
        assert_eq!(of(Severity::Log, "", message), (None, None), "{message}");
    }
    assert_eq!(of(Severity::Error, "42P01", "relation \"x\" does not exist").0, None);
    assert_eq!(classify(&Record::plain("deadlock detected")), Event::default());
}
