//! One push: entries of one stream out, an [`Outcome`] back. Retrying is `deliver`'s matter.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Request, Uri};
use prometheus::{IntCounter, IntCounterVec};
use tokio::time::Instant;

use super::outcome::{Outcome, Reason, oldest_accepted};
use crate::config::{LokiTarget, SecretReader, SecretSource};
use crate::net::{HttpClient, TlsFiles};
use crate::telemetry::Telemetry;

/// How long Loki may take to answer a push. Its own write path gives up after 10 s.
const PUSH_TIMEOUT: Duration = Duration::from_secs(15);
/// As much of an answer's body as is looked at: ten samples of refused entries and the total.
const MAX_BODY: usize = 64 * 1024;

/// A Loki to push to.
pub struct Loki {
    client: HttpClient,
    url: Uri,
    authorization: Option<Authorization>,
    pub(super) counters: Counters,
}

/// What the room counts.
pub(super) struct Counters {
    requests: IntCounterVec,
    pub(super) entries: IntCounter,
    refused: IntCounterVec,
    bytes: IntCounter,
    secrets: IntCounter,
}

impl Counters {
    fn new(telemetry: &Telemetry) -> Self {
        let counters = Self {
            requests: telemetry.counters(
                "pgvigil_loki_requests_total",
                "Push requests by how they ended.",
                &["outcome"],
            ),
            entries: telemetry
                .counter("pgvigil_loki_entries_total", "Log entries that Loki has acknowledged."),
            refused: telemetry.counters(
                "pgvigil_loki_refused_entries_total",
                "Log entries that Loki refused for good, or that it would have refused.",
                &["reason"],
            ),
            bytes: telemetry.counter(
                "pgvigil_loki_sent_bytes_total",
                "Bytes of push bodies sent, compressed, repeats included.",
            ),
            secrets: telemetry.counter(
                "pgvigil_loki_secret_errors_total",
                "Times that a credential could not be read again and its last value was used.",
            ),
        };
        for outcome in Outcome::ALL {
            counters.requests.with_label_values(&[outcome]).inc_by(0);
        }
        for reason in Reason::ALL {
            counters.refused.with_label_values(&[reason.as_str()]).inc_by(0);
        }
        counters
    }

    pub(super) fn refuse(&self, reason: Reason, entries: u64) {
        self.refused.with_label_values(&[reason.as_str()]).inc_by(entries);
    }
}

/// Credentials that are read again at each request, so that a rotation needs no restart.
struct Authorization {
    user: Option<String>,
    secret: SecretReader,
}

impl Authorization {
    fn new(user: Option<String>, source: &SecretSource) -> Result<Self, String> {
        let secret = source.reader();
        secret.current()?;
        Ok(Self { user, secret })
    }

    /// The header's value, and whether the secret is the last known one, unread this time.
    fn header(&self) -> Result<(HeaderValue, bool), String> {
        let current = self.secret.current()?;
        let text = match &self.user {
            Some(user) => {
                let pair = format!("{user}:{}", current.secret.expose());
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            None => format!("Bearer {}", current.secret.expose()),
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "the credential for Loki holds a line end; remove it".to_owned())?;
        value.set_sensitive(true);
        Ok((value, current.stale.is_some()))
    }
}

/// How a push ended, with Loki's own words for the status page.
#[derive(Debug)]
pub struct Pushed {
    pub outcome: Outcome,
    /// The start of the answer's body, or what kept an answer from coming.
    pub text: String,
    /// The time before which Loki takes nothing, where it said so.
    pub oldest_accepted: Option<i64>,
}

impl Loki {
    /// # Errors
    /// A sentence that says what in the configuration cannot be used.
    pub fn new(target: &LokiTarget, telemetry: &Telemetry) -> Result<Self, String> {
        let url = format!("{}/loki/api/v1/push", target.url.trim_end_matches('/'));
        let url: Uri = url
            .parse()
            .ok()
            .filter(|url: &Uri| {
                url.host().is_some() && matches!(url.scheme_str(), Some("http" | "https"))
            })
            .ok_or_else(|| {
                format!("`{}` is no URL; write logs.loki.url as http://host:3100", target.url)
            })?;
        let files = TlsFiles {
            ca_file: target.ca_file.clone(),
            cert_file: target.cert_file.clone(),
            key_file: target.key_file.clone(),
            plain: url.scheme_str() == Some("http"),
        };
        let client = HttpClient::new(files, target.proxy.as_ref())?;
        let authorization = match (&target.basic_auth, &target.bearer_token) {
            (Some((user, password)), _) => Some(Authorization::new(Some(user.clone()), password)?),
            (None, Some(token)) => Some(Authorization::new(None, token)?),
            (None, None) => None,
        };
        Ok(Self { client, url, authorization, counters: Counters::new(telemetry) })
    }

    /// Where pushes go, without credentials.
    pub fn address(&self) -> String {
        self.url.authority().map_or_else(String::new, |authority| {
            // A user in the URL would be a secret's neighbour; only host and port are shown.
            authority.as_str().rsplit('@').next().unwrap_or_default().to_owned()
        })
    }

    /// Asks whether Loki answers, and lets these credentials and this tenant in, by the request that
    /// lists its labels.
    ///
    /// # Errors
    /// What is wrong and what to do, in one sentence.
    pub async fn reach(&self, tenant: Option<&str>, patience: Duration) -> Result<(), String> {
        let address = self.address();
        let (status, _) = self
            .get("/loki/api/v1/labels", tenant, MAX_BODY, Instant::now() + patience)
            .await
            .map_err(|e| format!("{e}; start it, or correct `logs.loki.url`"))?;
        match status {
            200..300 => Ok(()),
            401 | 403 => Err(format!(
                "{address} refuses the credentials or the tenant ({status}); correct `logs.loki` and the \
                 routes' `tenant`"
            )),
            404 => Err(format!(
                "{address} answers, but not as Loki does ({status}); correct `logs.loki.url`"
            )),
            _ => Err(format!("{address} answers {status}; see Loki's own log")),
        }
    }

    /// Asks for a page, `path` from the base of Loki's URL on; its status and the start of its text.
    ///
    /// # Errors
    /// Where and why there is no answer, without a remedy.
    pub(super) async fn get(
        &self,
        path: &str,
        tenant: Option<&str>,
        max_body: usize,
        deadline: Instant,
    ) -> Result<(u16, String), String> {
        let url = self.url.to_string();
        let base = url.strip_suffix("/loki/api/v1/push").unwrap_or(&url);
        let request = self.prepare(Request::get(format!("{base}{path}")), tenant, Bytes::new())?;
        let reply = self.client.send(request, max_body, deadline).await;
        let reply = reply.map_err(|e| format!("{}: {e}", self.address()))?;
        Ok((reply.status.as_u16(), String::from_utf8_lossy(&reply.body).into_owned()))
    }

    /// Sends `body` (as [`super::Entries::body`] makes it, of `entries` entries) once.
    pub async fn push(&self, tenant: Option<&str>, body: Vec<u8>, entries: u64) -> Pushed {
        let size = body.len() as u64;
        let pushed = match self.request(tenant, body) {
            Ok(request) => {
                let deadline = Instant::now() + PUSH_TIMEOUT;
                match self.client.send(request, MAX_BODY, deadline).await {
                    Ok(reply) => {
                        let text = String::from_utf8_lossy(&reply.body).trim().to_owned();
                        let outcome = Outcome::of(reply.status.as_u16(), &text, entries);
                        let oldest_accepted = oldest_accepted(&text);
                        let text = format!("{}: {}", reply.status, excerpt(&text));
                        Pushed { outcome, text, oldest_accepted }
                    }
                    Err(e) => Pushed {
                        outcome: Outcome::NoAnswer,
                        text: e.to_string(),
                        oldest_accepted: None,
                    },
                }
            }
            Err(text) => Pushed { outcome: Outcome::Misconfigured, text, oldest_accepted: None },
        };
        self.counters.requests.with_label_values(&[pushed.outcome.as_str()]).inc();
        self.counters.bytes.inc_by(size);
        pushed
    }

    fn request(&self, tenant: Option<&str>, body: Vec<u8>) -> Result<Request<Full<Bytes>>, String> {
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "snappy");
        self.prepare(request, tenant, Bytes::from(body))
    }

    /// Says who asks, and for whom.
    fn prepare(
        &self,
        request: Builder,
        tenant: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request =
            request.header(USER_AGENT, concat!("pgvigil/", env!("CARGO_PKG_VERSION")));
        if let Some(tenant) = tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        if let Some(authorization) = &self.authorization {
            let (value, stale) = authorization.header()?;
            if stale {
                self.counters.secrets.inc();
            }
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body)).map_err(|e| {
            format!("the request to Loki cannot be built: {e}; check tenant and credentials")
        })
    }
}

/// The start of a text, one line of it, for messages.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(['\n', '\r'], " ")
}
