//! What a certificate says of itself: names, issuer, dates, X.509 version.

use std::net::IpAddr;
use std::time::SystemTime;

use x509_cert::Version;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// The parts of an X.509 certificate that people ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// DNS names and addresses of `subjectAltName`: the only ones that count.
    pub names: Vec<String>,
    /// `subject`, such as `CN=db1,O=Shop`.
    pub subject: String,
    pub issuer: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Whether it is X.509 version 3; older ones can hold no `subjectAltName`.
    pub version_3: bool,
    /// `subjectPublicKeyInfo`, DER.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// None where `der` is no certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        let inner = x509_cert::Certificate::from_der(der).ok()?.tbs_certificate;
        let names = match inner.get::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0.iter().filter_map(name).collect(),
            _ => Vec::new(),
        };
        let public_key = inner.subject_public_key_info.to_der().ok()?;
        Some(Self {
            public_key,
            names,
            subject: shown(&inner.subject),
            issuer: shown(&inner.issuer),
            not_before: inner.validity.not_before.to_system_time(),
            not_after: inner.validity.not_after.to_system_time(),
            version_3: inner.version == Version::V3,
        })
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let address = <[u8; 4]>::try_from(octets)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
            address.ok().map(|a| a.to_string())
        }
        _ => None,
    }
}

fn shown(name: &Name) -> String {
    let text = name.to_string();
    if text.is_empty() { "(no name)".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_tells_its_names_and_dates() {
        let names = ["db1", "*.shop.example", "10.0.0.1", "::1"].map(str::to_owned);
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, "db1");
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2040, 1, 1);
        let made = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let told = Certificate::read(made.der()).unwrap();
        assert_eq!(told.names, ["db1", "*.shop.example", "10.0.0.1", "::1"]);
        assert!(told.subject.contains("CN=db1") && told.issuer == told.subject);
        assert_eq!(told.not_after, UNIX_EPOCH + Duration::from_secs(2_208_988_800));
        assert!(told.not_before < told.not_after && told.version_3);
        assert_eq!(Certificate::read(b"no certificate"), None);
        assert_eq!(Certificate::read(&made.der()[..20]), None);
    }

    #[test]
    fn version_1_is_seen() {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let pem = include_bytes!("../../../tests/data/tls/version1.crt");
        let told = Certificate::read(&CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        assert!(!told.version_3 && told.names.is_empty());
    }
}
