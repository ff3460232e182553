//! Logs become records: every log in tests/data/logs against what it must become, real ones among
//! them, and logs made up from records. `UPDATE=1` writes what is missing or has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A setting of a log's `.conf` beside it, as the server's own file would have it.
fn setting(log: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(log.with_extension("conf")).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once('=')?;
    Some(value.trim().trim_matches('\'').to_owned())
}

/// What `pgvigil logs parse` shows, and its sentence about the file.
fn parse(log: &Path, redact: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgvigil"));
    command.args(["logs", "parse", "--redact", redact]).arg(log);
    for (flag, name) in [("--line-prefix", "log_line_prefix"), ("--time-zone", "log_timezone")] {
        if let Some(value) = setting(log, name) {
            command.args([flag, &value]);
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", log.display());
    let notes = String::from_utf8(output.stderr).unwrap();
    let (_, sentence) = notes.split_once(": ").unwrap();
    format!("{}{sentence}", String::from_utf8(output.stdout).unwrap())
}

fn logs(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/logs").join(folder);
    let mut logs: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    assert!(logs.len() > 2, "the logs are gone");
    logs
}

/// Compares with the file of that extension beside the log.
fn compare(log: &Path, extension: &str, got: &str) {
    let path = log.with_extension(extension);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, got).unwrap();
        return;
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    if let Some((number, (got, wanted))) =
        got.lines().zip(wanted.lines()).enumerate().find(|(_, (got, wanted))| got != wanted)
    {
        panic!("{}:{}:\n  got    {got}\n  wanted {wanted}", path.display(), number + 1);
    }
    assert_eq!(got.lines().count(), wanted.lines().count(), "{}", path.display());
}

#[test]
fn logs_become_their_records() {
    for log in ["stderr", "wrapped"].into_iter().flat_map(logs) {
        compare(&log, "records", &parse(&log, "credentials"));
    }
}

/// In these logs every credential holds `hunter2`, and every other thing that only people of the
/// data may see holds `alice` or `4242`.
#[test]
fn no_secret_passes() {
    for log in logs("secrets") {
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains("hunter2"), "{}: nothing to hide", log.display());
        let credentials = parse(&log, "credentials");
        let literals = parse(&log, "literals");
        compare(&log, "credentials", &credentials);
        compare(&log, "literals", &literals);
        for (text, words) in
            [(&credentials, &["hunter2"][..]), (&literals, &["hunter2", "alice", "4242"])]
        {
            for word in words {
                let line = text.lines().find(|line| line.contains(word));
                assert_eq!(line, None, "{}: {word} passed", log.display());
            }
        }
    }
}
