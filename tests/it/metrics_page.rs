//! `queries/METRICS.md` is what the packs say: every metric, written anew where `PGVIGIL_UPDATE` is set.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use pgvigil::config::InstanceKind;
use pgvigil::packs::{self, ColumnUse, Every, Query, Scope, Usage};
use pgvigil::postgres::{Role, Version};

use crate::support::agent::project;

const OPENING: &str = "\
# Metrics of the packs

Made from the packs in this folder: to change it, change them, and run
`PGVIGIL_UPDATE=1 cargo test --test it -- metrics_page`.

Every series has the labels `server` and `cluster` besides those named here. A metric of each database comes from a session there; one of
the instance, from the database of its connection string. How long fast, medium, slow and hourly are is `collection.intervals` of the
configuration: at each scrape, 1 minute, 5 minutes, 1 hour. What a server cannot give (its version, its role, what the pack requires) is
absent, and `pgvigil_query_outcome` says why. Metrics of the host, of backups and of the agent itself come from no pack, and are not here.
";

/// The majors that a range is tried with; the last stands for all to come.
const MAJORS: std::ops::RangeInclusive<u32> = 13..=19;

#[test]
fn says_what_the_packs_say() {
    let file = project("queries/METRICS.md");
    let made = page();
    if std::env::var_os("PGVIGIL_UPDATE").is_some() {
        fs::write(&file, &made).expect("the file can be written");
        return;
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    let differs = there.lines().zip(made.lines()).find(|(there, made)| there != made);
    assert!(
        there == made,
        "queries/METRICS.md is not what the packs say, first at {differs:?}; run \
         `PGVIGIL_UPDATE=1 cargo test --test it -- metrics_page`"
    );
}

#[test]
fn holds_every_metric_once_a_pack() {
    let made = page();
    for name in packs::builtin_names() {
        let (_, section) = made.split_once(&format!("\n## {name}\n")).expect("a section a pack");
        let section = section.split("\n## ").next().unwrap_or_default();
        for query in &packs::load_builtin(name).expect("a built-in pack").queries {
            for metric in query.columns.iter().filter(|column| kind(column).is_some()) {
                let row = format!("\n| `{}` |", metric.metric);
                assert_eq!(section.matches(&row).count(), 1, "{row} of {name}");
            }
        }
    }
    // Read off by hand from the packs.
    for row in [
        "| `pg_stat_database_xact_commit` | counter | datid, datname | 13+ | any | instance | fast |",
        "| `cnpg_backends_total` | gauge | datname, usename, application_name, state | 13+ | any |",
    ] {
        assert!(made.contains(row), "{row}");
    }
    assert_eq!(spans(&[13, 14, 16, 18, 19]), "13–14, 16, 18+");
}

fn page() -> String {
    let mut out = OPENING.to_owned();
    let heads: Vec<(&str, Head)> = packs::builtin_names().map(|name| (name, head(name))).collect();
    out.push_str("\n| pack | measures | versions | privilege |\n| --- | --- | --- | --- |\n");
    for (name, head) in &heads {
        let off = if packs::is_optional(name) { " (off until included)" } else { "" };
        let Head { measures, versions, privilege, .. } = head;
        let _ = writeln!(out, "| [{name}](#{name}){off} | {measures} | {versions} | {privilege} |");
    }
    for (name, head) in &heads {
        let _ = write!(out, "\n## {name}\n\n{}.", head.measures);
        if packs::is_optional(name) {
            let _ = write!(out, " Off by default: `packs: {{include: [{name}]}}` switches it on.");
        }
        let Head { versions, privilege, cost, .. } = head;
        let _ = writeln!(out, " Versions: {versions}. Privilege: {privilege}. Cost: {cost}.\n");
        out.push_str(
            "| metric | type | labels | versions | role | runs | interval | requires | what |\n",
        );
        out.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
        for (metric, row) in rows(name) {
            let _ = writeln!(out, "| `{metric}` | {row} |");
        }
    }
    out
}

/// The rows of a pack's table: one a metric, though several queries may make it.
fn rows(pack: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, Vec<(&Query, &ColumnUse)>> = BTreeMap::new();
    let loaded = packs::load_builtin(pack).expect("a built-in pack");
    for query in &loaded.queries {
        for column in query.columns.iter().filter(|column| kind(column).is_some()) {
            found.entry(column.metric.to_string()).or_default().push((query, column));
        }
    }
    found.iter().map(|(metric, sources)| (metric.clone(), row(sources))).collect()
}

fn row(sources: &[(&Query, &ColumnUse)]) -> String {
    let (query, column) = sources[0];
    let mut labels: Vec<&str> = Vec::new();
    for (query, _) in sources {
        let own = query.columns.iter().filter(|column| column.usage == Usage::Label);
        for label in own.map(|column| &*column.metric) {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        if query.scope == Scope::Database && !labels.contains(&"datname") {
            labels.insert(0, "datname");
        }
    }
    let majors: Vec<u32> = MAJORS
        .filter(|major| sources.iter().any(|(query, column)| gives(query, column, *major)))
        .collect();
    let role = match query.role {
        None => "any",
        Some(Role::Primary) => "primary",
        Some(Role::Standby) => "standby",
    };
    let runs = match (query.kind, query.scope) {
        (InstanceKind::Pgbouncer, _) => "PgBouncer",
        (_, Scope::Instance) => "instance",
        (_, Scope::Database) => "database",
    };
    let interval = match query.interval {
        Every::Fast => "fast".to_owned(),
        Every::Medium => "medium".to_owned(),
        Every::Slow => "slow".to_owned(),
        Every::Hourly => "hourly".to_owned(),
        Every::Custom(duration) => format!("{}s", duration.as_secs_f64()),
    };
    let requires = &query.requires;
    let requires: Vec<String> = [
        requires.extension.as_ref().map(|name| format!("extension {name}")),
        requires.setting.as_ref().map(|name| format!("setting {name}")),
        requires.function.as_ref().map(|name| format!("function {name}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let versions = match query.kind {
        InstanceKind::Pgbouncer => format!("{}+", newer(column).unwrap_or("1.18")),
        InstanceKind::Postgres => spans(&majors),
    };
    [
        kind(column).unwrap_or_default(),
        &labels.join(", "),
        &versions,
        role,
        runs,
        &interval,
        &requires.join(", "),
        &column.help.replace('|', r"\|"),
    ]
    .join(" | ")
}

/// How Prometheus sees a column; none where it makes no metric.
fn kind(column: &ColumnUse) -> Option<&'static str> {
    Some(match column.usage {
        Usage::Label | Usage::Discard => return None,
        Usage::Counter => "counter",
        Usage::Histogram => "histogram",
        Usage::Gauge | Usage::Mapped(_) | Usage::Duration | Usage::Buckets(_) => "gauge",
    })
}

/// Whether the statement for a major has the column: it is named there and is not only a NULL, unless
/// no statement names it. What a description calls newer is newer.
fn gives(query: &Query, column: &ColumnUse, major: u32) -> bool {
    let names = |sql: &str| {
        let words = || sql.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        let words: Vec<&str> = words().filter(|word| !word.is_empty()).collect();
        let held = |at: usize| {
            words[at] == column.column
                && !(at > 1 && words[at - 1] == "AS" && words[at - 2].starts_with("NULL::"))
        };
        (0..words.len()).any(held)
    };
    let since: u32 = newer(column).and_then(|version| version.parse().ok()).unwrap_or_default();
    let version = Version(major * 10_000);
    let mut statements = query.statements.iter();
    let Some(statement) = statements.find(|s| s.versions.contains(version)) else { return false };
    major >= since && (names(&statement.sql) || !query.statements.iter().any(|s| names(&s.sql)))
}

/// `17` of a description that holds `(17 and newer)`.
fn newer(column: &ColumnUse) -> Option<&str> {
    let (before, _) = column.help.split_once(" and newer)")?;
    before.rsplit_once('(').map(|(_, version)| version)
}

/// Majors as spans: `13–16`, `17+`.
fn spans(majors: &[u32]) -> String {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for major in majors {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *major => *last = *major,
            _ => spans.push((*major, *major)),
        }
    }
    let said = spans.iter().map(|(first, last)| match (first, last) {
        (_, last) if last == MAJORS.end() => format!("{first}+"),
        (first, last) if first == last => first.to_string(),
        _ => format!("{first}–{last}"),
    });
    said.collect::<Vec<_>>().join(", ")
}

/// What the comment says that opens a pack's file.
struct Head {
    measures: String,
    versions: String,
    privilege: String,
    cost: String,
}

fn head(pack: &str) -> Head {
    let text = fs::read_to_string(project(&format!("queries/{pack}.yaml"))).expect("the file");
    let lines = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    // An empty comment line ends a paragraph.
    let text = lines.map(|line| if line.is_empty() { "\n" } else { line }).collect::<Vec<_>>();
    let text = text.join(" ");
    let first = text.split_once(". ").map_or(&*text, |(first, _)| first);
    let first = first.split('\n').next().unwrap_or_default();
    let after = |word: &str, ends: &[&str]| {
        let (_, rest) = text.split_once(word).expect("every pack says it");
        let rest = rest.split('\n').next().unwrap_or_default();
        let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
        rest[..end].trim().trim_end_matches('.').to_owned()
    };
    let escaped = |text: String| text.replace('|', r"\|");
    Head {
        measures: escaped(first.trim().trim_end_matches('.').to_owned()),
        versions: escaped(after("Versions:", &["Privilege:", "Needs:", "Cost:"])),
        privilege: escaped(after("Privilege:", &["Needs:", "Cost:"])),
        cost: escaped(after("Cost:", &[])),
    }
}
