//! Where a server is, seen from here: whether on this machine, in which process, in which directories.

use std::path::Path;

use super::files::{Found, Seen, head, read, resolve};
use super::machine::tick;
use super::text::{self, Process};
use crate::config::Host;
use crate::postgres::{HostReason, Whereabouts};

/// How far the kernel's and the server's word on when it started may differ, in seconds: the server
/// takes its time after it has begun, and its clock may have been set since.
const TOLERANCE: f64 = 60.0;

/// A server's first process, and when it started: a number may be another's later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub(super) process: u32,
    started: u64,
}

impl Postmaster {
    /// Whether it still runs.
    pub(super) fn is_alive(self, proc: &Path) -> bool {
        process(proc, self.process).is_some_and(|found| found.started == self.started)
    }
}

/// The server's process, where its processes are seen here under the numbers that it gives itself.
/// A session's own process leads there, without any right to look into the data directory.
pub(super) fn postmaster(proc: &Path, server: &Whereabouts) -> Option<Postmaster> {
    let backend = process(proc, server.backend?)?;
    let found = process(proc, backend.parent)?;
    let booted = text::keyed(&read(&proc.join("stat")).ok()?, "btime")?;
    let started = booted as f64 + found.started as f64 * tick();
    let same =
        found.command == backend.command && (started - server.started? as f64).abs() <= TOLERANCE;
    same.then_some(Postmaster { process: backend.parent, started: found.started })
}

fn process(proc: &Path, number: u32) -> Option<Process> {
    text::process(&read(&proc.join(number.to_string()).join("stat")).ok()?)
}

/// What is known of where the server is; decides what may be looked at on its word.
#[derive(Clone)]
pub(super) struct Located {
    /// None before its first session.
    pub(super) server: Option<Whereabouts>,
    pub(super) postmaster: Option<Postmaster>,
}

impl Located {
    /// Whether the machine seen here is the server's.
    pub(super) fn beside(&self) -> Seen<&Whereabouts> {
        let server = self.server.as_ref().ok_or(HostReason::Unknown)?;
        if server.same_machine || self.postmaster.is_some() {
            Ok(server)
        } else {
            Err(HostReason::Remote)
        }
    }

    /// Where a path that the server tells is here: as its own process sees it, else in the agent's view,
    /// where the data directory must be this server's.
    ///
    /// # Errors
    /// Why it cannot be seen.
    pub(super) fn told(&self, host: &Host, path: &Path) -> Seen<Found> {
        let server = self.beside()?;
        if let Some(postmaster) = self.postmaster {
            let root = host.proc.join(postmaster.process.to_string()).join("root");
            if let Ok(found) = resolve(&root, path) {
                return Ok(found);
            }
        }
        let data = server.data_directory.as_deref().ok_or(HostReason::Unknown)?;
        let data = resolve(&host.root, Path::new(data))?;
        if !is_of(&data.path, &server.system_identifier)? {
            return Err(HostReason::NotFound);
        }
        resolve(&host.root, path)
    }
}

/// Whether a data directory is of the server with this identifier; whoever may not look inside must
/// believe it.
fn is_of(data: &Path, identifier: &str) -> Seen<bool> {
    let Ok(identifier) = identifier.parse::<u64>() else { return Ok(true) };
    // `pg_control` begins with the identifier, in the machine's own byte order.
    match head::<8>(&data.join("global/pg_control")) {
        Ok(bytes) => Ok(u64::from_ne_bytes(bytes) == identifier),
        Err(HostReason::Permission) => Ok(true),
        Err(reason) => Err(reason),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A machine that started at 1,700,000,000 with a postmaster, 7, that started `after` seconds
    /// later, and its session's process, 8.
    fn proc(after: f64) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: String| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let process = |number: u32, parent: u32, command: &str, ticks: u64| {
            let text = format!("{number} ({command}) S {parent}{} {ticks} 0", " 0".repeat(17));
            write(&format!("{number}/stat"), text);
        };
        write("stat", "btime 1700000000\n".to_owned());
        process(7, 1, "postgres", (after / tick()) as u64);
        process(8, 7, "postgres", (after / tick()) as u64 + 100);
        process(9, 1, "sshd", 0);
        process(10, 9, "postgres", (after / tick()) as u64);
        root
    }

    fn server(backend: u32) -> Whereabouts {
        Whereabouts {
            backend: Some(backend),
            started: Some(1_700_000_100),
            ..Whereabouts::default()
        }
    }

    #[test]
    fn a_session_leads_to_the_postmaster() {
        let here = proc(98.0);
        let found = postmaster(here.path(), &server(8)).unwrap();
        assert_eq!(found.process, 7);
        assert!(found.is_alive(here.path()));
        // Another's number, of another program; nobody's; and one that started at another time.
        assert_eq!(postmaster(here.path(), &server(10)), None);
        assert_eq!(postmaster(here.path(), &server(11)), None);
        let other = proc(3000.0);
        assert_eq!(postmaster(other.path(), &server(8)), None);
        assert!(!found.is_alive(other.path()), "the number is another's now");
        assert_eq!(postmaster(here.path(), &Whereabouts::default()), None);
    }

    #[test]
    fn what_is_believed() {
        let root = tempfile::tempdir().unwrap();
        let host = Host {
            proc: root.path().join("proc"),
            cgroup: PathBuf::new(),
            root: root.path().to_path_buf(),
        };
        let data = root.path().join("data/global");
        fs::create_dir_all(&data).unwrap();
        fs::create_dir_all(root.path().join("fast")).unwrap();
        fs::write(data.join("pg_control"), 4711_u64.to_ne_bytes()).unwrap();
        let mut located = Located { server: None, postmaster: None };
        let told = |located: &Located, path: &str| {
            located.told(&host, Path::new(path)).map(|found| found.called)
        };
        assert_eq!(told(&located, "/data"), Err(HostReason::Unknown));
        located.server = Some(Whereabouts {
            system_identifier: "4711".into(),
            data_directory: Some("/data".into()),
            ..Whereabouts::default()
        });
        assert_eq!(told(&located, "/data"), Err(HostReason::Remote));
        located.server.as_mut().unwrap().same_machine = true;
        assert_eq!(told(&located, "/fast"), Ok("/fast".into()));
        assert_eq!(told(&located, "/slow"), Err(HostReason::NotFound));
        // The same place, but another server's.
        fs::write(data.join("pg_control"), 4712_u64.to_ne_bytes()).unwrap();
        assert_eq!(told(&located, "/fast"), Err(HostReason::NotFound));
        located.server.as_mut().unwrap().data_directory = None;
        assert_eq!(told(&located, "/fast"), Err(HostReason::Unknown));
        // The postmaster's own view needs no other proof.
        let own = root.path().join("proc/7/root/fast");
        fs::create_dir_all(own).unwrap();
        located.postmaster = Some(Postmaster { process: 7, started: 1 });
        assert_eq!(told(&located, "/fast"), Ok("/fast".into()));
    }
}
