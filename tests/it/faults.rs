//! What goes wrong is told in one clear sentence that says what to do, and the rest goes on: through
//! the built binary, against real servers.

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::agent::{Agent, binary, pgvigil, sample};
use crate::support::postgres::{
    Cluster, MONITOR, Options, PASSWORD, Stop, as_owner, own, write_owned,
};
use crate::support::process::free_port;

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// `pgvigil check` on a configuration: exit code, and all that it prints.
fn check(configuration: &str) -> (i32, String) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("pgvigil.yml");
    fs::write(&file, configuration).unwrap();
    let output = pgvigil(&["check", "--config"]).arg(&file).output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

/// The one line of `printed` that holds `part`; it must say what to do after a semicolon.
fn sentence<'t>(printed: &'t str, part: &str) -> &'t str {
    let mut lines = printed.lines().filter(|line| line.contains(part));
    let line = lines.next().unwrap_or_else(|| panic!("no line holds `{part}`:\n{printed}"));
    assert!(line.contains("; "), "no remedy: {line}");
    line
}

#[test]
fn a_typo_is_told_with_its_place_and_what_was_meant() {
    let (code, printed) = check("instances:\n  - name: a\n    dns: postgresql://h/d\n");
    assert_eq!(code, 78, "{printed}");
    let line = sentence(&printed, "dns");
    assert!(line.contains("pgvigil.yml:3:") && line.contains("dsn"), "{line}");
}

#[test]
fn a_wrong_password_an_unknown_host_and_nobody_listening_are_three_sentences() {
    let hba = "host all all 127.0.0.1/32 scram-sha-256";
    let Some(cluster) = Options::default().hba(hba).start(17) else { return };
    let port = cluster.port;
    let closed = free_port();
    let (code, printed) = check(&format!(
        "instances:\n  - {{name: wrong, dsn: \"postgresql://{MONITOR}:nonsense-77@127.0.0.1:{port}/postgres\"}}\n  \
         - {{name: nowhere, dsn: \"postgresql://{MONITOR}@no-such-host.invalid/postgres\"}}\n  \
         - {{name: closed, dsn: \"postgresql://{MONITOR}@127.0.0.1:{closed}/postgres\"}}\n"
    ));
    assert_eq!(code, 69, "{printed}");
    assert!(sentence(&printed, "wrong:").contains("password"), "{printed}");
    assert!(sentence(&printed, "nowhere:").contains("no-such-host.invalid"), "{printed}");
    assert!(sentence(&printed, "closed:").contains(&closed.to_string()), "{printed}");
    assert!(!printed.contains("nonsense-77"), "{printed}");
}

#[test]
fn an_unreadable_log_costs_only_itself() {
    let Some(cluster) = Options::default().log_to_file().start(17) else { return };
    let directory = Arc::new(TempDir::new().unwrap());
    let path = |name: &str| directory.path().join(name);
    own(directory.path());
    write_owned(&path("locked.log"), "x\n", 0o000);
    let configuration = format!(
        "instances: [{{name: a, dsn: \"{}\"}}]\nhttp: {{listen: [\"127.0.0.1:0\"]}}\nstate_directory: {}\n\
         logs:\n  sources:\n    - {{name: a, files: [\"{}\", \"{}/log/*.log\"]}}\n",
        cluster.monitor_dsn(),
        path("state").display(),
        path("locked.log").display(),
        cluster.directory().display()
    );
    write_owned(&path("pgvigil.yml"), &configuration, 0o600);
    // To root no file is closed, and what is built may be closed to others.
    fs::copy(binary(), path("pgvigil")).unwrap();
    let mut command = Command::new(path("pgvigil"));
    command.args(["run", "--config"]).arg(path("pgvigil.yml")).env_clear().current_dir("/");
    as_owner(&mut command);
    let agent = Agent::spawn(command, Arc::clone(&directory));
    agent.await_metrics(Duration::from_secs(20), |page| {
        sample(page, "pg_up", &[]) == Some(1.0)
            && sample(page, "pg_log_records_total", &[("severity", "LOG")]).is_some_and(|n| n > 0.0)
    });
    let log = agent.log();
    assert_eq!(log.lines().filter(|line| line.contains("locked.log")).count(), 1, "{log}");
    sentence(&log, "locked.log");
}

#[test]
fn a_server_that_stops_starts_hangs_and_comes_back() {
    let Some(mut cluster) = Cluster::start(17) else { return };
    let agent = Agent::start(&format!(
        "cluster: c\ninstances: [{{name: s, dsn: \"{}\"}}]\n",
        cluster.monitor_dsn()
    ));
    let up = |page: &str| sample(page, "pg_up", &[("cluster", "c"), ("server", "s")]);
    let state = |page: &str, reason: &str| {
        sample(page, "pgvigil_instance_state", &[("reason", reason)]) == Some(1.0)
    };
    agent.await_metrics(Duration::from_secs(10), |page| up(page) == Some(1.0) && state(page, "ok"));

    cluster.stop(Stop::Fast);
    // An answer of less than a second ago still counts as up.
    std::thread::sleep(Duration::from_millis(1100));
    let reply = agent.get("/metrics");
    assert!(reply.status == 200 && reply.took < Duration::from_secs(3), "{reply:?}");
    assert_eq!(up(&reply.body), Some(0.0), "down at once");
    agent.await_metrics(Duration::from_secs(5), |page| state(page, "refused"));

    cluster.start_again();
    agent.await_metrics(Duration::from_secs(20), |page| up(page) == Some(1.0) && state(page, "ok"));

    cluster.freeze();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(12) {
        let reply = agent.get("/metrics");
        assert!(reply.status == 200 && reply.took < Duration::from_secs(3), "{:?}", reply.took);
        assert!(begun.elapsed() < Duration::from_secs(2) || up(&reply.body) == Some(0.0));
        std::thread::sleep(Duration::from_millis(500));
    }
    let page = agent.metrics();
    assert!(state(&page, "timeout") || state(&page, "budget"), "{page}");
    cluster.thaw();
    agent.await_metrics(Duration::from_secs(60), |page| up(page) == Some(1.0));
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgvigil'";
    let count: u32 = cluster.sql(sessions)[0][0].parse().unwrap();
    assert!((1..=3).contains(&count), "{count} sessions");
}

#[test]
fn the_environment_and_flags_alone_make_an_agent() {
    let hba = "host all all 127.0.0.1/32 scram-sha-256";
    let Some(cluster) = Options::default().log_to_file().hba(hba).start(17) else { return };
    let uri = format!("postgresql://{MONITOR}:{PASSWORD}@127.0.0.1:{}/postgres", cluster.port);
    let keywords = format!(
        "host=127.0.0.1 port={} user={MONITOR} password={PASSWORD} dbname=postgres",
        cluster.port
    );
    let port = cluster.port.to_string();
    let libpq = [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &port),
        ("PGUSER", MONITOR),
        ("PGPASSWORD", PASSWORD),
        ("PGDATABASE", "postgres"),
    ];
    let ways: [&[(&str, &str)]; 3] =
        [&[("DATA_SOURCE_NAME", &uri)], &[("DATA_SOURCE_NAME", &keywords)], &libpq];
    for variables in ways {
        let directory = Arc::new(TempDir::new().unwrap());
        let mut command = pgvigil(&["run", "--listen", "127.0.0.1:0", "--logs"]);
        command.arg(format!("{}/log/*.log", cluster.directory().display()));
        command.arg("--state-directory").arg(directory.path()).envs(variables.iter().copied());
        let agent = Agent::spawn(command, directory);
        agent.await_metrics(Duration::from_secs(20), |page| {
            sample(page, "pg_up", &[]) == Some(1.0)
                && sample(page, "pg_log_records_total", &[("severity", "LOG")])
                    .is_some_and(|n| n > 0.0)
        });
        assert_eq!(agent.stop(), 0);
    }
}

#[test]
fn a_port_in_use_and_a_state_directory_in_use_end_with_69() {
    let directory = Arc::new(TempDir::new().unwrap());
    let log = directory.path().join("x.log");
    fs::write(&log, "").unwrap();
    let run = |listen: &str| {
        let mut command = pgvigil(&["run", "--listen", listen, "--logs"]);
        command.arg(&log).arg("--state-directory").arg(directory.path().join("state"));
        command
    };
    let first = Agent::spawn(run("127.0.0.1:0"), Arc::clone(&directory));
    let address = first.address.to_string();
    let taken = run(&address).output().unwrap();
    assert_eq!(taken.status.code(), Some(69), "{}", text(&taken));
    sentence(&text(&taken), &address);
    let locked = run("127.0.0.1:0").output().unwrap();
    assert_eq!(locked.status.code(), Some(69), "{}", text(&locked));
    sentence(&text(&locked), "state");
}
