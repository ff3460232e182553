//! A thousand files and a Loki that takes less than one of them gets: none of the others waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Arrivals, MEMORY, Usage, all_logs};
use crate::support::agent::Agent;
use crate::support::loki::Stub;
use crate::support::river::{append, record};

const FILES: usize = 1_000;
/// In each round the first file gets so many records of so many bytes, each other one a short one.
const RECORDS: usize = 200;
const BYTES: usize = 14_000;
const ROUNDS: usize = 8;
/// What was written to the others is sent before what the first one got so many rounds later.
const LATER: usize = 6;

#[test]
fn no_file_waits_for_another_that_is_too_much_for_loki() {
    let directory = Arc::new(TempDir::new().unwrap());
    let stub = Stub::start();
    let configuration = all_logs(directory.path(), &stub);
    let mut written = 0;
    let mut write = |file: usize, size: usize| {
        let text = format!("number {written} {}", "x".repeat(size));
        let text = record(Duration::ZERO, 100, "LOG", &text);
        append(&directory.path().join(format!("pg-{file:04}.log")), &text);
        written += 1;
        written - 1
    };
    (0..FILES).for_each(|file| _ = write(file, 0));
    let agent = Agent::start_in(Arc::clone(&directory), &configuration, &[]);
    let mut arrivals = Arrivals::new(&stub);
    arrivals.await_all(&agent, FILES, Duration::from_secs(60));

    // A request takes a second, and holds a MiB.
    stub.slow(Duration::from_secs(1)).for_ever();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let busy: Vec<usize> = (0..RECORDS).map(|_| write(0, BYTES)).collect();
        let others: Vec<usize> = (1..FILES).map(|file| write(file, 0)).collect();
        rounds.push((busy, others));
        std::thread::sleep(Duration::from_secs(1).saturating_sub(started.elapsed()));
    }
    let usage = Usage::of(&agent);
    usage.print(&format!("{} of {written} records", arrivals.look()));
    assert!(usage.own < MEMORY, "{usage:?}");
    stub.heal();
    let written = FILES + ROUNDS * (RECORDS + FILES - 1);
    arrivals.await_all(&agent, written, Duration::from_secs(60));
    for ((_, others), (busy, _)) in rounds.iter().zip(&rounds[LATER..]) {
        let first = busy.iter().map(|number| arrivals.places[*number]).min().unwrap();
        let last = others.iter().map(|number| arrivals.places[*number]).max().unwrap();
        println!("{} places to spare", first.cast_signed() - last.cast_signed());
        assert!(last < first, "the others' last in place {last}, the busy one's first in {first}");
    }
    assert_eq!(agent.stop(), 0);
}
