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
