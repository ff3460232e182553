//! The door through a real listener: what is answered, to whom, and what a client cannot do to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgvigil::config;
use pgvigil::http::{self, House, Scrape, Status, Target};
use pgvigil::metric::{Family, Kind, Labels};
use pgvigil::task::Group;
use pgvigil::telemetry::Telemetry;

use crate::support::agent::{Reply, get};
use crate::support::exposition::{parse_openmetrics, parse_text};

/// A house of two instances, whose answers take `delay`.
#[derive(Default)]
struct Stub {
    delay: Duration,
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
            vec![Arc::new(up), Arc::new(waited)]
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
        Self::with(Stub::default(), None)
    }

    fn with(house: Stub, web_config: Option<&std::path::Path>) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let settings = config::Http {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            web_config_file: web_config.map(std::path::Path::to_path_buf),
        };
        let opened = http::open(&settings).unwrap_or_else(|e| panic!("{e:?}"));
        let address = opened.addresses()[0];
        let (group, house) = (Group::new(), Arc::new(house));
        let _inside = runtime.enter();
        http::serve(opened, Arc::clone(&house) as _, &Telemetry::new(), &group).unwrap();
        drop(_inside);
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
    assert!(all.family("pgvigil_build_info").is_some());
    let one = parse_text(&door.get("/probe?target=shop%2D2").body).unwrap();
    assert_eq!(one.series("pg_up").count(), 1);
    assert_eq!(one.value("pg_up", &[("server", "shop-2")]), Some(1.0));
    assert!(one.family("pgvigil_build_info").is_none());
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

#[test]
fn health_never_depends_on_the_house() {
    let door = Open::with(Stub { delay: Duration::from_secs(60), ..Stub::default() }, None);
    assert_eq!(door.get("/livez").status, 200);
    assert_eq!(door.get("/readyz").status, 200);
    door.house.stopping.store(true, Ordering::Relaxed);
    assert_eq!(door.get("/readyz").status, 503);
    assert_eq!(door.get("/livez").status, 200);
}
