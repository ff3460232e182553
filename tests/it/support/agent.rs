//! The built binary as a running agent: its configuration in a directory of its own, its pages by
//! plain HTTP, its end always seen.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The built binary: the one that cargo names to tests, else (in the demo) the one beside this program.
pub fn binary() -> PathBuf {
    option_env!("CARGO_BIN_EXE_pgvigil").map_or_else(
        || {
            let own = std::env::current_exe().expect("the path of this program");
            let folder = own.ancestors().nth(2).expect("a target folder above examples");
            folder.join("pgvigil")
        },
        PathBuf::from,
    )
}

/// A command of the binary with an environment of its own: nothing of the caller's gets in.
pub fn pgvigil(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: String,
    /// The body as it came: what is compressed is no text.
    pub bytes: Vec<u8>,
    pub took: Duration,
}

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    pub address: SocketAddr,
    pub directory: Arc<TempDir>,
    log: Arc<Mutex<String>>,
}

impl Agent {
    /// Starts the agent on `configuration` (YAML; `state_directory` and `http.listen` are set here)
    /// and waits until it listens.
    pub fn start(configuration: &str) -> Self {
        Self::start_in(Arc::new(TempDir::new().expect("a temporary directory")), configuration, &[])
    }

    /// Like [`Agent::start`], keeping the state of an earlier agent's directory.
    pub fn start_in(
        directory: Arc<TempDir>,
        configuration: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let file = directory.path().join("pgvigil.yml");
        let state = directory.path().join("state");
        fs::create_dir_all(&state).expect("a state directory");
        let mut text = configuration.to_owned();
        text.push_str("\nhttp: {listen: [\"127.0.0.1:0\"]}\n");
        text.push_str(&format!("state_directory: {}\n", state.display()));
        fs::write(&file, text).expect("a configuration file");
        let mut command = pgvigil(&["run", "--config"]);
        command.arg(&file).envs(variables.iter().copied());
        Self::spawn(command, directory)
    }

    /// Starts any `pgvigil run …` and waits until it listens.
    pub fn spawn(mut command: Command, directory: Arc<TempDir>) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("a pipe");
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = shared.lock().expect("the log's lock");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let address = listening(&log.lock().expect("the log's lock"));
            if let Some(address) = address {
                return Self { child, address, directory, log };
            }
            if let Some(status) = child.try_wait().expect("a child of ours") {
                std::thread::sleep(Duration::from_millis(50));
                panic!("the agent ended at once with {status}:\n{}", log.lock().expect("lock"));
            }
            assert!(Instant::now() < deadline, "not listening:\n{}", log.lock().expect("lock"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask(path, &[])
    }

    /// Like [`Agent::get`], with headers.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        get(self.address, path, headers)
    }

    /// The metrics page as text.
    pub fn metrics(&self) -> String {
        let reply = self.get("/metrics");
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    /// Asks `/metrics` until `found` holds of the page, at most for `within`.
    pub fn await_metrics(&self, within: Duration, found: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + within;
        loop {
            let page = self.metrics();
            if found(&page) {
                return page;
            }
            assert!(
                Instant::now() < deadline,
                "not seen within {within:?}:\n{page}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the agent has written to stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log's lock").clone()
    }

    /// SIGKILL; the state directory stays.
    pub fn kill(mut self) -> Arc<TempDir> {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
        Arc::clone(&self.directory)
    }

    /// SIGKILL; returns all that it had written to stderr.
    pub fn kill_and_tell(mut self) -> String {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
        self.last_words()
    }

    /// SIGTERM, waits for the end; returns all that it had written to stderr.
    pub fn stop_and_tell(mut self) -> String {
        signal(self.child.id(), "TERM");
        let code = self.await_end();
        assert_eq!(code, 0, "{}", self.log());
        self.last_words()
    }

    /// The log of an agent that has ended, once all of it is read.
    fn last_words(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Arc::strong_count(&self.log) > 1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.log()
    }

    /// SIGTERM, then waits for the end; returns the exit code.
    pub fn stop(self) -> i32 {
        signal(self.child.id(), "TERM");
        self.ended()
    }

    /// Waits for the end of an agent that was told to stop; returns the exit code.
    pub fn ended(mut self) -> i32 {
        self.await_end()
    }

    fn await_end(&mut self) -> i32 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name to one process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|s| s.success()), "kill -{name} {pid}");
}

/// The address in the agent's line `listening address=…`.
fn listening(log: &str) -> Option<SocketAddr> {
    log.lines().find(|line| line.contains("listening")).and_then(|line| {
        let (_, rest) = line.split_once("address=")?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

/// One GET over a connection of its own, without any HTTP library: what is tested here is ours.
pub fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    get_within(Duration::from_secs(10), address, path, headers)
}

/// Like [`get`], with patience for each part of the answer.
pub fn get_within(
    patience: Duration,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Reply {
    let started = Instant::now();
    let mut stream = TcpStream::connect(address).expect("the agent listens");
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let mut body = answer[split + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body);
    }
    Reply {
        status: head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status"),
        headers: head,
        body: String::from_utf8_lossy(&body).into_owned(),
        bytes: body,
        took: started.elapsed(),
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size =
            std::str::from_utf8(&bytes[..end]).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
        let Some(size) = size.filter(|s| *s > 0) else { break };
        whole.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
    whole
}

/// The value of the first sample of `name` whose labels hold all of `labels`.
pub fn sample(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    page.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        let all = labels.iter().all(|(n, v)| rest.contains(&format!("{n}=\"{v}\"")));
        all.then(|| line.rsplit(' ').next().and_then(|v| v.parse().ok())).flatten()
    })
}

/// A file below the project's root.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
