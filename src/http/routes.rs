//! Which endpoint a request means, and what it asks of it. Pure.

use std::time::Duration;

use percent_encoding::percent_decode;

/// What the door answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Metrics,
    Probe,
    Discovery,
    Alive,
    Ready,
    Status,
}

impl Endpoint {
    const ALL: [Self; 6] =
        [Self::Status, Self::Metrics, Self::Probe, Self::Discovery, Self::Alive, Self::Ready];

    pub(super) fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/metrics",
            Self::Probe => "/probe",
            Self::Discovery => "/sd",
            Self::Alive => "/livez",
            Self::Ready => "/readyz",
            Self::Status => "/",
        }
    }

    /// The label of the request counter.
    pub(super) fn handler(self) -> &'static str {
        match self {
            Self::Status => "status",
            other => &other.path()[1..],
        }
    }

    /// Health is told to whoever asks: what asks for it seldom has a password, and it says nothing.
    pub(super) fn is_public(self) -> bool {
        matches!(self, Self::Alive | Self::Ready)
    }
}

/// What is said to a path that is none.
pub(super) const NOT_FOUND: &str = "\
Nothing is here. This is pgvigil; it answers on
  /                   a page about what it watches, for people
  /metrics            metrics of all instances and of the agent
  /probe?target=NAME  metrics of one configured instance
  /sd                 Prometheus service discovery: one target an instance
  /livez              200 while the agent runs
  /readyz             200 while the agent takes in work
";

/// How long a scrape may wait for fresh results: two seconds, or the scraper's own patience
/// (`X-Prometheus-Scrape-Timeout-Seconds`) less what writing and sending take.
pub(super) fn patience(scrape_timeout: Option<&str>) -> Duration {
    const MOST: Duration = Duration::from_secs(2);
    const SPARE: Duration = Duration::from_millis(500);
    scrape_timeout
        .and_then(|text| text.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map_or(MOST, |theirs| theirs.saturating_sub(SPARE).min(MOST))
}

/// The first value of a parameter in a URL's query.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name).then(|| decoded(value))
    })
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_found_and_told() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::of(endpoint.path()), Some(endpoint));
            assert!(NOT_FOUND.contains(&format!("\n  {}", endpoint.path())));
        }
        for none in ["", "/metrics/", "//", "/Metrics", "/debug/pprof"] {
            assert_eq!(Endpoint::of(none), None);
        }
        assert_eq!(Endpoint::Status.handler(), "status");
        assert_eq!(Endpoint::Discovery.handler(), "sd");
    }

    #[test]
    fn patience_is_the_smaller() {
        for (header, millis) in [
            (None, 2000),
            (Some("10"), 2000),
            (Some("1.5"), 1000),
            (Some(" 2.25 "), 1750),
            (Some("0.5"), 0),
            (Some("0.1"), 0),
            (Some("-1"), 2000),
            (Some("NaN"), 2000),
            (Some("1e300"), 2000),
            (Some("soon"), 2000),
        ] {
            assert_eq!(patience(header).as_millis(), millis, "{header:?}");
        }
    }

    #[test]
    fn parameters() {
        assert_eq!(parameter("a=1&target=db%2F1+x&target=2", "target").as_deref(), Some("db/1 x"));
        assert_eq!(parameter("target", "target").as_deref(), Some(""));
        assert_eq!(parameter("targets=1", "target"), None);
        assert_eq!(parameter("target=%ff", "target").as_deref(), Some("\u{fffd}"));
    }
}
