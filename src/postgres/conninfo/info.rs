//! What a connection string says, as values.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// Where a server listens when nobody says otherwise.
const DEFAULT_PORT: u16 = 5432;

/// How much of TLS is asked for; the meaning of each is in `instances::tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    /// Every mode, weakest first.
    pub const ALL: [Self; 6] =
        [Self::Disable, Self::Allow, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    /// libpq's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Whether SCRAM must be bound to the TLS connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    Disable,
    #[default]
    Prefer,
    Require,
}

/// One of the servers that a connection string names; they are tried in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// A name, an address, or the directory of a Unix socket (begins with `/`, or `@` for an abstract one).
    /// None: libpq's default, the server on this machine.
    pub host: Option<String>,
    /// Spares the name's resolution; the name still counts for the certificate.
    pub hostaddr: Option<IpAddr>,
    pub port: u16,
}

impl HostSpec {
    /// Whether it is reached through a Unix socket.
    pub fn is_socket(&self) -> bool {
        self.hostaddr.is_none() && self.host.as_deref().is_none_or(|h| h.starts_with(['/', '@']))
    }

    /// Whether it is on this machine: a socket, a loopback address, or `localhost`.
    pub fn is_local(&self) -> bool {
        let name = self.host.as_deref().unwrap_or("localhost");
        match self.hostaddr.or_else(|| name.parse().ok()) {
            Some(address) => address.is_loopback(),
            None => self.is_socket() || name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// A connection string, understood. It has no `Debug`, since it holds a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnInfo {
    /// Never empty.
    pub hosts: Vec<HostSpec>,
    pub user: Option<String>,
    pub dbname: Option<String>,
    pub password: Option<Secret>,
    pub passfile: Option<PathBuf>,
    pub sslmode: Option<SslMode>,
    /// `sslnegotiation=direct`: TLS from the first byte (PostgreSQL 17 and later).
    pub direct_tls: bool,
    /// A file of PEM certificates, or `system` for the machine's own roots.
    pub sslrootcert: Option<PathBuf>,
    pub sslcert: Option<PathBuf>,
    pub sslkey: Option<PathBuf>,
    /// `sslcertmode=disable`: no client certificate, even where a file is there.
    pub no_client_certificate: bool,
    /// `ssl_min_protocol_version=TLSv1.3`.
    pub tls13_only: bool,
    pub channel_binding: ChannelBinding,
    /// None: the agent's own.
    pub connect_timeout: Option<Duration>,
    pub application_name: Option<String>,
    /// Settings for the session in `-c name=value` form.
    pub options: Option<String>,
    pub(super) lists: Lists,
}

/// The three lists behind [`ConnInfo::hosts`]; empty where nothing was said.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Lists {
    pub(super) hosts: Vec<String>,
    pub(super) addresses: Vec<Option<IpAddr>>,
    pub(super) ports: Vec<Option<u16>>,
}

impl ConnInfo {
    /// Host and port of the first server, for names: a socket's directory stands for its host.
    pub fn address(&self) -> (String, u16) {
        let first = &self.hosts[0];
        let host = match (&first.host, first.hostaddr) {
            (Some(host), _) => host.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => "localhost".to_owned(),
        };
        (host, first.port)
    }

    /// Whether every server that it names is on this machine.
    pub fn is_local(&self) -> bool {
        self.hosts.iter().all(HostSpec::is_local)
    }

    pub(super) fn empty() -> Self {
        Self {
            hosts: Vec::new(),
            user: None,
            dbname: None,
            password: None,
            passfile: None,
            sslmode: None,
            direct_tls: false,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            no_client_certificate: false,
            tls13_only: false,
            channel_binding: ChannelBinding::Prefer,
            connect_timeout: None,
            application_name: None,
            options: None,
            lists: Lists::default(),
        }
    }

    /// Joins the lists into `hosts`.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let Lists { hosts, addresses, ports } = &self.lists;
        let count = hosts.len().max(addresses.len()).max(1);
        if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
            return Err(format!(
                "the connection string names {} hosts and {} hostaddr values; name as many of one as \
                 of the other",
                hosts.len(),
                addresses.len()
            ));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(format!(
                "the connection string names {} ports for {count} hosts; name one port, or one for \
                 each host",
                ports.len()
            ));
        }
        let port = |i: usize| *ports.get(if ports.len() == 1 { 0 } else { i })?;
        self.hosts = (0..count)
            .map(|i| HostSpec {
                host: hosts.get(i).filter(|h| !h.is_empty()).cloned(),
                hostaddr: addresses.get(i).copied().flatten(),
                port: port(i).unwrap_or(DEFAULT_PORT),
            })
            .collect();
        Ok(())
    }
}
