//! The page with everything on it.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_000_000)
}

fn about() -> About {
    About { started: now() - 200 * MINUTE, now: now() }
}

fn query(instance: &str, name: &str, tone: Tone, outcome: &str) -> QueryRow {
    QueryRow {
        instance: instance.to_owned(),
        name: name.to_owned(),
        pack: name.to_owned(),
        interval: "fast".to_owned(),
        tone,
        outcome: outcome.to_owned(),
        age: Some(Duration::from_millis(4200)),
        took: Some(Duration::from_micros(3400)),
        series: 24,
        ..QueryRow::default()
    }
}

/// An afternoon of a small shop: one server well, one down, one new.
fn full() -> Status {
    let shop = |name: &str, tone, state: &str| InstanceRow {
        name: name.to_owned(),
        cluster: "shop".to_owned(),
        address: format!("{name}.internal:5432/postgres"),
        tone,
        state: state.to_owned(),
        since: Some(130 * MINUTE),
        ..InstanceRow::default()
    };
    let mut queries: Vec<QueryRow> = [
        "pg_uptime",
        "pg_stat_activity",
        "pg_stat_database",
        "pg_stat_replication",
        "pg_replication_slots",
        "pg_stat_archiver",
        "pg_locks",
        "pg_settings",
    ]
    .iter()
    .map(|name| query("shop-1", name, Tone::Good, "ok"))
    .collect();
    queries[2].series = 12_480;
    queries.push(QueryRow {
        message: Some(
            "permission denied for function pg_ls_waldir; grant pg_monitor to pgvigil".to_owned(),
        ),
        series: 0,
        ..query("shop-1", "pg_wal", Tone::Bad, "permission")
    });
    queries.push(QueryRow {
        database: Some("orders".to_owned()),
        interval: "slow".to_owned(),
        pack: "sizes".to_owned(),
        message: Some("canceling statement due to lock timeout".to_owned()),
        ..query("shop-1", "pg_table_size", Tone::Warn, "lock_timeout")
    });
    queries.push(QueryRow {
        age: None,
        took: None,
        series: 0,
        message: Some("the extension pg_stat_statements is not installed".to_owned()),
        ..query("shop-1", "pg_stat_statements", Tone::Quiet, "unavailable")
    });
    queries.push(query("shop-2", "pg_uptime", Tone::Bad, "connect"));
    Status {
        instances: vec![
            InstanceRow {
                version: Some("17.10".to_owned()),
                role: Some("primary".to_owned()),
                sessions: Some((1, 3)),
                notices: vec![
                    "the connection is not encrypted; set sslmode=verify-full".to_owned(),
                ],
                ..shop("shop-1", Tone::Good, "ok")
            },
            InstanceRow {
                message: Some(
                    "shop-2.internal:5432 does not answer (connection timed out); check that the \
                     server runs and that no firewall stands between"
                        .to_owned(),
                ),
                version: Some("17.10".to_owned()),
                role: Some("standby".to_owned()),
                ..shop("shop-2", Tone::Bad, "unreachable")
            },
            InstanceRow { since: None, ..shop("shop-3", Tone::Quiet, "starting") },
        ],
        queries,
        logs: vec![
            LogRow {
                file: "/var/log/postgresql/postgresql-17-main.log".to_owned(),
                source: "shop-1".to_owned(),
                server: "shop-1".to_owned(),
                tone: Tone::Good,
                state: "following".to_owned(),
                behind: Some(1_572_864),
                size: 104_857_600,
                ..LogRow::default()
            },
            LogRow {
                file: "/var/log/postgresql/postgresql-17-old.log".to_owned(),
                tone: Tone::Bad,
                state: "unreadable".to_owned(),
                message: Some(
                    "cannot read it (permission denied); add the agent's user to the group adm"
                        .to_owned(),
                ),
                ..LogRow::default()
            },
        ],
        destinations: vec![
            DestinationRow {
                route: "admin".to_owned(),
                place: "https://loki.internal:3100".to_owned(),
                tone: Tone::Good,
                state: "acknowledged".to_owned(),
                entries: 1_234_500,
                last: Some(Duration::from_secs(3)),
                ..DestinationRow::default()
            },
            DestinationRow {
                route: "developer".to_owned(),
                place: "https://loki.internal:3100".to_owned(),
                tone: Tone::Bad,
                state: "refused".to_owned(),
                message: Some("401: no credentials provided; check basic_auth".to_owned()),
                ..DestinationRow::default()
            },
        ],
        retention: vec![RetentionRow {
            route: "developer".to_owned(),
            tone: Tone::Bad,
            verdict: "too short".to_owned(),
            configured: Some("7d".to_owned()),
            effective: Some("for 1d".to_owned()),
            message: "Loki keeps the records of route developer for 1d only".to_owned(),
        }],
        backups: vec![BackupRow {
            server: "shop-1".to_owned(),
            source: "pgbackrest".to_owned(),
            tone: Tone::Bad,
            state: "overdue, source_error".to_owned(),
            message: Some(
                "pgbackrest did not end in time and was killed; set `timeout`".to_owned(),
            ),
            last: Some(Duration::from_secs(3 * DAY)),
            size: Some(3 << 30),
        }],
        certificates: [("shop-1", "server", 90i64), ("shop-1", "ca", 20), ("Loki", "client", -2)]
            .map(|(of, usage, days)| CertificateRow {
                of: of.to_owned(),
                usage: usage.to_owned(),
                expires: if days < 0 {
                    now() - Duration::from_secs(days.unsigned_abs() * DAY)
                } else {
                    now() + Duration::from_secs(days.unsigned_abs() * DAY)
                },
            })
            .to_vec(),
        problems: vec![ProblemRow {
            place: "/etc/pgvigil/queries.d/orders.yaml:12:7".to_owned(),
            tone: Tone::Warn,
            what: "the column `amount` has the usage `GUAGE`, which is unknown".to_owned(),
            remedy: "did you mean GAUGE?".to_owned(),
        }],
    }
}

#[test]
fn everything_is_on_it() {
    let page = html(&full(), &about());
    for text in [
        "<title>pgvigil: 7 things do not work</title>",
        "too short</span><p class=\"small\">Loki keeps the records of route developer for 1d only",
        "running for 3 h 20 min, as of 2025-10-09 08:53:20 UTC",
        "did you mean GAUGE?",
        "shop-2.internal:5432 does not answer",
        "1 of at most 3",
        "not encrypted; set sslmode",
        "11 queries, 12,672 series, 2 not well",
        "pg_wal",
        "100.0 MiB",
        "1.5 MiB",
        "https://loki.internal:3100",
        "overdue, source_error",
        "pgbackrest did not end in time",
        "3 d ago",
        "in 90 d",
        "2 d ago",
    ] {
        assert!(page.contains(text), "{text} is missing:\n{page}");
    }
    // What is wrong stands above what is well.
    let at = |text| page.find(text).unwrap();
    assert!(at("permission denied for function") < at("pg_uptime"));
    assert!(at("pg_uptime") < at("pg_stat_statements"));
}

#[test]
fn an_agent_with_nothing_says_what_to_do() {
    let page = html(&Status::default(), &about());
    assert!(page.contains("all well") && page.contains("DATA_SOURCE_NAME"), "{page}");
    assert!(page.contains("logs.sources"), "{page}");
}

#[test]
fn nothing_from_elsewhere_becomes_markup() {
    const EVIL: &str = "</p><script>alert('x')</script>\" onload=\"x";
    let evil = || EVIL.to_owned();
    let some = || Some(EVIL.to_owned());
    let status = Status {
        instances: vec![InstanceRow {
            name: evil(),
            cluster: evil(),
            address: evil(),
            state: evil(),
            message: some(),
            version: some(),
            role: some(),
            notices: vec![evil()],
            ..InstanceRow::default()
        }],
        queries: vec![QueryRow {
            instance: evil(),
            database: some(),
            name: evil(),
            pack: format!("{EVIL}2"),
            interval: evil(),
            outcome: evil(),
            message: some(),
            ..QueryRow::default()
        }],
        logs: vec![LogRow {
            file: evil(),
            source: evil(),
            server: evil(),
            state: evil(),
            message: some(),
            ..LogRow::default()
        }],
        destinations: vec![DestinationRow {
            route: evil(),
            server: evil(),
            place: evil(),
            state: evil(),
            message: some(),
            ..DestinationRow::default()
        }],
        retention: vec![RetentionRow {
            route: evil(),
            verdict: evil(),
            configured: some(),
            effective: some(),
            message: evil(),
            ..RetentionRow::default()
        }],
        backups: vec![BackupRow {
            server: evil(),
            source: evil(),
            state: evil(),
            message: some(),
            ..BackupRow::default()
        }],
        certificates: vec![CertificateRow { of: evil(), usage: evil(), expires: now() }],
        problems: vec![ProblemRow { place: evil(), what: evil(), remedy: evil(), tone: Tone::Bad }],
    };
    let page = html(&status, &about());
    assert!(!page.contains("<script") && !page.contains("\" onload"), "{page}");
    assert_eq!(page.matches("&lt;script&gt;").count(), 38, "{page}");
}

#[test]
fn many_queries_stay_readable() {
    let mut status = full();
    status.queries = (0..2000)
        .map(|n| QueryRow {
            database: Some(format!("db{n}")),
            ..query("shop-1", "pg_stat_user_tables", Tone::Good, "ok")
        })
        .collect();
    status.queries[1999].tone = Tone::Bad;
    let page = html(&status, &about());
    assert!(page.contains("And 1799 more that are well."), "{}", page.len());
    assert!(page.contains("db1999") && page.len() < 200_000, "{}", page.len());
}
