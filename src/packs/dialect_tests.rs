//! pgsty's dialect, manifests, and what the configuration switches on.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;

use super::*;
use crate::config::{self, InstanceKind, PackDirectory, Place};
use crate::postgres::{Facts, LogSettings, Role, Version};

fn read(text: &str) -> Packs {
    parse(text, "mine", Path::new("mine.yaml"), None)
}

fn said(packs: &Packs) -> Vec<String> {
    packs.problems.iter().map(ToString::to_string).collect()
}

fn names(packs: &Packs) -> Vec<&str> {
    packs.queries.iter().map(|query| &*query.name).collect()
}

fn facts(version: u32, role: Role) -> Facts {
    Facts {
        version: Version(version),
        role,
        system_identifier: "1".to_owned(),
        timeline: 1,
        cluster_name: String::new(),
        data_directory: None,
        database: "shop".to_owned(),
        databases: Vec::new(),
        extensions: std::collections::BTreeMap::new(),
        settings: std::collections::BTreeMap::new(),
        superuser: false,
        monitor: true,
        log: LogSettings::default(),
        whereabouts: Default::default(),
    }
}

const PGSTY: &str = "
pg_thing_14:
  name: pg_thing
  desc: Things.
  query: SELECT 1 AS n
  ttl: 2.5
  timeout: 0.25
  priority: 7
  min_version: 090400
  max_version: 150000
  fatal: true
  tags: [cluster, master, 'username:o''brien', 'schema:mon']
  predicate_queries:
    - {name: first, predicate_query: SELECT true, ttl: 10}
  metrics:
    - l: {usage: label, rename: thing, description: L}
    - n: {usage: counter, rename: total, scale: 1e-3, default: 0, description: N}
    - o: {name: real_o, usage: GAUGE}
    - d: {usage: DISCARD}
    - h: {usage: HISTOGRAM, bucket: [0.1, 1, 10], description: H}
pg_thing_15: {name: pg_thing, query: SELECT 2 AS n, min_version: 150000, metrics: [n: {usage: GAUGE}]}
gone: {query: SELECT 3, skip: true, metrics: [n: {usage: GAUGE}]}
one_database: {query: SELECT 4, ttl: 0, timeout: -1, tags: ['dbname:a*b', cluster], metrics: [n: {usage: GAUGE}]}
tagged: {query: SELECT 5, tags: [olap, 'not:oltp', 'extension:x', 'extension:y'], metrics: [n: {usage: GAUGE}]}
pool: {query: SHOW POOLS;, tags: [pgbouncer], min_version: 010800, metrics: [n: {usage: GAUGE}]}
dead_usage: {query: SELECT 6, metrics: [n: {usage: GUAGE}]}
dead_sql: {query: '  ', metrics: [n: {usage: GAUGE}]}
dead_bucket: {query: SELECT 7, metrics: [n: {usage: HISTOGRAM, bucket: [1, 1]}]}
dead_ttl: {query: SELECT 8, ttl: -1, metrics: [n: {usage: GAUGE}]}
dead_scale: {query: SELECT 9, metrics: [n: {usage: GAUGE, scale: ten}]}
dead_roles: {query: SELECT 9, tags: [primary, replica], metrics: [n: {usage: GAUGE}]}
";

#[test]
fn pgstys_words() {
    let packs = read(PGSTY);
    assert_eq!(packs.files[0].1, Dialect::Pgsty);
    assert_eq!(
        names(&packs),
        ["pg_thing_14", "pg_thing_15", "one_database", "tagged", "pool"],
        "each mistake costs its own query"
    );
    let [thing, newer, one, tagged, pool] = &packs.queries[..] else { panic!() };
    assert_eq!(
        (thing.interval, thing.timeout, thing.scope, thing.role),
        (
            Every::Custom(Duration::from_millis(2500)),
            Duration::from_millis(250),
            Scope::Instance,
            Some(Role::Primary)
        )
    );
    assert_eq!((thing.nulls, thing.unknown_columns), (Nulls::NaN, UnknownColumns::Ignore));
    assert_eq!((thing.whole_seconds, thing.search_path), (true, Query::FOREIGN_PATH));
    assert_eq!(
        thing.predicates,
        [
            "SELECT current_user = 'o''brien'",
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'mon')",
            "SELECT true",
        ]
    );
    let uses: Vec<_> = thing
        .columns
        .iter()
        .map(|c| (&*c.metric, &c.usage, &*c.column, c.scale, c.default.as_deref()))
        .collect();
    assert_eq!(
        uses,
        [
            ("thing", &Usage::Label, "l", None, None),
            ("pg_thing_total", &Usage::Counter, "n", Some(1e-3), Some("0")),
            ("pg_thing_real_o", &Usage::Gauge, "real_o", None, None),
            ("pg_thing_d", &Usage::Discard, "d", None, None),
            ("pg_thing_h", &Usage::Buckets(vec![0.1, 1.0, 10.0]), "h", None, None),
        ]
    );
    // A leading zero is no octal number, and the upper bound is not included.
    let runs = |query: &Query, version| select(query, &facts(version, Role::Primary)).is_ok();
    assert!(runs(thing, 90_400) && runs(thing, 149_999) && !runs(thing, 150_000));
    assert!(!runs(thing, 90_399) && runs(newer, 150_000));
    assert!(select(thing, &facts(140_000, Role::Standby)).is_err());
    assert_eq!((newer.interval, newer.timeout), (Every::Fast, Duration::from_secs(2)));
    assert_eq!((newer.scope, newer.databases.len()), (Scope::Database, 0));
    assert_eq!((one.interval, one.timeout), (Every::Fast, Duration::from_secs(60)));
    assert_eq!((one.scope, &one.databases[..]), (Scope::Database, &["a[*]b".to_owned()][..]));
    assert_eq!(tagged.requires.extension.as_deref(), Some("x"));
    assert_eq!(tagged.requires.tags, ["olap"]);
    assert_eq!(tagged.requires.forbidden_tags, ["oltp"]);
    assert!(tagged.predicates[0].ends_with("pg_extension WHERE extname = 'y')"));
    assert_eq!((pool.kind, pool.scope), (InstanceKind::Pgbouncer, Scope::Instance));
    let why = select(pool, &facts(170_000, Role::Primary)).expect_err("not PostgreSQL").why;
    assert!(why.contains("PgBouncer"), "{why}");

    let said = said(&packs);
    for (line, words) in [
        (26, "did you mean GAUGE?"),
        (27, "has no SQL"),
        (28, "no rising list"),
        (29, "below zero"),
        (30, "`ten` is no number"),
        (31, "for primaries and for standbys"),
    ] {
        let told = said.iter().any(|s| s.contains(&format!(".yaml:{line}:")) && s.contains(words));
        assert!(told, "{words}: {said:#?}");
    }
    assert_eq!(said.len(), 6, "{said:#?}");
}

#[test]
fn fields_tell_the_dialect() {
    let tells = |text: &str| {
        let packs = read(text);
        (packs.files[0].1, packs.files[0].2)
    };
    let column = |field: &str| tells(&format!("q: {{query: SELECT 1, metrics: [c: {{{field}}}]}}"));
    assert_eq!(column("usage: GAUGE, rename: x"), (Dialect::Pgsty, Some("rename")));
    assert_eq!(column("usage: GAUGE, name: x"), (Dialect::Cnpg, Some("name")));
    assert_eq!(column("usage: GAUGE, metric: x"), (Dialect::Native, Some("metric")));
    assert_eq!(column("usage: GAUGE"), (Dialect::Native, None));
    let query = |field: &str| tells(&format!("q: {{query: SELECT 1, {field}, metrics: []}}"));
    assert_eq!(query("name: x, skip: true"), (Dialect::Pgsty, Some("skip")));
    assert_eq!(query("primary: true, desc: x"), (Dialect::Cnpg, Some("primary")));
    // What nothing tells may be another program's, and so sees what is in `public`.
    let path = |text: &str| read(text).queries[0].search_path;
    let plain = "a: {query: SELECT 1 AS n, metrics: [{n: {usage: GAUGE}}]}";
    assert_eq!(path(plain), Query::FOREIGN_PATH);
    let own = "a: {query: SELECT 1 AS n, role: any, metrics: [{n: {usage: GAUGE}}]}";
    assert_eq!(path(own), Query::NATIVE_PATH);
}

#[test]
fn manifests_hold_files() {
    let secret = base64::engine::general_purpose::STANDARD
        .encode("s: {query: SELECT 3, master: true, metrics: [n: {usage: GAUGE}]}\n");
    let packs = read(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: {{cnpg.io/reload: ''}}\ndata:\n  \
         first: |\n    a: {{query: SELECT 1, metrics: [n: {{usage: GAUGE}}]}}\n    \
         b: {{query: SELECT 1, metrics: [n: {{usage: GUAGE}}]}}\n  \
         second: |\n    # nothing yet\n  \
         third: |\n    c: {{query: SELECT 2, ttl: 9, metrics: [n: {{usage: GAUGE}}]}}\n\
         ---\napiVersion: v1\nkind: Secret\ndata: {{q: {secret}, broken: '%%'}}\n\
         stringData: {{password: hunter2, d: 'd: {{query: SELECT 4, metrics: [m: {{usage: GAUGE, description: M.}}]}}'}}\n\
         ---\napiVersion: apps/v1\nkind: Deployment\nspec: {{}}\n"
    ));
    let told: Vec<_> = packs
        .files
        .iter()
        .map(|(file, dialect, field)| (file.display().to_string(), *dialect, *field))
        .collect();
    assert_eq!(
        told,
        [
            ("mine.yaml (first)".to_owned(), Dialect::Cnpg, Some("cnpg.io/reload")),
            ("mine.yaml (second)".to_owned(), Dialect::Cnpg, Some("cnpg.io/reload")),
            ("mine.yaml (third)".to_owned(), Dialect::Pgsty, Some("ttl")),
            ("mine.yaml (q)".to_owned(), Dialect::PostgresExporter, Some("master")),
            ("mine.yaml (d)".to_owned(), Dialect::Native, None),
        ]
    );
    assert_eq!(names(&packs), ["a", "b", "c", "s", "d"]);
    assert_eq!(&*packs.queries[0].columns[0].metric, "cnpg_a_n");
    let said = said(&packs);
    assert!(said.iter().any(|s| s.starts_with("mine.yaml:8:47: `GUAGE` is no usage")), "{said:#?}");
    assert!(said.iter().any(|s| s.contains("`password` holds no queries")), "{said:#?}");
    assert!(
        said.iter().any(|s| s.contains("`broken` under `data` is no text in base64")),
        "{said:#?}"
    );
    assert!(said.iter().any(|s| s.contains("this Deployment holds no packs")), "{said:#?}");
    assert!(!said.iter().any(|s| s.contains("hunter2")), "{said:#?}");
    assert_eq!(packs.problems.iter().filter(|problem| problem.fatal).count(), 1);

    let list = read(
        "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, data: {x: 'a: {query: SELECT 1, primary: true, metrics: [n: {usage: GAUGE}]}'}}]}",
    );
    assert_eq!((names(&list), list.files[0].1), (vec!["a"], Dialect::Cnpg));
}

#[test]
fn the_configuration_switches_on_and_says_what_null_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = "x: {query: SELECT 1, master: true, metrics: [n: {usage: GAUGE}]}\n";
    std::fs::write(directory.path().join("x.yaml"), text).expect("a file");
    let text = "y: {query: SELECT 1, tags: [olap], metrics: [n: {usage: GAUGE}]}\n\
                z: {query: SELECT 1, tags: ['not:olap'], metrics: [n: {usage: GAUGE}]}\n";
    std::fs::write(directory.path().join("y.yml"), text).expect("a file");
    let path = |null_values: Option<&str>| PackDirectory {
        path: directory.path().to_owned(),
        dialect: None,
        null_values: null_values.map(str::to_owned),
        place: Place::default(),
    };
    let find = |packs: &Packs, name: &str| {
        packs.queries.iter().find(|q| &*q.name == name).map(|q| (**q).clone())
    };
    let mut settings = config::Packs { directories: vec![path(None)], ..config::Packs::default() };
    let packs = load(&settings);
    assert_eq!(find(&packs, "x").map(|q| q.nulls), Some(Nulls::NaN));
    let runs = |packs: &Packs, name: &str| {
        select(&find(packs, name).expect("a query"), &facts(170_000, Role::Primary)).is_ok()
    };
    assert!(!runs(&packs, "y") && runs(&packs, "z"));

    settings.tags = vec!["olap".to_owned()];
    settings.directories = vec![path(Some("skip"))];
    let packs = load(&settings);
    assert_eq!(find(&packs, "x").map(|q| q.nulls), Some(Nulls::Absent));
    assert!(runs(&packs, "y") && !runs(&packs, "z"));

    settings.include = vec![("compat-nothing".to_owned(), Place::default())];
    let told = said(&load(&settings));
    assert!(
        told.iter().any(|s| s.contains("no built-in pack is named `compat-nothing`")),
        "{told:?}"
    );
}

/// The metrics of those packs that `of` holds for.
fn metrics(packs: &Packs, of: impl Fn(&str) -> bool) -> Vec<String> {
    let queries = packs.queries.iter().filter(|query| of(&query.pack));
    let columns = queries.flat_map(|query| &query.columns);
    let shown = columns.filter(|c| !matches!(c.usage, Usage::Label | Usage::Discard));
    shown.map(|column| column.metric.to_string()).collect()
}

#[test]
fn a_pack_that_is_off_takes_the_names_that_it_carries_when_it_is_on() {
    let optional: Vec<&str> = builtin_names().filter(|name| is_optional(name)).collect();
    assert_eq!(optional, ["compat-cnpg", "compat-postgres-exporter"]);
    let off = load(&config::Packs::default());
    assert!(metrics(&off, is_optional).is_empty());

    let all = config::Packs {
        include: vec![("compat-*".to_owned(), Place::default())],
        ..config::Packs::default()
    };
    let on = load(&all);
    assert_eq!(said(&on), Vec::<String>::new());
    let carried = metrics(&on, is_optional);
    let some = ["pg_replication_lag", "pg_stat_activity_count", "pg_static", "cnpg_backends_total"];
    for name in some {
        assert!(carried.iter().any(|metric| metric == name), "{name}");
    }
    let mut seen = std::collections::HashSet::new();
    for name in &carried {
        // Two queries for two ranges of versions.
        assert!(seen.insert(name) || name.contains("bgwriter"), "{name} comes twice");
    }
    // Each name has one source, and nothing but the names that were taken is lost.
    let rest = metrics(&on, |pack| !is_optional(pack));
    for name in &metrics(&off, |_| true) {
        assert_ne!(carried.contains(name), rest.contains(name), "{name}");
    }
    for name in metrics(&on, |pack| pack == "compat-cnpg") {
        assert!(name.starts_with("cnpg_"), "{name}");
    }

    let left_out = config::Packs { exclude: vec!["compat_stat_activity".to_owned()], ..all };
    let rest = metrics(&load(&left_out), |pack| !is_optional(pack));
    assert!(
        rest.iter().any(|metric| metric == "pg_stat_activity_count"),
        "what is out takes nothing"
    );
}
