//! Pack files of other programs, unmodified, on real servers: what they give, what is corrected on
//! purpose, and that one dead query costs the others nothing. And the built-in packs that repeat the
//! names of those programs.

use std::collections::{BTreeMap, HashSet};

use pgvigil::packs::{self, Packs, Usage};

use crate::support::agent::{Agent, pgvigil, project, sample};
use crate::support::postgres::{Cluster, Options, edges, majors};

/// What `pgvigil query` printed.
struct Asked {
    page: String,
    told: String,
    /// By query, the reason.
    outcomes: BTreeMap<String, String>,
}

impl Asked {
    fn new(cluster: &Cluster, arguments: &[&str]) -> Self {
        let dsn = cluster.monitor_dsn();
        let mut all = vec!["query"];
        all.extend(arguments);
        all.extend(["--dsn", &dsn]);
        let output = pgvigil(&all).output().expect("the binary runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        let table = told.lines().skip_while(|line| !line.starts_with("query ")).skip(1);
        let rows = table.filter(|line| !line.starts_with("  "));
        let outcomes = rows
            .filter_map(|line| {
                let mut words = line.split_whitespace().map(str::to_owned);
                Some((words.next()?, words.next()?))
            })
            .collect();
        Self { page: String::from_utf8_lossy(&output.stdout).into_owned(), told, outcomes }
    }

    fn outcome(&self, query: &str) -> &str {
        self.outcomes.get(query).map_or("not loaded", String::as_str)
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        sample(&self.page, name, labels)
    }

    /// What is declared for a family.
    fn kind(&self, name: &str) -> &str {
        let head = format!("# TYPE {name} ");
        self.page.lines().find_map(|line| line.strip_prefix(&head)).unwrap_or("absent")
    }
}

fn fixture(name: &str) -> String {
    project(&format!("tests/data/packs/{name}")).display().to_string()
}

#[test]
fn postgres_exporters_file() {
    for major in edges() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let file = fixture("postgres_exporter.yaml");
        let asked = Asked::new(&cluster, &[&file, "--dialect", "postgres_exporter"]);
        let row = [("name", "a")];
        let value = |column: &str| asked.value(&format!("fx_words_{column}"), &row);
        assert_eq!(value("state"), Some(2.0), "text is mapped here: {}", asked.told);
        assert_eq!(value("took_milliseconds"), Some(90_000.0), "a duration is read here");
        assert_eq!((value("level"), asked.kind("fx_words_level")), (Some(7.0), "counter"));
        assert_eq!((value("share"), value("flag")), (Some(1.5), Some(1.0)));
        assert!(value("nothing").is_some_and(f64::is_nan), "NULL is NaN, as there");
        assert_eq!(value("at"), Some(1_000_000_000.0), "times are whole seconds, as there");
        assert_eq!((value("extra"), asked.kind("fx_words_extra")), (Some(42.0), "untyped"));
        assert_eq!((value("extra_text"), value("secret")), (None, None));
        assert_eq!(asked.value("fx_sizes_bytes_bucket", &[("le", "10.0")]), Some(3.0));
        assert_eq!(asked.value("fx_sizes_bytes_bucket", &[("le", "+Inf")]), Some(4.0));
        assert_eq!(asked.value("fx_sizes_bytes_sum", &[]), Some(31.5));
        // A column of either usage that holds a number stays that number.
        assert_eq!(asked.value("fx_numbers_state", &[]), Some(3.0));
        assert_eq!(asked.value("fx_numbers_took_milliseconds", &[]), Some(250.0));
        assert_eq!(asked.value("fx_twice_n", &[]), Some(1.0), "one duplicate costs itself");
        assert_eq!(asked.value("fx_last_n", &[]), Some(1.0));
        for (query, reason) in [
            ("fx_words", "ok"),
            ("fx_new", "unavailable"),
            ("fx_off", "not loaded"),
            ("fx_dead_sql", "missing_object"),
            ("fx_dead_label", "missing_object"),
            ("fx_dead_cache", "not loaded"),
            ("fx_twice", "duplicate"),
            ("fx_last", "ok"),
        ] {
            assert_eq!(asked.outcome(query), reason, "{query} on {major}: {}", asked.told);
        }
        assert!(asked.told.contains("postgres_exporter.yaml:48:"), "{}", asked.told);
    }
}

#[test]
fn cloudnativepgs_manifest() {
    for major in edges() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let asked = Asked::new(&cluster, &[&fixture("cnpg-configmap.yaml")]);
        // By name, though `metrics` has them in another order.
        let row = [("l", "one"), ("m", "two")];
        let value = |column: &str| asked.value(&format!("cnpg_fx_renamed_{column}"), &row);
        assert_eq!(value("total"), Some(5.0), "{}", asked.told);
        assert_eq!(asked.kind("cnpg_fx_renamed_total"), "counter");
        assert_eq!((value("state"), value("took_milliseconds")), (Some(1.0), Some(300.0)));
        assert_eq!(value("never_milliseconds"), None, "-1 is none");
        assert!(value("nothing").is_some_and(f64::is_nan));
        assert_eq!((value("h_sum"), value("h_count"), value("gone")), (Some(6.0), Some(2.0), None));
        for name in ["cached", "secret", "encoded"] {
            assert_eq!(asked.value(&format!("cnpg_fx_{name}_n"), &[]), Some(1.0), "{name}");
        }
        for (query, reason) in [
            ("fx_renamed_13", "ok"),
            ("fx_renamed_99", "unavailable"),
            ("fx_closed", "unavailable"),
            ("fx_no_boolean", "type"),
            ("fx_dead_predicate", "missing_object"),
            ("fx_count", "type"),
        ] {
            assert_eq!(asked.outcome(query), reason, "{query} on {major}: {}", asked.told);
        }
        assert!(asked.told.contains("(queries): read as cnpg"), "{}", asked.told);
        assert!(asked.told.contains("names 1; name every column"), "{}", asked.told);
    }
}

#[test]
fn pgstys_directory() {
    for major in edges() {
        let Some(cluster) = Cluster::start(major) else { continue };
        let asked = Asked::new(&cluster, &[&fixture("pgsty")]);
        let row = [("db", "postgres")];
        let value = |column: &str| asked.value(&format!("fx_{column}"), &row);
        assert_eq!(value("wait_seconds"), Some(1.5), "{}", asked.told);
        assert_eq!(asked.kind("fx_wait_seconds"), "counter");
        assert_eq!((value("missing"), value("raw"), value("hidden")), (Some(9.0), Some(7.0), None));
        assert!(value("nothing").is_some_and(f64::is_nan));
        let bucket = |kind, le| asked.value("fx_age_seconds_bucket", &[("kind", kind), ("le", le)]);
        assert_eq!((bucket("a", "1"), bucket("a", "10")), (Some(1.0), Some(1.0)));
        assert_eq!((bucket("a", "+Inf"), bucket("b", "+Inf")), (Some(2.0), Some(1.0)));
        assert_eq!(asked.value("fx_age_seconds_sum", &[("kind", "a")]), Some(20.5));
        assert_eq!(asked.kind("fx_age_seconds_bucket"), "gauge", "it may shrink");
        assert_eq!(asked.value("fx_text_m", &[]), Some(1.0), "a bad value costs its sample");
        for (query, reason) in [
            ("fx_old", "unavailable"),
            ("fx_new", "ok"),
            ("fx_replica", "unavailable"),
            ("fx_olap", "unavailable"),
            ("fx_extension", "unavailable"),
            ("fx_pool", "unavailable"),
            ("fx_skipped", "not loaded"),
            ("fx_bad_usage", "not loaded"),
            ("fx_slow", "timeout"),
            ("fx_dead", "error"),
            ("fx_text", "type"),
            ("fx_last", "ok"),
        ] {
            assert_eq!(asked.outcome(query), reason, "{query} on {major}: {}", asked.told);
        }
        assert!(asked.told.contains("0100-empty.yml: read as native\n"), "{}", asked.told);
    }
}

#[test]
fn the_agent_runs_what_the_configuration_names() {
    let Some(major) = edges().pop() else { return };
    let Some(cluster) = Cluster::start(major) else { return };
    cluster.sql("CREATE DATABASE shop");
    let agent = Agent::start(&format!(
        "instances: [{{name: one, dsn: '{}'}}]\npacks:\n  include: [compat-postgres-exporter]\n  \
         tags: [olap]\n  directories:\n    - {{path: {}, null_values: skip}}\n    - {{path: {}}}\n",
        cluster.monitor_dsn(),
        fixture("pgsty"),
        fixture("cnpg-configmap.yaml"),
    ));
    let server = ("server", "one");
    let wait = std::time::Duration::from_secs(30);
    let page = agent.await_metrics(wait, |page| {
        let has = |name, labels: &[_]| sample(page, name, labels).is_some();
        has("fx_olap_n", &[server, ("datname", "shop")])
            && has("fx_olap_n", &[server, ("datname", "postgres")])
            && has("pg_static", &[server])
            && has("cnpg_fx_renamed_total", &[server, ("datname", "shop")])
            && has("pg_stat_activity_count", &[server, ("state", "disabled")])
    });
    // `not:olap`, and NULL as the configuration has it.
    let outcome = |query, reason| {
        let labels = [server, ("query", query), ("reason", reason)];
        sample(&page, "pgvigil_query_outcome", &labels)
    };
    assert_eq!(outcome("fx_new", "unavailable"), Some(1.0));
    assert_eq!(outcome("fx_dead", "error"), Some(1.0));
    assert_eq!(sample(&page, "cnpg_fx_last_n", &[server]), None);
    assert!(sample(&page, "pg_up", &[server]) == Some(1.0), "a fatal query fails alone");
}

/// Every metric of an optional pack, each query on each server as the monitoring role.
fn run_all(cluster: &Cluster, pack: &str) -> HashSet<String> {
    let asked = Asked::new(cluster, &[pack]);
    for (query, reason) in &asked.outcomes {
        let fine = ["ok", "unavailable"].contains(&reason.as_str());
        assert!(fine, "{query} on {}: {}", cluster.major, asked.told);
    }
    let types = asked.page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_packs_of_historic_names_on_every_server() {
    let replicated = || {
        let conf = "wal_level = logical\nmax_replication_slots = 8\nmax_wal_senders = 8\n\
                    archive_mode = on\narchive_command = 'true'";
        Options::default().conf(conf)
    };
    let mut seen: HashSet<String> = HashSet::new();
    for major in majors() {
        let Some(primary) = replicated().start(major) else { continue };
        primary.sql("CREATE DATABASE shop");
        primary.sql("CREATE TABLE t (id int PRIMARY KEY)");
        primary.sql("SELECT pg_create_physical_replication_slot('kept', true)");
        let standby = Cluster::standby_of(&primary, &replicated());
        for cluster in [&primary, &standby] {
            seen.extend(run_all(cluster, "compat-postgres-exporter"));
            seen.extend(run_all(cluster, "compat-cnpg"));
            let log = cluster.output();
            let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR:")).collect();
            assert!(errors.is_empty(), "PostgreSQL {major} says {errors:#?}");
        }
    }
    if majors().len() < 6 {
        return;
    }
    // Somewhere each of them is seen, but for what these servers do not do.
    let idle = [
        "pg_stat_statements_",
        "pg_buffercache_",
        "pg_stat_progress_vacuum_",
        "pg_stat_wal_receiver_",
        "pg_stat_activity_autovacuum_",
        "pg_process_idle_",
        "pg_replication_slots_safe_wal",
        "pg_replication_slot_safe_wal",
        "pg_replication_slots_slot_confirmed",
        "pg_replication_slot_slot_confirmed",
        "pg_settings_",
    ];
    let all: Vec<Packs> = ["compat-postgres-exporter", "compat-cnpg"]
        .into_iter()
        .filter_map(packs::load_builtin)
        .collect();
    for column in all.iter().flat_map(|pack| &pack.queries).flat_map(|query| &query.columns) {
        let name = &*column.metric;
        if column.usage != Usage::Label && !idle.iter().any(|start| name.starts_with(start)) {
            assert!(seen.contains(name), "{name} is never shown");
        }
    }
}
