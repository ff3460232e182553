//! libpq's connection strings (PostgreSQL manual 34.1.1): URIs and keywords, read by our own parser,
//! since tokio-postgres knows neither `verify-full` nor the certificate files.
//!
//! No error of this room quotes a value: a password with a bare `@`, `/` or blank ends up in any part of
//! a string that is split in the wrong place.

mod keyword;
mod passfile;
mod syntax;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

pub use passfile::password_from;

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
    lists: Lists,
}

/// The three lists behind [`ConnInfo::hosts`]; empty where nothing was said.
#[derive(Clone, Default, PartialEq, Eq)]
struct Lists {
    hosts: Vec<String>,
    addresses: Vec<Option<IpAddr>>,
    ports: Vec<Option<u16>>,
}

impl ConnInfo {
    /// Reads a URI (`postgresql://…`, `postgres://…`) or `keyword=value` pairs.
    ///
    /// # Errors
    /// One sentence with the remedy. It never holds a value of the string, hence no secret.
    pub fn parse(dsn: &str) -> Result<Self, String> {
        let mut info = Self::empty();
        for (keyword, value) in syntax::pairs(dsn)? {
            keyword::set(&mut info, keyword, &value)?;
        }
        info.settle()?;
        Ok(info)
    }

    /// Fills what the string left open from libpq's environment variables (`PGHOST`, `PGUSER` …).
    /// A string that names a host keeps it to itself: `PGHOSTADDR` then does not lead elsewhere.
    ///
    /// # Errors
    /// As [`ConnInfo::parse`], naming the variable; `PGSERVICE` and others that would change the
    /// meaning of a connection and are not supported are refused.
    pub fn fill(mut self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        keyword::fill(&mut self, environment)?;
        self.settle()?;
        Ok(self)
    }

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

    fn empty() -> Self {
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
    fn settle(&mut self) -> Result<(), String> {
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

/// Whether a connection string on the command line shows a password to all who list processes.
/// What cannot be read counts as showing one where it looks like it.
pub fn password_in_argument(dsn: &str) -> bool {
    match syntax::pairs(dsn) {
        Ok(pairs) => {
            pairs.iter().any(|(keyword, value)| keyword.ends_with("password") && !value.is_empty())
        }
        Err(_) => {
            let user_part = dsn.split_once("://").map_or(dsn, |(_, rest)| rest);
            user_part.split_once('@').is_some_and(|(user, _)| user.contains(':'))
                || dsn.to_ascii_lowercase().contains("password")
        }
    }
}
