//! Start, wait, reload, stop.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use super::house::Occupied;
use super::rivers::Rivers;
use crate::config::{Loaded, Problem};
use crate::http;
use crate::instances::Budgets;
use crate::task::Group;
use crate::telemetry::Telemetry;

/// How long records in hand may take to be acknowledged after SIGTERM. With what follows it stays
/// below the 30 s that Kubernetes gives.
const DRAIN: Duration = Duration::from_secs(12);
const CUT: Duration = Duration::from_secs(3);

/// As many files as are ever wanted open.
const OPEN_FILES: u64 = 65_536;

/// Runs the agent until SIGTERM or SIGINT. `load` reads the configuration: once now, and again at
/// each SIGHUP.
///
/// # Errors
/// Why it could not start, or did not stop as it should.
pub async fn run(load: impl Fn() -> Result<Loaded, Vec<Problem>>) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    open_more_files();
    let loaded = load().map_err(Failure::Configuration)?;
    tell(&loaded.warnings);
    let opened = http::open(&loaded.settings.http).map_err(|error| match error {
        http::OpenError::Config(problems) => Failure::Configuration(problems),
        http::OpenError::Listen(sentence) => Failure::Unavailable(sentence),
    })?;
    let door_telemetry = Telemetry::new();
    door_telemetry
        .gauges("pgvigil_build_info", "Always 1; the version of this agent.", &["version"])
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1.0);
    let reloaded = door_telemetry.gauge(
        "pgvigil_config_last_reload_successful",
        "1 when the configuration that was read last is in force, 0 when it was refused.",
    );
    reloaded.set(1.0);
    // Of the whole process: sessions that a reload let go of still count.
    let sessions = Group::new();
    let budgets = Budgets::new(&sessions, &door_telemetry);
    let house = Arc::new(Occupied::new(Rivers::start(loaded, &budgets)?));
    let door = Group::new();
    http::serve(opened, Arc::clone(&house) as Arc<dyn http::House>, &door_telemetry, &door)
        .map_err(Failure::Unavailable)?;

    while signals.next().await == Told::Reload {
        reloaded.set(f64::from(u8::from(reload(&house, &budgets, &load).await)));
    }

    tracing::info!("stopping");
    house.leave();
    let mut unfinished = house.rivers().stop(DRAIN, CUT).await;
    // What lingers here are sockets that the server has not closed; the end of the process is theirs.
    sessions.stop(Duration::ZERO, Duration::ZERO).await;
    unfinished.extend(door.stop(Duration::from_secs(2), Duration::from_secs(1)).await);
    if unfinished.is_empty() {
        tracing::info!("stopped");
        Ok(())
    } else {
        Err(Failure::Internal(format!(
            "stopped before everything was finished ({}): what was not acknowledged is sent again at \
             the next start",
            unfinished.join(", ")
        )))
    }
}

/// Asks for more open files than the usual 1,024 at once: each log file that is followed is one.
fn open_more_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        limit.current = Some(wanted);
        if let Err(e) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!("cannot raise the limit of open files to {wanted}: {e}");
        }
    }
}

/// Puts a new configuration in force; a bad one changes nothing. Listeners stay as they are.
async fn reload(
    house: &Occupied,
    budgets: &Budgets,
    load: &impl Fn() -> Result<Loaded, Vec<Problem>>,
) -> bool {
    match load() {
        Ok(loaded) => {
            tell(&loaded.warnings);
            // The state directory has one owner: the old rivers let go of it first.
            let old = house.rivers();
            old.stop(DRAIN, CUT).await;
            let (started, in_force) = match Rivers::start(loaded, budgets) {
                Ok(rivers) => (Ok(rivers), true),
                Err(failure) => {
                    tracing::error!("the new configuration does not start: {failure}");
                    (Rivers::start(old.loaded(), budgets), false)
                }
            };
            match started {
                Ok(rivers) => {
                    house.move_in(rivers);
                    tracing::info!(in_force, "the configuration was read again");
                }
                Err(failure) => tracing::error!("the old configuration does not start: {failure}"),
            }
            in_force
        }
        Err(problems) => {
            for problem in problems {
                tracing::error!("{problem}");
            }
            tracing::error!("the configuration stays as it was; correct it and send SIGHUP again");
            false
        }
    }
}

fn tell(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|e| Failure::Internal(format!("cannot listen for signals: {e}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}
