//! The table of value conversion, row by row.

use super::*;

const NATIVE: Reading = Reading { whole_seconds: false, go_floats: false };
const FOREIGN: Reading = Reading { whole_seconds: true, go_floats: true };

const INT8: u32 = 20;
const TEXT: u32 = 25;
const NUMERIC: u32 = 1700;

#[test]
fn numbers_of_every_type() {
    for (type_oid, text, expected) in [
        (INT8, "-9007199254740992", -9_007_199_254_740_992.0),
        (oid::FLOAT8, "1.5e-07", 1.5e-7),
        (oid::FLOAT8, "Infinity", f64::INFINITY),
        (oid::FLOAT4, "-Infinity", f64::NEG_INFINITY),
        (NUMERIC, "123.4500", 123.45),
        (NUMERIC, "Infinity", f64::INFINITY),
        (oid::BOOL, "t", 1.0),
        (oid::BOOL, "f", 0.0),
        (oid::DATE, "1970-01-02", 86_400.0),
        (oid::DATE, "infinity", f64::INFINITY),
        (oid::DATE, "2000-02-29", 951_782_400.0),
        (oid::TIMESTAMP, "2024-05-01 12:34:56.789", 1_714_566_896.789),
        (oid::TIMESTAMPTZ, "2024-05-01 12:34:56+00", 1_714_566_896.0),
        (oid::TIMESTAMPTZ, "2024-05-01 18:04:56+05:30", 1_714_566_896.0),
        (oid::TIMESTAMPTZ, "1969-12-31 23:59:59.5+00", -0.5),
        (oid::TIMESTAMPTZ, "-infinity", f64::NEG_INFINITY),
        (oid::TIMESTAMP, "0001-01-01 00:00:00 BC", -62_167_219_200.0),
        (oid::TIMESTAMP, "12024-01-01 00:00:00", 317_273_587_200.0),
        (TEXT, "0x1.8p1", 3.0),
        (TEXT, "-0X.8P0", -0.5),
        (TEXT, "+1e3", 1000.0),
        (TEXT, "iNf", f64::INFINITY),
        (3220, "12", 12.0),
    ] {
        assert_eq!(number(type_oid, text, NATIVE), Ok(expected), "{type_oid} {text}");
    }
    assert!(number(NUMERIC, "NaN", NATIVE).unwrap().is_nan());
    assert_eq!(number(oid::TIMESTAMP, "1969-12-31 23:59:59.5", FOREIGN), Ok(-1.0));
}

#[test]
fn what_is_no_number() {
    for (type_oid, text) in [
        (TEXT, ""),
        (TEXT, " 1"),
        (TEXT, "1 "),
        (TEXT, "+nan"),
        (TEXT, "1e400"),
        (TEXT, "0x10"),
        (TEXT, "0xp1"),
        (TEXT, "00:01:00"),
        (TEXT, "2024-05-01 12:00:00"),
        (oid::INTERVAL, "1"),
        (oid::TIME, "12"),
        (oid::TIMESTAMP, "2024-13-01 00:00:00"),
        (oid::TIMESTAMP, "2024-05-01 12:34:56:78"),
        (oid::TIMESTAMP, "nonsense"),
        (oid::BOOL, "1"),
        (3220, "0/15E8B28"),
    ] {
        assert!(number(type_oid, text, NATIVE).is_err(), "{type_oid} {text}");
    }
}

#[test]
fn labels() {
    for (type_oid, text, native, foreign) in [
        (oid::BOOL, "t", "true", "true"),
        (oid::BOOL, "f", "false", "false"),
        (NUMERIC, "1.500", "1.500", "1.500"),
        (oid::FLOAT8, "123456789", "123456789", "1.23456789e+08"),
        (oid::FLOAT8, "1e+20", "1e+20", "1e+20"),
        (oid::FLOAT8, "100000", "100000", "100000"),
        (oid::FLOAT8, "-2.5e-07", "-2.5e-07", "-2.5e-07"),
        (oid::FLOAT8, "0.0001", "0.0001", "0.0001"),
        (oid::FLOAT8, "-Infinity", "-Infinity", "-Inf"),
        (oid::TIMESTAMPTZ, "2024-05-01 12:34:56.789+00", "1714566896", "1714566896"),
        (oid::TIMESTAMP, "infinity", "infinity", "infinity"),
        (oid::INTERVAL, "1 day 02:00:00", "1 day 02:00:00", "1 day 02:00:00"),
        (TEXT, "wörd \"x\"", "wörd \"x\"", "wörd \"x\""),
    ] {
        assert_eq!(label(type_oid, text, NATIVE), native, "{type_oid} {text}");
        assert_eq!(label(type_oid, text, FOREIGN), foreign, "{type_oid} {text}");
    }
}

#[test]
fn durations_as_go_reads_them() {
    for (text, milliseconds) in [
        ("1h2m3.5s", 3_723_500.0),
        ("300ms", 300.0),
        ("1us", 0.0),
        ("1500µs", 1.0),
        (".5s", 500.0),
        ("1.s", 1000.0),
        ("-1.5s", -1500.0),
        ("0", 0.0),
        ("+0", 0.0),
    ] {
        assert_eq!(go_duration(text), Some(milliseconds), "{text}");
    }
    for text in ["", "-", "5", "1d", "00:01:00", "s", ".s", "1h-2m", "1..2s", "9e9h"] {
        assert_eq!(go_duration(text), None, "{text}");
    }
}

#[test]
fn arrays() {
    let parse = |text| {
        array(text).map(|all| {
            all.into_iter().map(|e| e.map(Cow::into_owned)).collect::<Vec<Option<String>>>()
        })
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(parse("{}"), Some(vec![]));
    assert_eq!(parse("{1,NULL,2.5}"), Some(vec![some("1"), None, some("2.5")]));
    assert_eq!(parse(r#"[0:1]={"a,\"b\\",c}"#), Some(vec![some(r#"a,"b\"#), some("c")]));
    assert_eq!(parse(r#"{"NULL"}"#), Some(vec![some("NULL")]));
    for broken in ["", "1", "{1", "{1,}", "{,1}", "{{1},{2}}", r#"{"a}"#, r#"{"a"b}"#, "{1}{2}"] {
        assert_eq!(parse(broken), None, "{broken}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    })]

    #[test]
    fn nothing_panics(text in ".{0,40}", type_oid in 0u32..4000) {
        let _ = number(type_oid, &text, NATIVE);
        let _ = label(type_oid, &text, FOREIGN);
        let _ = array(&text);
        let _ = go_duration(&text);
    }

    #[test]
    fn a_time_that_looks_right_does_not_overflow(text in "[0-9]{1,19}-[0-9]{1,2}-[0-9]{1,2}( [0-9]{1,19}(:[0-9]{1,19}){0,2})?( BC)?") {
        let _ = number(oid::TIMESTAMP, &text, NATIVE);
    }

    #[test]
    fn go_floats_read_back(value in proptest::num::f64::NORMAL) {
        proptest::prop_assert_eq!(go_float(value).parse::<f64>(), Ok(value));
    }
}
