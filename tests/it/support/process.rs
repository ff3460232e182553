//! Servers that tests start and always stop, and the ports that they get.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A child process with its output in a file; killed and waited for when dropped.
pub struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with both outputs in `directory`/NAME.log.
    pub fn start(name: &'static str, mut command: Command, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        Self { name, child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` holds; shows the server's output when it does not within `within`.
    pub fn await_ready(&mut self, within: Duration, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + within;
        while !ready() {
            let ended = self.child.try_wait().expect("a child of ours");
            if ended.is_some() || Instant::now() > deadline {
                let output = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{} is not ready ({ended:?}):\n{output}", self.name);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports below those that the system gives to who asks for any (`ip_local_port_range`, from 32768 on).
const PORTS: std::ops::Range<u32> = 10_240..32_768;

/// A loopback port that is free and stays so until it is used, for none is given twice, and processes
/// begin in different places.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(61);
    let many = PORTS.end - PORTS.start;
    (0..many)
        .map(|_| first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % many + PORTS.start)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free loopback port")
}

/// The program that the environment variable names. Where it is missing: a failure in CI, else a
/// printed skip (None).
pub fn component(variable: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) => Some(PathBuf::from(path)),
        None if std::env::var_os("CI").is_some() => {
            panic!("{variable} is not set; run the tests by tests/run, which installs it")
        }
        None => {
            eprintln!("skipped: {variable} is not set; tests/run sets it");
            None
        }
    }
}
