//! TLS failures in sentences.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::verify::Refusal;

/// What went wrong, as `what; remedy`. None where the error is none of TLS.
pub fn explain(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?;
    let Some(tls) = inner.downcast_ref::<Error>() else {
        // One error may be wrapped in another on its way through the streams.
        return inner.downcast_ref::<io::Error>().and_then(explain);
    };
    Some(match tls {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<Refusal>() {
                Some(Refusal(sentence)) => sentence.clone(),
                None => {
                    format!("the server's certificate is not accepted ({}); reissue it", other.0)
                }
            }
        }
        Error::InvalidCertificate(reason) => {
            format!("the server's certificate is not accepted ({reason:?}); reissue it")
        }
        Error::AlertReceived(alert) => alert_sentence(*alert),
        Error::PeerIncompatible(_) => "the server and the agent have no TLS version or cipher in \
                                       common; let the server offer TLS 1.2 or 1.3"
            .to_owned(),
        Error::InvalidMessage(_) => {
            "the server's answer is no TLS; correct host and port, or take \
                                     away what stands between"
                .to_owned()
        }
        other => format!("the TLS handshake failed ({other}); see the server's log"),
    })
}

fn alert_sentence(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "the server asks for a client certificate and got none; name one in `sslcert` and its \
             key in `sslkey`"
                .to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => format!(
            "the server refuses the client certificate ({alert:?}); name one in `sslcert` that its \
             ssl_ca_file vouches for"
        ),
        AlertDescription::CertificateExpired => {
            "the server says that the client certificate has expired; renew `sslcert`".to_owned()
        }
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity => format!(
            "the server and the agent have no TLS version or cipher in common ({alert:?}); let the \
             server offer TLS 1.2 or 1.3"
        ),
        other => format!("the server broke off the TLS handshake ({other:?}); see its log"),
    }
}
