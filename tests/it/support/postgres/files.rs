//! A directory per cluster, owned by a user whom PostgreSQL accepts.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::{MONITOR, PASSWORD};

/// User and group ids of the servers' owner, when tests run as root (PostgreSQL refuses root).
fn owner() -> Option<(u32, u32)> {
    static OWNER: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let name = std::env::var("PGVIGIL_TEST_USER").unwrap_or_else(|_| "postgres".to_owned());
        let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let entry = |wanted: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
            let mut ids = line.split(':').skip(2);
            Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
        };
        Some(entry(&name).or_else(|| entry("nobody")).expect("a user other than root"))
    });
    *OWNER
}

/// Lets `command` run as the servers' owner: as a user to whom files can be closed.
pub fn as_owner(command: &mut Command) -> &mut Command {
    command.env("LC_ALL", "C").env_remove("PGDATA");
    match owner() {
        Some((user, group)) => command.uid(user).gid(group),
        None => command,
    }
}

/// Gives a file or directory to the servers' owner.
pub fn own(path: &Path) {
    if let Some((user, group)) = owner() {
        chown(path, Some(user), Some(group)).expect("an owner");
    }
}

pub(super) fn fresh_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // Short, for a Unix socket's path has 107 bytes at most.
    let path = std::env::temp_dir().join(format!("pgv{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).expect("a temporary directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    own(&path);
    path
}

/// A file of the server's owner, with this mode.
pub fn write_owned(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    own(path);
}

/// A data directory's copy; files that vanish meanwhile are a running server's own affair.
pub(super) fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to).stderr(Stdio::null());
    command.status().expect("cp");
    for file in ["postmaster.pid", "postmaster.opts"] {
        let _ = fs::remove_file(to.join(file));
    }
    assert!(to.join("PG_VERSION").is_file(), "{} is not copied", from.display());
}

/// A data directory of this server with the roles in it: made once, kept beside the test's program (one
/// that nobody ever starts does not age), and copied for each cluster.
pub(super) fn template(major: u32, bin: &Path) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let version = Command::new(bin.join("postgres")).arg("--version").output().expect("postgres");
    let version = String::from_utf8_lossy(&version.stdout);
    let version: String =
        version.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    let owner = owner().map_or(0, |(user, _)| user);
    let folder = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let kept = folder.join(format!("cluster-{TEMPLATE}-{version}-{owner}"));
    if kept.is_dir() {
        return kept;
    }
    let directory = fresh_directory();
    make_template(major, bin, &directory);
    // Another test program may be at it too: each makes its own, the last name wins.
    let own = folder.join(format!("cluster-{}", std::process::id()));
    copy(&directory.join("data"), &own);
    fs::remove_dir_all(&directory).expect("our directory");
    if fs::rename(&own, &kept).is_err() {
        fs::remove_dir_all(&own).expect("our directory");
    }
    kept
}

/// Counts changes of what a template holds.
const TEMPLATE: u32 = 1;

fn make_template(major: u32, bin: &Path, directory: &Path) {
    let data = directory.join("data");
    let run = |command: &mut Command, input: &str| {
        let mut child = as_owner(command)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("PostgreSQL's programs");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("its input");
        let output = child.wait_with_output().expect("a child of ours");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("ERROR"), "PostgreSQL {major}: {said}");
    };
    let mut initdb = Command::new(bin.join("initdb"));
    initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "-D"]);
    run(initdb.arg(&data), "");
    let mut single = Command::new(bin.join("postgres"));
    single.args(["--single", "-F", "-D"]).arg(&data).arg("postgres");
    run(
        &mut single,
        &format!(
            "SET password_encryption = 'scram-sha-256'\n\
             CREATE ROLE {MONITOR} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 5\n\
             GRANT pg_monitor TO {MONITOR}\n\
             ALTER ROLE postgres PASSWORD '{PASSWORD}'\n"
        ),
    );
}
