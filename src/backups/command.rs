//! Running a program that prints JSON: no shell, no terminal, no more time and bytes than given.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::fault::{Fault, Reason};
use super::file::MOST_BYTES;
use crate::config::BackupCommand;
use crate::secret::Secret;

/// Ends a program with all that it has started, however the run ends. It stands in a process group of
/// its own, which is still its own as long as it has not been waited for.
struct Reaper(Option<Pid>);

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What the program prints to its standard output, when it ends well before `deadline`. Dropped or
/// late, it is killed. What it prints as errors is not read: it may hold a secret, and the program can
/// be run by hand.
pub(crate) async fn run(command: &BackupCommand, deadline: Instant) -> Result<Vec<u8>, Fault> {
    let mut words = command.arguments.iter().map(Secret::expose);
    let program = words.next().unwrap_or_default();
    let mut start = std::process::Command::new(program);
    start
        .args(words)
        .env_clear()
        .envs(command.environment.iter().map(|(name, value)| (name, value.expose())))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut start = tokio::process::Command::from(start);
    start.kill_on_drop(true);
    let mut child = start.spawn().map_err(|error| {
        Fault::new(
            Reason::Start,
            format!(
                "cannot start {program}: {}; install it where the agent runs, or correct `command`",
                error.kind()
            ),
        )
    })?;
    let mut reaper = Reaper(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    let Some(output) = child.stdout.take() else {
        return Err(Fault::new(Reason::Error, format!("{program} has no output; try again")));
    };
    let mut bytes = Vec::new();
    let mut output = output.take(MOST_BYTES + 1);
    let work = async {
        output.read_to_end(&mut bytes).await.map_err(|error| {
            Fault::new(
                Reason::Error,
                format!("cannot read from {program}: {error}; run it by hand"),
            )
        })?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(Fault::new(
                Reason::TooLarge,
                format!(
                    "{program} prints more than {} MiB; is it the right command?",
                    MOST_BYTES >> 20
                ),
            ));
        }
        child.wait().await.map_err(|error| {
            Fault::new(Reason::Error, format!("cannot wait for {program}: {error}; run it by hand"))
        })
    };
    let ended = tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| {
        Err(Fault::new(
            Reason::Timeout,
            format!(
                "{program} did not end in time and was killed; run it by hand, or set `timeout`"
            ),
        ))
    });
    let status = ended?;
    // It has been waited for: its number may be another's now.
    reaper.0 = None;
    match status.success() {
        true => Ok(bytes),
        false => Err(Fault::new(
            Reason::Exit,
            format!("{program} ended with {status}; run it by hand as the agent's user to see why"),
        )),
    }
}
