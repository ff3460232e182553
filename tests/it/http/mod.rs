//! The door through a real listener: what is answered, to whom, and what a client cannot do to it.

mod limits; // slow, greedy and many clients; the stop
mod tls; // certificates of both sides, and new ones while it runs
mod users; // passwords, headers, the rate of requests, and changes while it runs

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgvigil::config;
use pgvigil::http::{self, House, Scrape, Status, Target};
use pgvigil::metric::{Family, Kind, Labels};
use pgvigil::net::serve::Limits;
use pgvigil::task::Group;
use pgvigil::telemetry::Telemetry;

use crate::support::agent::{Reply, get};
use crate::support::exposition::{parse_openmetrics, parse_text};
use crate::support::process::component;
use crate::support::prometheus::Prometheus;

/// A house of two instances, whose answers take `delay`.
#[derive(Default)]
struct Stub {
    delay: Duration,
    /// Series beyond the few.
    more: usize,
    stopping: AtomicBool,
}

impl House for Stub {
    fn scrape<'a>(&'a self, patience: Duration, instance: Option<&'a str>) -> Scrape<'a> {
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            let mut up = Family::new("pg_up", "Whether the server answers.", Kind::Gauge);
            let mut waited = Family::new("patience_seconds", "", Kind::Gauge);
            waited.push(Labels::default(), patience.as_secs_f64());
            for name in ["shop-1", "shop-2"] {
                if instance.is_none_or(|wanted| wanted == name) {
                    up.push(Labels::new([("server", name)]), 1.0);
                }
            }
            let more = ["shop-1", "shop-2"].map(|name| {
                let mut more = Family::new("more", "", Kind::Gauge);
                for n in 0..self.more / 2 {
                    let number = format!("{n:0100}");
                    more.push(Labels::new([("server", name), ("number", &number)]), 1.0);
                }
                Arc::new(more)
            });
            [Arc::new(up), Arc::new(waited)].into_iter().chain(more).collect()
        })
    }

    fn targets(&self) -> Vec<Target> {
        ["shop-1", "shop-2"]
            .map(|name| Target {
                name: name.to_owned(),
                cluster: "shop".to_owned(),
                labels: BTreeMap::from([("team".to_owned(), "payments".to_owned())]),
            })
            .to_vec()
    }

    fn status(&self) -> Status {
        Status::default()
    }

    fn ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed)
    }
}

/// A door in a runtime of its own, closed when dropped.
struct Open {
    runtime: tokio::runtime::Runtime,
    group: Group,
    house: Arc<Stub>,
    address: SocketAddr,
}

impl Open {
    fn new() -> Self {
        Self::of(Stub::default(), None, Limits::default())
    }

    fn with(house: Stub) -> Self {
        Self::of(house, None, Limits::default())
    }

    fn guarded(web_config: &Path) -> Self {
        Self::of(Stub::default(), Some(web_config), Limits::default())
    }

    fn of(house: Stub, web_config: Option<&Path>, limits: Limits) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let settings = config::Http {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            web_config_file: web_config.map(Path::to_path_buf),
        };
        let mut opened = http::open(&settings).unwrap_or_else(|e| panic!("{e:?}"));
        opened.limits = limits;
        let address = opened.addresses()[0];
        let (group, house) = (Group::new(), Arc::new(house));
        {
            let _inside = runtime.enter();
            let telemetry = Telemetry::new();
            telemetry.gauge("pgvigil_test_agent", "One of the agent's own.").set(1.0);
            http::serve(opened, Arc::clone(&house) as _, &telemetry, &group).unwrap();
        }
        Self { runtime, group, house, address }
    }

    fn get(&self, path: &str) -> Reply {
        get(self.address, path, &[])
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.runtime.block_on(self.group.stop(Duration::ZERO, Duration::from_secs(5)));
    }
}

#[test]
fn metrics_of_all_and_of_one() {
    let door = Open::new();
    let all = parse_text(&door.get("/metrics").body).unwrap();
    assert_eq!(all.value("pg_up", &[("server", "shop-1")]), Some(1.0));
    assert_eq!(all.value("pg_up", &[("server", "shop-2")]), Some(1.0));
    assert!(all.family("pgvigil_test_agent").is_some());
    let one = parse_text(&door.get("/probe?target=shop%2D2").body).unwrap();
    assert_eq!(one.series("pg_up").count(), 1);
    assert_eq!(one.value("pg_up", &[("server", "shop-2")]), Some(1.0));
    assert!(one.family("pgvigil_test_agent").is_none());
    let counted = parse_text(&door.get("/metrics").body).unwrap();
    let requests = [("handler", "metrics"), ("code", "200")];
    assert_eq!(counted.value("pgvigil_http_requests_total", &requests), Some(1.0));
}

#[test]
fn a_target_must_be_configured() {
    let door = Open::new();
    for (path, status) in [("/probe?target=evil:5432", 404), ("/probe", 400)] {
        let reply = door.get(path);
        assert_eq!(reply.status, status);
        assert!(reply.body.contains("\n  shop-1\n  shop-2\n"), "{}", reply.body);
    }
}

#[test]
fn a_scrape_waits_as_long_as_its_scraper_allows() {
    let door = Open::new();
    for (header, seconds) in [(None, 2.0), (Some("10"), 2.0), (Some("1.5"), 1.0)] {
        let headers = header.map(|h| ("X-Prometheus-Scrape-Timeout-Seconds", h));
        let reply = get(door.address, "/metrics", headers.as_slice());
        let page = parse_text(&reply.body).unwrap();
        assert_eq!(page.value("patience_seconds", &[]), Some(seconds));
    }
}

#[test]
fn a_house_that_hangs_costs_the_scrape_and_nothing_else() {
    let door = Open::with(Stub { delay: Duration::from_secs(60), ..Stub::default() });
    let reply = get(door.address, "/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", "1")]);
    assert_eq!(reply.status, 503);
    assert!(reply.took < Duration::from_millis(1500), "{:?}", reply.took);
}

#[test]
fn only_reading_is_answered() {
    let door = Open::new();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let reply = ask(door.address, &format!("{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(reply.starts_with("HTTP/1.1 405 "), "{reply}");
        assert!(reply.to_ascii_lowercase().contains("\r\nallow: get, head\r\n"), "{reply}");
    }
    let reply = ask(door.address, "HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\n"), "{reply}");
    assert!(reply.to_ascii_lowercase().contains("\r\ncontent-length: 3\r\n"), "{reply}");
}

#[test]
fn the_status_page_lets_nothing_else_in() {
    let reply = Open::new().get("/");
    assert_eq!(reply.status, 200);
    let headers = reply.headers.to_ascii_lowercase();
    assert!(headers.contains("\r\ncontent-type: text/html; charset=utf-8"), "{headers}");
    assert!(headers.contains("\r\ncontent-security-policy: default-src 'none';"), "{headers}");
    assert!(reply.body.starts_with("<!doctype html>") && !reply.body.contains("<script"));
}

#[test]
fn what_is_not_there_says_what_is() {
    let reply = Open::new().get("/debug/pprof");
    assert_eq!(reply.status, 404);
    for path in ["/metrics", "/probe", "/sd", "/livez", "/readyz"] {
        assert!(reply.body.contains(path), "{}", reply.body);
    }
}

#[test]
fn discovery_names_each_instance() {
    let door = Open::new();
    let reply = door.get("/sd");
    assert!(reply.headers.contains("application/json"));
    let targets: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(targets[1]["targets"][0], door.address.to_string());
    assert_eq!(targets[1]["labels"]["__param_target"], "shop-2");
    assert_eq!(targets[1]["labels"]["__scheme__"], "http");
}

#[test]
fn a_taken_address_is_told_with_what_to_do() {
    let door = Open::new();
    let settings = config::Http { listen: vec![door.address], web_config_file: None };
    let Err(http::OpenError::Listen(told)) = http::open(&settings).map(drop) else {
        panic!("bound twice");
    };
    let begin = format!("cannot listen on {} (address in use); stop the program", door.address);
    assert!(told.starts_with(&begin), "{told}");
}

#[test]
fn formats_are_negotiated() {
    let door = Open::new();
    let reply = get(door.address, "/metrics", &[("Accept", "application/openmetrics-text")]);
    assert!(reply.headers.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    parse_openmetrics(&reply.body).unwrap();
    let reply = get(door.address, "/metrics", &[("Accept", "a/b"), ("Accept", "text/plain")]);
    assert!(reply.headers.contains("text/plain; version=0.0.4; charset=utf-8"));
    let reply = get(door.address, "/metrics", &[("Accept-Encoding", "gzip")]);
    assert!(reply.headers.to_ascii_lowercase().contains("\r\ncontent-encoding: gzip"));
}

/// Its body is one gzip member of several pieces.
#[test]
fn a_large_page_is_read_whole_by_curl_and_prometheus() {
    let door = Open::with(Stub { more: 3000, ..Stub::default() });
    let plain = door.get("/metrics").body;
    let series = |page: &str| {
        let lines = page.lines().filter(|line| line.starts_with("more{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(series(&plain).len(), 3000);
    match Command::new("curl")
        .args(["--silent", "--fail", "--compressed"])
        .arg(format!("http://{}/metrics", door.address))
        .output()
    {
        Ok(output) => {
            let page = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success() && series(&page) == series(&plain), "{}", page.len());
        }
        Err(error) => eprintln!("skipped: no curl ({error})"),
    }
    for variable in ["PROMETHEUS", "PROMETHEUS_OLD"] {
        let Some(program) = component(variable) else { continue };
        let second = Duration::from_secs(1);
        let prometheus = Prometheus::start_program(&program, second, &[door.address], &[]);
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut counted = Vec::new();
        while counted.is_empty() {
            assert!(Instant::now() < deadline, "{}", prometheus.api("/api/v1/targets"));
            counted = prometheus.query("count(more)");
        }
        assert_eq!(counted[0].1, 3000.0);
    }
}

#[test]
fn health_never_depends_on_the_house() {
    let door = Open::with(Stub { delay: Duration::from_secs(60), ..Stub::default() });
    assert_eq!(door.get("/livez").status, 200);
    assert_eq!(door.get("/readyz").status, 200);
    door.house.stopping.store(true, Ordering::Relaxed);
    assert_eq!(door.get("/readyz").status, 503);
    assert_eq!(door.get("/livez").status, 200);
}

/// Sends bytes as they are and reads until the other side closes, or for two seconds.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    read_all(&mut stream)
}

fn read_all(stream: &mut impl Read) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count) = stream.read(&mut part) {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&part[..count]);
        // Whole once its length is there: a connection may be kept open.
        if whole(&answer) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| body.len() >= n)
}
