//! What the agent costs, beside peers where they are installed: CPU of a scrape, its own and the
//! server's, latency, memory; CPU seconds per GiB of log. `cargo bench` prints it; nothing is asserted.
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `PGVIGIL_BENCH_SCRAPES` | 12 | scrapes of each subject |
//! | `PGVIGIL_BENCH_EVERY` | 5 | seconds from one scrape to the next |
//! | `PGVIGIL_BENCH_TABLES` | 10000 | tables of the second server; 0: no second server |
//! | `PGVIGIL_BENCH_MIB` | 256 | size of the log; 0: no log |

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../it/support/mod.rs"]
mod support;

mod generate;
mod logs;
mod measure;
mod peers;
mod scrapes;

use std::time::Duration;

fn main() {
    // `cargo test` runs benchmarks once with --test, to see that they start: this one has tests' own.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    scrapes::costs(&scrapes::Size {
        scrapes: number("PGVIGIL_BENCH_SCRAPES", 12).max(1),
        every: Duration::from_secs(number("PGVIGIL_BENCH_EVERY", 5)),
        tables: number("PGVIGIL_BENCH_TABLES", 10_000),
    });
    let mebibytes = number("PGVIGIL_BENCH_MIB", 256);
    if mebibytes > 0 {
        logs::costs(mebibytes);
    }
}

fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
