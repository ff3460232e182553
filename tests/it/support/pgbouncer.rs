//! A real PgBouncer in front of a test's cluster, on a free loopback port; ended when dropped, also when
//! the test is killed: a small shell waits for the end of its input and ends it then.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::postgres::{Cluster, MONITOR, PASSWORD, as_owner, own, write_owned};
use super::process::{component, free_port};

/// The user for whom applications connect; its password is [`PASSWORD`] too.
pub const APP: &str = "postgres";

/// A running PgBouncer. Its one database is `shop`, the cluster's `postgres`, with a pool of one server
/// connection; `pgvigil` is in `stats_users`, `admin` in `admin_users`.
pub struct Pooler {
    pub port: u16,
    program: PathBuf,
    directory: TempDir,
    running: Option<(Child, Pid)>,
}

impl Pooler {
    /// Starts one with these lines added to `[pgbouncer]`. None where PgBouncer is not installed.
    pub fn start(cluster: &Cluster, lines: &str) -> Option<Self> {
        let program = component("PGBOUNCER")?;
        let directory = TempDir::new().expect("a directory");
        own(directory.path());
        let port = free_port();
        let path = directory.path().display();
        let ini = format!(
            "[databases]\nshop = host=127.0.0.1 port={} dbname=postgres pool_size=1\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {path}/users.txt\npool_mode = transaction\n\
             stats_users = {MONITOR}\nadmin_users = admin\n{lines}\n",
            cluster.port
        );
        let user = |name: &str| format!("\"{name}\" \"{PASSWORD}\"\n");
        write_owned(&directory.path().join("pgbouncer.ini"), &ini, 0o600);
        let users = [MONITOR, APP, "admin", "nobody"].map(user).concat();
        write_owned(&directory.path().join("users.txt"), &users, 0o600);
        let mut pooler = Self { port, program, directory, running: None };
        pooler.start_again();
        Some(pooler)
    }

    /// Starts a stopped one on its old port.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "it is running");
        let output = self.directory.path().join("output.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&output).expect("a log");
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "\"$0\" \"$1\" >&2 & echo $!; read -r end; kill -KILL $!; wait"])
            .arg(&self.program)
            .arg(self.directory.path().join("pgbouncer.ini"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut shell = as_owner(&mut command).spawn().expect("a shell");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        self.running = Some((shell, pid));
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "PgBouncer does not listen:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once; its port is kept for [`Pooler::start_again`].
    pub fn stop(&mut self) {
        let (mut shell, _) = self.running.take().expect("a running pooler");
        drop(shell.stdin.take());
        shell.wait().expect("a child of ours");
    }

    /// SIGSTOP, and SIGCONT: connections are taken by the kernel, nothing is answered.
    pub fn signal(&self, signal: Signal) {
        let (_, pid) = self.running.as_ref().expect("a running pooler");
        kill_process(*pid, signal).expect("a process of ours");
    }

    /// What it has written of itself.
    pub fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("output.log")).unwrap_or_default()
    }

    /// A connection string for that user, with its password.
    pub fn dsn(&self, user: &str, database: &str) -> String {
        format!("postgresql://{user}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// A client of its own, connected.
    pub fn client(&self, user: &str, database: &str) -> PooledClient {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (client, connection) = runtime
            .block_on(tokio_postgres::connect(&self.dsn(user, database), NoTls))
            .unwrap_or_else(|e| panic!("no session: {e:?}\n{}", self.output()));
        runtime.spawn(connection);
        PooledClient { runtime, client }
    }

    /// A command of the console, as an administrator; the first column of its rows.
    pub fn console(&self, command: &str) -> Vec<Vec<String>> {
        self.client("admin", "pgbouncer").run(command)
    }

    /// The clients of `user` in that database now, by their states.
    pub fn clients(&self, user: &str, database: &str) -> Vec<String> {
        let rows = self.console("SHOW CLIENTS");
        let of = |row: &&Vec<String>| row[1] == user && row[2] == database;
        rows.iter().filter(of).map(|row| row[3].clone()).collect()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if let Some((mut shell, pid)) = self.running.take() {
            // One that is stopped by a signal ends by this one all the same.
            let _ = kill_process(pid, Signal::KILL);
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }
}

/// A client of a pooler; disconnected when dropped.
pub struct PooledClient {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl PooledClient {
    /// Runs a statement to its end: its rows, NULL as "".
    pub fn run(&self, sql: &str) -> Vec<Vec<String>> {
        let messages = self.runtime.block_on(self.client.simple_query(sql));
        let messages = messages.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| (0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()).collect())
            .collect()
    }

    /// Sends a statement and does not wait for its end.
    pub fn send(&self, sql: &str) -> tokio::task::JoinHandle<bool> {
        let sent = self.client.simple_query_raw(sql);
        // It is on its way once this has been polled; the answer is somebody else's.
        let stream = self.runtime.block_on(sent).expect("a sent statement");
        self.runtime.spawn(async move {
            let mut stream = Box::pin(stream);
            let mut well = true;
            while let Some(message) =
                std::future::poll_fn(|cx| futures_core::Stream::poll_next(stream.as_mut(), cx))
                    .await
            {
                well &= message.is_ok();
            }
            well
        })
    }

    pub fn wait<T>(&self, task: tokio::task::JoinHandle<T>) -> T {
        self.runtime.block_on(task).expect("a task of ours")
    }
}
