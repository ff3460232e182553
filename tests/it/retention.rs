//! Whether Loki keeps records as long as configured: what the agent finds out about real ones.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::agent::{Agent, get, pgvigil, sample};
use crate::support::loki::{Loki, Stub};
use crate::support::process::{component, free_port};

const SOON: Duration = Duration::from_secs(20);
const DAY: f64 = 86_400.0;

/// A configuration with two routes, kept for so many days, and one that says nothing.
fn settings(url: &str, admin: u32, developer: u32) -> String {
    format!(
        "logs:\n  sources: [{{name: s1, files: [\"/nowhere/*.log\"]}}]\n  loki: {{url: \"{url}\"}}\n  \
         routes:\n    - {{name: admin, keep: {admin}d, tenant: dba}}\n    \
         - {{name: developer, keep: {developer}d, tenant: dev}}\n    - {{name: rest, tenant: other}}\n"
    )
}

/// The verdict on a route, once it is `expected`, and the page that says so.
#[track_caller]
fn judged(agent: &Agent, expected: &[(&str, &str)]) -> String {
    agent.await_metrics(SOON, |page| {
        expected.iter().all(|(route, verdict)| {
            let labels = [("route", *route), ("verdict", *verdict)];
            sample(page, "pgvigil_loki_retention_verdict", &labels) == Some(1.0)
        })
    })
}

fn effective(page: &str, route: &str) -> Option<f64> {
    sample(page, "pgvigil_loki_retention_effective_seconds", &[("route", route)])
}

/// A way to Loki that lets only some paths through.
fn gateway(to: SocketAddr, open: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || pass(stream, to, open));
        }
    });
    format!("http://{address}")
}

fn pass(mut stream: TcpStream, to: SocketAddr, open: &[&str]) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?;
    if !open.iter().any(|prefix| path.starts_with(prefix)) {
        let no = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        return stream.write_all(no.as_bytes()).ok();
    }
    let mut upstream = TcpStream::connect(to).ok()?;
    upstream.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).ok()?;
    std::io::copy(&mut upstream, &mut stream).ok()?;
    Some(())
}

/// One entry of `days` ago for a tenant's route.
fn push_old(loki: &Loki, tenant: &str, route: &str, server: &str, days: u64) {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let body = format!(
        "{{\"streams\":[{{\"stream\":{{\"service_name\":\"postgresql\",\"route\":\"{route}\",\
         \"server\":\"{server}\"}},\"values\":[[\"{}000000000\",\"old\"]]}}]}}",
        now - days * 86_400
    );
    let mut stream = TcpStream::connect(loki.address).unwrap();
    let head = format!(
        "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         X-Scope-OrgID: {tenant}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

#[test]
fn a_loki_with_retention_on() {
    if component("LOKI").is_none() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let runtime = directory.path().join("overrides.yaml");
    let overrides = "overrides:\n  dba: {retention_period: 30d}\n  dev:\n    retention_period: 30d\n    \
                     retention_stream:\n    - {selector: '{route=\"developer\"}', priority: 1, period: 7d}\n";
    fs::write(&runtime, overrides).unwrap();
    let limits = format!(
        "compactor: {{retention_enabled: true, delete_request_store: filesystem}}\n\
         runtime_config: {{file: {}, period: 1s}}\nlimits_config:\n  retention_period: 31d",
        runtime.display()
    );
    let changes: &'static [_] = Box::leak(Box::new([
        ("limits_config:", &*limits.leak()),
        ("auth_enabled: false", "auth_enabled: true"),
    ]));
    let Some(loki) = Loki::start_with(changes) else { return };

    let agent = Agent::start(&settings(&loki.url(), 30, 7));
    let page = judged(&agent, &[("admin", "ok"), ("developer", "ok"), ("rest", "unset")]);
    let configured =
        |route| sample(&page, "pgvigil_loki_retention_configured_seconds", &[("route", route)]);
    assert_eq!([configured("admin"), configured("developer")], [Some(30.0 * DAY), Some(7.0 * DAY)]);
    assert_eq!(configured("rest"), None);
    assert_eq!(sample(&page, "pgvigil_loki_retention_enabled", &[]), Some(1.0));
    let found = ["admin", "developer", "rest"].map(|route| effective(&page, route));
    assert_eq!(found, [Some(30.0 * DAY), Some(7.0 * DAY), Some(31.0 * DAY)]);
    let ok = [("route", "admin"), ("verdict", "too_long")];
    assert_eq!(sample(&page, "pgvigil_loki_retention_verdict", &ok), Some(0.0));
    assert_eq!(agent.stop(), 0);

    // The same Loki does not what another configuration says.
    let agent = Agent::start(&settings(&loki.url(), 365, 1));
    let page = judged(&agent, &[("admin", "too_short"), ("developer", "too_long")]);
    assert_eq!(effective(&page, "admin"), Some(30.0 * DAY));
    let status = agent.get("/").body;
    assert!(status.contains("Loki keeps the records of route admin for 30d only"), "{status}");
    let (said, code) = check(&settings(&loki.url(), 365, 7));
    assert_eq!(code, Some(0), "{said}");
    let file = "pgvigil.yaml:3:"; // where `loki` stands
    assert!(said.contains(file) && said.contains("`keep` is 365d; put into Loki what"), "{said}");
    assert!(said.contains("(shard_streams)"), "{said}");
    assert!(!said.contains("route developer"), "{said}");
    assert_eq!(agent.stop(), 0);

    // Through a gateway that shows no configuration, and through one that lets nothing but pushes in.
    let open = &["/loki/api/v1/drilldown-limits", "/loki/api/v1/delete", "/loki/api/v1/series"];
    let agent = Agent::start(&settings(&gateway(loki.address, open), 30, 1));
    judged(&agent, &[("admin", "ok"), ("developer", "too_long")]);
    assert_eq!(agent.stop(), 0);
    let agent = Agent::start(&settings(&gateway(loki.address, &["/loki/api/v1/push"]), 30, 7));
    let page = judged(&agent, &[("admin", "unknown"), ("developer", "unknown")]);
    assert_eq!(effective(&page, "admin"), None);
    assert_eq!(sample(&page, "pgvigil_loki_retention_enabled", &[]), None);
    assert_eq!(agent.stop(), 0);

    // Records that should be gone; those of other servers are not ours.
    push_old(&loki, "dev", "developer", "s1", 45);
    push_old(&loki, "dba", "admin", "s2", 45);
    let agent = Agent::start(&settings(&loki.url(), 30, 7));
    let page = judged(&agent, &[("admin", "ok"), ("developer", "not_applied")]);
    assert_eq!(effective(&page, "developer"), None);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_loki_that_removes_nothing() {
    let Some(mut loki) = Loki::start() else { return };
    let agent = Agent::start(&settings(&loki.url(), 30, 7));
    let page =
        judged(&agent, &[("admin", "disabled"), ("developer", "disabled"), ("rest", "unset")]);
    assert_eq!(effective(&page, "rest"), Some(f64::INFINITY));
    assert_eq!(sample(&page, "pgvigil_loki_retention_enabled", &[]), Some(0.0));
    assert_eq!(agent.stop(), 0);
    // The same is told where /config is closed.
    let open = &["/config/tenant/", "/loki/api/v1/delete"];
    let agent = Agent::start(&settings(&gateway(loki.address, open), 30, 7));
    judged(&agent, &[("admin", "disabled")]);
    assert_eq!(agent.stop(), 0);

    // Nobody there: nothing is known, and that is said.
    loki.kill();
    let agent = Agent::start(&settings(&loki.url(), 30, 7));
    let page = judged(&agent, &[("admin", "unknown"), ("developer", "unknown")]);
    assert_eq!(effective(&page, "admin"), None);
    assert_eq!(sample(&page, "pgvigil_loki_retention_enabled", &[]), None);
    assert!(
        agent.get("/").body.contains("how long Loki keeps the records of route admin is not known")
    );
    assert_eq!(agent.stop(), 0);
}

#[test]
fn what_is_no_loki_tells_nothing() {
    // It takes pushes, and answers everything else with 404 in Loki's words.
    let stub = Stub::start();
    let agent = Agent::start(&settings(&stub.url(), 30, 7));
    judged(&agent, &[("admin", "unknown")]);
    assert_eq!(agent.stop(), 0);
    let unused = format!("http://127.0.0.1:{}", free_port());
    let local = settings(&unused, 30, 7) + "  destination: local\n";
    let agent = Agent::start(&local);
    assert!(!agent.metrics().contains("pgvigil_loki_retention"), "the local store has its own");
    assert_eq!(get(agent.address, "/", &[]).body.matches("Retention").count(), 0);
    assert_eq!(agent.stop(), 0);
}

/// What `pgvigil check` says of a configuration, and how it ends.
fn check(configuration: &str) -> (String, Option<i32>) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pgvigil.yaml");
    fs::write(&file, configuration).unwrap();
    let output = pgvigil(&["check", "--config"]).arg(&file).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}
