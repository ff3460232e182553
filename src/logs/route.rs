//! A route: who may read what, and under which labels it is found.

use glob::Pattern;

use super::events::{Event, statements};
use super::redact::{Counts, Level, Patterns, redact};
use super::{Key, Record};
use crate::config::{self, Destination, LogInput, LogSource, Redaction, STATEMENT_KINDS, Settings};
use crate::loki::StreamLabels;
use crate::loki::retention::Kept;
use crate::metric::Labels;

/// The value of `service_name` on every stream.
const SERVICE: &str = "postgresql";

/// A route's rules, ready for use.
#[derive(Debug)]
pub struct Rules {
    pub(super) name: String,
    pub(super) level: Level,
    pub(super) tenant: Option<String>,
    pub(super) patterns: Patterns,
    databases: Vec<Pattern>,
    include_events: Vec<String>,
    exclude_events: Vec<String>,
    /// Whether statements have to be looked at.
    by_statement: bool,
}

impl Rules {
    pub fn new(route: &config::Route) -> Self {
        Self {
            name: route.name.clone(),
            level: match route.redact {
                Redaction::Credentials => Level::Credentials,
                Redaction::Literals => Level::Literals,
            },
            tenant: route.tenant.clone(),
            patterns: Patterns::new(&route.patterns),
            databases: route.databases.iter().filter_map(|p| Pattern::new(p).ok()).collect(),
            include_events: route.include_events.clone(),
            exclude_events: route.exclude_events.clone(),
            by_statement: route
                .include_events
                .iter()
                .chain(&route.exclude_events)
                .any(|kind| STATEMENT_KINDS.contains(&kind.as_str())),
        }
    }

    /// The record as the route's readers get it, and what was masked; none where they do not.
    pub fn shown(&self, record: &Record, event: &Event) -> Option<(Record, Counts)> {
        if !self.wants(record, event) {
            return None;
        }
        let (mut masked, mut counts) = redact(record.clone(), self.level);
        if !self.patterns.is_empty() {
            (masked, counts.patterns) = self.patterns.mask(masked);
        }
        Some((masked, counts))
    }

    /// Whether the route's readers get the record. A route for some databases gets nothing that
    /// names no database.
    pub(super) fn wants(&self, record: &Record, event: &Event) -> bool {
        let event = event.kind.map(super::EventKind::as_str);
        let about = if self.by_statement { statements(record) } else { Default::default() };
        let is = |kind: &String| event == Some(kind.as_str()) || about.has(kind);
        if self.exclude_events.iter().any(is) {
            return false;
        }
        if !self.include_events.is_empty() && !self.include_events.iter().any(is) {
            return false;
        }
        self.databases.is_empty()
            || record
                .field(Key::Dbname)
                .is_some_and(|name| self.databases.iter().any(|p| p.matches(name)))
    }
}

/// The labels that identify the server of a source, for its metrics.
pub(super) fn identity(settings: &Settings, source: &LogSource) -> Labels {
    Labels::new(pairs(settings, source))
}

/// The labels of the stream of a source and a route.
pub(super) fn stream(settings: &Settings, source: &LogSource, route: &str) -> StreamLabels {
    let fixed = [("service_name", SERVICE), ("route", route)];
    let loki = settings.logs.as_ref().and_then(|logs| logs.loki.as_ref());
    let chosen = loki.into_iter().flat_map(|loki| &loki.labels);
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    StreamLabels::new(
        fixed
            .into_iter()
            .chain(pairs(settings, source).take(2))
            .chain(chosen.map(|(name, value)| (name.clone(), value.clone())))
            .chain(pairs(settings, source).skip(2)),
    )
}

/// The routes to Loki with their periods and streams; none where the records go elsewhere.
pub fn kept_in_loki(settings: &Settings) -> Vec<Kept> {
    let to_loki = |logs: &&config::Logs| logs.destination == Destination::Loki;
    let Some(logs) = settings.logs.as_ref().filter(to_loki) else { return Vec::new() };
    let kept = |route: &config::Route| Kept {
        route: route.name.clone(),
        keep: route.keep,
        tenant: route.tenant.clone(),
        server_label: settings.server_label.clone(),
        streams: logs.sources.iter().map(|source| known(settings, source, &route.name)).collect(),
    };
    logs.routes.iter().map(kept).collect()
}

/// What is known of a source's streams before it has run: of pods and containers not whose they are.
fn known(settings: &Settings, source: &LogSource, route: &str) -> StreamLabels {
    match source.input {
        LogInput::Files(_) | LogInput::Stdin => stream(settings, source, route),
        LogInput::Kubernetes(_) | LogInput::Docker(_) => {
            StreamLabels::new([("service_name", SERVICE), ("route", route)])
        }
    }
}

/// Identity first, then the labels that the configuration gives the source.
fn pairs<'a>(
    settings: &'a Settings,
    source: &'a LogSource,
) -> impl Iterator<Item = (String, String)> + 'a {
    let identity =
        [(&settings.cluster_label, &source.cluster), (&settings.server_label, &source.server)];
    identity.into_iter().chain(&source.labels).map(|(name, value)| (name.clone(), value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::events::EventKind;

    fn rules(databases: &[&str], exclude_events: &[&str]) -> Rules {
        Rules::new(&config::Route {
            name: "developer".into(),
            redact: Redaction::Literals,
            tenant: None,
            keep: None,
            databases: databases.iter().map(|d| (*d).to_owned()).collect(),
            include_events: Vec::new(),
            exclude_events: exclude_events.iter().map(|e| (*e).to_owned()).collect(),
            patterns: Vec::new(),
        })
    }

    #[test]
    fn filters() {
        let event = |kind| Event { kind, duration_us: None };
        let mut record = Record::new(super::super::Severity::Log, "x");
        assert!(rules(&[], &[]).wants(&record, &event(None)));
        assert!(!rules(&["shop*"], &[]).wants(&record, &event(None)), "names no database");
        record.fields.set(Key::Dbname, "shop_eu");
        assert!(rules(&["shop*"], &[]).wants(&record, &event(None)));
        assert!(!rules(&["other"], &[]).wants(&record, &event(None)));
        let authentication = event(Some(EventKind::Authentication));
        assert!(!rules(&[], &["authentication"]).wants(&record, &authentication));
        assert!(rules(&[], &["authentication"]).wants(&record, &event(Some(EventKind::Crash))));
        let audit = Rules::new(&config::Route {
            name: "audit".into(),
            redact: Redaction::Credentials,
            tenant: None,
            keep: None,
            databases: Vec::new(),
            include_events: ["audit", "ddl", "role", "connection"].map(str::to_owned).to_vec(),
            exclude_events: Vec::new(),
            patterns: Vec::new(),
        });
        let told = |message: &str| {
            let record = Record::new(super::super::Severity::Log, message);
            audit.wants(&record, &super::super::classify(&record))
        };
        assert!(told("connection authorized: user=app"));
        assert!(told("statement: DROP TABLE a"));
        assert!(!told("statement: SELECT 1"));
        assert!(!told("checkpoint starting: time"));
    }
}
