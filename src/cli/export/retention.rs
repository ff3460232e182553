//! The settings of Loki that keep each route's records as long as the configuration says, as YAML: first
//! a piece of Loki's own configuration, then, where routes have different tenants, the runtime overrides.
//! Pure.
//!
//! What Loki makes of it (its documentation, "Log retention"): a tenant's own `retention_stream` takes the
//! place of the global one, of several selectors that fit the highest priority wins, no period is shorter
//! than a day, and nothing is removed unless the compactor's retention is on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::config::Route;
use crate::loki::retention::span;

/// Loki refuses to start with a shorter period.
const SHORTEST: Duration = Duration::from_secs(86_400);

/// Both documents for these routes.
///
/// # Errors
/// Where no route states a period.
pub(super) fn documents(routes: &[Route]) -> Result<String, String> {
    if routes.iter().all(|route| route.keep.is_none()) {
        return Err(
            "no route says how long its records are kept, so Loki's own period holds for all \
                    of them; add `keep: 30d` to a route under `logs.routes`"
                .to_owned(),
        );
    }
    let mut out = "\
# Merge this into Loki's configuration and restart it. Routes that are not named here keep Loki's own period.
limits_config:
"
    .to_owned();
    streams(&mut out, routes.iter(), "  ");
    out.push_str(
        "\
compactor:
  # Without it Loki keeps everything for ever, whatever the periods say.
  retention_enabled: true
  # Where deletions are noted: the object store of your schema_config (filesystem, s3, gcs, azure …).
  delete_request_store: filesystem
",
    );
    let mut tenants: BTreeMap<&str, Vec<&Route>> = BTreeMap::new();
    for route in routes {
        if let Some(tenant) = &route.tenant {
            tenants.entry(tenant).or_default().push(route);
        }
    }
    let differ = tenants.len() > 1 || routes.iter().any(|route| route.tenant.is_none());
    if tenants.is_empty() || !differ {
        return Ok(out);
    }
    out.push_str(
        "\
# And tell it where the second document lies, which it reads again by itself:
# runtime_config: {file: /etc/loki/overrides.yaml}
---
# The runtime overrides: each tenant's own rules take the place of the ones above.
overrides:
",
    );
    for (tenant, routes) in tenants {
        let _ = writeln!(out, "  {}:", quoted(tenant));
        streams(&mut out, routes.into_iter(), "    ");
    }
    Ok(out)
}

/// The limits for some routes, each line after `indent`.
fn streams<'r>(out: &mut String, routes: impl Iterator<Item = &'r Route>, indent: &str) {
    let (stated, silent): (Vec<&Route>, Vec<&Route>) =
        routes.partition(|route| route.keep.is_some());
    for route in silent {
        let _ = writeln!(
            out,
            "{indent}# Route {} says no `keep`: Loki's own period holds.",
            route.name
        );
    }
    if !stated.is_empty() {
        let _ = writeln!(out, "{indent}retention_stream:");
    }
    for route in stated {
        let keep = route.keep.unwrap_or(SHORTEST);
        if keep < SHORTEST {
            let _ = writeln!(
                out,
                "{indent}  # `keep` of route {} is {}, and Loki knows nothing shorter than a day.",
                route.name,
                span(keep)
            );
        }
        let selector = format!("{{route=\"{}\"}}", escaped(&route.name));
        let _ = writeln!(out, "{indent}  - selector: {}", quoted(&selector));
        let _ = writeln!(out, "{indent}    priority: 100");
        let _ = writeln!(out, "{indent}    period: {}", span(keep.max(SHORTEST)));
    }
    let _ = write!(
        out,
        "{indent}# In a stream that Loki splits up, a record that is sent again after a crash may show twice.\n\
         {indent}shard_streams:\n{indent}  enabled: false\n"
    );
}

/// A value within LogQL's double quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A YAML string in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Redaction;

    fn route(name: &str, tenant: Option<&str>, days: Option<u64>) -> Route {
        Route {
            name: name.to_owned(),
            redact: Redaction::Credentials,
            tenant: tenant.map(str::to_owned),
            keep: days.map(|days| Duration::from_secs(days * 86_400)),
            databases: Vec::new(),
            include_events: Vec::new(),
            exclude_events: Vec::new(),
            patterns: Vec::new(),
        }
    }

    #[test]
    fn overrides_where_tenants_differ() {
        let one = documents(&[route("admin", None, Some(30)), route("dev", None, None)]).unwrap();
        assert!(!one.contains("overrides:") && one.contains("# Route dev says no `keep`"), "{one}");
        let same = [route("admin", Some("a"), Some(30)), route("dev", Some("a"), Some(7))];
        assert!(!documents(&same).unwrap().contains("overrides:"));
        let differ = [route("admin", Some("a"), Some(30)), route("dev", Some("b"), Some(7))];
        let both = documents(&differ).unwrap();
        let (first, second) = both.split_once("\n---\n").unwrap();
        assert_eq!(first.matches("- selector:").count(), 2);
        assert!(
            second.contains("  'b':\n    retention_stream:\n      - selector: '{route=\"dev\"}'"),
            "{second}"
        );
        assert!(documents(&[route("admin", None, None)]).is_err());
    }
}
