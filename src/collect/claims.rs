//! Which query may write which family, decided once, when the packs are loaded.
//!
//! A page shows one type per name, whatever instance or database a sample comes from. So the first
//! query that names a metric says its type, the agent's own names are taken before any, and whoever
//! wants such a name with another type is refused.

use std::collections::HashMap;
use std::sync::Arc;

use crate::backups;
use crate::metric::Kind;
use crate::packs::{Query, Usage};

/// Names that the agent itself writes, or may write.
const OWN_PREFIXES: [&str; 3] = ["pgvigil_", "pg_host_", "pg_probe"];
const OWN: &[&str] = &["pg_up", "pgbouncer_up", "pgbouncer_version_info"];
/// Names of our prefixes that packs write.
const LENT: &[&str] = &["pgvigil_instance_info"];

/// The types of the names that the loaded queries may write.
#[derive(Debug, Default)]
pub(crate) struct Claims(HashMap<Arc<str>, Kind>);

impl Claims {
    /// The claims of `queries`, of which the first that names a metric decides.
    pub(crate) fn of<'q>(queries: impl IntoIterator<Item = &'q Query>) -> Self {
        let mut claims = Self::default();
        for column in queries.into_iter().flat_map(|query| &query.columns) {
            if let Usage::Buckets(_) = column.usage {
                // Three gauges, each for itself.
                for name in lines_of(&column.metric, Kind::Histogram) {
                    if !is_own(&name) {
                        claims.0.entry(name.into()).or_insert(Kind::Gauge);
                    }
                }
                continue;
            }
            let Some(kind) = kind(&column.usage) else { continue };
            if is_own(&column.metric) || claims.0.contains_key(&column.metric) {
                continue;
            }
            // A histogram `h` also writes `h_sum` and the like: whole only where all are free.
            let lines = lines_of(&column.metric, kind);
            if lines.iter().all(|name| !claims.0.contains_key(&**name)) {
                claims.0.insert(Arc::clone(&column.metric), kind);
                claims.0.extend(lines.into_iter().map(|name| (name.into(), Kind::Histogram)));
            }
        }
        claims
    }

    /// Whether a query may write `name` as a `kind`.
    pub(crate) fn allow(&self, name: &str, kind: Kind) -> bool {
        let free = |name: &str| self.0.get(name).is_none_or(|claimed| *claimed == kind);
        !is_own(name) && free(name) && lines_of(name, kind).iter().all(|line| free(line))
    }
}

/// The type that a column's samples have; none where it makes no samples.
pub(crate) fn kind(usage: &Usage) -> Option<Kind> {
    match usage {
        Usage::Label | Usage::Discard => None,
        Usage::Counter => Some(Kind::Counter),
        Usage::Gauge | Usage::Mapped(_) | Usage::Duration => Some(Kind::Gauge),
        Usage::Histogram => Some(Kind::Histogram),
        // Three families of gauges, named after the metric.
        Usage::Buckets(_) => Some(Kind::Gauge),
    }
}

fn is_own(name: &str) -> bool {
    OWN.contains(&name)
        || backups::OWN.contains(&name)
        || (OWN_PREFIXES.iter().any(|own| name.starts_with(own)) && !LENT.contains(&name))
}

/// The names, beside its own, under which a family's lines stand on a page.
fn lines_of(name: &str, kind: Kind) -> Vec<String> {
    match kind {
        Kind::Histogram => {
            ["_bucket", "_sum", "_count"].iter().map(|end| format!("{name}{end}")).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::queries;
    use super::*;
    use crate::packs::Dialect;

    fn claims(yaml: &str) -> Claims {
        Claims::of(queries(Dialect::Native, yaml).iter().map(|query| &**query))
    }

    #[test]
    fn the_first_to_name_a_metric_says_its_type() {
        let claims = claims(
            "
a: {query: SELECT 1, metrics: [{a: {usage: COUNTER, metric: x, description: d}}]}
b: {query: SELECT 1, metrics: [{a: {usage: GAUGE, metric: x, description: d}}]}
c: {query: SELECT 1, metrics: [{h: {usage: HISTOGRAM, metric: h, description: d}}]}
d: {query: SELECT 1, metrics: [{c: {usage: GAUGE, metric: h_count, description: d}}]}
",
        );
        assert!(claims.allow("x", Kind::Counter) && !claims.allow("x", Kind::Gauge));
        assert!(!claims.allow("x", Kind::Untyped) && claims.allow("y", Kind::Untyped));
        assert!(claims.allow("h", Kind::Histogram) && !claims.allow("h_count", Kind::Gauge));
        assert!(!claims.allow("pg_host_load1", Kind::Gauge));
        assert!(!claims.allow("pg_up", Kind::Gauge) && !claims.allow("pgvigil_x", Kind::Gauge));
        assert!(claims.allow("pgvigil_instance_info", Kind::Gauge));
    }

    #[test]
    fn a_histogram_whose_lines_are_taken_is_refused() {
        let claims = claims(
            "
a: {query: SELECT 1, metrics: [{c: {usage: GAUGE, metric: h_count, description: d}}]}
b: {query: SELECT 1, metrics: [{h: {usage: HISTOGRAM, metric: h, description: d}}]}
",
        );
        assert!(claims.allow("h_count", Kind::Gauge) && !claims.allow("h", Kind::Histogram));
    }
}
