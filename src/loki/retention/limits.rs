//! What Loki's pages say about retention, and the period that follows for a stream. Pure.
//!
//! `/config` is the whole configuration as YAML, `/config/tenant/v1/limits` the limits of one tenant with
//! its overrides merged in, and `drilldown-limits` the same within JSON, which is YAML too.

use std::time::Duration;

use super::selector::Selector;
use crate::config::{duration, yaml};
use crate::loki::StreamLabels;
use yaml::{Node, Value};

/// How long something is kept; the order is that of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    For(Duration),
    Ever,
}

impl Period {
    fn of(span: Duration) -> Self {
        if span.is_zero() { Self::Ever } else { Self::For(span) }
    }

    /// In seconds, +Inf where it has no end.
    pub fn seconds(self) -> f64 {
        match self {
            Self::For(span) => span.as_secs_f64(),
            Self::Ever => f64::INFINITY,
        }
    }

    /// `for 30d`, `for ever`.
    pub fn words(self) -> String {
        match self {
            Self::For(length) => format!("for {}", span(length)),
            Self::Ever => "for ever".to_owned(),
        }
    }
}

/// A duration as Loki reads it, in the largest unit that tells it without a rest.
pub fn span(length: Duration) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let whole = length.as_millis();
    let unit = units.into_iter().find(|(unit, _)| whole.is_multiple_of(*unit) && whole > 0);
    let (unit, name) = unit.unwrap_or((1, "ms"));
    format!("{}{name}", whole / unit)
}

/// One entry of `retention_stream`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// None where it is not understood.
    pub selector: Option<Selector>,
    pub priority: i64,
    pub period: Duration,
}

/// The limits of a tenant, as far as they are about retention.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// `retention_period`; zero: for ever.
    pub period: Option<Duration>,
    pub rules: Vec<Rule>,
    /// `shard_streams`: whether streams are split up.
    pub sharding: Option<bool>,
    /// The longest span that one query may ask for; none: no limit is known.
    pub longest_query: Option<Duration>,
}

impl Limits {
    /// The limits in a tenant's page (YAML), or in `drilldown-limits` (JSON); none where it is neither.
    pub fn of_page(text: &str) -> Option<Self> {
        let root = document(text)?;
        let limits = Self::of(get(&root, "limits").unwrap_or(&root));
        limits.period.is_some().then_some(limits)
    }

    fn of(node: &Node) -> Self {
        let rules = match get(node, "retention_stream").map(|node| &node.value) {
            Some(Value::List(list)) => list.iter().map(rule).collect(),
            _ => Vec::new(),
        };
        Self {
            period: get(node, "retention_period").and_then(span_of),
            rules,
            sharding: get(node, "shard_streams").and_then(|node| flag(get(node, "enabled")?)),
            longest_query: get(node, "max_query_length")
                .and_then(span_of)
                .filter(|longest| !longest.is_zero()),
        }
    }

    /// How long records of a stream are kept where retention is on; none where it cannot be told.
    ///
    /// Of the rules that fit, the highest priority wins, and of equals the shorter period.
    pub fn period_of(&self, labels: &StreamLabels) -> Option<Period> {
        if self.rules.iter().any(|rule| rule.selector.is_none()) {
            return None;
        }
        let fitting = self
            .rules
            .iter()
            .filter(|rule| rule.selector.as_ref().is_some_and(|s| s.selects(labels)));
        let first =
            fitting.min_by_key(|rule| (std::cmp::Reverse(rule.priority), Period::of(rule.period)));
        first.map(|rule| rule.period).or(self.period).map(Period::of)
    }
}

fn rule(node: &Node) -> Rule {
    let period = get(node, "period").and_then(span_of);
    let selector = get(node, "selector").and_then(text).and_then(Selector::parse);
    Rule {
        // A rule that lacks what it must have is as little understood as a strange selector.
        selector: selector.filter(|_| period.is_some()),
        priority: get(node, "priority").and_then(text).and_then(|n| n.parse().ok()).unwrap_or(0),
        period: period.unwrap_or_default(),
    }
}

/// What `/config` says.
#[derive(Clone, Debug)]
pub struct Server {
    /// The compactor's `retention_enabled`.
    pub enabled: Option<bool>,
    /// Whether tenants are told apart; else all belong to one of the name `fake`.
    pub tenants: bool,
    /// Whether a runtime file may hold other limits for some tenants.
    pub overrides: bool,
    pub limits: Limits,
}

impl Server {
    /// None where the text is not Loki's configuration.
    pub fn of_config(text: &str) -> Option<Self> {
        let root = document(text)?;
        let limits = get(&root, "limits_config")?;
        let file = |block: &str, key: &str| {
            let value = get(&root, block).and_then(|block| get(block, key)).and_then(self::text);
            value.is_some_and(|value| !value.is_empty())
        };
        Some(Self {
            enabled: get(&root, "compactor").and_then(|c| flag(get(c, "retention_enabled")?)),
            // Loki leaves the key out where it is off.
            tenants: get(&root, "auth_enabled").and_then(flag).unwrap_or(false),
            overrides: file("runtime_config", "file")
                || file("limits_config", "per_tenant_override_config"),
            limits: Limits::of(limits),
        })
    }
}

fn document(text: &str) -> Option<Node> {
    yaml::parse(text).ok()?.documents.into_iter().next()
}

fn get<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
        _ => None,
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn flag(node: &Node) -> Option<bool> {
    text(node)?.parse().ok()
}

fn span_of(node: &Node) -> Option<Duration> {
    match text(node)? {
        "0" => Some(Duration::ZERO),
        text => duration(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn stream(route: &str) -> StreamLabels {
        StreamLabels::new([("route", route), ("service_name", "postgresql")])
    }

    #[test]
    fn the_same_limits_in_each_page() {
        let rules = "retention_period: 31d\nretention_stream:\n- period: 1w\n  priority: 2\n  selector: '{route=\"dev\"}'\n";
        let tenant = Limits::of_page(rules).unwrap();
        let json = Limits::of_page(
            "{\"limits\":{\"retention_period\":\"31d\",\"retention_stream\":[{\"period\":\"1w\",\
             \"priority\":2,\"selector\":\"{route=\\\"dev\\\"}\"}]},\"version\":\"3.7.8\"}",
        )
        .unwrap();
        let indented: String = rules.lines().map(|line| format!("  {line}\n")).collect();
        let config = format!(
            "target: all\ncompactor:\n  retention_enabled: true\nlimits_config:\n{indented}  shard_streams:\n    enabled: true\n  max_query_length: 30d1h\nruntime_config:\n  period: 10s\n  file: \"\"\n"
        );
        let server = Server::of_config(&config).unwrap();
        assert_eq!((server.enabled, server.tenants, server.overrides), (Some(true), false, false));
        assert_eq!(server.limits.sharding, Some(true));
        assert_eq!(server.limits.longest_query, Some(30 * DAY + DAY / 24));
        for limits in [tenant, json, server.limits] {
            assert_eq!(limits.period_of(&stream("dev")), Some(Period::For(7 * DAY)));
            assert_eq!(limits.period_of(&stream("admin")), Some(Period::For(31 * DAY)));
        }
    }

    #[test]
    fn the_highest_priority_wins_and_of_equals_the_shorter() {
        let limits = |rules: &[(&str, i64, u32)]| Limits {
            period: Some(Duration::ZERO),
            rules: rules
                .iter()
                .map(|(selector, priority, days)| Rule {
                    selector: Selector::parse(selector),
                    priority: *priority,
                    period: DAY * *days,
                })
                .collect(),
            ..Limits::default()
        };
        let of = |rules: &[(&str, i64, u32)]| limits(rules).period_of(&stream("dev"));
        let (any, dev) = ("{service_name=\"postgresql\"}", "{route=\"dev\"}");
        assert_eq!(of(&[]), Some(Period::Ever));
        assert_eq!(of(&[(any, 1, 9), (dev, 2, 30)]), Some(Period::For(30 * DAY)));
        assert_eq!(of(&[(any, 2, 9), (dev, 2, 30)]), Some(Period::For(9 * DAY)));
        assert_eq!(of(&[("{route=\"x\"}", 9, 9)]), Some(Period::Ever));
        assert_eq!(of(&[("{what", 9, 9), (dev, 99, 30)]), None);
    }

    #[test]
    fn other_pages_are_none() {
        for text in ["", "OK", "<html></html>", "[]", "{\"limits\":{}}", "404 page not found\n"] {
            assert!(Limits::of_page(text).is_none() && Server::of_config(text).is_none(), "{text}");
        }
    }

    #[test]
    fn spans() {
        let of = |seconds| span(Duration::from_secs(seconds));
        assert_eq!([of(604_800), of(90_000), of(90), of(0)], ["7d", "25h", "90s", "0ms"]);
        assert_eq!(span(Duration::from_millis(1500)), "1500ms");
    }
}
