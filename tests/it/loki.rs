//! Pushing: every kind of answer, outages, and what a real Loki makes of it all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::agent::{Agent, sample};
use crate::support::loki::{Loki, Stub};
use crate::support::river::{Bed, append, one_source, record};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(10);
const NOW: Duration = Duration::ZERO;

fn numbered(from: usize, to: usize) -> String {
    (from..to).map(|n| record(NOW, 7, "LOG", &format!("record {n}"))).collect()
}

#[test]
fn what_is_refused_for_a_while_arrives() {
    let stub = Stub::start();
    stub.reject(500).times(2);
    stub.reject(429).times(1);
    stub.reset();
    stub.slow(Duration::from_millis(300));
    let bed = Bed::new();
    bed.append("pg.log", &numbered(0, 100));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 100, SOON);
    river.await_value("pgvigil_loki_entries_total", &[], |sent| sent == 100.0);
    let requests = |outcome| river.value("pgvigil_loki_requests_total", &[("outcome", outcome)]);
    assert_eq!(requests("unavailable"), Some(2.0));
    assert_eq!(requests("rate_limited"), Some(1.0));
    assert_eq!(requests("no_answer"), Some(1.0));
    assert_eq!(stub.entries("").len(), 100, "what was repeated is the same to the byte");
    assert_eq!(stub.most_in_flight(), 1);
    assert!(river.stop(DRAIN));
}

#[test]
fn what_is_refused_for_good_is_counted_and_not_repeated() {
    let stub = Stub::start();
    stub.partial(3);
    let bed = Bed::new();
    bed.append("pg.log", &numbered(0, 10));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 7, SOON);
    let refused = [("reason", "too_far_behind")];
    river.await_value("pgvigil_loki_refused_entries_total", &refused, |count| count == 3.0);
    river.await_value("pgvigil_log_file_bytes_behind", &[], |bytes| bytes == 0.0);
    assert_eq!(stub.pushes().len(), 1);
    assert!(river.stop(DRAIN));
}

#[test]
fn what_is_too_large_is_halved() {
    let stub = Stub::start();
    stub.reject(413).times(3);
    let bed = Bed::new();
    bed.append("pg.log", &numbered(0, 64));
    let river = bed.river(&stub.url(), "");
    stub.await_entries("", 64, SOON);
    let sizes: Vec<usize> = stub.pushes().iter().map(|push| push.entries.len()).collect();
    assert_eq!(sizes[..4], [64, 32, 16, 8]);
    assert!(river.stop(DRAIN));
}

#[test]
fn wrong_credentials_lose_nothing_and_are_read_again() {
    for (key, before, after) in [
        ("bearer_token_file: FILE", "Bearer old", "Bearer new"),
        // `ann:old` and `ann:new`
        (
            "basic_auth: {username: ann, password_file: FILE}",
            "Basic YW5uOm9sZA==",
            "Basic YW5uOm5ldw==",
        ),
    ] {
        let stub = Stub::start();
        stub.reject(401).times(1);
        let bed = Bed::new();
        let secret = bed.log("secret");
        std::fs::write(&secret, "old\n").unwrap();
        bed.append("pg.log", &numbered(0, 10));
        let river = bed.river_of(&format!(
            "{{sources: [{{name: pg, files: [\"{}\"]}}], loki: {{url: \"{}\", {}}}}}",
            bed.log("*.log").display(),
            stub.url(),
            key.replace("FILE", &secret.display().to_string())
        ));
        let wrong = [("outcome", "misconfigured")];
        river.await_value("pgvigil_loki_requests_total", &wrong, |count| count == 1.0);
        let problem = river.shipper.status().lanes[0].standing.problem.clone().unwrap();
        assert!(problem.contains("401") && problem.contains("; check"), "{problem}");
        assert!(!problem.contains("old"), "{problem}");
        std::fs::write(&secret, "new\n").unwrap();
        stub.await_entries("", 10, SOON);
        let pushes = stub.pushes();
        assert_eq!(pushes.first().unwrap().authorization.as_deref(), Some(before));
        assert_eq!(pushes.last().unwrap().authorization.as_deref(), Some(after));
        assert!(river.stop(DRAIN));
    }
}

#[test]
fn an_outage_ends_in_a_catch_up() {
    // A port that nobody listens on, for now.
    let address = ([127, 0, 0, 1], crate::support::process::free_port()).into();
    let bed = Bed::new();
    let filler = "x".repeat(500);
    let text = |from: usize, to: usize| -> String {
        let line = |n| record(NOW, 7, "LOG", &format!("record {n} {filler}"));
        (from..to).map(line).collect()
    };
    bed.append("pg.log", &text(0, 5000));
    let river = bed.river(&format!("http://{address}"), "");
    river.await_value("pgvigil_log_file_bytes_behind", &[], |bytes| bytes > 2e6);
    river.await_value("pgvigil_log_oldest_unsent_seconds", &[], |seconds| seconds > 0.5);
    // It goes on being written, rotated too, while nothing is taken.
    for n in 1..5 {
        std::fs::rename(bed.log("pg.log"), bed.log(&format!("pg.log.{n}"))).unwrap();
        bed.append("pg.log", &text(n * 5000, (n + 1) * 5000));
        std::thread::sleep(Duration::from_millis(300));
    }
    let stub = Stub::start_at(address);
    stub.await_entries("", 25_000, Duration::from_secs(60));
    river.await_value("pgvigil_log_file_bytes_behind", &[], |bytes| bytes == 0.0);
    assert!(river.stop(DRAIN));
    assert_eq!(stub.entries("").len(), 25_000);
    assert!(stub.pushes().iter().all(|push| push.size < 1_100_000), "batches stay small");
}

#[test]
fn a_real_loki_shows_a_deadlock_as_one_entry() {
    let Some(loki) = Loki::start() else { return };
    let bed = Bed::new();
    let error = record(NOW, 41, "ERROR", "deadlock detected");
    let prefix = error.split("ERROR:").next().unwrap();
    bed.append(
        "pg.log",
        &format!(
            "{error}{prefix}DETAIL:  Process 41 waits for ShareLock on transaction 7; blocked by \
             process 42.\n\tProcess 42 waits for ShareLock on transaction 8; blocked by process \
             41.\n{prefix}HINT:  See server log for query details.\n{prefix}STATEMENT:  UPDATE \
             t\n\tSET x = 1\n",
        ),
    );
    let river = bed.river(&loki.url(), "");
    let query = "{service_name=\"postgresql\", server=\"s1\"} | event=\"deadlock\"";
    let deadline = Instant::now() + SOON;
    let found = loop {
        let found = loki.entries(query);
        if !found.is_empty() {
            break found;
        }
        assert!(Instant::now() < deadline, "{:?}", river.shipper.status());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(river.stop(DRAIN));
    let [entry] = &found[..] else { panic!("{found:?}") };
    let lines: Vec<&str> = entry.line.lines().collect();
    assert_eq!(lines[0], "ERROR:  deadlock detected");
    assert!(lines[1].starts_with("DETAIL:  Process 41") && lines[2].starts_with("Process 42"));
    assert_eq!(&lines[4..], ["STATEMENT:  UPDATE t", "SET x = 1"]);
    assert_eq!(entry.metadata.get("level").map(String::as_str), Some("error"));
}

/// What the agent pushes with.
fn client(loki: &Loki) -> pgvigil::loki::Loki {
    let target = pgvigil::config::LokiTarget {
        url: loki.url(),
        labels: std::collections::BTreeMap::new(),
        basic_auth: None,
        bearer_token: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
        proxy: None,
        place: pgvigil::config::Place::default(),
    };
    pgvigil::loki::Loki::new(&target, &pgvigil::telemetry::Telemetry::new()).unwrap()
}

/// What "exactly once" can mean: Loki leaves out an equal entry as long as the first one lies in the block
/// that is being filled; once that block is closed it stores both, and a log query shows one of them.
#[test]
fn a_real_loki_shows_once_what_came_twice() {
    let Some(loki) = Loki::start() else { return };
    let client = client(&loki);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let push = |range: std::ops::Range<i64>| {
        let mut encoded = pgvigil::loki::Entries::default();
        let metadata: pgvigil::loki::Metadata = [("level", "info")].into_iter().collect();
        for n in range.clone() {
            encoded.push(now - 60_000_000_000 + n, &format!("{n:0200}"), &[&metadata]);
        }
        let body = encoded.body(STREAM, 0..encoded.len());
        let pushed = runtime.block_on(client.push(None, body, range.end.abs_diff(range.start)));
        assert_eq!(pushed.outcome.as_str(), "stored", "{pushed:?}");
    };
    push(0..100);
    push(50..100);
    assert_eq!(loki.count(STREAM, 1), 100, "the block of the first ones is still open");
    for at in 1..20 {
        push(at * 100..(at + 1) * 100);
    }
    push(0..100);
    assert_eq!(loki.entries(STREAM).len(), 2000, "a log query");
    assert_eq!(loki.count(STREAM, 1), 2100, "a metric query counts what lies in two blocks");
}

/// The stream that `push` sends to.
const STREAM: &str = "{service_name=\"postgresql\", test=\"answers\"}";

#[test]
fn a_real_loki_refuses_what_it_says_and_the_count_is_exact() {
    let limits: &[(&str, &str)] = &[
        ("reject_old_samples: false", "reject_old_samples: true"),
        ("per_stream_rate_limit: 1GB", "per_stream_rate_limit: 100KB"),
        ("per_stream_rate_limit_burst: 1GB", "per_stream_rate_limit_burst: 400KB"),
    ];
    let Some(loki) = Loki::start_with(limits) else { return };
    let client = client(&loki);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let minutes = |n: i64| n * 60_000_000_000;
    // Labels, then for each entry how old it is in minutes and how long its line.
    let push = |labels: &str, entries: &[(i64, usize)]| {
        let mut encoded = pgvigil::loki::Entries::default();
        for (n, (age, length)) in entries.iter().enumerate() {
            let ns = now - minutes(*age) + i64::try_from(n).unwrap();
            let metadata: pgvigil::loki::Metadata = [("level", "info")].into_iter().collect();
            encoded.push(ns, &"x".repeat(*length), &[&metadata]);
        }
        let body = encoded.body(labels, 0..encoded.len());
        let pushed = runtime.block_on(client.push(None, body, entries.len() as u64));
        let refused = match &pushed.outcome {
            pgvigil::loki::Outcome::Refused(found) => {
                found.iter().map(|r| (r.reason.as_str(), r.entries)).collect()
            }
            _ => Vec::new(),
        };
        (pushed.outcome.as_str(), refused, pushed)
    };
    let assert = |labels: &str, entries: &[(i64, usize)], outcome, refused: &[(&str, u64)]| {
        let (found, counts, pushed) = push(labels, entries);
        assert_eq!((found, &counts[..]), (outcome, refused), "{pushed:?}");
    };
    assert(STREAM, &[(0, 10), (1, 10)], "stored", &[]);
    assert(STREAM, &[(0, 11), (-60, 11), (-70, 11)], "refused", &[("too_new", 2)]);
    // Behind the stream by more than an hour, and by less.
    assert(STREAM, &[(90, 12), (59, 12), (100, 12)], "refused", &[("too_far_behind", 2)]);
    let week = 8 * 24 * 60;
    let (_, counts, pushed) = push(STREAM, &[(week, 13), (0, 13), (week + 1, 13)]);
    assert_eq!(counts, [("too_old", 2)], "{pushed:?}");
    let oldest = pushed.oldest_accepted.unwrap();
    assert!((now - oldest - minutes(7 * 24 * 60)).abs() < minutes(1), "{pushed:?}");
    assert(STREAM, &[(0, 262_145), (0, 14)], "refused", &[("line_too_long", 1)]);
    let many: Vec<String> = (0..17).map(|n| format!("l{n}=\"x\"")).collect();
    let many = format!("{{{}}}", many.join(", "));
    assert(&many, &[(0, 15), (0, 16)], "refused", &[("labels", 2)]);
    assert("{a=", &[(0, 17)], "malformed", &[]);
    assert(STREAM, &[(0, 100_000); 8], "stream_rate_limited", &[]);
    // What was stored of each push is stored once.
    let kept = loki.entries(STREAM);
    let lengths: Vec<usize> = kept.iter().map(|entry| entry.line.len()).collect();
    let count = |length: usize| lengths.iter().filter(|l| **l == length).count();
    assert_eq!([10, 11, 12, 13, 14, 100_000].map(count), [2, 1, 1, 1, 1, 0], "{lengths:?}");
}

#[test]
fn three_kills_lose_nothing_and_repeat_nothing() {
    const RECORDS: usize = 20_000;
    const ROTATE_EVERY: usize = 1500;
    let Some(mut loki) = Loki::start() else { return };
    let directory = Arc::new(TempDir::new().unwrap());
    let log = directory.path().join("pg.log");
    let configuration = one_source(&log, &loki.url());
    append(&log, "");
    let mut agent = Agent::start_in(Arc::clone(&directory), &configuration, &[]);
    // One record at a time, as a server writes them. Rotation keeps what an agent that is killed while Loki
    // is away, and Loki slow to come back, may not have sent.
    for n in 0..RECORDS {
        append(&log, &record(NOW, 7, "LOG", &format!("record {n}")));
        if n % ROTATE_EVERY == ROTATE_EVERY - 1 {
            let name = |n: usize| directory.path().join(format!("pg.log.{n}"));
            for kept in (1..RECORDS / ROTATE_EVERY).rev() {
                let _ = std::fs::rename(name(kept), name(kept + 1));
            }
            std::fs::rename(&log, name(1)).unwrap();
        }
        if n % 100 == 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        if [4_900, 9_800, 14_700].contains(&n) {
            agent.kill();
            agent = Agent::start_in(Arc::clone(&directory), &configuration, &[]);
        }
        if n == 12_000 {
            loki.kill();
        }
        if n == 13_000 {
            loki.resume();
        }
    }
    let query = "{service_name=\"postgresql\"}";
    let deadline = Instant::now() + Duration::from_secs(60);
    // A metric query may count what was sent again twice (see above), so it is not what is waited for.
    while loki.entries(query).len() < RECORDS && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(500));
    }
    let told = agent.log();
    assert_eq!(agent.stop(), 0);
    let mut times = vec![0; RECORDS];
    for entry in loki.entries(query) {
        let number = entry.line.strip_prefix("LOG:  record ").unwrap();
        times[number.parse::<usize>().unwrap()] += 1;
    }
    let missing: Vec<usize> = (0..RECORDS).filter(|n| times[*n] == 0).collect();
    let twice: Vec<usize> = (0..RECORDS).filter(|n| times[*n] > 1).collect();
    assert!(missing.is_empty() && twice.is_empty(), "missing {missing:?}\ntwice {twice:?}\n{told}");
}

#[test]
fn a_real_loki_with_small_limits_gets_all_that_it_takes() {
    // A batch is larger than either burst: it would be refused for ever, were it not halved.
    let limits: &[(&str, &str)] = &[
        ("reject_old_samples: false", "reject_old_samples: true"),
        ("ingestion_rate_mb: 1024", "ingestion_rate_mb: 2"),
        ("ingestion_burst_size_mb: 1024", "ingestion_burst_size_mb: 0.8"),
        ("per_stream_rate_limit: 1GB", "per_stream_rate_limit: 300KB"),
        ("per_stream_rate_limit_burst: 1GB", "per_stream_rate_limit_burst: 400KB"),
    ];
    let Some(loki) = Loki::start_with(limits) else { return };
    let directory = Arc::new(TempDir::new().unwrap());
    let log = directory.path().join("pg.log");
    let configuration = one_source(&log, &loki.url());
    let filler = "x".repeat(400);
    let text = |from: usize, to: usize| -> String {
        let line = |n| record(NOW, 7, "LOG", &format!("record {n} {filler}"));
        (from..to).map(line).collect()
    };
    let rotate = |n: usize| {
        std::fs::rename(&log, directory.path().join(format!("pg.log.{n}"))).unwrap();
        append(&log, "");
    };
    let start = || Agent::start_in(Arc::clone(&directory), &configuration, &[]);
    let count = |page: &str, name: &str, label: (&str, &str)| sample(page, name, &[label]);
    append(&log, &text(0, 2500));
    let agent = start();
    let requests = |page: &str, outcome| {
        count(page, "pgvigil_loki_requests_total", ("outcome", outcome)).unwrap_or(0.0)
    };
    agent.await_metrics(SOON, |page| {
        requests(page, "rate_limited") > 0.0 && requests(page, "stream_rate_limited") > 0.0
    });
    // Killed in the middle of it, rotated meanwhile, and killed again.
    rotate(1);
    append(&log, &text(2500, 2700));
    agent.kill();
    append(&log, &text(2700, 2900));
    rotate(2);
    append(&log, &text(2900, 3000));
    let agent = start();
    agent.await_metrics(SOON, |page| requests(page, "stored") > 0.0);
    agent.kill();
    let agent = start();
    let query = "{service_name=\"postgresql\"}";
    let arrived = |wanted: usize| {
        let deadline = Instant::now() + Duration::from_secs(90);
        while loki.entries(query).len() < wanted {
            assert!(Instant::now() < deadline, "{}", agent.log());
            std::thread::sleep(Duration::from_millis(500));
        }
    };
    arrived(3000);
    // Each batch holds some that are refused for good: before the past that is taken, and ahead.
    for n in 0..5 {
        append(&log, &record(Duration::from_secs(8 * 86_400), 8, "LOG", &format!("old {n}")));
        append(&log, &text(3000 + n, 3001 + n));
    }
    let ahead = |n: i64| {
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(30 + n);
        format!("{} UTC [9] app@shop LOG:  new {n}\n", time.strftime("%Y-%m-%d %H:%M:%S%.3f"))
    };
    append(&log, &(ahead(0) + &text(3005, 3010) + &ahead(1)));
    let refused = |page: &str, reason| {
        count(page, "pgvigil_loki_refused_entries_total", ("reason", reason)).unwrap_or(0.0)
    };
    let page = agent.await_metrics(SOON, |page| {
        refused(page, "too_old") >= 5.0 && refused(page, "too_new") >= 2.0
    });
    assert_eq!((refused(&page, "too_old"), refused(&page, "too_new")), (5.0, 2.0));
    arrived(3010);
    let told = agent.log();
    assert_eq!(agent.stop(), 0);
    let mut found: Vec<usize> = loki
        .entries(query)
        .iter()
        .map(|entry| entry.line.split(' ').nth(3).unwrap().parse().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, (0..3010).collect::<Vec<_>>(), "{told}");
}
