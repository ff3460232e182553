//! What is compressed is unpacked no more often than its text is needed.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::content::tests::UNPACKED;
use super::tests::{Bench, gzip, line};

/// So many bytes each file is the most that a look at what it begins with may unpack.
const LOOK: u64 = 2048;

/// As gzip does it: the time stays, the original goes.
fn compress(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let packed = format!("{}.gz", path.display());
    fs::write(&packed, gzip(&fs::read(path).unwrap())).unwrap();
    fs::File::options().append(true).open(&packed).unwrap().set_modified(modified).unwrap();
    fs::remove_file(path).unwrap();
}

fn age(path: &Path, seconds: u64) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

/// What the work unpacks.
fn unpacked(work: impl FnOnce()) -> u64 {
    let before = UNPACKED.get();
    work();
    UNPACKED.get() - before
}

#[tokio::test]
async fn of_two_hundred_old_files_only_the_new_one_is_unpacked() {
    let mut bench = Bench::new(false);
    // 20 MiB each, of which only the beginning is its own.
    let mebibyte = line(&"x".repeat(1023)).repeat(1024 * 20).into_bytes();
    let rest = gzip(&mebibyte);
    for n in 0..200 {
        let path = bench.path(&format!("0.log-{n:03}.gz"));
        let mut bytes = gzip(line(&format!("{n} ").repeat(500)).as_bytes());
        bytes.extend_from_slice(&rest);
        fs::write(&path, bytes).unwrap();
        age(&path, 3600 - n);
    }
    bench.append("0.log", &line("one"));
    let all = unpacked(|| assert!(bench.pass(5)));
    assert!(all <= 200 * LOOK, "{all} at the start");
    bench.acknowledge();
    assert!(bench.work.files.checkpoint.save().await);
    bench.reload();
    let all = unpacked(|| assert!(bench.pass(5)));
    assert!(all <= 200 * LOOK, "{all} at the next start");
    // One is rotated, and compressed when it is read.
    let text = line("two").repeat(10_000);
    bench.append("0.log", &text);
    assert!(bench.pass(2));
    age(&bench.path("0.log"), 10);
    fs::rename(bench.path("0.log"), bench.path("0.log-200")).unwrap();
    bench.append("0.log", &line("three"));
    assert!(bench.pass(2));
    compress(&bench.path("0.log-200"));
    let all = unpacked(|| assert!(bench.pass(60)));
    let most = text.len() as u64 * 11 / 10 + 201 * LOOK;
    assert!(all <= most, "{all} for one of {}", text.len());
    assert_eq!(bench.messages().len(), 10_001);
}

#[tokio::test]
async fn of_many_that_wait_each_is_unpacked_once_after_a_restart() {
    let mut bench = Bench::new(false);
    let text = |n: usize| (0..3_000).map(|m| line(&format!("{n} {m}"))).collect::<String>();
    let mut bytes = 0;
    for n in 0..40 {
        bench.append("0.log", &text(n));
        bytes += text(n).len() as u64;
        assert!(bench.pass(2));
        let rotated = bench.path(&format!("0.log-{n:02}"));
        age(&bench.path("0.log"), 100 - n as u64);
        fs::rename(bench.path("0.log"), &rotated).unwrap();
        assert!(bench.pass(8));
        compress(&rotated);
    }
    // Nothing of it was acknowledged.
    let sent = bench.messages().len();
    assert_eq!(sent, 40 * 3_000);
    assert!(bench.work.files.checkpoint.save().await);
    bench.reload();
    let all = unpacked(|| assert!(bench.pass(60)));
    assert_eq!(bench.messages().len(), sent);
    assert!(all <= bytes * 11 / 10 + 40 * 2 * LOOK, "{all} of {bytes}");
}

#[test]
fn the_copy_of_what_is_still_in_memory_is_not_unpacked_at_each_look() {
    let mut bench = Bench::new(false);
    let text: String = (0..20_000).map(|n| line(&n.to_string())).collect();
    bench.append("0.log", &text);
    assert!(bench.pass(3));
    bench.acknowledge();
    bench.append("0.log", &line("the last"));
    bench.turn();
    bench.taker.full = true;
    assert!(bench.pass(2));
    // Truncated, and the copy comes later.
    let whole = fs::read(bench.path("0.log")).unwrap();
    fs::write(bench.path("0.log"), line("new")).unwrap();
    age(&bench.path("0.log"), 30);
    assert!(bench.pass(2));
    assert!(bench.work.tracked[0].gone);
    let path = bench.path("0.log-1.gz");
    fs::write(&path, gzip(&whole)).unwrap();
    age(&path, 3);
    let all = unpacked(|| assert!(bench.pass(60)));
    assert!(!bench.work.held.is_empty());
    assert!(all <= whole.len() as u64 * 22 / 10, "{all} of {}", whole.len());
}

#[test]
fn a_session_that_stays_open_has_nothing_unpacked_again() {
    let mut bench = Bench::new(false);
    bench.append("0.log", &line("one"));
    assert!(bench.pass(2));
    bench.acknowledge();
    bench.restart(None, None);
    // Each process's record is open until its next line: the oldest is where a route stands.
    let text: String = (0..40_000)
        .map(|n| line(&n.to_string()).replace("[7]", &format!("[{}]", n * n % 97)))
        .collect();
    bench.append("0.log", &text);
    age(&bench.path("0.log"), 10);
    fs::rename(bench.path("0.log"), bench.path("0.log-1")).unwrap();
    compress(&bench.path("0.log-1"));
    bench.append("0.log", &line("two"));
    let all = unpacked(|| assert!(bench.pass(30)));
    assert_eq!(bench.messages().len(), 40_001);
    assert!(all <= text.len() as u64 * 22 / 10, "{all} of {}", text.len());
}
