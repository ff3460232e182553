//! The client's side: roots, own certificate and how much is verified, as one rustls configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::verify::{Check, Seen, Verifier};

/// All that a TLS session to a server is made from.
pub struct ClientTls {
    pub check: Check,
    pub roots: Vec<CertificateDer<'static>>,
    /// Where the roots come from, for messages: a file's name or `the system's roots`.
    pub roots_from: String,
    /// Our own certificate with its chain, and the key.
    pub own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    pub tls13_only: bool,
    /// The protocol that is named to the server, where one must be.
    pub alpn: Option<&'static [u8]>,
}

impl ClientTls {
    /// Encryption with whoever answers.
    pub fn unverified() -> Self {
        Self {
            check: Check::Nothing,
            roots: Vec::new(),
            roots_from: String::new(),
            own: None,
            tls13_only: false,
            alpn: None,
        }
    }

    /// The configuration; what the server shows is left in `seen`.
    ///
    /// # Errors
    /// A sentence, when roots, certificate or key cannot be used.
    pub fn config(self, seen: &Arc<Seen>) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = self.verifier(&provider, seen)?;
        let all = [&rustls::version::TLS13, &rustls::version::TLS12];
        let versions = if self.tls13_only { &all[..1] } else { &all[..] };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|e| format!("TLS cannot be set up: {e}; report this"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.own {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|e| {
                format!(
                    "the client's certificate and key do not work together ({e}); name a \
                     certificate in `sslcert` and its own key in `sslkey`"
                )
            })?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.extend(self.alpn.map(<[u8]>::to_vec));
        Ok(config)
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        seen: &Arc<Seen>,
    ) -> Result<Verifier, String> {
        let mut roots = rustls::RootCertStore::empty();
        let (good, _) = roots.add_parsable_certificates(self.roots.iter().cloned());
        if self.check != Check::Nothing && good == 0 {
            return Err(format!(
                "{} hold no certificate that can be trusted; put the authority's certificate there \
                 in PEM form",
                self.roots_from
            ));
        }
        Ok(Verifier {
            check: self.check,
            roots: Arc::new(roots),
            trusted: self.roots.clone(),
            roots_from: self.roots_from.clone(),
            algorithms: provider.signature_verification_algorithms,
            seen: Arc::clone(seen),
        })
    }
}

/// The certificates of a PEM text; `file` is named in errors.
///
/// # Errors
/// A sentence, when there is none or one is broken.
pub fn read_certificates(pem: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{} holds no certificate in PEM form; correct it", file.display())),
        Err(e) => Err(format!("{} is no PEM file ({e:?}); correct it", file.display())),
    }
}

/// The roots that this machine trusts.
///
/// # Errors
/// A sentence, when it has none.
pub fn system_roots() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err("this machine has no root certificates; install them (`ca-certificates`), or \
                    name the authority's certificate in `sslrootcert`"
            .to_owned());
    }
    Ok(found.certs)
}
