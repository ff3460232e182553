//! The machine around a server, as the agent beside it sees it, and what it says where it is not.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::agent::Agent;
use crate::support::exposition::{Parsed, parse_text};
use crate::support::postgres::{Options, Stop, edges, own};

const WITHIN: Duration = Duration::from_secs(30);

/// The value of the one series of `server` with all of these labels.
#[track_caller]
fn value(page: &Parsed, name: &str, server: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Vec<_> = labels.iter().copied().chain([("server", server)]).collect();
    page.value(name, &labels).unwrap_or_else(|| panic!("no {name} with {labels:?}"))
}

/// Why something of `server` cannot be seen, or `ok`.
#[track_caller]
fn reason(page: &Parsed, server: &str, labels: &[(&str, &str)]) -> String {
    let mut found = page.series("pg_host_visible").filter(|sample| {
        sample.label("server") == Some(server)
            && labels.iter().all(|(name, value)| sample.label(name) == Some(value))
    });
    let one = found.next().unwrap_or_else(|| panic!("{server}: no word of {labels:?}"));
    assert_eq!(found.next(), None, "{labels:?}: two words");
    let reason = one.label("reason").expect("a reason").to_owned();
    assert_eq!(one.value == 1.0, reason == "ok", "{one:?}");
    reason
}

const DATA: [(&str, &str); 2] = [("subject", "filesystem"), ("directory", "data")];

#[track_caller]
fn await_host(agent: &Agent, wanted: impl Fn(&Parsed) -> bool) -> Parsed {
    let page = agent.await_metrics(WITHIN, |page| wanted(&parse_text(page).expect("a page")));
    parse_text(&page).expect("a page")
}

/// Size and available bytes of a directory's file system, as `df` says.
fn df(path: &str) -> (f64, f64) {
    let output = Command::new("df").args(["-B1", "--output=size,avail", path]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.lines().nth(1).unwrap().split_whitespace();
    let mut next = || words.next().unwrap().parse().unwrap();
    (next(), next())
}

/// Within a tenth: others write to the same disk and use the same memory meanwhile.
#[track_caller]
fn near(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= expected / 10.0, "{what}: {found}, expected {expected}");
}

#[test]
fn beside_the_server() {
    for major in edges() {
        let cluster = Options::default().log_to_file().start(major).expect("an installed major");
        let place = cluster.directory().join("fast");
        fs::create_dir(&place).unwrap();
        own(&place);
        cluster.sql(&format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
        // The WAL behind a link, as after `initdb --waldir`.
        let mut cluster = cluster;
        cluster.stop(Stop::Fast);
        let wal = cluster.directory().join("wal");
        fs::rename(cluster.data().join("pg_wal"), &wal).unwrap();
        std::os::unix::fs::symlink(&wal, cluster.data().join("pg_wal")).unwrap();
        cluster.start_again();

        let dsn = cluster.monitor_dsn();
        let socket =
            format!("host={} port={} user=postgres", cluster.directory().display(), cluster.port);
        let agent = Agent::start(&format!(
            "cluster: c\ninstances:\n\
             - {{name: tcp, dsn: \"{dsn}\"}}\n\
             - {{name: socket, dsn: \"{socket} dbname=postgres\"}}\n\
             - {{name: small, dsn: \"{dsn}\", storage: {{data: {{size: 100MiB}}}}}}\n\
             - {{name: elsewhere, dsn: \"{dsn}\", storage: {{data: {{path: /nowhere}}, wal: {{path: {}}}}}}}\n",
            wal.display()
        ));
        let page = await_host(&agent, |page| {
            ["tcp", "socket", "small", "elsewhere"].iter().all(|server| {
                page.series("pg_host_load1").any(|sample| sample.label("server") == Some(server))
            })
        });
        for server in ["tcp", "socket"] {
            for subject in ["cpu", "memory", "load"] {
                assert_eq!(reason(&page, server, &[("subject", subject)]), "ok", "{subject}");
            }
            for directory in ["data", "wal", "log", "tablespace"] {
                let labels = [("directory", directory)];
                assert_eq!(reason(&page, server, &labels), "ok", "{directory}");
                let (size, available) = df(cluster.directory().to_str().unwrap());
                let of = |name: &str| value(&page, name, server, &labels);
                assert_eq!(of("pg_host_filesystem_size_bytes"), size);
                near("available", of("pg_host_filesystem_available_bytes"), available);
                assert!(of("pg_host_filesystem_inodes_available") > 0.0);
            }
            let path = |directory: &str| {
                let mut found = page.series("pg_host_filesystem_size_bytes").filter(|sample| {
                    sample.label("server") == Some(server)
                        && sample.label("directory") == Some(directory)
                });
                found.next().and_then(|sample| sample.label("path")).expect("a path").to_owned()
            };
            assert!(path("data") == cluster.data().to_str().unwrap());
            assert!(path("wal") == wal.to_str().unwrap(), "{}", path("wal"));
            assert!(path("tablespace") == place.to_str().unwrap(), "{}", path("tablespace"));
            plausible(&page, server);
        }
        let taken =
            value(&page, "pg_host_filesystem_used_bytes", "small", &[("directory", "data")]);
        let left =
            value(&page, "pg_host_filesystem_available_bytes", "small", &[("directory", "data")]);
        let size = value(&page, "pg_host_filesystem_size_bytes", "small", &[("directory", "data")]);
        assert_eq!((size, taken + left), (f64::from(100 << 20), f64::from(100 << 20)));
        assert!((10e6..90e6).contains(&taken), "{taken}");

        assert_eq!(reason(&page, "elsewhere", &DATA), "not_found");
        let size =
            value(&page, "pg_host_filesystem_size_bytes", "elsewhere", &[("directory", "wal")]);
        assert!(size > 0.0);

        let probe = agent.get("/probe?target=small");
        let probe = parse_text(&probe.body).expect("a page");
        assert!(
            probe.series("pg_host_load1").all(|sample| sample.label("server") == Some("small"))
        );
        assert_eq!(probe.series("pg_host_load1").count(), 1);
        let before = value(&page, "pg_host_cpu_usage_seconds_total", "tcp", &[]);
        std::thread::sleep(Duration::from_millis(1500));
        let after = parse_text(&agent.metrics()).expect("a page");
        assert!(value(&after, "pg_host_cpu_usage_seconds_total", "tcp", &[]) > before);
        if std::env::var_os("SHOW").is_some() {
            for line in agent.metrics().lines().filter(|line| line.contains("pg_host_")) {
                println!("{line}");
            }
        }
    }
}

/// The figures agree with what the machine says of itself.
#[track_caller]
fn plausible(page: &Parsed, server: &str) {
    let of = |name: &str| value(page, name, server, &[]);
    let info = fs::read_to_string("/proc/meminfo").unwrap();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let total: f64 = total.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0;
    let limit = of("pg_host_memory_limit_bytes");
    assert!(limit > 0.0 && limit <= total, "{limit} of {total}");
    let used = of("pg_host_memory_used_bytes");
    let working = of("pg_host_memory_working_set_bytes");
    let available = of("pg_host_memory_available_bytes");
    assert!(0.0 < working && working <= used && available <= limit, "{working} {used} {available}");
    let cores = of("pg_host_cpu_cores");
    assert!(cores >= 1.0 && of("pg_host_cpu_limit_cores") <= cores);
    let busy = of("pg_host_cpu_usage_seconds_total");
    let up = fs::read_to_string("/proc/uptime").unwrap();
    let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
    assert!(busy > 0.0 && busy <= up * cores, "{busy} s of {up} s on {cores} cores");
}
