//! Asks Loki: first for its settings, by several ways since gateways let only some through, then for
//! records that should be gone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use super::limits::{Limits, Period, Server};
use super::told::{Kept, Told};
use crate::loki::Loki;

/// `/config` is about 90 KiB.
const MAX_BODY: usize = 1 << 20;
/// The tenant of a Loki that tells none apart. Its pages about limits want one named all the same.
const ONLY_TENANT: &str = "fake";
const DAY: Duration = Duration::from_secs(86_400);
/// As far back as one question for old records goes: `max_query_length` as Loki has it by default.
const WINDOW: Duration = Duration::from_secs(30 * 86_400);
/// How many such questions are asked, each for what is older.
const WINDOWS: u32 = 3;

/// Asks for the settings that `routes` depend on.
pub async fn look(loki: &Loki, routes: &[Kept], deadline: Instant) -> Told {
    let mut told = Told::default();
    let server = match loki.get("/config", None, MAX_BODY, deadline).await {
        Ok((200, text)) => Server::of_config(&text),
        Ok(_) => None,
        Err(sentence) => {
            told.trouble = Some(sentence);
            return told;
        }
    };
    let tenants: BTreeSet<&Option<String>> = routes.iter().map(|kept| &kept.tenant).collect();
    for tenant in tenants {
        let asked = match (&server, tenant) {
            (Some(server), _) if !server.tenants => ONLY_TENANT,
            (_, Some(tenant)) => tenant,
            (_, None) => ONLY_TENANT,
        };
        let mut found = None;
        for page in ["/config/tenant/v1/limits", "/loki/api/v1/drilldown-limits"] {
            if let Ok((200, text)) = loki.get(page, Some(asked), MAX_BODY, deadline).await {
                found = Limits::of_page(&text);
            }
            if found.is_some() {
                break;
            }
        }
        // Loki before 3.6 tells the global limits alone, which hold where nothing overrides them.
        let global = || server.as_ref().filter(|s| !s.overrides).map(|s| s.limits.clone());
        if let Some(limits) = found.or_else(global) {
            told.limits.insert(tenant.clone(), limits);
        }
    }
    told.sharding = server.as_ref().and_then(|server| server.limits.sharding);
    told.enabled = match server.and_then(|server| server.enabled) {
        Some(enabled) => Some(enabled),
        None => {
            let tenant = routes.iter().find_map(|kept| kept.tenant.as_deref());
            deletion(loki, tenant, !told.limits.is_empty(), deadline).await
        }
    };
    told
}

/// Whether retention is on, by the one switch that gateways let through: requests for deletion are served
/// only then.
async fn deletion(
    loki: &Loki,
    tenant: Option<&str>,
    is_loki: bool,
    deadline: Instant,
) -> Option<bool> {
    match loki.get("/loki/api/v1/delete", tenant, MAX_BODY, deadline).await.ok()? {
        (200 | 204, _) => Some(true),
        (403, text) if text.contains("delet") => Some(true),
        // Loki's own words; a gateway that does not let it through has others.
        (404, text) if text.trim() == "404 page not found" => {
            let page = "/loki/api/v1/status/buildinfo";
            let is_loki = is_loki
                || matches!(
                    loki.get(page, tenant, MAX_BODY, deadline).await,
                    Ok((200, text)) if text.contains("\"version\"")
                );
            is_loki.then_some(false)
        }
        _ => None,
    }
}

/// Whether Loki has records of a route that are older than its settings let them become, by a day; none
/// where it cannot be told.
pub async fn older(loki: &Loki, kept: &Kept, told: &Told, deadline: Instant) -> Option<bool> {
    let limits = told.limits.get(&kept.tenant)?;
    let periods = kept.streams.iter().map(|labels| limits.period_of(labels));
    let Period::For(period) = periods.max()?? else { return None };
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let mut end = since_epoch.checked_sub(period + DAY)?;
    let step = limits.longest_query.map_or(WINDOW, |longest| longest.min(WINDOW));
    let selector = utf8_percent_encode(&selector(kept), NON_ALPHANUMERIC).to_string();
    for _ in 0..WINDOWS {
        let start = end.saturating_sub(step);
        let page = format!(
            "/loki/api/v1/series?match%5B%5D={selector}&start={}&end={}",
            start.as_nanos(),
            end.as_nanos()
        );
        let Ok((200, text)) = loki.get(&page, kept.tenant.as_deref(), MAX_BODY, deadline).await
        else {
            return None;
        };
        let answer: serde_json::Value = serde_json::from_str(&text).ok()?;
        if answer["data"].as_array().is_some_and(|series| !series.is_empty()) {
            return Some(true);
        }
        end = start;
    }
    Some(false)
}

/// Selects the streams of a route, those of other agents' servers left out.
fn selector(kept: &Kept) -> String {
    let mut out = format!("{{service_name=\"postgresql\",route=\"{}\"", escaped(&kept.route));
    // None: some of its servers are not known beforehand.
    let servers: Option<BTreeSet<&str>> =
        kept.streams.iter().map(|labels| labels.get(&kept.server_label)).collect();
    let servers = servers.unwrap_or_default();
    // A long list is an expensive question.
    if (1..=20).contains(&servers.len()) {
        let servers: Vec<String> = servers.into_iter().map(regex::escape).collect();
        let _ = write!(out, ",{}=~\"{}\"", kept.server_label, escaped(&servers.join("|")));
    }
    out + "}"
}

/// A text within LogQL's double quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
