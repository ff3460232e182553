//! From the host of a connection string to addresses that can be connected to.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::budget::Address;
use crate::postgres::HostSpec;

/// Where servers put their socket when nobody says otherwise: Debian's place and PostgreSQL's own.
pub(super) const DEFAULT_SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// A host as people read it, for messages.
pub(super) struct Shown<'a>(pub(super) &'a HostSpec);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostSpec { host, hostaddr, port } = self.0;
        match (host.as_deref(), hostaddr) {
            (Some(name), None) if name.starts_with(['/', '@']) => {
                write!(f, "{}", socket_file(name, *port).display())
            }
            (Some(name), _) if name.contains(':') => write!(f, "[{name}]:{port}"),
            (Some(name), _) => write!(f, "{name}:{port}"),
            (None, Some(address)) => write!(f, "{}", SocketAddr::new(*address, *port)),
            (None, None) => write!(f, "localhost:{port}"),
        }
    }
}

/// The name for the certificate's sake: what the user wrote, else the address.
pub(super) fn certificate_name(host: &HostSpec) -> String {
    match (&host.host, host.hostaddr) {
        (Some(name), _) => name.trim_end_matches('.').to_owned(),
        (None, Some(address)) => address.to_string(),
        (None, None) => "localhost".to_owned(),
    }
}

/// Every address of a host, in the resolver's order.
///
/// # Errors
/// A sentence, when the name has none.
pub(super) async fn addresses(host: &HostSpec) -> Result<Vec<Address>, String> {
    if let Some(address) = host.hostaddr {
        return Ok(vec![tcp(SocketAddr::new(address, host.port))]);
    }
    let name = match host.host.as_deref() {
        Some(name) if name.starts_with(['/', '@']) => {
            return Ok(vec![Address::Unix(socket_file(name, host.port))]);
        }
        Some(name) => name,
        None => {
            let files = DEFAULT_SOCKETS.map(|folder| socket_file(folder, host.port));
            if let Some(file) = files.into_iter().find(|file| file.try_exists().unwrap_or(false)) {
                return Ok(vec![Address::Unix(file)]);
            }
            "localhost"
        }
    };
    let found = tokio::net::lookup_host((name, host.port)).await;
    let found: Vec<_> = found.map(Iterator::collect).map_err(|e| unknown(name, &e.to_string()))?;
    if found.is_empty() {
        return Err(unknown(name, "no address"));
    }
    Ok(found.into_iter().map(tcp).collect())
}

/// The same server by its IPv4 address and by that address mapped into IPv6 has one budget.
fn tcp(address: SocketAddr) -> Address {
    Address::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn unknown(name: &str, why: &str) -> String {
    let why = why.strip_prefix("failed to lookup address information: ").unwrap_or(why);
    format!("the host name `{name}` cannot be resolved ({why}); correct it, or the name service")
}

fn socket_file(folder: &str, port: u16) -> PathBuf {
    Path::new(folder).join(format!(".s.PGSQL.{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::ConnInfo;

    async fn first(dsn: &str) -> (String, Result<Address, String>) {
        let host = ConnInfo::parse(dsn).unwrap_or_else(|e| panic!("{e}")).hosts.swap_remove(0);
        (Shown(&host).to_string(), addresses(&host).await.map(|mut all| all.swap_remove(0)))
    }

    #[tokio::test]
    async fn hosts_become_addresses() {
        let unix = |path: &str| Ok(Address::Unix(path.into()));
        let tcp = |address: &str| Ok(Address::Tcp(address.parse().unwrap()));
        for (dsn, shown, expected) in [
            ("host=/run/pg port=6", "/run/pg/.s.PGSQL.6", unix("/run/pg/.s.PGSQL.6")),
            ("host=@pg", "@pg/.s.PGSQL.5432", unix("@pg/.s.PGSQL.5432")),
            ("host=127.0.0.1 port=6", "127.0.0.1:6", tcp("127.0.0.1:6")),
            ("host=::1", "[::1]:5432", tcp("[::1]:5432")),
            ("host=x hostaddr=10.0.0.1", "x:5432", tcp("10.0.0.1:5432")),
            ("hostaddr=::ffff:10.0.0.1", "[::ffff:10.0.0.1]:5432", tcp("10.0.0.1:5432")),
        ] {
            assert_eq!(first(dsn).await, (shown.to_owned(), expected), "{dsn}");
        }
        let (_, unknown) = first("host=no-such-host.invalid").await;
        assert!(unknown.unwrap_err().contains("`no-such-host.invalid` cannot be resolved"));
    }
}
