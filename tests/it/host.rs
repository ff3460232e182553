//! The machine around a server, as the agent beside it sees it, and what it says where it is not.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::agent::Agent;
use crate::support::exposition::{Parsed, parse_text};
use crate::support::postgres::{Cluster, MONITOR, Options, Stop, edges, own};

const WITHIN: Duration = Duration::from_secs(60);

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

/// Within a tenth or 4 GiB: others write to the same disk meanwhile.
#[track_caller]
fn near(what: &str, found: f64, expected: f64) {
    let slack = (expected / 10.0).max(f64::from(1 << 30) * 4.0);
    assert!((found - expected).abs() <= slack, "{what}: {found}, expected {expected}");
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
        // Whose figures they are does not change with the server's end.
        let scope = |page: &Parsed| {
            let mut of_memory = page.series("pg_host_memory_limit_bytes");
            of_memory.find_map(|sample| sample.label("scope").map(str::to_owned)).expect("a scope")
        };
        cluster.stop(Stop::Fast);
        await_host(&agent, |page| page.value("pg_up", &[("server", "tcp")]) == Some(0.0));
        std::thread::sleep(Duration::from_millis(1500));
        let after = parse_text(&agent.metrics()).expect("a page");
        assert_eq!(scope(&after), scope(&page));
        assert_eq!(reason(&after, "tcp", &DATA), "ok");
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

/// Forwards connections to a port, as a tunnel does; its own port.
fn tunnel(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pump = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })
    };
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            pump(near.try_clone().unwrap(), far.try_clone().unwrap());
            pump(far, near);
        }
    });
    port
}

/// A machine in files: 1000 s of processor time on one core, 8 GiB of memory, 2 of them available, and a
/// root in which the cluster's data directory is, but none of its processes.
fn machine(cluster: &Cluster) -> TempDir {
    let machine = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = machine.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/stat", "cpu  100000 0 0 5 0 0 0 0 0 0\ncpu0 100000 0 0 5 0\nbtime 1\n");
    let memory = "MemTotal: 8388608 kB\nMemFree: 1048576 kB\nMemAvailable: 2097152 kB\n\
                  Buffers: 0 kB\nCached: 0 kB\nInactive(file): 1048576 kB\n";
    write("proc/meminfo", memory);
    write("proc/loadavg", "0.25 0.5 0.75 1/1 1\n");
    fs::create_dir_all(machine.path().join("cgroup")).unwrap();
    let data = machine.path().join("root").join(cluster.data().strip_prefix("/").unwrap());
    fs::create_dir_all(data.join("global")).unwrap();
    fs::copy(cluster.data().join("global/pg_control"), data.join("global/pg_control")).unwrap();
    machine
}

fn roots(machine: &Path) -> String {
    let at = |name: &str| machine.join(name).display().to_string();
    format!("host: {{proc: {}, cgroup: {}, root: {}}}\n", at("proc"), at("cgroup"), at("root"))
}

#[test]
fn from_afar_and_through_other_roots() {
    let Some(major) = edges().pop() else { return };
    let cluster = Cluster::start(major).expect("an installed major");
    let direct = cluster.monitor_dsn();
    let through = format!("postgresql://{MONITOR}@127.0.0.1:{}/postgres", tunnel(cluster.port));
    let instances = format!(
        "cluster: c\ninstances:\n\
         - {{name: direct, dsn: \"{direct}\"}}\n\
         - {{name: through, dsn: \"{through}\"}}\n\
         - {{name: allotted, dsn: \"{through}\", storage: {{data: {{size: 200MiB}}}}}}\n\
         - {{name: down, dsn: \"postgresql://a@127.0.0.1:1/b\"}}\n"
    );
    let machine = machine(&cluster);
    let agent = Agent::start(&format!("{instances}{}", roots(machine.path())));
    let page = await_host(&agent, |page| {
        let told = |name, server| page.series(name).any(|s| s.label("server") == Some(server));
        told("pg_host_load1", "direct") && told("pg_host_filesystem_used_bytes", "allotted")
    });
    // The other roots are looked at, for the connection has nothing between its ends.
    let of = |name: &str| value(&page, name, "direct", &[("scope", "machine")]);
    assert_eq!(of("pg_host_cpu_usage_seconds_total"), 1000.0);
    assert_eq!(of("pg_host_memory_available_bytes"), f64::from(1 << 30) * 2.0);
    assert_eq!(of("pg_host_memory_working_set_bytes"), f64::from(1 << 30) * 6.0);
    assert_eq!(value(&page, "pg_host_load5", "direct", &[]), 0.5);
    assert_eq!(reason(&page, "direct", &[("subject", "pressure")]), "unsupported");
    assert_eq!(reason(&page, "direct", &DATA), "ok");
    // The other root's data directory has no WAL in it, and nobody knows of a log.
    assert_eq!(reason(&page, "direct", &[("directory", "wal")]), "not_found");
    assert_eq!(reason(&page, "direct", &[("directory", "log")]), "unknown");

    // What is behind a tunnel is elsewhere, even though its address is this machine's.
    for server in ["through", "allotted"] {
        for subject in ["cpu", "memory", "pressure", "load"] {
            assert_eq!(reason(&page, server, &[("subject", subject)]), "remote", "{subject}");
        }
        for directory in ["data", "wal", "log"] {
            assert_eq!(reason(&page, server, &[("directory", directory)]), "remote");
        }
        assert!(!page.series("pg_host_load1").any(|s| s.label("server") == Some(server)));
    }
    // Of an allotment, the server itself tells how much is used.
    let of = |name: &str| value(&page, name, "allotted", &[("directory", "data")]);
    let (used, left) =
        (of("pg_host_filesystem_used_bytes"), of("pg_host_filesystem_available_bytes"));
    assert_eq!(used + left, f64::from(200 << 20));
    assert!(used > 20e6 && left > 0.0, "{used} {left}");
    assert_eq!(reason(&page, "down", &[("subject", "cpu")]), "unknown");
    assert_eq!(reason(&page, "down", &DATA), "unknown");
    assert_eq!(agent.stop(), 0);

    // Its processes are proof too: the way to them does not matter.
    let agent = Agent::start(&instances);
    let page = await_host(&agent, |page| {
        page.series("pg_host_load1").any(|sample| sample.label("server") == Some("through"))
    });
    assert_eq!(reason(&page, "through", &DATA), "ok");
}

#[test]
fn what_hangs_holds_up_only_itself() {
    let Some(major) = edges().pop() else { return };
    let cluster = Cluster::start(major).expect("an installed major");
    let machine = machine(&cluster);
    let load = machine.path().join("proc/loadavg");
    fs::remove_file(&load).unwrap();
    // Whoever opens a pipe to read waits until somebody opens it to write.
    assert!(Command::new("mkfifo").arg(&load).status().unwrap().success());
    let agent = Agent::start(&format!(
        "cluster: c\ninstances:\n- {{name: a, dsn: \"{}\"}}\n{}",
        cluster.monitor_dsn(),
        roots(machine.path())
    ));
    let timed_out = |page: &Parsed| {
        let subjects = page.series("pg_host_visible").filter(|s| s.label("subject") == Some("cpu"));
        subjects.into_iter().any(|sample| sample.label("reason") == Some("timeout"))
    };
    let page = await_host(&agent, |page| {
        timed_out(page) && page.series("pg_host_filesystem_size_bytes").next().is_some()
    });
    assert_eq!(page.value("pg_up", &[]), Some(1.0));
    assert_eq!(reason(&page, "a", &[("subject", "load")]), "timeout");
    assert_eq!(reason(&page, "a", &DATA), "ok");
    assert!(page.series("pg_host_load1").next().is_none());
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
        tasks.count()
    };
    // Nothing more is begun while it hangs.
    let before = threads();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(1100));
        assert!(agent.get("/metrics").took < Duration::from_secs(2));
    }
    assert!(threads() <= before + 1, "{before} threads became {}", threads());
    fs::OpenOptions::new().write(true).open(&load).unwrap();
    fs::remove_file(&load).unwrap();
    fs::write(&load, "1 2 3 1/1 1\n").unwrap();
    await_host(&agent, |page| page.value("pg_host_load15", &[]) == Some(3.0));
    // Nor does it hold up the end.
    fs::remove_file(&load).unwrap();
    assert!(Command::new("mkfifo").arg(&load).status().unwrap().success());
    await_host(&agent, timed_out);
    assert_eq!(agent.stop(), 0);
}
