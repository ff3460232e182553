//! Pages as a scraper sees them: golden files, `promtool`, and a reader that shares nothing with the
//! writer.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use flate2::read::GzDecoder;
use pgvigil::exposition::{Choice, Format, render};
use pgvigil::metric::{Family, Histogram, Kind, Labels, Point, Sample};
use proptest::prelude::*;

use crate::support::exposition::{Parsed, parse_openmetrics, parse_text};

const PLAIN: Choice = Choice { format: Format::Text, gzip: false };
const OPEN: Choice = Choice { format: Format::OpenMetrics, gzip: false };

fn page(families: &[Arc<Family>], choice: Choice) -> String {
    String::from_utf8(render(families, choice).body.to_vec()).unwrap()
}

fn read(families: &[Arc<Family>], choice: Choice) -> Result<Parsed, String> {
    let page = page(families, choice);
    let parsed = match choice.format {
        Format::Text => parse_text(&page),
        Format::OpenMetrics => parse_openmetrics(&page),
    };
    parsed.map_err(|e| format!("{e}\n{page}"))
}

fn histogram(buckets: &[(f64, u64)], sum: f64, count: u64) -> Point {
    Point::Histogram(Box::new(Histogram { buckets: buckets.to_vec(), sum, count }))
}

/// Label values that have broken pages before.
fn hostile() -> Vec<String> {
    vec![
        "plain".to_owned(),
        String::new(),
        " blanks around ".to_owned(),
        "say \"hello\"".to_owned(),
        "two\nlines\nand\r\nthree".to_owned(),
        r"C:\path\new".to_owned(),
        r#"ends in a backslash\"#.to_owned(),
        r#"\"},injected{x="1"} 1"#.to_owned(),
        "x\"} 1\ninjected 1\n# TYPE injected gauge".to_owned(),
        "nul \0 bell \x07 escape \x1b[31m".to_owned(),
        "tab\tand \u{85} and \u{2028}".to_owned(),
        "日本語 émoji 🐘".to_owned(),
        String::from_utf8_lossy(b"not utf-8: \xff\xfe").into_owned(),
        "ten kilobytes \\ \" \n".repeat(512),
    ]
}

/// Families of every kind, from two servers, with what must be dropped among them.
fn sample_families() -> Vec<Arc<Family>> {
    let server = |name: &str| Labels::new([("cluster", "shop"), ("server", name)]);
    let database = |server: &str, name: &str| {
        Labels::new([("cluster", "shop"), ("server", server), ("datname", name)])
    };
    let mut latency =
        Family::new("pgvigil_http_request_seconds", "Time to answer.", Kind::Histogram);
    for handler in ["metrics", "status"] {
        latency.samples.push(Sample {
            labels: Labels::new([("handler", handler)]),
            point: histogram(&[(0.001, 2), (0.25, 3), (1.0, 3), (10.0, 5)], 12.5, 7),
        });
    }
    let mut odd =
        Family::new("pg_odd", "Backslash \\, \"quotes\" and\na second line.", Kind::Untyped);
    for (at, value) in hostile().into_iter().enumerate() {
        // A family of golden files stays readable: the longest value is for the other tests.
        if value.len() < 1000 {
            odd.push(Labels::new([("n", at.to_string()), ("value", value)]), at as f64);
        }
    }
    let numbers = [0.1 + 0.2, 1e-9, 2.5e300, -17.0, 9_007_199_254_740_992.0, 1e17, f64::NAN];
    let mut values = Family::new("pg_values", "Numbers of many sizes.", Kind::Gauge);
    for (at, value) in numbers.into_iter().chain([f64::INFINITY, f64::NEG_INFINITY]).enumerate() {
        values.push(Labels::new([("n", at.to_string())]), value);
    }
    let commits = "Transactions committed.";
    [
        Family::new("pg_up", "Whether the server answers.", Kind::Gauge)
            .with(server("shop-1"), 1.0)
            .with(server("shop-2"), 0.0),
        Family::new("pg_stat_database_xact_commit", commits, Kind::Counter)
            .with(database("shop-1", "app"), 1_234_567_890_123.0)
            .with(database("shop-1", "app"), 2.0),
        Family::new("pg_stat_database_xact_commit", "Other words.", Kind::Counter)
            .with(database("shop-2", "app"), 5.0),
        Family::new("pg_stat_database_xact_commit", commits, Kind::Gauge)
            .with(database("shop-3", "app"), 5.0),
        Family::new("pgvigil_http_requests_total", "Requests answered.", Kind::Counter)
            .with(Labels::new([("handler", "metrics"), ("code", "200")]), 17.0),
        Family::new("pg_backlog", "", Kind::Gauge).with(Labels::default(), 3.0),
        Family::new("pg_backlog_total", "Beside a gauge of its stem.", Kind::Counter)
            .with(Labels::default(), 4.0),
        Family::new("pg-broken", "A name that no Prometheus takes.", Kind::Gauge)
            .with(Labels::default(), 1.0),
        Family::new("pg_empty", "Nothing measured.", Kind::Gauge),
        latency,
        odd,
        values,
    ]
    .map(Arc::new)
    .to_vec()
}

#[test]
fn golden_files() {
    for (file, choice) in [("page.txt", PLAIN), ("page.om", OPEN)] {
        let path = PathBuf::from("tests/data/exposition").join(file);
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
        let now = page(&sample_families(), choice);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &now).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap();
        assert!(now == golden, "{file} differs; UPDATE=1 rewrites it:\n{now}");
    }
}

#[test]
fn both_formats_hold_the_same_series() {
    let families = sample_families();
    let (text, open) = (read(&families, PLAIN).unwrap(), read(&families, OPEN).unwrap());
    let series = |parsed: &Parsed| {
        let mut all: Vec<String> = parsed
            .families
            .iter()
            .flat_map(|f| &f.samples)
            .map(|s| format!("{}{:?} {:?}", s.name, s.labels, s.value))
            .collect();
        all.sort();
        all
    };
    assert_eq!(series(&text), series(&open));
    assert_eq!(text.family("pg_stat_database_xact_commit").unwrap().kind, "counter");
    assert_eq!(open.family("pg_stat_database_xact_commit").unwrap().kind, "unknown");
    assert_eq!(open.family("pgvigil_http_requests").unwrap().kind, "counter");
    assert_eq!(text.value("pg_up", &[("server", "shop-2")]), Some(0.0));
    let dropped = render(&families, PLAIN).dropped;
    assert_eq!((dropped.duplicate, dropped.kind, dropped.name), (1, 1, 1));
}

#[test]
fn hostile_label_values_survive() {
    let mut family = Family::new("pg_odd", "\\ \" \n \r \0", Kind::Gauge);
    for (at, value) in hostile().into_iter().enumerate() {
        family.push(Labels::new([("n", at.to_string()), ("value", value)]), 1.0);
    }
    let family = [Arc::new(family)];
    for choice in [PLAIN, OPEN] {
        let parsed = read(&family, choice).unwrap();
        let read = parsed.family("pg_odd").unwrap();
        assert_eq!(read.help.as_deref(), Some("\\ \" \n \r \0"));
        let values: Vec<&str> = read.samples.iter().map(|s| s.label("value").unwrap()).collect();
        assert_eq!(values, hostile());
    }
}

#[test]
fn gzip_holds_the_same_page_in_one_member() {
    let mut families = sample_families();
    // Enough for the page to be compressed in several steps.
    for name in ["pg_a", "pg_z"] {
        let mut large = Family::new(name, "", Kind::Gauge);
        for n in 0..3000 {
            large.push(Labels::new([("relname", format!("a_table_of_many_{n}"))]), f64::from(n));
        }
        families.push(Arc::new(large));
    }
    for format in [Format::Text, Format::OpenMetrics] {
        let packed = render(&families, Choice { format, gzip: true }).body;
        // Not the reader of several members: curl reads only the first.
        let mut unpacked = String::new();
        let mut decoder = GzDecoder::new(&packed[..]);
        decoder.read_to_string(&mut unpacked).unwrap();
        assert!(decoder.into_inner().is_empty(), "bytes after the first member");
        assert_eq!(unpacked, page(&families, Choice { format, gzip: false }));
        assert!(packed.len() < unpacked.len() / 2);
    }
}

/// promtool's own exit code 3 is for naming lints, which bind no inherited name.
#[test]
fn promtool_reads_the_page() {
    let Some(promtool) = std::env::var_os("PROMTOOL") else {
        assert!(std::env::var_os("CI").is_none(), "PROMTOOL is not set");
        eprintln!("skipped: PROMTOOL is not set");
        return;
    };
    let mut family = Family::new("pg_odd_values", "\\ \" \n", Kind::Gauge);
    for (at, value) in hostile().into_iter().enumerate() {
        family.push(Labels::new([("n", at.to_string()), ("value", value)]), 1.0);
    }
    let mut families = sample_families();
    families.push(Arc::new(family));
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page(&families, PLAIN).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}\n{said}", output.status);
    assert!(!said.contains("error while linting"), "{said}");
}

#[test]
fn nothing_makes_an_empty_page() {
    assert_eq!(page(&[], PLAIN), "");
    assert_eq!(page(&[], OPEN), "# EOF\n");
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Counter), Just(Kind::Gauge), Just(Kind::Untyped), Just(Kind::Histogram)]
}

fn points(kind: Kind) -> BoxedStrategy<Point> {
    match kind {
        Kind::Histogram => (proptest::collection::vec((-1e6..1e6f64, 0..1000u64), 0..5), 0..9u64)
            .prop_map(|(mut buckets, more)| {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                buckets.dedup_by(|a, b| a.0 == b.0);
                let mut count = 0;
                for bucket in &mut buckets {
                    count += bucket.1;
                    bucket.1 = count;
                }
                histogram(&buckets, 1.5, count + more)
            })
            .boxed(),
        // OpenMetrics has no counter below zero, and the reader here says so.
        Kind::Counter => (0.0..1e18f64).prop_map(Point::Number).boxed(),
        _ => any::<f64>().prop_map(Point::Number).boxed(),
    }
}

fn families() -> impl Strategy<Value = Vec<Arc<Family>>> {
    // Few names, so that families meet: each other, a histogram's series, a counter's stem.
    let name = "(a|b)(_total|_count|_bucket|_created|-)?";
    let labels = proptest::collection::vec(("(a|le|x:y|b|__c)", any::<String>()), 0..3)
        .prop_map(Labels::new);
    let family = (name, any::<String>(), kinds()).prop_flat_map(move |(name, help, kind)| {
        proptest::collection::vec((labels.clone(), points(kind)), 0..6).prop_map(move |samples| {
            let mut family = Family::new(name.clone(), help.clone(), kind);
            family.samples =
                samples.into_iter().map(|(labels, point)| Sample { labels, point }).collect();
            Arc::new(family)
        })
    });
    proptest::collection::vec(family, 0..8)
}

/// What a page must hold: as many series as were given less those dropped, each with its value.
fn accounted(families: &[Arc<Family>], choice: Choice) -> Result<(), TestCaseError> {
    let dropped = render(families, choice).dropped;
    let lost: u64 = dropped.by_reason().iter().map(|(_, n)| n).sum();
    let parsed = read(families, choice).map_err(TestCaseError::fail)?;
    let mut kept = 0;
    for family in &parsed.families {
        for sample in &family.samples {
            if family.kind == "histogram" && !sample.name.ends_with("_count") {
                continue;
            }
            kept += 1;
            let name = if family.kind == "histogram" { &family.name } else { &sample.name };
            let given = families.iter().filter(|f| *f.name == **name).flat_map(|f| &f.samples);
            let found = given.filter(|s| {
                s.labels.iter().eq(sample.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())))
            });
            prop_assert!(
                found.into_iter().any(|s| match &s.point {
                    Point::Number(value) =>
                        value.to_bits() == sample.value.to_bits()
                            || value.is_nan() && sample.value.is_nan(),
                    Point::Histogram(h) => h.count as f64 == sample.value,
                }),
                "{sample:?} was not given"
            );
        }
    }
    let given: usize = families.iter().map(|f| f.samples.len()).sum();
    prop_assert_eq!(kept + lost, given as u64);
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_reads_back(families in families()) {
        accounted(&families, PLAIN)?;
        accounted(&families, OPEN)?;
    }
}
