//! What encryption a connection string asks for, in libpq's words and with our stricter default, and
//! the files that it names, read anew at each connect.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_postgres::config::{SslMode as Wire, SslNegotiation};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::place::{Shown, certificate_name};
use super::socket::Held;
use super::target::Target;
use crate::net::tls::{Certificate, Check, ClientTls, Seen, read_certificates, system_roots};
use crate::postgres::{HostSpec, SslMode};

/// How the connections to one server are encrypted.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) mode: Wire,
    pub(super) negotiation: SslNegotiation,
    maker: MakeRustlsConnect,
    name: String,
    pub(super) seen: Arc<Seen>,
    /// What the user should know, each a sentence.
    pub(super) notices: Vec<String>,
    /// Said where the connection turns out to be plaintext.
    plaintext_notice: String,
    /// When the earliest of the root file's certificates and our own expire.
    pub(super) expiries: Vec<(&'static str, SystemTime)>,
}

/// `sslmode` in force, and whether the user said it.
pub(super) fn mode(told: Option<SslMode>, root: Option<&Path>, host: &HostSpec) -> (SslMode, bool) {
    match told {
        Some(mode) => (mode, true),
        None if is_system(root) => (SslMode::VerifyFull, true),
        None if host.is_local() => (SslMode::Prefer, false),
        None => (SslMode::VerifyFull, false),
    }
}

fn is_system(root: Option<&Path>) -> bool {
    root.is_some_and(|root| root.as_os_str() == "system")
}

impl Plan {
    /// # Errors
    /// A sentence, when a file cannot be used or the string contradicts itself.
    pub(super) fn new(target: &Target, host: &HostSpec) -> Result<Self, String> {
        let info = &target.info;
        let root = info.sslrootcert.as_deref();
        let (mode, told) = mode(info.sslmode, root, host);
        if is_system(root) && !matches!(mode, SslMode::VerifyFull | SslMode::Disable) {
            return Err(format!(
                "`sslrootcert=system` trusts every public authority, so `sslmode={}` would accept \
                 any site's certificate; use sslmode=verify-full",
                mode.as_str()
            ));
        }
        let mut plan = Self {
            mode: Wire::Disable,
            negotiation: SslNegotiation::Postgres,
            maker: MakeRustlsConnect::new(ClientTls::unverified().config(&Arc::default())?),
            name: certificate_name(host),
            seen: Arc::default(),
            notices: Vec::new(),
            plaintext_notice: String::new(),
            expiries: Vec::new(),
        };
        // libpq, too, uses no TLS on Unix sockets, whatever the mode.
        if host.is_socket() || mode == SslMode::Disable {
            if !host.is_local() {
                plan.plaintext_notice = format!(
                    "the connection to {} is not encrypted (sslmode=disable); use \
                     sslmode=verify-full",
                    Shown(host)
                );
            }
            return Ok(plan);
        }
        let weak = mode <= SslMode::Prefer;
        if info.direct_tls {
            if weak {
                return Err(
                    "`sslnegotiation=direct` needs sslmode=require or stronger; set it".to_owned()
                );
            }
            plan.negotiation = SslNegotiation::Direct;
        }
        plan.mode = if weak { Wire::Prefer } else { Wire::Require };
        plan.plaintext_notice = format!(
            "the connection to {} is not encrypted: the server offers no TLS, and sslmode={}{} does \
             without; use sslmode=verify-full",
            Shown(host),
            mode.as_str(),
            if told { "" } else { ", the default on this machine," }
        );
        let tls = plan.client(target, mode, host)?;
        plan.maker = MakeRustlsConnect::new(tls.config(&plan.seen)?);
        Ok(plan)
    }

    /// What tokio-postgres asks for one connection.
    pub(super) fn connector(&self) -> <MakeRustlsConnect as MakeTlsConnect<Held>>::TlsConnect {
        let mut maker = self.maker.clone();
        match <MakeRustlsConnect as MakeTlsConnect<Held>>::make_tls_connect(&mut maker, &self.name)
        {
            Ok(connector) => connector,
            Err(never) => match never {},
        }
    }

    /// After a connect: what there is to tell about it.
    pub(super) fn afterwards(&self) -> (Vec<String>, Vec<(&'static str, SystemTime)>) {
        let (mut notices, mut expiries) = (self.notices.clone(), self.expiries.clone());
        match self.seen.certificate() {
            Some(server) => expiries.push(("server", server.not_after)),
            None if !self.plaintext_notice.is_empty() => {
                // Nothing was verified, since there was nothing to verify.
                notices.clear();
                notices.push(self.plaintext_notice.clone());
            }
            None => {}
        }
        (notices, expiries)
    }

    fn client(
        &mut self,
        target: &Target,
        mode: SslMode,
        host: &HostSpec,
    ) -> Result<ClientTls, String> {
        let root = match &target.info.sslrootcert {
            Some(root) if is_system(Some(root)) => None,
            Some(root) => Some(root.clone()),
            None => target.user_file("root.crt"),
        };
        let check = match (mode, &root) {
            (SslMode::Disable | SslMode::Allow | SslMode::Prefer, _) => Check::Nothing,
            (SslMode::Require, None) => Check::Nothing,
            (SslMode::Require, Some(_)) | (SslMode::VerifyCa, _) => Check::Chain,
            (SslMode::VerifyFull, _) => Check::Full,
        };
        let mut tls = ClientTls { check, ..ClientTls::unverified() };
        if check == Check::Nothing {
            if mode == SslMode::Require {
                self.notices.push(format!(
                    "the connection to {} is encrypted, but nobody verifies who answers \
                     (sslmode=require without a root file); use sslmode=verify-full",
                    Shown(host)
                ));
            }
        } else if let Some(root) = root {
            tls.roots = read_certificates(&read(&root, "sslrootcert")?, &root)?;
            tls.roots_from = format!("the certificates in {}", root.display());
            self.expiries.extend(earliest(&tls.roots).map(|at| ("ca", at)));
        } else {
            tls.roots = system_roots()?;
            "the roots of this machine".clone_into(&mut tls.roots_from);
        }
        if let Some((certificate, key)) = client_files(target)? {
            let chain = read_certificates(&read(&certificate, "sslcert")?, &certificate)?;
            let text = read(&key, "sslkey")?;
            let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
                format!(
                    "{} holds no private key without a passphrase in PEM form; name one in `sslkey`",
                    key.display()
                )
            })?;
            self.expiries.extend(earliest(&chain[..1]).map(|at| ("client", at)));
            tls.own = Some((chain, key));
        }
        tls.tls13_only = target.info.tls13_only;
        tls.alpn = target.info.direct_tls.then_some(b"postgresql");
        Ok(tls)
    }
}

/// The files of our own certificate and its key, named or at libpq's default place.
fn client_files(target: &Target) -> Result<Option<(PathBuf, PathBuf)>, String> {
    let info = &target.info;
    if info.no_client_certificate {
        return Ok(None);
    }
    let default = || target.user_file("postgresql.crt");
    let Some(certificate) = info.sslcert.clone().or_else(default) else {
        return Ok(None);
    };
    match info.sslkey.clone().or_else(|| target.user_file("postgresql.key")) {
        Some(key) => Ok(Some((certificate, key))),
        None => Err(format!(
            "the client's certificate {} has no key; name its file in `sslkey`",
            certificate.display()
        )),
    }
}

fn read(path: &Path, keyword: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| {
        format!("cannot read {} (`{keyword}`): {e}; make it readable for the agent", path.display())
    })
}

fn earliest(certificates: &[CertificateDer<'_>]) -> Option<SystemTime> {
    certificates.iter().filter_map(|der| Some(Certificate::read(der)?.not_after)).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::ConnInfo;

    #[test]
    fn the_mode_in_force() {
        for (dsn, expected) in [
            ("host=db1", (SslMode::VerifyFull, false)),
            ("host=db1 sslmode=require", (SslMode::Require, true)),
            ("host=localhost", (SslMode::Prefer, false)),
            ("host=127.0.0.1", (SslMode::Prefer, false)),
            ("host=/tmp", (SslMode::Prefer, false)),
            ("host=localhost hostaddr=10.0.0.1", (SslMode::VerifyFull, false)),
            ("host=localhost sslrootcert=system", (SslMode::VerifyFull, true)),
            ("host=localhost sslmode=disable", (SslMode::Disable, true)),
        ] {
            let info = ConnInfo::parse(dsn).unwrap_or_else(|e| panic!("{e}"));
            let found = mode(info.sslmode, info.sslrootcert.as_deref(), &info.hosts[0]);
            assert_eq!(found, expected, "{dsn}");
        }
    }

    #[test]
    fn contradictions_and_missing_files_are_told() {
        for (dsn, what) in [
            ("host=db1 sslmode=require sslrootcert=system", "use sslmode=verify-full"),
            ("host=db1 sslmode=prefer sslnegotiation=direct", "needs sslmode=require"),
            ("host=db1 sslmode=require sslrootcert=/no/root", "cannot read /no/root"),
            ("host=db1 sslmode=verify-ca sslrootcert=/etc/passwd", "holds no certificate"),
            ("host=db1 sslmode=require sslcert=/no/cert sslkey=/no/key", "cannot read /no/cert"),
            ("host=db1 sslmode=require sslcert=/etc/passwd", "has no key"),
        ] {
            let environment = |name: &str| (name == "HOME").then(|| "/nowhere".to_owned());
            let target =
                Target::new(dsn, &environment, None, None, None).unwrap_or_else(|e| panic!("{e}"));
            let said = Plan::new(&target, &target.info.hosts[0]).err().unwrap_or_default();
            assert!(said.contains(what) && said.contains("; "), "{dsn}: {said}");
        }
    }
}
