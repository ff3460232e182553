//! Backups as the running agent tells them: files that change, break and vanish, programs that hang
//! and never end, dumps that shrink.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::support::agent::{Agent, pgvigil, sample};

/// Generous: what is waited for comes within a second or two.
const SOON: Duration = Duration::from_secs(20);
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn ago(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - seconds
}

/// An agent that watches the backups of a server that is not there: they are known all the same.
fn agent(backups: &str) -> Agent {
    Agent::start(&configuration(backups))
}

fn configuration(backups: &str) -> String {
    format!(
        "cluster: shop\ninstances:\n  - name: shop-1\n    dsn: host=127.0.0.1 port=1 user=nobody dbname=none\n    \
         labels: {{team: payments}}\n    backups:\n{backups}"
    )
}

/// Written aside and renamed, as a job should.
fn write(path: &Path, text: &str) {
    let aside = path.with_extension("new");
    fs::write(&aside, text).unwrap();
    fs::rename(aside, path).unwrap();
}

fn holds(page: &str, state: &str) -> bool {
    sample(page, "pg_backup_state", &[("state", state)]) == Some(1.0)
}

fn reason(page: &str, reason: &str) -> bool {
    sample(page, "pgvigil_backup_source_outcome", &[("reason", reason)]) == Some(1.0)
}

const SUCCESS: &str = "pg_backup_last_success_timestamp_seconds";

#[test]
fn a_file_of_json_is_followed() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("backups.jsonl");
    let agent = agent(&format!(
        "      - {{source: json, file: {}, schedule: \"@daily\", keep: 7d, offsite: true, interval: 1s}}\n",
        file.display()
    ));
    // Never blank: a source that is not there is said, and so is that no backup is known.
    let page = agent.await_metrics(SOON, |page| reason(page, "missing"));
    assert!(holds(&page, "none_known") && holds(&page, "source_error") && !holds(&page, "ok"));
    let labels =
        [("cluster", "shop"), ("server", "shop-1"), ("team", "payments"), ("source", "json")];
    assert_eq!(sample(&page, "pg_backup_offsite", &labels), Some(1.0));
    assert_eq!(sample(&page, "pg_backup_keep_seconds", &labels), Some(7.0 * 86400.0));
    assert_eq!(sample(&page, SUCCESS, &[]), None);

    let old = format!("{{\"ended\": {}}}\n", ago(3 * DAY));
    write(&file, &old);
    let page = agent.await_metrics(SOON, |page| holds(page, "overdue"));
    assert!(holds(&page, "window_short") && !holds(&page, "ok") && !holds(&page, "source_error"));

    let (ended, oldest) = (ago(60), ago(8 * DAY));
    write(
        &file,
        &format!(
            "{{\"ended\": {oldest}}}\n{old}{{\"ended\": {ended}, \"started\": {}, \"size_bytes\": 1234}}\n",
            ended - 30
        ),
    );
    let page = agent.await_metrics(SOON, |page| holds(page, "ok"));
    let full = [("type", "full"), ("source", "json"), ("server", "shop-1")];
    assert_eq!(sample(&page, SUCCESS, &full), Some(ended as f64));
    assert_eq!(sample(&page, "pg_backup_last_size_bytes", &full), Some(1234.0));
    assert_eq!(sample(&page, "pg_backup_last_duration_seconds", &full), Some(30.0));
    assert_eq!(sample(&page, "pg_backups_successful", &full), Some(3.0));
    assert_eq!(sample(&page, "pg_backups_failed", &full), Some(0.0));
    let start = "pg_backup_recovery_window_start_timestamp_seconds";
    assert_eq!(sample(&page, start, &[]), Some(oldest as f64));
    assert!(sample(&page, "pg_backup_recovery_window_seconds", &[]).unwrap() >= 8.0 * 86400.0);
    // Of the instance that is asked for, and of no other.
    assert!(agent.get("/probe?target=shop-1").body.contains("pg_backup_state"));

    write(
        &file,
        &format!("{{\"ended\": {ended}}}\n{{\"ended\": {}, \"status\": \"failed\"}}", ago(5)),
    );
    let page = agent.await_metrics(SOON, |page| holds(page, "failed"));
    assert!(sample(&page, "pg_backup_last_failure_timestamp_seconds", &full).is_some());

    // What is broken or gone is said at once, and what was known stays.
    fs::write(&file, "{\"ended\": 17").unwrap();
    let page = agent.await_metrics(SOON, |page| reason(page, "syntax"));
    assert!(holds(&page, "source_error"));
    assert_eq!(sample(&page, SUCCESS, &full), Some(ended as f64));
    fs::remove_file(&file).unwrap();
    let page = agent.await_metrics(SOON, |page| reason(page, "missing"));
    assert_eq!(sample(&page, SUCCESS, &full), Some(ended as f64));
    assert!(holds(&page, "failed") && !holds(&page, "none_known"));
    let shown = agent.get("/").body;
    assert!(
        shown.contains("failed, window_short, source_error") && shown.contains("it does not exist"),
        "{shown}"
    );
    write(&file, &format!("{{\"ended\": {ended}}}\n{{\"ended\": {oldest}}}\n"));
    agent.await_metrics(SOON, |page| holds(page, "ok"));
    let log = agent.log();
    assert!(log.contains("the source tells again"), "{log}");
    assert_eq!(agent.stop(), 0);
}

/// A script of the test's own, run by the shell that the configuration names.
fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Whether a process still runs; one that waits to be buried does not.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
    })
}

fn await_end(pid: &str) {
    let deadline = std::time::Instant::now() + SOON;
    while runs(pid) {
        assert!(std::time::Instant::now() < deadline, "{pid} still runs");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn await_text(path: &Path) -> String {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => assert!(std::time::Instant::now() < deadline, "{path:?} is not written"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_has_no_more_time_bytes_and_environment_than_given() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    let switch = at.join("how");
    fs::write(&switch, "well").unwrap();
    // It starts another, which would outlive it.
    let tool = script(
        at,
        "tool",
        &format!(
            "case $(cat {how}) in\n\
             well) env > {at}/environment; cat; echo '[{{\"name\": \"main\", \"status\": {{\"code\": 0}}, \"backup\": \
             [{{\"type\": \"full\", \"timestamp\": {{\"start\": 1, \"stop\": {stop}}}}}]}}]';;\n\
             hang) sleep 600 & echo $! > {at}/child.new; mv {at}/child.new {at}/child; wait;;\n\
             endless) yes;;\n\
             fail) echo 'password=hunter2' >&2; exit 3;;\n\
             esac\n",
            how = switch.display(),
            at = at.display(),
            stop = ago(60)
        ),
    );
    let yaml = format!(
        "      - source: pgbackrest\n        command: [sh, {}]\n        environment: {{STANZA: main}}\n        \
         interval: 1s\n        timeout: 2s\n",
        tool.display()
    );
    let variables = [("PGPASSWORD", "hunter2"), ("HOME", "/nowhere")];
    let agent = Agent::start_in(
        std::sync::Arc::new(TempDir::new().unwrap()),
        &configuration(&yaml),
        &variables,
    );
    let page = agent.await_metrics(SOON, |page| holds(page, "ok"));
    assert!(sample(&page, SUCCESS, &[("source", "pgbackrest"), ("type", "full")]).is_some());
    let environment = fs::read_to_string(at.join("environment")).unwrap();
    assert!(environment.contains("STANZA=main\n") && environment.contains("HOME=/nowhere\n"));
    assert!(!environment.contains("hunter2"), "{environment}");

    fs::write(&switch, "hang").unwrap();
    let child = await_text(&at.join("child"));
    assert!(runs(&child));
    let page = agent.await_metrics(SOON, |page| reason(page, "timeout"));
    assert!(holds(&page, "source_error") && sample(&page, SUCCESS, &[]).is_some());
    await_end(&child);

    fs::write(&switch, "endless").unwrap();
    agent.await_metrics(SOON, |page| reason(page, "too_large"));
    fs::write(&switch, "fail").unwrap();
    agent.await_metrics(SOON, |page| reason(page, "exit"));
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200_000, "{peak} kB");

    // A stop in the middle of a run ends the run.
    fs::remove_file(at.join("child")).unwrap();
    fs::write(&switch, "hang").unwrap();
    let child = await_text(&at.join("child"));
    let log = agent.log();
    assert!(!log.contains("hunter2"), "{log}");
    assert!(log.contains("run it by hand"), "{log}");
    assert_eq!(agent.stop(), 0);
    await_end(&child);
}

fn dump(path: &Path, bytes: usize, age: u64) {
    let file = fs::File::create(path).unwrap();
    file.set_len(bytes as u64).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
}

#[test]
fn dumps_are_known_by_their_files() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    dump(&at.join("shop-1.dump"), 1000, 3 * DAY);
    dump(&at.join("shop-2.dump"), 1100, HOUR);
    dump(&at.join("other.dump"), 7, 10);
    let agent = agent(&format!(
        "      - {{source: dump, files: [\"{0}/shop-*.dump\"], schedule: \"@daily\", interval: 1s, settle: 2s}}\n\
         \x20     - {{source: dump, name: away, files: [\"{0}/nowhere/*.dump\"], interval: 1s}}\n",
        at.display()
    ));
    let of = |page: &str, state: &str, name: Option<&str>| {
        let line = |line: &&str| {
            line.starts_with("pg_backup_state{")
                && line.contains(&format!("state=\"{state}\""))
                && name
                    .map_or(!line.contains(",name="), |n| line.contains(&format!("name=\"{n}\"")))
        };
        page.lines().find(line).is_some_and(|line| line.ends_with(" 1"))
    };
    let page = agent
        .await_metrics(SOON, |page| of(page, "ok", None) && of(page, "source_error", Some("away")));
    assert!(of(&page, "none_known", Some("away")));
    let labels = [("source", "dump"), ("type", "dump")];
    assert_eq!(sample(&page, "pg_backups_successful", &labels), Some(2.0));
    assert_eq!(sample(&page, "pg_backup_last_size_bytes", &labels), Some(1100.0));
    assert_eq!(sample(&page, "pg_backup_last_size_ratio", &labels), Some(1.1));
    assert!(sample(&page, "pg_backup_space_available_bytes", &[]).unwrap() > 0.0);

    // A dump that is a directory, much smaller, and still being written for a moment.
    fs::create_dir(at.join("shop-3.dump")).unwrap();
    dump(&at.join("shop-3.dump/toc.dat"), 100, 0);
    dump(&at.join("shop-3.dump/1.dat.gz"), 50, 0);
    let page = agent.await_metrics(SOON, |page| of(page, "shrunken", None));
    let bytes = sample(&page, "pg_backup_last_size_bytes", &labels).unwrap();
    assert!((150.0..160.0).contains(&bytes), "{bytes}");
    dump(&at.join("shop-4.dump"), 0, 0);
    agent.await_metrics(SOON, |page| of(page, "failed", None));
    // All gone: none is known, and that is no error.
    for name in ["shop-1.dump", "shop-2.dump", "shop-4.dump"] {
        fs::remove_file(at.join(name)).unwrap();
    }
    fs::remove_dir_all(at.join("shop-3.dump")).unwrap();
    let page = agent.await_metrics(SOON, |page| of(page, "none_known", None));
    assert!(!of(&page, "source_error", None));
    assert_eq!(sample(&page, "pg_backups_successful", &labels), Some(0.0));
}

#[test]
fn check_reads_each_source_once() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    fs::write(at.join("none.json"), "[]").unwrap();
    fs::write(at.join("old.json"), format!("{{\"ended\": {}}}", ago(9 * DAY))).unwrap();
    let file = at.join("pgvigil.yml");
    let entries = "      - {source: json, name: gone, file: gone.json}
      - {source: json, name: none, file: none.json}
      - {source: json, name: old, file: old.json, schedule: '@daily'}
      - {source: barman, command: [/nowhere/barman, -f, json, list-backups, all]}
      - {source: cnpg, command: ['false']}
      - {source: dump, files: ['*.dump']}
      - {source: pgbackrest}
";
    fs::write(&file, configuration(entries)).unwrap();
    let output = pgvigil(&["check", "--config"]).arg(&file).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(69), "{told}");
    for part in [
        "shop-1: backups by json gone: cannot read ",
        "shop-1: backups by json none: no backup is known; ",
        "shop-1: backups by json old: the last backup is overdue; ",
        "shop-1: backups by barman: cannot start /nowhere/barman: ",
        "shop-1: backups by cnpg: false ended with ",
        "shop-1: backups by dump: no backup is known; ",
        "nothing tells of these backups, so that no backup is known; add `file: …`",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    // Each with its line and its remedy.
    assert!(
        told.lines().all(|line| line.contains("pgvigil.yml:") && line.contains("; ")),
        "{told}"
    );
}
