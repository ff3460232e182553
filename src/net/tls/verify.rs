//! Verification of a server's certificate as libpq means it, told in sentences.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::certificate::Certificate;

/// How much of a server's certificate is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Encryption alone: whoever answers is taken for the server.
    Nothing,
    /// That a trusted authority issued it and that it is valid now.
    Chain,
    /// The same, and that it is for the name that we connect to.
    Full,
}

/// The certificate that a server showed last, accepted or not.
#[derive(Default, Debug)]
pub struct Seen(Mutex<Option<Vec<u8>>>);

impl Seen {
    pub fn certificate(&self) -> Option<Certificate> {
        let der = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Certificate::read(&der)
    }

    fn keep(&self, der: &[u8]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(der.to_vec());
    }
}

/// A refusal in a sentence, carried through rustls' error.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) check: Check,
    pub(super) roots: Arc<RootCertStore>,
    /// The same certificates as they are: a server's own among them is trusted as it stands.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) roots_from: String,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) seen: Arc<Seen>,
}

impl Verifier {
    fn refuse(sentence: String) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refusal(sentence)))))
    }

    fn outdated(host: &str) -> Error {
        Self::refuse(format!(
            "the server's certificate is of the outdated X.509 version 1; {}",
            reissue(host)
        ))
    }

    fn chain(
        &self,
        own: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.trusted.iter().any(|trusted| trusted == own) {
            // Trusted by itself, so there is no chain to follow: its dates alone can be wrong.
            let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
            return match Certificate::read(own) {
                Some(c) if now > c.not_after => Err(CertificateError::Expired.into()),
                Some(c) if now < c.not_before => Err(CertificateError::NotValidYet.into()),
                Some(_) => Ok(()),
                None => Err(CertificateError::BadEncoding.into()),
            };
        }
        verify_server_cert_signed_by_trust_anchor(
            parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.seen.keep(end_entity);
        let told = Certificate::read(end_entity);
        let host = server_name.to_str();
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        if told.as_ref().is_some_and(|c| !c.version_3) {
            return Err(Self::outdated(&host));
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        self.chain(end_entity, &parsed, intermediates, now)
            .map_err(|e| self.chain_sentence(e, told.as_ref()))?;
        if self.check == Check::Full {
            verify_server_name(&parsed, server_name)
                .map_err(|_| Self::refuse(name_sentence(&host, told.as_ref())))?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if Certificate::read(certificate).is_some_and(|c| !c.version_3) {
            // Nothing here can read its key under TLS 1.2.
            return Err(Self::outdated("the server's name"));
        }
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match Certificate::read(certificate) {
            // Who holds the key is proven even where nobody vouches for it: SCRAM binds to it.
            Some(told) if !told.version_3 => verify_tls13_signature_with_raw_key(
                message,
                &SubjectPublicKeyInfoDer::from(told.public_key),
                signature,
                &self.algorithms,
            ),
            _ => verify_tls13_signature(message, certificate, signature, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Verifier {
    fn chain_sentence(&self, error: Error, told: Option<&Certificate>) -> Error {
        let Error::InvalidCertificate(reason) = &error else { return error };
        let issuer = told.map_or("an unknown authority", |c| c.issuer.as_str());
        Self::refuse(match reason {
            CertificateError::UnknownIssuer => format!(
                "the server's certificate was issued by `{issuer}`, which {} do not vouch for; put \
                 that authority's certificate into `sslrootcert`",
                self.roots_from
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                let told = told.filter(|c| c.not_after < SystemTime::now());
                match told {
                    Some(c) => format!(
                        "the server's certificate expired on {}; renew it",
                        date(c.not_after)
                    ),
                    None => {
                        "a certificate of the authority behind the server's has expired; renew \
                             it in `sslrootcert` and at the server"
                            .to_owned()
                    }
                }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
                "the server's certificate is not valid before {}; set the clocks of both machines",
                told.map_or_else(|| "a later time".to_owned(), |c| date(c.not_before))
            ),
            CertificateError::BadSignature => format!(
                "the server's certificate names `{issuer}` as its issuer but is not signed by the \
                 authority of that name in {}; put the certificate of the one that signed it into \
                 `sslrootcert`",
                self.roots_from
            ),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "the server's certificate is not meant for servers; reissue it with \
                 extendedKeyUsage serverAuth"
                    .to_owned()
            }
            other => format!("the server's certificate is not accepted ({other:?}); reissue it"),
        })
    }
}

fn name_sentence(host: &str, told: Option<&Certificate>) -> String {
    match told {
        Some(c) if !c.names.is_empty() => format!(
            "the server's certificate is for {}, not for `{host}`; connect by one of its names, or \
             reissue it with subjectAltName={}",
            c.names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
            entry(host)
        ),
        Some(c) => format!(
            "the server's certificate tells its name only in its subject (`{}`), which no longer \
             counts; {}",
            c.subject,
            reissue(host)
        ),
        None => format!("the server's certificate is not for `{host}`; {}", reissue(host)),
    }
}

/// How to make a certificate that has what today's TLS asks for.
fn reissue(host: &str) -> String {
    format!(
        "reissue it as version 3 with subjectAltName={} (openssl x509 -req … -extfile FILE, where \
         FILE holds that line)",
        entry(host)
    )
}

fn entry(host: &str) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    format!("{kind}:{host}")
}

/// A day in UTC.
fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(
        |_| "a day beyond reckoning".to_owned(),
        |t| t.strftime("%F %H:%M UTC").to_string(),
    )
}
