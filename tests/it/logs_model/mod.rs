//! The log river under random schedules of what can happen to files, agents, checkpoints and Loki:
//! everything that was written arrives, unless it was gone before it was read, which is counted; and
//! what is sent again is the same to the byte.
//!
//! A schedule writes one format, every other one through a container's runtime, under one kind of
//! names, to one route or three, and has at most one trouble beside kills, rotations and Loki's answers:
//! losses, a damaged checkpoint, or settings that change.
//!
//! Schedules are numbered, and CI runs the same 2,000 each time: a change is judged by what stood
//! before it, and a number that failed can be asked for again. When the agent looks is chance all the
//! same, so no two runs are alike. `PGVIGIL_TEST_SEED` begins at a number, `PGVIGIL_TEST_SCHEDULES` says
//! how many follow; a long run asks for others than CI.

mod container;
mod damage;
mod files;
mod ledger;
mod outcome;
mod random;
mod world;
mod writer;

use world::World;

/// Schedules in one run of the tests; `.ci/run` asks for more.
const SCHEDULES: u64 = 32;
/// Schedules in a long run, and the first of them.
const SCHEDULES_LONG: (u64, u64) = (2_000, 10_000);
/// Steps in each.
const STEPS: usize = 40;
/// How many run at once: of its ten seconds a schedule computes a quarter of one, and waits else.
const AT_ONCE: usize = 24;

#[test]
fn nothing_is_lost_and_repeats_are_the_same() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    let long = std::env::var_os("PGVIGIL_TEST_LONG").is_some();
    let usual = if long { SCHEDULES_LONG } else { (SCHEDULES, 0) };
    let schedules = number("PGVIGIL_TEST_SCHEDULES").unwrap_or(usual.0);
    let first: u64 = number("PGVIGIL_TEST_SEED").unwrap_or(usual.1);
    let next = std::sync::atomic::AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= first + schedules {
                        break;
                    }
                    let mut world = World::new(seed);
                    for _ in 0..STEPS {
                        world.step();
                    }
                    world.finish();
                }
            });
        }
    });
}
