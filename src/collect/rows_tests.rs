//! What rows become, fault by fault.

use super::super::testing::{queries, query, rows};
use super::*;
use crate::collect::columns::MAX_LABEL_BYTES;
use crate::metric::{Kind, Point};
use crate::packs::Dialect;

const TEXT: u32 = 25;
const INT: u32 = 20;
const FLOAT: u32 = 701;
const TIME: u32 = 1184;

fn take(query: &Query, rows: &Rows, max_series: Option<usize>) -> Harvest {
    let base = Labels::new([("cluster", "c"), ("server", "s")]);
    let claims = Claims::of([query]);
    harvest(query, rows, &terms(&base, &claims, max_series, &Mutex::default()))
}

/// The samples as lines, without the base labels.
fn lines(harvest: &Harvest) -> Vec<String> {
    let mut out = Vec::new();
    for family in &harvest.families {
        for sample in &family.samples {
            let labels: Vec<String> = sample
                .labels
                .iter()
                .filter(|pair| ![("cluster", "c"), ("server", "s")].contains(pair))
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            assert_eq!(sample.labels.get("server"), Some("s"));
            let point = match &sample.point {
                Point::Number(number) => number.to_string(),
                Point::Histogram(h) => format!("{:?} {} {}", h.buckets, h.sum, h.count),
            };
            out.push(format!("{}{{{}}} {point}", family.name, labels.join(",")));
        }
    }
    out
}

const SIMPLE: &str = "
q:
  query: SELECT 1
  metrics:
    - l: {usage: LABEL, description: l}
    - v: {usage: GAUGE, metric: pg_v, description: v}
    - w: {usage: COUNTER, metric: pg_w_total, description: w}
";

fn native() -> Arc<Query> {
    query(Dialect::Native, SIMPLE)
}

#[test]
fn columns_are_found_by_name_and_null_is_absent() {
    let result = rows(
        &[("w", INT), ("extra", TEXT), ("v", FLOAT), ("l", TEXT)],
        &[
            &[Some("1"), Some("x"), Some("NaN"), Some("a")],
            &[None, Some("x"), Some("Infinity"), Some("b")],
            &[Some("3"), None, None, None],
            &[Some("4"), None, None, Some("")],
        ],
    );
    let harvest = take(&native(), &result, None);
    assert_eq!(
        lines(&harvest),
        ["pg_v{l=a} NaN", "pg_v{l=b} inf", "pg_w_total{l=a} 1", "pg_w_total{} 3",]
    );
    // The last row has no label either: an empty one is an absent one.
    assert_eq!(harvest.reason, QueryReason::Duplicate);
    assert_eq!((harvest.rows, harvest.series, harvest.dropped), (4, 4, 1));
    assert!(harvest.notes[0].contains("`pg_w_total` came more than once"), "{:?}", harvest.notes);
}

#[test]
fn a_missing_value_column_costs_itself_and_a_missing_label_the_query() {
    let harvest =
        take(&native(), &rows(&[("l", TEXT), ("v", INT)], &[&[Some("a"), Some("1")]]), None);
    assert_eq!(harvest.reason, QueryReason::Ok);
    assert_eq!(lines(&harvest), ["pg_v{l=a} 1"]);
    assert_eq!(harvest.notes.len(), 1);
    assert!(harvest.notes[0].contains("no column `w`"));

    let harvest = take(&native(), &rows(&[("v", INT)], &[&[Some("1")]]), None);
    assert_eq!(harvest.reason, QueryReason::MissingObject);
    assert!(harvest.families.is_empty() && harvest.notes[0].contains("`l`"));
}

#[test]
fn what_is_no_number_costs_its_sample_and_the_value_is_not_told() {
    let result = rows(
        &[("l", TEXT), ("v", TEXT), ("w", INT)],
        &[&[Some("a"), Some("hunter2"), Some("1")], &[Some("b"), Some("hunter2"), Some("2")]],
    );
    let harvest = take(&native(), &result, None);
    assert_eq!(harvest.reason, QueryReason::Type);
    assert_eq!(lines(&harvest), ["pg_w_total{l=a} 1", "pg_w_total{l=b} 2"]);
    assert_eq!(harvest.dropped, 2);
    let note = &harvest.notes[0];
    assert!(note.contains("`v` is no number") && note.ends_with("(2 times)"), "{note}");
    assert!(!note.contains("hunter2"));
}

#[test]
fn a_long_label_costs_its_row() {
    let long = "x".repeat(MAX_LABEL_BYTES + 1);
    let fits = "y".repeat(MAX_LABEL_BYTES);
    let result = rows(
        &[("l", TEXT), ("v", INT), ("w", INT)],
        &[&[Some(&long), Some("1"), Some("1")], &[Some(&fits), Some("2"), None]],
    );
    let harvest = take(&native(), &result, None);
    assert_eq!(harvest.reason, QueryReason::Truncated);
    assert_eq!((harvest.series, harvest.dropped, harvest.truncated), (1, 2, true));
}

#[test]
fn the_cap_stops_the_query_and_says_so() {
    let cells: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let all: Vec<[Option<&str>; 3]> =
        cells.iter().map(|c| [Some(c.as_str()), Some("1"), Some("1")]).collect();
    let all: Vec<&[Option<&str>]> = all.iter().map(<[_; 3]>::as_slice).collect();
    let result = rows(&[("l", TEXT), ("v", INT), ("w", INT)], &all);
    let harvest = take(&native(), &result, Some(7));
    assert_eq!(harvest.series, 7);
    assert!(harvest.truncated && harvest.reason == QueryReason::Truncated);
    assert!(harvest.notes.iter().any(|n| n.contains("max_series")));
    let harvest = take(&native(), &result, Some(20));
    assert_eq!((harvest.series, harvest.truncated, harvest.reason), (20, false, QueryReason::Ok));
    let cut = Rows { truncated: true, ..result };
    let harvest = take(&native(), &cut, None);
    assert_eq!((harvest.series, harvest.reason), (20, QueryReason::Truncated));
}

#[test]
fn a_clash_with_the_base_becomes_exported() {
    let query = query(
        Dialect::Native,
        "{q: {query: SELECT 1, metrics: [{server: {usage: LABEL, description: d}}, \
         {v: {usage: GAUGE, metric: pg_v, description: d}}]}}",
    );
    let harvest =
        take(&query, &rows(&[("server", TEXT), ("v", INT)], &[&[Some("x"), Some("1")]]), None);
    assert_eq!(lines(&harvest), ["pg_v{exported_server=x} 1"]);
}

#[test]
fn a_family_that_is_not_its_own_is_refused() {
    let all = queries(
        Dialect::Native,
        "
a: {query: SELECT 1, metrics: [{v: {usage: GAUGE, metric: pg_v, description: d}}]}
b: {query: SELECT 1, metrics: [{v: {usage: COUNTER, metric: pg_v, description: d}}, {w: {usage: GAUGE, metric: pg_w, description: d}}]}
",
    );
    let claims = Claims::of(all.iter().map(|q| &**q));
    let base = Labels::new([("server", "s")]);
    let members = Mutex::default();
    let terms = terms(&base, &claims, None, &members);
    let result = rows(&[("v", INT), ("w", INT)], &[&[Some("1"), Some("2")]]);
    let first = harvest(&all[0], &result, &terms);
    assert_eq!((first.reason, lines(&first)), (QueryReason::Ok, vec!["pg_v{} 1".to_owned()]));
    let second = harvest(&all[1], &result, &terms);
    assert_eq!(second.reason, QueryReason::Duplicate);
    assert_eq!(lines(&second), ["pg_w{} 2"]);
}

#[test]
fn postgres_exporter_shows_unknown_columns_and_null_as_nan() {
    let query = query(
        Dialect::PostgresExporter,
        "
q:
  query: SELECT 1
  metrics:
    - l: {usage: LABEL, description: l}
    - v: {usage: GAUGE, description: v}
    - m: {usage: MAPPEDMETRIC, description: m, metric_mapping: {up: 1}}
    - d: {usage: DURATION, description: d}
    - t: {usage: GAUGE, description: t}
",
    );
    let result = rows(
        &[("l", FLOAT), ("v", INT), ("m", TEXT), ("d", TEXT), ("t", TIME), ("n", INT), ("s", TEXT)],
        &[
            &[
                Some("123456789"),
                None,
                Some("up"),
                Some("1m1s"),
                Some("1970-01-01 00:00:01.9+00"),
                Some("7"),
                Some("text"),
            ],
            &[Some("2"), Some("3"), Some("5"), Some("-1"), None, None, Some("8")],
            &[Some("3"), Some("3"), Some("lost"), Some("12"), None, None, None],
        ],
    );
    let harvest = take(&query, &result, None);
    assert_eq!(
        lines(&harvest),
        [
            "q_v{l=1.23456789e+08} NaN",
            "q_v{l=2} 3",
            "q_v{l=3} 3",
            "q_m{l=1.23456789e+08} 1",
            "q_m{l=2} 5",
            "q_d_milliseconds{l=1.23456789e+08} 61000",
            "q_d_milliseconds{l=2} -1",
            "q_d_milliseconds{l=3} 12",
            "q_t{l=1.23456789e+08} 1",
            "q_t{l=2} NaN",
            "q_t{l=3} NaN",
            "q_n{l=1.23456789e+08} 7",
            "q_n{l=2} NaN",
            "q_n{l=3} NaN",
            "q_s{l=2} 8",
            "q_s{l=3} NaN",
        ]
    );
    assert_eq!(harvest.reason, QueryReason::Type);
    let kinds: Vec<_> = harvest.families.iter().map(|f| f.kind).collect();
    assert_eq!(kinds[4..], [Kind::Untyped, Kind::Untyped]);
}

#[test]
fn cloudnativepg_wants_every_column_named() {
    let query = query(
        Dialect::Cnpg,
        "{q: {query: SELECT 1, primary: true, metrics: [{v: {usage: GAUGE, description: d}}]}}",
    );
    let harvest = take(&query, &rows(&[("v", INT), ("w", INT)], &[&[Some("1"), Some("2")]]), None);
    assert_eq!((harvest.reason, harvest.families.len()), (QueryReason::Type, 0));
    let harvest = take(&query, &rows(&[("v", INT)], &[&[Some("1")]]), None);
    assert_eq!(lines(&harvest), ["cnpg_q_v{} 1"]);

    let query = super::super::testing::query(
        Dialect::Cnpg,
        "{q: {query: SELECT 1, primary: true, metrics: [{d: {usage: DURATION, description: d}}]}}",
    );
    let harvest = take(&query, &rows(&[("d", TEXT)], &[&[Some("-1ms")], &[Some("-1")]]), None);
    assert_eq!((harvest.reason, harvest.series), (QueryReason::Ok, 0));
}

#[test]
fn histograms() {
    let query = query(
        Dialect::Native,
        "{q: {query: SELECT 1, metrics: [{h: {usage: HISTOGRAM, metric: pg_h, description: d}}]}}",
    );
    let columns = [("h", 1022), ("h_bucket", 1016), ("h_sum", FLOAT), ("h_count", INT)];
    let one = |cells: [&str; 4]| {
        take(&query, &rows(&columns, &[&cells.map(|c| (c != "NULL").then_some(c))]), None)
    };
    let harvest = one(["{5,0.1,1}", "{9,2,4}", "12.5", "10"]);
    assert_eq!(lines(&harvest), ["pg_h{} [(0.1, 2), (1.0, 4), (5.0, 9)] 12.5 10"]);
    assert_eq!((harvest.series, harvest.reason), (6, QueryReason::Ok));
    // Surplus bounds and counts are left out, as is +Inf, which the count says; the last of two wins.
    for (cells, expected) in [
        (["{1,2}", "{3}", "1", "4"], "pg_h{} [(1.0, 3)] 1 4"),
        (["{1}", "{3,4}", "1", "4"], "pg_h{} [(1.0, 3)] 1 4"),
        (["{1,Infinity}", "{3,4}", "1", "4"], "pg_h{} [(1.0, 3)] 1 4"),
        (["{1,1}", "{3,4}", "1", "4"], "pg_h{} [(1.0, 4)] 1 4"),
        (["{1}", "{-3}", "1", "4"], "pg_h{} [(1.0, 0)] 1 4"),
        (["{}", "{}", "0", "NULL"], "pg_h{} [] 0 0"),
    ] {
        assert_eq!(lines(&one(cells)), [expected], "{cells:?}");
    }
    for cells in [
        ["{1,2}", "{4,3}", "1", "5"],
        ["{1,2}", "{4,5}", "1", "4"],
        ["{1,NULL}", "{4,5}", "1", "5"],
        ["1", "{4}", "1", "5"],
        ["{1}", "NULL", "1", "5"],
        ["{1}", "{1}", "NULL", "5"],
        ["{1}", "{1}", "1", "5.5"],
        ["{NaN}", "{1}", "1", "5"],
    ] {
        let harvest = one(cells);
        assert_eq!((harvest.reason, harvest.series), (QueryReason::Type, 0), "{cells:?}");
    }
    let harvest = take(&query, &rows(&columns[..3], &[]), None);
    assert_eq!(harvest.reason, QueryReason::Type);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    })]

    /// Whatever a server sends: no panic, no series twice, nothing beyond the cap.
    #[test]
    fn any_rows_give_a_page(
        cells in proptest::collection::vec(
            proptest::collection::vec(proptest::option::of("[a-c0-3]|\\{[0-3](,[0-3]){0,2}\\}|[0-3{},.\"= -]{0,6}"), 6),
            0..20,
        ),
        oids in proptest::collection::vec(proptest::sample::select(vec![16u32, 20, 25, 701, 1082, 1184, 1186, 1700, 1016, 99]), 6),
        dialect in proptest::sample::select(Dialect::ALL.to_vec()),
        cap in 0usize..20,
    ) {
        let query = super::super::testing::query(
            if dialect == Dialect::Pgsty { Dialect::Native } else { dialect },
            "{q: {query: SELECT 1, metrics: [{l: {usage: LABEL, description: d}}, {v: {usage: GAUGE, description: d}}, {h: {usage: HISTOGRAM, description: d}}]}}",
        );
        let names = ["l", "v", "h", "h_bucket", "h_sum", "h_count"];
        let columns: Vec<_> = names.iter().zip(&oids).map(|(name, oid)| (*name, *oid)).collect();
        let borrowed: Vec<Vec<Option<&str>>> =
            cells.iter().map(|row| row.iter().map(Option::as_deref).collect()).collect();
        let slices: Vec<&[Option<&str>]> = borrowed.iter().map(Vec::as_slice).collect();
        let harvest = take(&query, &rows(&columns, &slices), Some(cap));
        proptest::prop_assert!(harvest.series <= cap);
        let mut seen = std::collections::HashSet::new();
        for family in &harvest.families {
            for sample in &family.samples {
                proptest::prop_assert!(seen.insert((family.name.clone(), sample.labels.clone())));
            }
        }
    }
}

#[test]
fn scale_default_and_buckets() {
    let query = query(
        Dialect::Pgsty,
        "
q:
  query: SELECT 1
  metrics:
    - l: {usage: LABEL}
    - v: {usage: GAUGE, scale: 1e-3, default: 5000}
    - t: {usage: GAUGE, scale: 10}
    - h: {usage: HISTOGRAM, scale: 2, default: 50, bucket: [1, 1000000]}
    - n: {usage: HISTOGRAM, bucket: [1]}
    - s: {usage: HISTOGRAM, bucket: [1]}
",
    );
    let result = rows(
        &[("l", TEXT), ("v", INT), ("t", TIME), ("h", FLOAT), ("n", INT), ("s", TEXT)],
        &[
            &[
                Some("a"),
                Some("1500"),
                Some("1970-01-01 00:00:07.9+00"),
                Some("0.5"),
                None,
                Some("1"),
            ],
            &[Some("b"), None, None, None, Some("1"), Some("NaN")],
        ],
    );
    let harvest = take(&query, &result, None);
    assert_eq!(
        lines(&harvest),
        [
            "q_v{l=a} 1.5",
            "q_v{l=b} 5",
            "q_t{l=a} 7",
            "q_t{l=b} NaN",
            "q_h_bucket{l=a,le=1} 1",
            "q_h_bucket{l=a,le=1e+06} 1",
            "q_h_bucket{l=a,le=+Inf} 1",
            "q_h_bucket{l=b,le=1} 0",
            "q_h_bucket{l=b,le=1e+06} 1",
            "q_h_bucket{l=b,le=+Inf} 1",
            "q_h_count{l=a} 1",
            "q_h_count{l=b} 1",
            "q_h_sum{l=a} 1",
            "q_h_sum{l=b} 100",
            "q_n_bucket{l=b,le=1} 1",
            "q_n_bucket{l=b,le=+Inf} 1",
            "q_n_count{l=b} 1",
            "q_n_sum{l=b} 1",
        ]
    );
    assert!(harvest.families.iter().all(|family| family.kind == Kind::Gauge));
    assert_eq!(harvest.reason, QueryReason::Type, "a distribution with a hole is none");
    assert_eq!(harvest.notes.len(), 1, "{:?}", harvest.notes);
}

fn terms<'t>(
    base: &'t Labels,
    claims: &'t Claims,
    max_series: Option<usize>,
    members: &'t Mutex<Members>,
) -> Terms<'t> {
    Terms { base, claims, max_series, database: None, shown: Shown::Everything, members }
}

#[test]
fn rows_of_a_database_carry_its_name_unless_they_name_one() {
    let pack = |labels: &str| {
        query(
            Dialect::Native,
            &format!(
                "q: {{query: SELECT 1, metrics: [{labels} {{v: {{usage: GAUGE, description: d}}}}]}}"
            ),
        )
    };
    let (base, claims, members) = (Labels::default(), Claims::default(), Mutex::default());
    let terms = Terms { database: Some("shop"), ..terms(&base, &claims, None, &members) };
    let found = |query: &Query, rows: &Rows| {
        harvest(query, rows, &terms).families[0].samples[0].labels.get("datname").map(str::to_owned)
    };
    let bare = rows(&[("v", 23)], &[&[Some("1")]]);
    assert_eq!(found(&pack(""), &bare).as_deref(), Some("shop"));
    let named = rows(&[("datname", 25), ("v", 23)], &[&[Some("other"), Some("1")]]);
    let naming = pack("{datname: {usage: LABEL, description: d}},");
    assert_eq!(found(&naming, &named).as_deref(), Some("other"));
}

#[test]
fn the_first_rows_are_shown_and_who_was_among_them_stays() {
    let query = query(
        Dialect::Native,
        "q: {query: SELECT 1, metrics: [{t: {usage: LABEL, description: d}}, {v: {usage: GAUGE, description: d}}]}",
    );
    let (base, claims, members) = (Labels::default(), Claims::default(), Mutex::default());
    let first = Shown::First(1);
    let max_series = first.max_series(&query, Some(1));
    let terms = Terms { shown: first, ..terms(&base, &claims, max_series, &members) };
    let shown = |order: [&str; 2]| {
        let [a, b] = order.map(|t| [Some(t), Some("1")]);
        let harvest = harvest(&query, &rows(&[("t", 25), ("v", 23)], &[&a, &b]), &terms);
        assert_eq!(harvest.reason, QueryReason::Ok);
        harvest.series
    };
    assert_eq!(shown(["a", "b"]), 1);
    assert_eq!(shown(["b", "a"]), 2, "a was among the first");
}
