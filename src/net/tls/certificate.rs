//! What a certificate says of itself: names, issuer, dates, X.509 version.

use std::net::IpAddr;
use std::time::SystemTime;

use x509_cert::Version;
use x509_cert::der::Decode;
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
}

impl Certificate {
    /// None where `der` is no certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        let inner = x509_cert::Certificate::from_der(der).ok()?.tbs_certificate;
        let names = match inner.get::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0.iter().filter_map(name).collect(),
            _ => Vec::new(),
        };
        Some(Self {
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
