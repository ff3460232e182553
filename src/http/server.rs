//! The running door: binds, then finds for each request its endpoint, its guard and its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus::IntCounterVec;
use tokio::sync::Semaphore;

use super::guard::{self, Guard, Turned};
use super::routes::{self, Endpoint};
use super::{CertificateRow, House, page, sd};
use crate::config::{Http, Problem};
use crate::exposition::{self, Choice, Page, Press, negotiate};
use crate::metric::{Family, Kind, Labels};
use crate::net::serve::{self as net, Bound, Limits};
use crate::task::Group;
use crate::telemetry::Telemetry;

/// What keeps the door from opening.
#[derive(Debug)]
pub enum OpenError {
    /// The web configuration file is wrong: every problem in it.
    Config(Vec<Problem>),
    /// A listener cannot be had: one sentence.
    Listen(String),
}

/// Listeners that nobody answers on yet, and who may come in.
pub struct Opened {
    listeners: Vec<Bound>,
    guard: Guard,
    pub limits: Limits,
}

impl Opened {
    /// Where it listens; a port that was configured as 0 is the one taken.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|bound| bound.address).collect()
    }
}

/// Reads the web configuration and binds every listener.
///
/// # Errors
/// What is wrong with either, for the user.
pub fn open(settings: &Http) -> Result<Opened, OpenError> {
    let guard = Guard::load(settings.web_config_file.as_deref()).map_err(OpenError::Config)?;
    let listeners = settings.listen.iter().map(|address| net::bind(*address));
    let listeners = listeners.collect::<Result<_, _>>().map_err(OpenError::Listen)?;
    Ok(Opened { listeners, guard, limits: Limits::default() })
}

/// Answers until `group` stops. `group` should stop last, so that pages are served during the rest's
/// drain.
///
/// # Errors
/// A sentence, when the runtime cannot take over a listener.
pub fn serve(
    opened: Opened,
    house: Arc<dyn House>,
    telemetry: &Telemetry,
    group: &Group,
) -> Result<(), String> {
    let Opened { listeners, guard, limits } = opened;
    let listening = listeners.first().map(|bound| bound.address.to_string()).unwrap_or_default();
    guard.watch(telemetry, group);
    let door = Door {
        house,
        guard,
        listening,
        started: SystemTime::now(),
        press: Arc::default(),
        renders: Arc::new(Semaphore::new(RENDERS)),
        requests: telemetry.counters(
            "pgvigil_http_requests_total",
            "Requests answered, by endpoint and status code.",
            &["handler", "code"],
        ),
        dropped: telemetry.counters(
            "pgvigil_http_dropped_series_total",
            "Series that could not stand on a metrics page, by why: another series has the same \
             labels, another family of that name has another kind, or a name is not Prometheus's.",
            &["reason"],
        ),
        telemetry: telemetry.clone(),
    };
    net::serve(listeners, Arc::new(door), limits, group, telemetry)
}

/// Large pages written at the same time: each may hold tens of megabytes.
const RENDERS: usize = 2;
/// A page of more samples is written on a thread of its own, so as not to hold up the runtime.
const LARGE: usize = 2000;

struct Door {
    house: Arc<dyn House>,
    guard: Guard,
    listening: String,
    started: SystemTime,
    press: Arc<Press>,
    renders: Arc<Semaphore>,
    requests: IntCounterVec,
    dropped: IntCounterVec,
    telemetry: Telemetry,
}

type Answer = Response<Full<Bytes>>;

impl net::Service for Door {
    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.guard.current().config.tls.clone()
    }

    async fn answer(&self, request: Request<()>) -> Answer {
        let endpoint = Endpoint::of(request.uri().path());
        let mut answer = self.respond(endpoint, &request).await;
        let headers = answer.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, value) in &self.guard.current().config.headers {
            headers.insert(name, value.clone());
        }
        let handler = endpoint.map_or("none", Endpoint::handler);
        self.requests.with_label_values(&[handler, answer.status().as_str()]).inc();
        answer
    }
}

impl Door {
    async fn respond(&self, endpoint: Option<Endpoint>, request: &Request<()>) -> Answer {
        if !endpoint.is_some_and(Endpoint::is_public)
            && let Err(turned) = self.guard.admit(request.headers()).await
        {
            return turned_away(turned);
        }
        let Some(endpoint) = endpoint else {
            return text(StatusCode::NOT_FOUND, routes::NOT_FOUND);
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let answer = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD work here.\n");
            return with(answer, header::ALLOW, "GET, HEAD");
        }
        match endpoint {
            Endpoint::Metrics => {
                let page = self.metrics(None, request.headers()).await;
                page.unwrap_or_else(|late| late)
            }
            Endpoint::Probe => self.probe(request).await,
            Endpoint::Discovery => self.discovery(request.headers()),
            Endpoint::Alive => text(StatusCode::OK, "ok\n"),
            Endpoint::Ready if self.house.ready() => text(StatusCode::OK, "ready\n"),
            Endpoint::Ready => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
            Endpoint::Status => self.status(),
        }
    }

    async fn probe(&self, request: &Request<()>) -> Answer {
        let names: Vec<String> = self.house.targets().into_iter().map(|t| t.name).collect();
        let known = |what: &str| match names.as_slice() {
            [] => format!("{what} No instance is configured.\n"),
            names => format!("{what} The configured ones are:\n  {}\n", names.join("\n  ")),
        };
        match routes::parameter(request.uri().query().unwrap_or(""), "target") {
            Some(name) if names.contains(&name) => {
                let page = self.metrics(Some(&name), request.headers()).await;
                page.unwrap_or_else(|late| late)
            }
            Some(_) => text(StatusCode::NOT_FOUND, known("No instance has this name.")),
            None => text(StatusCode::BAD_REQUEST, known("Say which instance: /probe?target=NAME.")),
        }
    }

    /// A page of metrics; the error is an answer too.
    async fn metrics(&self, instance: Option<&str>, headers: &HeaderMap) -> Result<Answer, Answer> {
        let patience = routes::patience(word(headers, "x-prometheus-scrape-timeout-seconds"));
        // The house keeps to its patience; should it not, an error now is better than a lost scrape.
        let scrape = self.house.scrape(patience, instance);
        let scraped = tokio::time::timeout(patience + Duration::from_millis(400), scrape).await;
        let Ok(mut families) = scraped else {
            tracing::error!("collecting did not answer a scrape in time; see the status page");
            let late = "Collecting did not answer in time; see the status page.\n";
            return Err(text(StatusCode::SERVICE_UNAVAILABLE, late));
        };
        if instance.is_none() {
            families.extend(self.telemetry.families());
            families.extend(self.certificate());
        }
        let accept = list(headers, &header::ACCEPT);
        let choice = negotiate(Some(&accept), Some(&list(headers, &header::ACCEPT_ENCODING)));
        let Some(Page { body, dropped }) = self.written(families, choice).await else {
            return Err(text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The page could not be written.\n",
            ));
        };
        for (reason, count) in dropped.by_reason() {
            self.dropped.with_label_values(&[reason]).inc_by(count);
        }
        let answer = answer(StatusCode::OK, exposition::content_type(choice.format), body);
        let answer = with(answer, header::VARY, "Accept, Accept-Encoding");
        Ok(if choice.gzip { with(answer, header::CONTENT_ENCODING, "gzip") } else { answer })
    }

    async fn written(&self, families: Vec<Arc<Family>>, choice: Choice) -> Option<Page> {
        if families.iter().map(|family| family.samples.len()).sum::<usize>() <= LARGE {
            return Some(self.press.render(&families, choice));
        }
        let permit = Arc::clone(&self.renders).acquire_owned().await.ok()?;
        let press = Arc::clone(&self.press);
        let render = move || {
            // The work goes on when its client goes away, so it keeps the permit itself.
            let _permit = permit;
            press.render(&families, choice)
        };
        tokio::task::spawn_blocking(render).await.ok()
    }

    /// When the door's own certificate ends.
    fn certificate(&self) -> Option<Arc<Family>> {
        let end = self.guard.current().config.certificate_expires?;
        let end = end.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
        let help = "When a certificate ends that the agent has seen or shows.";
        let family = Family::new("pgvigil_certificate_expiry_timestamp_seconds", help, Kind::Gauge);
        Some(Arc::new(family.with(Labels::new([("use", "http")]), end)))
    }

    fn discovery(&self, headers: &HeaderMap) -> Answer {
        let tls = self.guard.current().config.tls.is_some();
        let address = sd::address(word(headers, header::HOST.as_str()), &self.listening, tls);
        let json = sd::json(&self.house.targets(), &address, tls);
        answer(StatusCode::OK, "application/json", json)
    }

    fn status(&self) -> Answer {
        let about = page::About { started: self.started, now: SystemTime::now() };
        let mut status = self.house.status();
        status.certificates.extend(self.guard.current().config.certificate_expires.map(
            |expires| CertificateRow {
                of: "this page".to_owned(),
                usage: "server".to_owned(),
                expires,
            },
        ));
        let html = page::html(&status, &about);
        let answer = answer(StatusCode::OK, "text/html; charset=utf-8", html);
        // The page holds its own style and nothing else, so nothing else is let in.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
        let answer = with(answer, header::CONTENT_SECURITY_POLICY, policy);
        with(answer, header::REFERRER_POLICY, "no-referrer")
    }
}

fn turned_away(turned: Turned) -> Answer {
    match turned {
        Turned::Unknown => {
            let answer =
                text(StatusCode::UNAUTHORIZED, "A user name and its password are needed.\n");
            with(answer, header::WWW_AUTHENTICATE, guard::CHALLENGE)
        }
        Turned::TooMany => text(StatusCode::TOO_MANY_REQUESTS, "Too many requests; ask later.\n"),
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    with(answer, header::CONTENT_TYPE, kind)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body)
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}

/// The text of a header that comes once.
fn word<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The text of a header that is a list, and may come in several lines.
fn list(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    lines.join(",")
}
