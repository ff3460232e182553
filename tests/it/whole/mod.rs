//! The built binary from one end to the other: real servers before it, a real Prometheus and a real Loki
//! behind it, its signals and its commands.

mod alerts;
mod commands;
mod deadlock;
mod lock;
mod outages;
mod pages;
mod reload;
mod stop;

use std::time::{Duration, Instant};

use crate::support::agent::{Agent, Reply};
use crate::support::exposition::{Parsed, parse_text};

/// What `/metrics` may take, whatever the servers do.
const BOUND: Duration = Duration::from_secs(3);

/// The agent's sessions, asked in a way that no lock on a relation holds up.
const SESSIONS: &str =
    "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE application_name LIKE 'pgvigil%'";

/// The page, strictly read; it came with 200 and in time.
#[track_caller]
fn page(agent: &Agent) -> Parsed {
    let Reply { status, body, took, .. } = agent.get("/metrics");
    assert_eq!(status, 200, "{body}");
    assert!(took < BOUND, "a page after {took:?}\n{}", agent.log());
    parse_text(&body).unwrap_or_else(|e| panic!("{e}\n{body}"))
}

/// Asks for pages until one is as wanted.
#[track_caller]
fn await_page(agent: &Agent, within: Duration, wanted: impl Fn(&Parsed) -> bool) -> Parsed {
    let deadline = Instant::now() + within;
    loop {
        let page = page(agent);
        if wanted(&page) {
            return page;
        }
        assert!(
            Instant::now() < deadline,
            "not seen within {within:?}:\n{}\n{}",
            agent.metrics(),
            agent.log()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whether the page calls a server up.
#[track_caller]
fn up(page: &Parsed, server: &str) -> bool {
    match page.value("pg_up", &[("server", server)]) {
        Some(1.0) => true,
        Some(0.0) => false,
        other => panic!("pg_up of {server} is {other:?}"),
    }
}

/// The one reason that the page gives for a server's state.
#[track_caller]
fn state(page: &Parsed, server: &str) -> String {
    let mut present = page
        .series("pgvigil_instance_state")
        .filter(|sample| sample.value == 1.0 && sample.label("server") == Some(server));
    let one = present.next().unwrap_or_else(|| panic!("{server} has no state"));
    assert_eq!(present.next(), None, "{server} has two states");
    one.label("reason").expect("a reason").to_owned()
}

/// Every query of the server has run, and well.
fn settled(page: &Parsed, server: &str) -> bool {
    let of_server =
        |sample: &&crate::support::exposition::ParsedSample| sample.label("server") == Some(server);
    let mut outcomes = page.series("pgvigil_query_outcome").filter(of_server).peekable();
    outcomes.peek().is_some()
        && outcomes.all(|sample| matches!(sample.label("reason"), Some("ok" | "unavailable")))
}

/// The lines of the agent's log that speak of an instance at warning or above.
fn warnings<'l>(log: &'l str, instance: &str) -> Vec<&'l str> {
    let named = format!("instance=\"{instance}\"");
    log.lines().filter(|line| line.contains(&named) && !line.contains(" INFO ")).collect()
}
