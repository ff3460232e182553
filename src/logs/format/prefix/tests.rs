//! Prefixes and lines.

use super::*;

fn fields(prefix: &str, line: &str) -> Option<Vec<String>> {
    let prefix = Prefix::compile(prefix);
    let found = prefix.matches(line.as_bytes())?;
    let all = "audrhLbpPtmnscliexvQ".bytes().filter_map(Escape::of);
    let text = |escape| found.get(line.as_bytes(), escape).map(String::from_utf8_lossy);
    Some(all.filter_map(text).map(String::from).chain([line[found.text..].to_owned()]).collect())
}

#[test]
fn what_the_server_ignores_is_ignored() {
    for prefix in ["[%p] %y%z", "[%p] %", "[%p] %-", "[%p] %5", "[%q%p]%q ", "[%p]% ! "] {
        let line = if prefix.ends_with("! ") { "[7]! LOG:  x" } else { "[7] LOG:  x" };
        assert_eq!(fields(prefix, line), Some(vec!["7".into(), "x".into()]), "{prefix}");
    }
    assert_eq!(fields("100%% %p ", "100% 7 LOG:  x"), Some(vec!["7".into(), "x".into()]));
    assert_eq!(fields("", "LOG:  x"), Some(vec!["x".into()]));
}

#[test]
fn a_line_fits_only_as_a_whole() {
    for line in [
        "2026-03-04 09:15:01.207 UTC [4411] LOG: one blank",
        "2026-03-04 09:15:01.207 UTC [4411] INFO no colon",
        "2026-03-04 09:15:01 UTC [4411] LOG:  no fraction",
        "2026-03-04 09:15:01,207 UTC [4411] LOG:  a comma",
        "2026-03-04 09:15:01.207 [4411] LOG:  no zone",
        "2026-03-04 09:15:01.207 UTC [] LOG:  no process",
        " 2026-03-04 09:15:01.207 UTC [4411] LOG:  a blank before",
        "2026-03-04 09:15:01.207 UTC [4411] ",
    ] {
        assert_eq!(fields("%m [%p] ", line), None, "{line}");
    }
}

#[test]
fn zones_are_words_or_offsets() {
    for zone in ["UTC", "CEST", "+03", "-0330", "+0545", "UTC+3"] {
        let time = format!("2026-03-04 09:15:01.207 {zone}");
        let line = format!("{time} [7] LOG:  x");
        assert_eq!(fields("%m [%p] ", &line), Some(vec!["7".into(), time, "x".into()]));
    }
    // What follows the zone may look like a part of it.
    let line = "2026-03-04 09:15:01 UTC-7 LOG:  x";
    let time = "2026-03-04 09:15:01 UTC".to_owned();
    assert_eq!(fields("%t-%p ", line), Some(vec!["7".into(), time, "x".into()]));
}

#[test]
fn addresses_end_where_the_rest_begins() {
    for (prefix, line, host) in [
        ("%h:%u:", "10.0.0.7:app:LOG:  x", "10.0.0.7"),
        ("%h:%u:", "2001:db8::7:app:LOG:  x", "2001:db8::7"),
        ("%h %u ", "fe80::1%eth0 app LOG:  x", "fe80::1%eth0"),
        ("%r %u ", "[local] app LOG:  x", "[local]"),
        ("%r:%u ", "2001:db8::7(5432):app LOG:  x", "2001:db8::7(5432)"),
        ("%r:%u ", "db-1.example.org(5432):app LOG:  x", "db-1.example.org(5432)"),
    ] {
        let wanted = vec!["app".to_owned(), host.into(), "x".into()];
        assert_eq!(fields(prefix, line), Some(wanted), "{line}");
    }
}

#[test]
fn a_line_costs_a_bounded_number_of_trials() {
    let prefix = Prefix::compile("%a%u%d%i%a%u%d%i%b ");
    let line = "a b ".repeat(1000);
    let start = std::time::Instant::now();
    assert!(prefix.matches(line.as_bytes()).is_none());
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}

#[test]
fn known_prefixes_are_guessed_from_their_lines() {
    for (text, line) in [
        ("%m [%p] %q%u@%d ", "2026-03-04 09:15:01.207 UTC [7] a@b LOG:  x"),
        ("%m [%p] %u@%d ", "2026-03-04 09:15:01.207 UTC [7] @ LOG:  x"),
        ("%m [%p] %q%u@%d/%a ", "2026-03-04 09:15:01.207 UTC [7] a@b/c LOG:  x"),
        (
            "%m [%p] %q[user=%u,db=%d,app=%a] ",
            "2026-03-04 09:15:01.207 UTC [7] [user=a,db=b,app=c d] LOG:  x",
        ),
        (
            "%t [%p]: db=%d,user=%u,app=%a,client=%h ",
            "2026-03-04 09:15:01 UTC [7]: db=a,user=b,app=c,client=d LOG:  x",
        ),
        (
            "%t [%p]: user=%u,db=%d,app=%a,client=%h,line=%l ",
            "2026-03-04 09:15:01 UTC [7]: user=a,db=b,app=c,client=10.0.0.1,line=4 LOG:  00000: x",
        ),
        (
            "%t [%p]: user=%u,db=%d,app=%a,client=%h ",
            "2026-03-04 09:15:01 UTC [7]: user=a,db=b,app=c,client=[local] LOG:  x",
        ),
        ("%t [%p]: user=%u,db=%d ", "2026-03-04 09:15:01 UTC [7]: user=a,db=b LOG:  x"),
        (
            "%t [%p]: [%l-1] %c %x %d %u %a %h ",
            "2026-03-04 09:15:01 UTC [7]: [9-1] 69a7f9b1.7 0 shop app web 7 10.0.0.7 LOG:  x",
        ),
        ("%t:%r:%u@%d:[%p]:", "2026-03-04 09:15:01 UTC:1.2.3.4(5):a@b:[7]:LOG:  x"),
        ("%t [%p]: [%l-1] ", "2026-03-04 09:15:01 UTC [7]: [9-1] LOG:  x"),
    ] {
        let sample = format!("noise\n{line}\n\tcontinued\n{line}\n");
        assert_eq!(Prefix::guess(sample.as_bytes()).expect(text).as_str(), text);
    }
    // Processes of the server alone tell nothing of what clients' lines hold: the richest stands,
    // and reads them.
    let line = b"2026-03-04 09:15:01.207 UTC [7] LOG:  x\n";
    assert!(Prefix::guess(line).expect("the default").matches(line).is_some());
    assert!(Prefix::guess(b"hello\nworld\n").is_none());
    assert!(Prefix::guess(b"").is_none());
}
