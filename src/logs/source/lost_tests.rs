//! What is lost is counted: all of it, and nothing else.

use std::fs;
use std::time::{Duration, SystemTime};

use super::tests::{Bench, gzip, line};
use crate::logs::checkpoint::FileState;

/// Makes it so many seconds old.
fn age(bench: &Bench, name: &str, seconds: u64) {
    let file = fs::File::options().append(true).open(bench.path(name)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

#[test]
fn what_came_between_the_glance_and_the_read_is_known() {
    let mut bench = Bench::new(false);
    bench.append("0.log", "");
    assert!(bench.pass(2));
    bench.append("0.log", &line("one"));
    let text = line("one") + &line("two");
    bench.taker.late = Some((bench.path("0.log"), text.clone()));
    bench.turn();
    assert_eq!(bench.work.tracked[0].most_end(), text.len() as u64);
    // Killed before anything is acknowledged, and all of it gone.
    bench.restart(None, None);
    fs::remove_file(bench.path("0.log")).unwrap();
    bench.append("0.log", &line("three"));
    assert!(bench.pass(10));
    assert_eq!(bench.vanished(), text.len() as u64);
}

#[test]
fn what_is_known_to_be_there_is_known_by_its_head() {
    let mut bench = Bench::new(false);
    bench.append("0.log", "");
    assert!(bench.pass(2));
    bench.taker.full = true;
    bench.append("0.log", &line("one"));
    bench.turn();
    // Killed before the next look at the directory; moved to another inode meanwhile.
    bench.restart(None, None);
    fs::copy(bench.path("0.log"), bench.path("0.log.1")).unwrap();
    fs::remove_file(bench.path("0.log")).unwrap();
    bench.append("0.log", &line("two"));
    assert!(bench.pass(10));
    assert_eq!(bench.messages(), ["one", "two"]);
    assert_eq!(bench.vanished(), 0);
}

#[test]
fn a_content_is_gone_whose_file_holds_another_that_nobody_follows() {
    let mut bench = Bench::new(false);
    let text = line("one") + &line("two");
    bench.append("0.log", &text);
    assert!(bench.pass(2));
    // Killed before anything is acknowledged; truncated, and rotated with nothing in it.
    bench.restart(None, None);
    fs::write(bench.path("0.log"), "").unwrap();
    fs::rename(bench.path("0.log"), bench.path("0.log.1")).unwrap();
    age(&bench, "0.log.1", 60);
    bench.append("0.log", &line("three"));
    assert!(bench.pass(20));
    assert_eq!(bench.messages(), ["three"]);
    assert_eq!(bench.vanished(), text.len() as u64);
}

#[test]
fn what_was_truncated_and_renamed_between_two_looks_is_counted_after_a_kill() {
    let mut bench = Bench::new(false);
    bench.append("0.log", &line("one"));
    assert!(bench.pass(3));
    bench.acknowledge();
    let text = line("two") + &line("three");
    bench.append("0.log", &text);
    assert!(bench.pass(2));
    fs::write(bench.path("0.log"), line("four").repeat(9)).unwrap();
    fs::rename(bench.path("0.log"), bench.path("0.log.1")).unwrap();
    bench.append("0.log", &line("five"));
    bench.restart(None, None);
    assert!(bench.pass(10));
    let mut messages = bench.messages();
    messages.dedup();
    assert_eq!(messages, ["four", "five"]);
    assert_eq!(bench.vanished(), text.len() as u64);
}

#[test]
fn the_copy_of_what_has_hardly_begun_is_no_other_file() {
    let mut bench = Bench::new(false);
    bench.append("0.log", "a torn ");
    assert!(bench.pass(2));
    // The rest of the line, a copy, a truncation and another name before the next look.
    bench.append("0.log", "line of another program\n");
    fs::copy(bench.path("0.log"), bench.path("0.log-1")).unwrap();
    fs::write(bench.path("0.log"), "").unwrap();
    fs::rename(bench.path("0.log"), bench.path("0.log.1")).unwrap();
    bench.append("0.log", "");
    assert!(bench.pass(20));
    assert_eq!(bench.messages().concat().replace(' ', ""), "atornlineofanotherprogram");
}

#[test]
fn what_was_met_empty_and_has_hardly_begun_goes_on_in_its_copy() {
    let mut bench = Bench::new(false);
    bench.append("0.log", "");
    assert!(bench.pass(2));
    bench.append("0.log", "a torn ");
    assert!(bench.pass(2));
    bench.append("0.log", "line of another program\n");
    fs::copy(bench.path("0.log"), bench.path("0.log-1")).unwrap();
    fs::write(bench.path("0.log"), "").unwrap();
    assert!(bench.pass(20));
    assert_eq!(bench.messages(), ["a torn line of another program"]);
}

#[test]
fn a_file_that_begins_in_the_same_second_is_no_copy() {
    let mut bench = Bench::new(false);
    let (one, two) = (line("one"), line("two"));
    // Of the first so much was seen when the agent was killed; the second is begun and rotated meanwhile.
    bench.append("0.log", &one[..20]);
    assert!(bench.pass(2));
    bench.append("0.log", &one[20..]);
    fs::rename(bench.path("0.log"), bench.path("0.log.2")).unwrap();
    bench.append("0.log.1", &two);
    bench.append("0.log", "");
    bench.restart(None, None);
    assert!(bench.pass(20));
    let mut messages = bench.messages();
    messages.sort_unstable();
    assert_eq!(messages, ["one", "two"]);
}

#[test]
fn a_whole_file_is_no_copy_of_one_that_has_hardly_begun() {
    let mut bench = Bench::new(false);
    bench.append("0.log", &line("one"));
    age(&bench, "0.log", 60);
    assert!(bench.pass(2));
    // Copied away, truncated, filled and renamed between two looks; of the next one only the beginning is
    // there so far.
    fs::copy(bench.path("0.log"), bench.path("0.log-1")).unwrap();
    fs::write(bench.path("0.log"), line("two")).unwrap();
    age(&bench, "0.log", 3);
    fs::rename(bench.path("0.log"), bench.path("0.log.1")).unwrap();
    let three = line("three");
    bench.append("0.log", &three[..20]);
    assert!(bench.pass(2));
    bench.append("0.log", &three[20..]);
    assert!(bench.pass(20));
    let mut messages = bench.messages();
    messages.sort_unstable();
    assert_eq!(messages, ["one", "three", "two"]);
}

#[test]
fn a_small_file_is_known_in_its_compressed_copy() {
    let mut bench = Bench::new(false);
    let text = "a line without a time\n";
    bench.append("0.log", text);
    age(&bench, "0.log", 60);
    assert!(bench.pass(2));
    fs::rename(bench.path("0.log"), bench.path("0.log.1")).unwrap();
    bench.append("0.log", "");
    assert!(bench.pass(60));
    bench.acknowledge();
    fs::write(bench.path("0.log.1.gz"), gzip(text.as_bytes())).unwrap();
    age(&bench, "0.log.1.gz", 3);
    fs::remove_file(bench.path("0.log.1")).unwrap();
    assert!(bench.pass(60));
    assert_eq!(bench.messages(), ["a line without a time"]);
}

#[test]
fn what_was_sent_whole_is_not_sent_in_part() {
    let mut bench = Bench::new(false);
    // 26 lines and a part of the next are read at once, and the last of them may go on behind it.
    let long = |number: usize| line(&format!("{number} {}", "x".repeat(10_000)));
    let text: String = (0..30).map(long).collect();
    bench.append("0.log", &text);
    assert!(bench.pass(2));
    let sent: Vec<String> = bench.messages().into_iter().map(str::to_owned).collect();
    // Killed before Loki has any of it; truncated while it is read again.
    bench.restart(None, None);
    bench.taker.room = Some(5);
    assert!(bench.pass(2));
    fs::write(bench.path("0.log"), "").unwrap();
    bench.taker.room = None;
    assert!(bench.pass(5));
    assert!(bench.messages() == sent[..25], "{}", bench.messages().len());
    let known: usize = (0..25).map(|number| long(number).len()).sum();
    assert_eq!(bench.vanished(), (text.len() - known) as u64);
    bench.acknowledge();
    let behind = |file: &FileState| file.behind() > 0;
    assert!(bench.pass(60));
    assert!(!bench.work.files.checkpoint.read(|state| state.files.values().any(behind)));
}

#[tokio::test]
async fn a_source_that_only_the_damaged_checkpoint_knew_is_read_whole() {
    let mut bench = Bench::new(false);
    let save = async |bench: &Bench| {
        bench.work.files.checkpoint.change(|state| state.spools.clear());
        assert!(bench.work.files.checkpoint.save().await);
    };
    // Saved before the first look was over.
    save(&bench).await;
    bench.append("0.log", &line("one"));
    assert!(bench.pass(2));
    save(&bench).await;
    fs::copy(bench.path("0.log"), bench.path("0.log-1")).unwrap();
    age(&bench, "0.log-1", 60);
    fs::write(bench.path("0.log"), line("two")).unwrap();
    fs::write(bench.path("../state/checkpoint.json"), "").unwrap();
    bench.reload();
    assert!(bench.pass(10));
    let mut messages = bench.messages();
    messages.sort_unstable();
    assert_eq!(messages, ["one", "two"]);
}
