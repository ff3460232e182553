//! The listening side's TLS, from the words of exporter-toolkit (which are Go's).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, NamedGroup, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::clients::{AnyCertificate, Named};
use crate::secret::Secret;

/// The keys of `tls_server_config`.
pub(super) const KEYS: [&str; 13] = [
    "cert_file",
    "key_file",
    "cert",
    "key",
    "client_auth_type",
    "client_ca_file",
    "client_ca",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "curve_preferences",
    "prefer_server_cipher_suites",
];

/// What is wrong, and what to do.
pub(super) type Fault = (String, String);

/// What is wrong with the block as a whole, and the key that it is about (without `_file`).
#[derive(Debug)]
pub(super) struct Wrong {
    pub key: &'static str,
    pub what: String,
    pub remedy: String,
}

/// PEM, in the file itself or in one of its own.
pub(super) enum Material {
    Inline(Secret),
    File(PathBuf),
}

impl Material {
    fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Inline(text) => Ok(text.expose().as_bytes().to_vec()),
            Self::File(path) => std::fs::read(path)
                .map_err(|e| format!("cannot read {} ({})", path.display(), e.kind())),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Inline(_) => "the text here".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Who must show a certificate (Go's `ClientAuthType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ClientAuth {
    #[default]
    None,
    Request,
    RequireAny,
    VerifyIfGiven,
    RequireAndVerify,
}

/// The block's values before anything is loaded.
pub(super) struct Settings {
    certificate: Option<Material>,
    key: Option<Material>,
    client_ca: Option<Material>,
    client_auth: ClientAuth,
    pub allowed_sans: Option<Vec<String>>,
    min: u16,
    max: u16,
    suites: Vec<SupportedCipherSuite>,
    groups: Vec<&'static dyn SupportedKxGroup>,
    pub server_order: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            client_ca: None,
            client_auth: ClientAuth::None,
            allowed_sans: None,
            min: 12,
            max: 13,
            suites: Vec::new(),
            groups: Vec::new(),
            server_order: true,
        }
    }
}

pub(super) struct Built {
    pub config: Arc<ServerConfig>,
    /// When the server's own certificate ends.
    pub expires: Option<SystemTime>,
}

fn once(slot: &mut Option<Material>, value: Material, name: &str) -> Result<(), Fault> {
    if slot.is_some() {
        return Err((
            format!("`{name}` and `{name}_file` are both given"),
            "remove one of the two".to_owned(),
        ));
    }
    *slot = Some(value);
    Ok(())
}

impl Settings {
    pub(super) fn certificate(&mut self, value: Material) -> Result<(), Fault> {
        once(&mut self.certificate, value, "cert")
    }

    pub(super) fn key(&mut self, value: Material) -> Result<(), Fault> {
        once(&mut self.key, value, "key")
    }

    pub(super) fn client_ca(&mut self, value: Material) -> Result<(), Fault> {
        once(&mut self.client_ca, value, "client_ca")
    }

    pub(super) fn client_auth(&mut self, word: &str) -> Result<(), Fault> {
        self.client_auth = match word {
            "NoClientCert" => ClientAuth::None,
            "RequestClientCert" => ClientAuth::Request,
            // The second is an old name that the toolkit keeps.
            "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
            "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
            "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
            _ => {
                return Err((
                    "`client_auth_type` is unknown".to_owned(),
                    "write RequireAndVerifyClientCert, VerifyClientCertIfGiven, \
                     RequireAnyClientCert, RequestClientCert or NoClientCert"
                        .to_owned(),
                ));
            }
        };
        Ok(())
    }

    pub(super) fn min_version(&mut self, word: &str) -> Result<(), Fault> {
        self.min = version("min_version", word)?;
        Ok(())
    }

    pub(super) fn max_version(&mut self, word: &str) -> Result<(), Fault> {
        self.max = version("max_version", word)?;
        Ok(())
    }

    /// What adds a cipher suite or a curve by Go's name for it.
    pub(super) fn prefer(suites: bool) -> fn(&mut Self, &str) -> Result<(), Fault> {
        if suites { Self::suite } else { Self::group }
    }

    fn suite(&mut self, name: &str) -> Result<(), Fault> {
        let all = ring::default_provider().cipher_suites;
        let words = |suite: &SupportedCipherSuite| words_of(suite.suite());
        if let Some(suite) = all.iter().find(|suite| words(suite) == name) {
            self.suites.push(*suite);
            return Ok(());
        }
        let known: Vec<String> = all.iter().map(words).collect();
        Err((
            format!("the cipher suite `{}` is not offered", short(name)),
            format!("remove it, or take some of {}", known.join(", ")),
        ))
    }

    fn group(&mut self, name: &str) -> Result<(), Fault> {
        let group = match name {
            "X25519" => NamedGroup::X25519,
            "CurveP256" => NamedGroup::secp256r1,
            "CurveP384" => NamedGroup::secp384r1,
            _ => {
                return Err((
                    format!("the curve `{}` is not offered", short(name)),
                    "remove it, or take some of X25519, CurveP256, CurveP384".to_owned(),
                ));
            }
        };
        let all = ring::default_provider().kx_groups;
        self.groups.extend(all.into_iter().find(|offered| offered.name() == group));
        Ok(())
    }

    /// The files that it is made from.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        [&self.certificate, &self.key, &self.client_ca]
            .into_iter()
            .filter_map(|material| match material {
                Some(Material::File(path)) => Some(path.clone()),
                _ => None,
            })
            .collect()
    }

    /// Loads everything.
    pub(super) fn build(self) -> Result<Built, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let chain = part("cert", self.certificate.as_ref(), certificates, &mut wrong);
        let key = part("key", self.key.as_ref(), private_key, &mut wrong);
        let verifier = self.verifier(&mut wrong);
        let versions = [(12, &TLS12), (13, &TLS13)];
        let versions: Vec<&SupportedProtocolVersion> = versions
            .into_iter()
            .filter(|(number, _)| (self.min..=self.max).contains(number))
            .map(|(_, version)| version)
            .collect();
        if versions.is_empty() {
            wrong.push(Wrong {
                key: "max_version",
                what: "`max_version` is below `min_version`".to_owned(),
                remedy: "write TLS13, or remove one of the two".to_owned(),
            });
        }
        let (Some(chain), Some(key), Some(verifier), true) =
            (chain, key, verifier, wrong.is_empty())
        else {
            return Err(wrong);
        };
        let expires = chain.first().and_then(|leaf| not_after(leaf));
        let server_order = self.server_order;
        let config = ServerConfig::builder_with_provider(Arc::new(self.provider()))
            .with_protocol_versions(&versions)
            .and_then(|builder| {
                builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)
            });
        match config {
            Ok(mut config) => {
                config.ignore_client_order = server_order;
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Ok(Built { config: Arc::new(config), expires })
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(vec![Wrong {
                key: "key",
                what: "the key does not belong to the certificate".to_owned(),
                remedy: "name the key that the certificate was made for".to_owned(),
            }]),
            Err(e) => Err(vec![Wrong {
                key: "cert",
                what: format!("TLS cannot be set up from this certificate ({e})"),
                remedy: "name a certificate in PEM, its issuers after it".to_owned(),
            }]),
        }
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        if !self.suites.is_empty() {
            // As in Go, the list rules TLS 1.2 alone.
            provider.cipher_suites.retain(|suite| suite.tls13().is_some());
            let chosen = self.suites.iter().filter(|suite| suite.tls13().is_none());
            provider.cipher_suites.extend(chosen);
        }
        if !self.groups.is_empty() {
            provider.kx_groups.clone_from(&self.groups);
        }
        provider
    }

    fn verifier(&self, wrong: &mut Vec<Wrong>) -> Option<Arc<dyn ClientCertVerifier>> {
        let mut say = |key, what: &str, remedy: &str| {
            wrong.push(Wrong { key, what: what.to_owned(), remedy: remedy.to_owned() });
        };
        let mandatory =
            matches!(self.client_auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
        if self.client_auth == ClientAuth::None && self.client_ca.is_some() {
            say(
                "client_ca",
                "`client_ca_file` is given but nobody is asked for a certificate",
                "set client_auth_type to RequireAndVerifyClientCert",
            );
        }
        if self.allowed_sans.is_some() && !mandatory {
            say(
                "client_allowed_sans",
                "`client_allowed_sans` is given but clients need not show a certificate",
                "set client_auth_type to RequireAndVerifyClientCert",
            );
            return None;
        }
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let verifier: Arc<dyn ClientCertVerifier> = match self.client_auth {
            ClientAuth::None => return Some(WebPkiClientVerifier::no_client_auth()),
            ClientAuth::Request | ClientAuth::RequireAny => {
                Arc::new(AnyCertificate { mandatory, algorithms })
            }
            ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
                if self.client_ca.is_none() {
                    say(
                        "client_auth_type",
                        "client certificates are verified but no authority is named",
                        "add client_ca_file",
                    );
                    return None;
                }
                let found = part("client_ca", self.client_ca.as_ref(), certificates, wrong)?;
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(found);
                let builder = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::new(ring::default_provider()),
                );
                let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
                let built = builder.build().map_err(|e| {
                    wrong.push(Wrong {
                        key: "client_ca",
                        what: format!("no authority can be taken from it ({e})"),
                        remedy: "name the authority's X.509 v3 certificate in PEM".to_owned(),
                    });
                });
                built.ok()?
            }
        };
        Some(match &self.allowed_sans {
            Some(names) => Arc::new(Named { inner: verifier, names: names.clone() }),
            None => verifier,
        })
    }
}

fn version(key: &str, word: &str) -> Result<u16, Fault> {
    match word {
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        "TLS10" | "TLS11" => Err((
            format!("`{key}` names a version that is broken and not offered"),
            "write TLS12 or TLS13".to_owned(),
        )),
        _ => Err((format!("`{key}` is no TLS version"), "write TLS12 or TLS13".to_owned())),
    }
}

/// A suite's name in Go: as the registry has it, but for TLS 1.3.
fn words_of(suite: CipherSuite) -> String {
    suite.as_str().unwrap_or_default().replace("TLS13_", "TLS_")
}

/// A word of the user's, not at any length.
fn short(text: &str) -> String {
    text.chars().take(60).filter(|c| !c.is_control()).collect()
}

/// Reads and parses one of the materials; what goes wrong is noted under its key.
fn part<T>(
    key: &'static str,
    material: Option<&Material>,
    parse: impl Fn(&[u8]) -> Option<T>,
    wrong: &mut Vec<Wrong>,
) -> Option<T> {
    let fault = match material {
        None => (format!("`{key}_file` is missing"), "name a PEM file".to_owned()),
        Some(material) => match material.read() {
            Err(what) => (what, "name a file that the agent may read".to_owned()),
            Ok(bytes) => match parse(&bytes) {
                Some(found) => return Some(found),
                None if key == "key" => (
                    format!("{} holds no private key that can be used", material.name()),
                    "name a key in PEM that no passphrase protects".to_owned(),
                ),
                None => (
                    format!("{} holds no certificate", material.name()),
                    "name a certificate in PEM".to_owned(),
                ),
            },
        },
    };
    wrong.push(Wrong { key, what: fault.0, remedy: fault.1 });
    None
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

fn private_key(pem: &[u8]) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).ok()
}

fn not_after(leaf: &[u8]) -> Option<SystemTime> {
    let certificate = Certificate::from_der(leaf).ok()?;
    Some(certificate.tbs_certificate.validity.not_after.to_system_time())
}
