//! The demonstration: real servers, a steady workload, the agent beside them, and a summary of what
//! arrived at each end. `deploy/demo/run` builds and starts it.

#![allow(clippy::print_stdout, reason = "a demonstration is looked at")]

#[path = "../../tests/it/support/mod.rs"]
mod support;

mod house;
mod screen;
mod summary;
mod workload;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use house::House;
use screen::Screen;

/// How long `--once` waits for two scrapes, a deadlock and every panel, before it says what is missing.
const PATIENCE: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    let once = std::env::args().skip(1).any(|argument| argument == "--once");
    let screen = Screen::new();
    let interrupted = screen::on_interrupt();
    let Some(house) = House::start(&screen) else {
        return ExitCode::from(69);
    };
    house.print_addresses(&screen);
    let ended = if once {
        await_summary(&house, &screen, &interrupted)
    } else {
        screen.say("Ctrl-C stops everything and leaves nothing behind.");
        while !interrupted.load(std::sync::atomic::Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
        ExitCode::SUCCESS
    };
    screen.begin("stopping");
    let clean = house.stop();
    screen.end(clean, "everything is stopped");
    if clean { ended } else { ExitCode::FAILURE }
}

/// Asks all ends until nothing is missing or patience is over, then shows what there is.
fn await_summary(
    house: &House,
    screen: &Screen,
    interrupted: &std::sync::atomic::AtomicBool,
) -> ExitCode {
    screen.begin("waiting for two scrapes, a deadlock in the log, and data in every panel");
    let started = Instant::now();
    loop {
        let summary = summary::of(house);
        let done = summary.missing().is_empty();
        let over = started.elapsed() > PATIENCE;
        if done || over || interrupted.load(std::sync::atomic::Ordering::Relaxed) {
            screen.end(done, "asked every end");
            summary.print(screen);
            return if done { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
