//! Real PostgreSQL servers of every major, in throw-away clusters on free loopback ports.
//!
//! Each server is the child of a small shell that waits for the end of its input: when a test drops the
//! cluster, panics or is killed, the input ends, and the shell stops the server and removes its files.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::process::{component, free_port};

/// Oldest and newest major that is installed for tests.
pub const MAJORS: [u32; 6] = [13, 14, 15, 16, 17, 18];

/// The login role that holds `pg_monitor` and nothing else.
pub const MONITOR: &str = "pgvigil";
/// Its password; so is that of the superuser `postgres`.
pub const PASSWORD: &str = "vigil-pass-4711";

/// The majors that are installed here: all of them in CI, where a missing one is a failure.
pub fn majors() -> Vec<u32> {
    MAJORS.into_iter().filter(|major| component(&format!("PG{major}")).is_some()).collect()
}

/// The oldest and the newest of them, for what no major between is likely to change.
pub fn edges() -> Vec<u32> {
    let all = majors();
    let newest = all.last().copied().filter(|_| all.len() > 1);
    all.first().copied().into_iter().chain(newest).collect()
}

/// What a cluster is started with beyond the plainest.
#[derive(Clone, Default)]
pub struct Options {
    conf: String,
    hba: Option<String>,
    tls: Option<[String; 3]>,
    collector: bool,
}

impl Options {
    /// Lines for `postgresql.conf`.
    pub fn conf(mut self, lines: &str) -> Self {
        self.conf.push_str(lines);
        self.conf.push('\n');
        self
    }

    /// `pg_hba.conf` in place of trust for all (the superuser's Unix socket stays open).
    pub fn hba(mut self, lines: &str) -> Self {
        self.hba = Some(lines.to_owned());
        self
    }

    /// TLS with this certificate and key, and the authorities of client certificates (all PEM).
    pub fn tls(mut self, certificate: &str, key: &str, authorities: &str) -> Self {
        self.tls = Some([certificate.to_owned(), key.to_owned(), authorities.to_owned()]);
        self
    }

    /// The server's log in `log/postgresql.log` of [`Cluster::directory`], by the logging collector.
    pub fn log_to_file(mut self) -> Self {
        self.collector = true;
        self
    }

    /// Starts it. None where this major is not installed (a failure in CI).
    pub fn start(self, major: u32) -> Option<Cluster> {
        let bin = component(&format!("PG{major}"))?;
        let directory = fresh_directory();
        copy(&template(major, &bin), &directory.join("data"));
        let mut cluster = Cluster { major, bin, directory, port: 0, running: None };
        cluster.configure(&self, "");
        cluster.start_again();
        Some(cluster)
    }
}

/// How a server is told to stop.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// SIGINT: sessions are cut off, the data is written.
    Fast,
    /// SIGQUIT: as after a crash.
    Immediate,
}

/// A PostgreSQL server of its own; stopped and removed when dropped.
pub struct Cluster {
    pub major: u32,
    pub port: u16,
    bin: PathBuf,
    directory: PathBuf,
    running: Option<Running>,
}

struct Running {
    shell: Child,
    postmaster: Pid,
}

impl Cluster {
    /// A plain server: trust for everybody, no TLS. None where it is not installed (a failure in CI).
    pub fn start(major: u32) -> Option<Self> {
        Options::default().start(major)
    }

    /// A streaming standby: an online copy of `primary`, caught up when this returns.
    pub fn standby_of(primary: &Self, options: &Options) -> Self {
        let directory = fresh_directory();
        let data = directory.join("data");
        let (begin, end) = if primary.major >= 15 {
            ("pg_backup_start('it', true)", "SELECT labelfile FROM pg_backup_stop(false)")
        } else {
            (
                "pg_start_backup('it', true, false)",
                "SELECT labelfile FROM pg_stop_backup(false, false)",
            )
        };
        let source = primary.data();
        let copied = data.clone();
        let label = primary.with_client("postgres", async move |client| {
            client.simple_query(&format!("SELECT {begin}")).await.expect("a backup begins");
            copy(&source, &copied);
            first_value(&client.simple_query(end).await.expect("a backup ends"))
        });
        write_owned(&data.join("backup_label"), &label, 0o600);
        write_owned(&data.join("standby.signal"), "", 0o600);
        let mut standby = Self {
            major: primary.major,
            bin: primary.bin.clone(),
            directory,
            port: 0,
            running: None,
        };
        let upstream = format!(
            "primary_conninfo = 'host={} port={} user=postgres application_name=standby'\n",
            primary.directory.display(),
            primary.port
        );
        standby.configure(options, &upstream);
        standby.start_again();
        let written = primary.sql("SELECT pg_current_wal_lsn()");
        standby.await_sql(
            &format!("SELECT pg_last_wal_replay_lsn() >= '{}'::pg_lsn", written[0][0]),
            "t",
        );
        standby
    }

    /// Holds the Unix socket, `data`, and the collector's `log`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The superuser's connection string over loopback TCP, without password.
    pub fn dsn(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The same for the role that is only in `pg_monitor`.
    pub fn monitor_dsn(&self) -> String {
        format!("postgresql://{MONITOR}@127.0.0.1:{}/postgres", self.port)
    }

    /// All that the server wrote to standard error.
    pub fn output(&self) -> String {
        fs::read_to_string(self.directory.join("stderr.log")).unwrap_or_default()
    }

    pub fn postmaster(&self) -> u32 {
        self.running.as_ref().expect("a running server").postmaster.as_raw_nonzero().get() as u32
    }

    /// Runs statements as the superuser in the database `postgres`; the rows of all of them, NULL as "".
    pub fn sql(&self, sql: &str) -> Vec<Vec<String>> {
        self.sql_in("postgres", sql)
    }

    pub fn sql_in(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        let text = sql.to_owned();
        let messages =
            self.with_client(database, async move |client| client.simple_query(&text).await);
        rows(&messages.unwrap_or_else(|e| panic!("{sql}: {e:?}")))
    }

    /// Repeats a query until its first value is `expected`; fails after 30 s.
    pub fn await_sql(&self, sql: &str, expected: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let rows = self.sql(sql);
            if rows.first().is_some_and(|row| row[0] == expected) {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {rows:?}, expected {expected}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Works with a superuser's session of tokio-postgres over the Unix socket, on a thread of its own,
    /// so that tests inside and outside a runtime can use it. When it returns, the session has ended at
    /// the server too: its locks are free, and nobody counts it.
    pub fn with_client<T: Send>(
        &self,
        database: &str,
        work: impl AsyncFnOnce(&tokio_postgres::Client) -> T + Send,
    ) -> T {
        let socket = UnixStream::connect(self.directory.join(format!(".s.PGSQL.{}", self.port)))
            .unwrap_or_else(|e| panic!("no socket: {e}\n{}", self.output()));
        let mut end = socket.try_clone().expect("a second handle");
        let made = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    socket.set_nonblocking(true).expect("a socket that waits for nothing");
                    let socket = tokio::net::UnixStream::from_std(socket).expect("a socket");
                    let (client, mut connection) = tokio_postgres::Config::new()
                        .user("postgres")
                        .dbname(database)
                        .connect_raw(socket, tokio_postgres::NoTls)
                        .await
                        .unwrap_or_else(|e| panic!("no session: {e:?}\n{}", self.output()));
                    let made = tokio::select! {
                        result = work(&client) => result,
                        ended = &mut connection => panic!("the session ended: {ended:?}"),
                    };
                    drop(client);
                    connection.await.expect("the session is told to end");
                    made
                })
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // The socket closes with the backend's process, behind all that it gives back.
        end.set_nonblocking(false).expect("a socket that waits");
        end.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
        std::io::copy(&mut end, &mut std::io::sink()).expect("the backend ends");
        made
    }

    /// Stops the server and keeps its files.
    pub fn stop(&mut self, how: Stop) {
        let mut running = self.running.take().expect("a running server");
        let signal = match how {
            Stop::Fast => "INT\n",
            Stop::Immediate => "QUIT\n",
        };
        let mut input = running.shell.stdin.take().expect("a pipe");
        input.write_all(signal.as_bytes()).expect("the shell listens");
        running.shell.wait().expect("a child of ours");
    }

    /// Starts a stopped server on its old port.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "it is running");
        for attempt in 0.. {
            if self.port == 0 || attempt > 0 {
                self.port = free_port();
            }
            let running = self.launch();
            self.running = Some(running);
            match self.await_start() {
                Ok(()) => return,
                // Somebody else took the port between our look and the server's.
                Err(output) if attempt < 3 && output.contains("Address already in use") => {
                    self.stop(Stop::Fast);
                }
                Err(output) => panic!("PostgreSQL {} does not start:\n{output}", self.major),
            }
        }
    }

    /// Starts a stopped server on its old port and does not wait: for one that will not take connections.
    pub fn begin(&mut self) {
        assert!(self.running.is_none() && self.port != 0, "it is running, or never was");
        self.running = Some(self.launch());
    }

    /// Stops the server and starts it as a standby that follows nobody and takes no connections: to whom
    /// asks, it is starting up until [`Cluster::end_starting`].
    pub fn keep_starting(&mut self) {
        self.stop(Stop::Fast);
        write_owned(&self.data().join("standby.signal"), "", 0o600);
        write_owned(&self.data().join("postgresql.auto.conf"), "hot_standby = off\n", 0o600);
        self.begin();
    }

    /// Stops the standby of [`Cluster::keep_starting`] and starts it as the primary that it was.
    pub fn end_starting(&mut self) {
        self.stop(Stop::Fast);
        for file in ["standby.signal", "postgresql.auto.conf"] {
            fs::remove_file(self.data().join(file)).expect("our file");
        }
        self.start_again();
    }

    /// Stops (`SIGSTOP`) every process of the server: connections are accepted by the kernel, nothing
    /// is answered.
    pub fn freeze(&self) {
        // The postmaster first, so that it starts nothing meanwhile.
        self.signal(self.postmaster(), Signal::STOP);
        for child in self.children() {
            self.signal(child, Signal::STOP);
        }
    }

    pub fn thaw(&self) {
        for child in self.children() {
            self.signal(child, Signal::CONT);
        }
        self.signal(self.postmaster(), Signal::CONT);
    }

    /// Sends a signal to one of the server's processes.
    pub fn signal(&self, process: u32, signal: Signal) {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
        // One that has just ended needs no signal.
        let _ = kill_process(pid, signal);
    }

    /// The process ids of backends and workers.
    pub fn children(&self) -> Vec<u32> {
        let parent = self.postmaster().to_string();
        let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                // PID (COMMAND) STATE PPID …; the command may hold blanks and parentheses.
                let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
                after.split(' ').nth(1) == Some(&parent)
            })
            .collect()
    }

    /// Replaces `pg_hba.conf` and has it read.
    pub fn set_hba(&self, lines: &str) {
        self.write_hba(lines);
        self.sql("SELECT pg_reload_conf()");
        // The postmaster reads it on a signal: later connections must see it.
        std::thread::sleep(Duration::from_millis(200));
    }

    fn write_hba(&self, lines: &str) {
        let text = format!("local all postgres trust\nlocal replication postgres trust\n{lines}\n");
        write_owned(&self.data().join("pg_hba.conf"), &text, 0o600);
    }

    fn configure(&self, options: &Options, more: &str) {
        let data = self.data();
        let mut conf = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\n\
             synchronous_commit = off\nfull_page_writes = off\nmax_connections = 20\n\
             shared_buffers = 16MB\nmax_wal_senders = 4\nwal_keep_size = 64MB\n\
             password_encryption = 'scram-sha-256'\nlog_timezone = 'UTC'\ntimezone = 'UTC'\n",
            self.directory.display()
        );
        if options.collector {
            let log = self.directory.join("log");
            conf.push_str(&format!(
                "logging_collector = on\nlog_directory = '{}'\nlog_filename = 'postgresql.log'\n",
                log.display()
            ));
            fs::create_dir_all(&log).expect("a log directory");
            own(&log);
        }
        if let Some([certificate, key, authorities]) = &options.tls {
            write_owned(&data.join("server.crt"), certificate, 0o600);
            write_owned(&data.join("server.key"), key, 0o600);
            write_owned(&data.join("clients.crt"), authorities, 0o600);
            conf.push_str("ssl = on\nssl_ca_file = 'clients.crt'\n");
        }
        conf.push_str(more);
        conf.push_str(&options.conf);
        write_owned(&data.join("postgresql.conf"), &conf, 0o600);
        self.write_hba(options.hba.as_deref().unwrap_or(
            "local all all trust\nhost all all 127.0.0.1/32 trust\n\
             host replication all 127.0.0.1/32 trust",
        ));
    }

    fn launch(&self) -> Running {
        let script = r#"trap '' HUP INT TERM
"$1/postgres" -D "$2/data" -p "$3" </dev/null >>"$2/stderr.log" 2>&1 &
server=$!
echo $server
read -r signal || signal=
kill -${signal:-QUIT} $server 2>&-
kill -CONT $server 2>&-
wait $server
test -n "$signal" || rm -rf "$2""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.bin).arg(&self.directory);
        command.arg(self.port.to_string()).current_dir(&self.directory);
        let mut shell = as_owner(&mut command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let output = shell.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("the process id");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        Running { shell, postmaster: pid }
    }

    /// Waits until the server takes connections; its output when it ends instead.
    fn await_start(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let pid_file = self.data().join("postmaster.pid");
        loop {
            let state = fs::read_to_string(&pid_file).unwrap_or_default();
            let mut lines = state.lines();
            let ours = lines.next() == Some(&self.postmaster().to_string());
            // Line 8 is the postmaster's own word: ready, standby (accepts reads), starting, stopping.
            if ours && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby")) {
                let hot = state.lines().nth(7).map(str::trim) == Some("ready");
                if hot || self.output().contains("ready to accept read") {
                    return Ok(());
                }
            }
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.postmaster()));
            if stat.map_or(true, |stat| stat.contains(") Z ")) || Instant::now() > deadline {
                return Err(self.output());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Running {
    /// Ends the shell's input, and with it the server and its files.
    fn end(mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        match self.running.take() {
            Some(running) => {
                self.running = Some(running);
                self.thaw();
                self.running.take().into_iter().for_each(Running::end);
            }
            None => drop(fs::remove_dir_all(&self.directory)),
        }
    }
}

// ---- a directory per cluster, owned by a user whom PostgreSQL accepts

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

fn fresh_directory() -> PathBuf {
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
fn copy(from: &Path, to: &Path) {
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
fn template(major: u32, bin: &Path) -> PathBuf {
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

fn rows(messages: &[tokio_postgres::SimpleQueryMessage]) -> Vec<Vec<String>> {
    let rows = messages.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| (0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()).collect())
        .collect()
}

fn first_value(messages: &[tokio_postgres::SimpleQueryMessage]) -> String {
    rows(messages).swap_remove(0).swap_remove(0)
}
