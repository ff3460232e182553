//! Packs as text to queries and problems.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{self, InstanceKind, PackDirectory, Place};
use crate::postgres::{Extension, Facts, LogSettings, Role, Version};

/// The text as a file of one pack, its dialect detected.
fn read(text: &str) -> Packs {
    parse(text, "mine", Path::new("mine.yaml"), None)
}

fn said(packs: &Packs) -> Vec<String> {
    packs.problems.iter().map(ToString::to_string).collect()
}

fn names(packs: &Packs) -> Vec<&str> {
    packs.queries.iter().map(|query| &*query.name).collect()
}

/// Metric (or label), what it is used as, and its column.
fn uses(query: &Query) -> Vec<(&str, &Usage, &str)> {
    query.columns.iter().map(|c| (&*c.metric, &c.usage, &*c.column)).collect()
}

fn facts(version: u32) -> Facts {
    Facts {
        version: Version(version),
        role: Role::Primary,
        system_identifier: "1".to_owned(),
        timeline: 1,
        cluster_name: String::new(),
        data_directory: None,
        database: "shop".to_owned(),
        databases: Vec::new(),
        extensions: BTreeMap::new(),
        settings: BTreeMap::new(),
        superuser: false,
        monitor: true,
        log: LogSettings::default(),
        whereabouts: Default::default(),
    }
}

/// What the oldest servers have no view for.
const NEWER: &[&str] = &[
    "pg_database_collation",
    "pg_stat_io",
    "pg_stat_progress_copy",
    "pg_stat_statements_info",
    "pg_stat_subscription_stats",
    "pg_stat_wal",
];

#[test]
fn the_built_in_packs_are_clean() {
    let packs = builtin();
    assert_eq!(said(&packs), Vec::<String>::new());
    for name in builtin_names().filter(|name| !is_optional(name)) {
        assert!(packs.queries.iter().any(|q| &*q.pack == name), "{name} has no query");
        assert!(load_builtin(name).is_some());
    }
    let mut taken = HashMap::new();
    for query in &packs.queries {
        assert!(query.place.line > 0 && query.place.file.is_some());
        for column in query.columns.iter().filter(|c| c.usage != Usage::Label) {
            let before = taken
                .insert(&column.metric, &query.name)
                // PgBouncer's versions call some of its columns differently.
                .filter(|n| query.kind == InstanceKind::Postgres || *n != &query.name);
            assert_eq!(before, None, "{} is of two queries", column.metric);
        }
        // A new major works on its first day, and the oldest one still does.
        let oldest = if NEWER.contains(&&*query.name) { 180_004 } else { 130_000 };
        for version in [oldest, 180_004, 190_000, 250_000] {
            assert!(
                query.statements.iter().any(|s| s.versions.contains(Version(version))),
                "{} has nothing for {version}",
                query.name
            );
        }
    }
    let on = builtin_names().filter(|name| !is_optional(name));
    let files: usize = on.map(|name| load_builtin(name).map_or(0, |p| p.queries.len())).sum();
    assert_eq!(files, packs.queries.len(), "two packs have a query of the same name");
}

#[test]
fn a_built_in_pack_opens_with_what_it_costs() {
    for (name, text) in builtin::FILES {
        let head: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        for word in ["Versions:", "Privilege:", "Cost:"] {
            assert!(head.contains(word), "{name} does not say its {word}");
        }
        let long = text.lines().find(|line| line.len() > 200);
        assert_eq!(long, None, "{name}");
    }
}

#[test]
fn native_fields_and_defaults() {
    let packs = read(
        "q:\n  query: SELECT 1 AS n, 'x' AS l\n  metrics:\n    - l: {usage: LABEL}\n    \
         - n: {usage: GAUGE, description: A number.}\n\
         r:\n  interval: 90s\n  timeout: 1m30s\n  scope: database\n  databases: [shop*]\n  \
         role: standby\n  requires: {extension: pg_stat_statements, function: pgvigil.f}\n  \
         max_series: 7\n  sql:\n    - {versions: '>=17', query: SELECT 2 AS m}\n    \
         - {query: SELECT 3 AS m}\n  metrics:\n    - m: {usage: COUNTER, metric: whole_total, description: M.}\n",
    );
    assert_eq!(said(&packs), Vec::<String>::new());
    let [q, r] = &packs.queries[..] else { panic!("{:?}", names(&packs)) };
    assert_eq!(
        (q.interval, q.timeout, q.scope),
        (Every::Medium, Duration::from_secs(2), Scope::Instance)
    );
    assert_eq!((q.role, q.max_series, q.nulls), (None, None, Nulls::Absent));
    assert_eq!(
        (q.unknown_columns, q.dialect, &*q.pack),
        (UnknownColumns::Ignore, Dialect::Native, "mine")
    );
    assert_eq!(uses(q), [("l", &Usage::Label, "l"), ("q_n", &Usage::Gauge, "n")]);
    assert_eq!(r.interval, Every::Custom(Duration::from_secs(90)));
    assert_eq!((r.timeout, r.scope), (Duration::from_secs(90), Scope::Database));
    assert_eq!(
        (r.role, r.max_series, &r.databases[..]),
        (Some(Role::Standby), Some(7), &["shop*".to_owned()][..])
    );
    assert_eq!(r.requires.extension.as_deref(), Some("pg_stat_statements"));
    assert_eq!(uses(r), [("whole_total", &Usage::Counter, "m")]);
    assert_eq!(r.statements.len(), 2);
    assert_eq!(r.gates().len(), 1);
}

#[test]
fn every_mistake_is_told_at_its_place_and_costs_its_query_alone() {
    let packs = read(
        "one:\n  query: SELECT 1 AS n\n  intervall: fast\n  timeout: soon\n  metrics:\n    \
         - n: {usage: GUAGE}\n\
         two:\n  query: SELECT 1 AS n\n  metrics:\n    - n: {usage: GAUGE, description: N.}\n\
         three:\n  metrics: 7\n",
    );
    assert_eq!(names(&packs), ["two"]);
    assert_eq!(
        said(&packs),
        [
            "mine.yaml:3:3: unknown key `intervall` in a query; did you mean `interval`?",
            "mine.yaml:4:12: `timeout`: `soon` is no duration; write such as 500ms, 15s, 1m or 1h30m",
            "mine.yaml:6:18: `usage`: `GUAGE` is no usage; did you mean GAUGE?",
            "mine.yaml:11:1: query `three` has no SQL; give it `query`, or `sql` with one text per version",
            "mine.yaml:12:12: `metrics` holds one value; write a list such as `- column: {usage: GAUGE, description: …}`",
        ]
    );
    assert!(packs.problems.iter().all(|problem| problem.fatal));
}

#[test]
fn what_else_costs_a_query() {
    let dead = [
        ("{query: 'SELECT 1; SELECT 2', metrics: [n: {usage: GAUGE}]}", "several statements"),
        ("{query: 'DELETE FROM t', metrics: [n: {usage: GAUGE}]}", "is no query"),
        ("{query: ' -- nothing', metrics: [n: {usage: GAUGE}]}", "empty SQL"),
        ("{query: SELECT 1}", "no `metrics`"),
        ("{query: SELECT 1, sql: [{query: SELECT 2}], metrics: []}", "both"),
        ("{query: SELECT 1, metrics: [n: {usage: GAUGE, metric: a-b}]}", "no metric name"),
        ("{query: SELECT 1, metrics: [n: {usage: GAUGE, name: x}]}", "write `metric:"),
        ("{query: SELECT 1, metrics: [a-b: {usage: LABEL}]}", "no label name"),
        ("{query: SELECT 1, metrics: [a: {usage: LABEL}, a: {usage: LABEL}]}", "twice"),
        ("{query: SELECT 1, metrics: [{n: {usage: MAPPEDMETRIC}}]}", "metric_mapping"),
        ("{query: SELECT 1, metrics: [{n: {description: N}}]}", "no `usage`"),
        ("{query: SELECT 1, databases: [a], metrics: [n: {usage: GAUGE}]}", "scope: database"),
        ("{query: SELECT 1, role: replica, metrics: [n: {usage: GAUGE}]}", "primary or standby"),
        ("{sql: [{versions: new, query: SELECT 1}], metrics: []}", "no version"),
        ("[1]", "holds a list"),
    ];
    for (query, expected) in dead {
        let packs =
            parse(&format!("q: {query}\n"), "p", Path::new("p.yaml"), Some(Dialect::Native));
        assert!(packs.queries.is_empty(), "{query} is loaded");
        let said = said(&packs).join("\n");
        assert!(said.contains(expected), "{query}: {said}");
    }
}

#[test]
fn advice_leaves_the_query_loaded() {
    let told = [
        ("n: {usage: COUNTER, metric: things, description: T.}", "does not end in _total"),
        ("n: {usage: GAUGE, metric: things_total, description: T.}", "is no counter"),
        ("n: {usage: GAUGE, metric: wait_ms, description: T.}", "base units"),
        ("n: {usage: GAUGE, metric: things_count, description: T.}", "part of a histogram"),
        ("n: {usage: DURATION, description: T.}", "milliseconds"),
        ("n: {usage: GAUGE}", "no description"),
        ("pid: {usage: LABEL}, n: {usage: GAUGE, description: T.}", "has no bound"),
        ("l: {usage: LABEL}", "only labels"),
        ("n: {usage: GAUGE, usage: COUNTER, description: T.}", "stands in line 1 already"),
    ];
    for (columns, expected) in told {
        let packs =
            read(&format!("q: {{query: SELECT 1, scope: instance, metrics: [{{{columns}}}]}}\n"));
        assert_eq!(packs.queries.len(), 1, "{columns}: {:?}", said(&packs));
        assert!(said(&packs).join("\n").contains(expected), "{columns}: {:?}", said(&packs));
        assert!(packs.problems.iter().all(|problem| !problem.fatal));
    }
    let inherited = "n: {usage: COUNTER, metric: pg_stat_database_xact_commit, description: T.}";
    let packs = read(&format!("q: {{query: SELECT 1, metrics: [{{{inherited}}}]}}\n"));
    assert_eq!(said(&packs), Vec::<String>::new());
}

#[test]
fn a_file_is_a_problem_only_where_it_is_no_yaml() {
    assert!(read("# nothing yet\n").problems.is_empty());
    assert!(read("# nothing yet\n").queries.is_empty());
    let broken = read("q:\n  query: [SELECT\nr: {}\n");
    assert_eq!(broken.problems.len(), 1);
    assert!(said(&broken)[0].starts_with("mine.yaml:3:"), "{:?}", said(&broken));
    assert!(said(&read("just text"))[0].contains("`the file` holds one value"));
}

#[test]
fn dialects_are_detected() {
    let dialect =
        |field: &str| read(&format!("q: {{query: SELECT 1, {field}, metrics: []}}")).files[0].1;
    assert_eq!(dialect("ttl: 1"), Dialect::Pgsty);
    assert_eq!(dialect("name: x, tags: []"), Dialect::Pgsty);
    assert_eq!(dialect("primary: true"), Dialect::Cnpg);
    assert_eq!(dialect("cache_seconds: 1, target_databases: ['*']"), Dialect::Cnpg);
    assert_eq!(dialect("master: true"), Dialect::PostgresExporter);
    assert_eq!(dialect("interval: fast"), Dialect::Native);
    assert_eq!(dialect("timeout: 1s"), Dialect::Native);
}

#[test]
fn postgres_exporters_words() {
    let packs = read(
        "pg_x:\n  query: \"SELECT 1\"\n  master: true\n  cache_seconds: 30\n  metrics:\n    - datname:\n        \
         usage: \"LABEL\"\n    - n:\n        usage: \"COUNTER\"\n        description: \"N\"\n    - s:\n        \
         usage: \"MAPPEDMETRIC\"\n        metric_mapping: {on: 1, \"off\": 0}\n    - d: {usage: DURATION}\n    \
         - h: {usage: HISTOGRAM}\n    - u: {usage: guage}\n\
         pg_y:\n  query: ''\n  metrics: []\n\
         pg_z:\n  query: SELECT 2\n",
    );
    assert_eq!(packs.files[0].1, Dialect::PostgresExporter);
    assert_eq!(names(&packs), ["pg_x", "pg_z"], "an empty query switches its name off");
    let x = &packs.queries[0];
    let mapped = Usage::Mapped([("off".to_owned(), 0.0), ("on".to_owned(), 1.0)].into());
    assert_eq!(
        uses(x),
        [
            ("datname", &Usage::Label, "datname"),
            ("pg_x_n", &Usage::Counter, "n"),
            ("pg_x_s", &mapped, "s"),
            ("pg_x_d_milliseconds", &Usage::Duration, "d"),
            ("pg_x_h", &Usage::Histogram, "h"),
            ("pg_x_u", &Usage::Discard, "u"),
        ]
    );
    assert_eq!(x.interval, Every::Custom(Duration::from_secs(30)));
    assert_eq!((x.role, x.nulls, x.unknown_columns), (None, Nulls::NaN, UnknownColumns::Untyped));
    assert_eq!((x.whole_seconds, x.search_path), (true, "pg_catalog, public, pg_temp"));
    assert_eq!(packs.queries[1].interval, Every::Fast);
    assert!(packs.problems.iter().all(|problem| !problem.fatal), "{:?}", said(&packs));
    assert!(said(&packs)[0].contains("did you mean GAUGE?"), "{:?}", said(&packs));
}

#[test]
fn cloudnativepgs_words() {
    let packs = read(
        "bg_17:\n  name: bg\n  runonserver: \">=17.0.0\"\n  primary: true\n  query: SELECT 1\n  \
         target_databases: ['*', app]\n  predicate_query: SELECT true\n  metrics:\n    - n:\n        \
         usage: GAUGE\n        name: renamed\n        descriptoin: N\n    - l: {usage: LABEL, name: other}\n    \
         - u: {usage: NONE}\n\
         broken: {query: SELECT 1, runonserver: newest, metrics: []}\n\
         plain: {query: SELECT 1, cache_seconds: 5, metrics: [n: {usage: GAUGE}, l: {usage: LABEL}]}\n",
    );
    assert_eq!(packs.files[0].1, Dialect::Cnpg);
    assert_eq!(names(&packs), ["bg_17", "plain"]);
    let bg = &packs.queries[0];
    assert_eq!(uses(bg), [("cnpg_bg_renamed", &Usage::Gauge, "n"), ("l", &Usage::Label, "l")]);
    assert_eq!(
        (bg.role, bg.scope, bg.unknown_columns),
        (Some(Role::Primary), Scope::Database, UnknownColumns::Refuse)
    );
    assert_eq!(
        (&bg.databases[..], &bg.predicates[..]),
        (&["*".to_owned(), "app".to_owned()][..], &["SELECT true".to_owned()][..])
    );
    assert!(select(bg, &facts(170_000)).is_ok() && select(bg, &facts(160_009)).is_err());
    assert_eq!(bg.mapped_columns(), 2);
    assert_eq!(
        (packs.queries[1].interval, packs.queries[1].scope),
        (Every::Custom(Duration::from_secs(5)), Scope::Instance)
    );
    let fatal: Vec<_> = packs.problems.iter().filter(|p| p.fatal).collect();
    assert_eq!(fatal.len(), 1, "{fatal:?}");
    assert!(
        said(&packs).iter().any(|s| s.contains("did you mean `description`?")),
        "{:?}",
        said(&packs)
    );
}

#[test]
fn selection() {
    let packs = read(
        "q:\n  role: primary\n  requires: {extension: pg_stat_statements, setting: track_io_timing}\n  sql:\n    \
         - {versions: '>=17', query: 'SELECT 1 FROM {schema}.a'}\n    - {versions: '>=14', query: SELECT 2}\n  \
         metrics: [n: {usage: GAUGE, description: N.}]\n\
         s: {interval: fast, query: 'SELECT {schema}', requires: {setting: archive_mode=always}, metrics: [n: {usage: GAUGE}]}\n",
    );
    let [q, s] = &packs.queries[..] else { panic!("{:?}", said(&packs)) };
    let mut facts = facts(170_000);
    let why = |query, facts: &Facts| select(query, facts).expect_err("unavailable").why;
    assert_eq!(why(q, &facts), "the server has no setting track_io_timing");
    facts.settings.insert("track_io_timing".to_owned(), "off".to_owned());
    assert_eq!(why(q, &facts), "the setting track_io_timing is off");
    facts.settings.insert("track_io_timing".to_owned(), "on".to_owned());
    assert_eq!(why(q, &facts), "database shop lacks the extension pg_stat_statements");
    let extension = Extension { version: "1.10".to_owned(), schema: "odd \"one".to_owned() };
    facts.extensions.insert("pg_stat_statements".to_owned(), extension);
    assert_eq!(select(q, &facts).expect("it"), "SELECT 1 FROM \"odd \"\"one\".a");
    facts.version = Version(160_001);
    assert_eq!(select(q, &facts).expect("it"), "SELECT 2");
    facts.version = Version(130_001);
    assert_eq!(why(q, &facts), "it has no SQL for PostgreSQL 13.1");
    facts.version = Version(140_001);
    facts.role = Role::Standby;
    assert_eq!(why(q, &facts), "it is for a primary, and this server is a standby");
    facts.settings.insert("archive_mode".to_owned(), "on".to_owned());
    assert_eq!(why(s, &facts), "the setting archive_mode is on, and it needs always");
    facts.settings.insert("archive_mode".to_owned(), "always".to_owned());
    assert_eq!(select(s, &facts).expect("it"), "SELECT {schema}", "a brace is only a brace");
}

#[test]
fn directories_replace_and_exclude() {
    let directory = tempfile::tempdir().expect("a directory");
    let write =
        |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a file");
    let query = |sql: &str| {
        format!("query: {sql}, interval: slow, metrics: [n: {{usage: GAUGE, description: N.}}]")
    };
    write(
        "20.yaml",
        &format!("mine: {{{}}}\npg_connections: {{{}}}\n", query("SELECT 20"), query("SELECT 20")),
    );
    write("10.yml", &format!("mine: {{{}}}\n", query("SELECT 10")));
    write(".30.yaml", "mine: {}\n");
    write("README.txt", "mine: {}\n");
    write("40.yaml", "broken: {query: SELECT 1}\n");
    let settings = config::Packs {
        directories: vec![PackDirectory {
            path: directory.path().to_owned(),
            dialect: None,
            null_values: None,
            place: Place::default(),
        }],
        exclude: vec!["pg_stat_bg*".to_owned(), "wal".to_owned()],
        ..config::Packs::default()
    };
    let packs = load(&settings);
    let sql =
        |name: &str| packs.queries.iter().find(|q| &*q.name == name).map(|q| &*q.statements[0].sql);
    assert_eq!((sql("mine"), sql("pg_connections")), (Some("SELECT 20"), Some("SELECT 20")));
    assert_eq!((sql("pg_stat_bgwriter"), sql("pg_wal"), sql("broken")), (None, None, None));
    assert!(sql("pg_stat_checkpointer").is_some());
    assert_eq!(packs.queries.len(), builtin().queries.len() - 3 + 1);
    assert_eq!(packs.problems.len(), 1, "{:?}", said(&packs));
    let files: Vec<_> =
        packs.files.iter().map(|(file, ..)| file.file_name().expect("a name")).collect();
    assert_eq!(files, ["10.yml", "20.yaml", "40.yaml"]);
    assert!(
        packs.of(InstanceKind::Postgres, &["mine".to_owned()]).iter().all(|q| &*q.name != "mine")
    );

    let nowhere = load_path(&directory.path().join("none"), None);
    assert!(said(&nowhere)[0].contains("cannot read the packs in"), "{:?}", said(&nowhere));
    let mut settings = settings;
    settings.directories[0].dialect = Some("sql_exporter".to_owned());
    assert!(said(&load(&settings))[0].contains("is no dialect"));
}
