//! Real PostgreSQL servers of every major, in throw-away clusters on free loopback ports.
//!
//! Each server is the child of a small shell that waits for the end of its input: when a test drops the
//! cluster, panics or is killed, the input ends, and the shell stops the server and removes its files.

mod files;
mod running;
mod sessions;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::component;
pub use files::{as_owner, own, write_owned};
use files::{copy, fresh_directory, template};
use running::Running;
pub use running::Stop;
use sessions::first_value;

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

/// A PostgreSQL server of its own; stopped and removed when dropped.
pub struct Cluster {
    pub major: u32,
    pub port: u16,
    bin: PathBuf,
    directory: PathBuf,
    running: Option<Running>,
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
}
