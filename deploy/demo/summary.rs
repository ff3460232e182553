//! What arrived at each end, and what is missing.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::house::House;
use crate::screen::Screen;
use crate::support::agent::{get, project};
use crate::support::prometheus::escape;

/// One line of the table: what was asked, what was seen, and whether that is enough.
struct Line {
    what: String,
    seen: String,
    good: bool,
}

pub(crate) struct Summary(Vec<Line>);

impl Summary {
    pub(crate) fn missing(&self) -> Vec<&str> {
        self.0.iter().filter(|line| !line.good).map(|line| line.what.as_str()).collect()
    }

    pub(crate) fn print(&self, screen: &Screen) {
        let width = self.0.iter().map(|line| line.what.chars().count()).max().unwrap_or(0);
        for line in &self.0 {
            let mark = if line.good { screen.paint("32", "ok") } else { screen.paint("31", "no") };
            screen.say(&format!("{mark}  {:width$}  {}", line.what, line.seen));
        }
        let missing = self.missing();
        if missing.is_empty() {
            screen.say(&screen.paint("32", "everything is there"));
        } else {
            screen.say(&screen.paint("31", &format!("missing: {}", missing.join(", "))));
        }
    }
}

/// Asks every end once.
pub(crate) fn of(house: &House) -> Summary {
    let mut lines = Vec::new();
    let mut line = |what: &str, seen: String, good: bool| {
        lines.push(Line { what: what.to_owned(), seen, good });
    };

    let page = house.agent.get("/metrics");
    let series = page.body.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).count();
    line("series on /metrics", format!("{series} in {} ms", page.took.as_millis()), series > 300);
    let number =
        |expression: &str| house.prometheus.query(expression).first().map(|(_, value)| *value);
    let scrapes = number("min(count_over_time(up{job=\"pgvigil\"}[5m]))").unwrap_or(0.0);
    line("scrapes by Prometheus", format!("{scrapes}"), scrapes >= 2.0);
    let targets = number("sum(up{job=\"pgvigil\"})").unwrap_or(0.0);
    line("targets up", format!("{targets} of 1"), targets >= 1.0);
    let servers = number("sum(pg_up)").unwrap_or(0.0);
    line("servers with pg_up 1", format!("{servers} of 2"), servers >= 2.0);

    let rules = house.prometheus.api("/api/v1/rules?type=alert");
    let rules: Vec<&Value> = rules["data"]["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .collect();
    let healthy = rules.iter().filter(|rule| rule["health"] == "ok").count();
    let firing: Vec<&str> = rules
        .iter()
        .filter(|rule| rule["state"] == "firing")
        .filter_map(|rule| rule["name"].as_str())
        .collect();
    line(
        "alert rules loaded",
        format!(
            "{}, {healthy} evaluated, firing: {}",
            rules.len(),
            if firing.is_empty() { "none".to_owned() } else { firing.join(" ") }
        ),
        !rules.is_empty() && healthy == rules.len() && firing.is_empty(),
    );

    let shipped = number("sum(pgvigil_log_settled_entries_total)").unwrap_or(0.0);
    let destination = if house.loki.is_some() { "to Loki" } else { "to the local store" };
    line("log records shipped", format!("{shipped} {destination}"), shipped >= 1.0);
    if house.loki.is_some() {
        let deadlocks =
            loki(house, "{service_name=\"postgresql\", cluster=\"shop\"} | sqlstate=\"40P01\"");
        let entry = deadlocks
            .iter()
            .flat_map(|stream| stream["values"].as_array().into_iter().flatten())
            .filter_map(|value| value[1].as_str())
            .find(|text| text.contains("\nDETAIL:  ") && text.contains("\nSTATEMENT:  "));
        line(
            "a deadlock as one entry",
            entry.map_or("not yet".to_owned(), |text| {
                format!("{} lines: {}", text.lines().count(), text.lines().next().unwrap_or(""))
            }),
            entry.is_some(),
        );
    }
    let memory = std::fs::read_to_string(format!("/proc/{}/status", house.agent.pid()));
    let memory = memory.unwrap_or_default();
    let memory = memory.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let mebibytes = memory.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0;
    line("the agent's memory at most", format!("{mebibytes:.1} MiB"), mebibytes > 0.0);
    panels(house, &mut lines);
    Summary(lines)
}

/// Every panel of every board: its query has data, or the panel says why it may be empty here.
fn panels(house: &House, lines: &mut Vec<Line>) {
    let folder = project("dashboards");
    let boards = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for board in boards.filter(|f| f.path().extension().is_some_and(|e| e == "json")) {
        let text = std::fs::read_to_string(board.path()).unwrap_or_default();
        let board: Value = serde_json::from_str(&text).unwrap_or_default();
        let title = board["title"].as_str().unwrap_or("?").to_owned();
        let (mut full, mut all, mut empty) = (0, 0, Vec::new());
        let (mut unlogged, mut unpooled) = (0, 0);
        for panel in board["panels"].as_array().into_iter().flatten().filter(|p| p["type"] != "row")
        {
            all += 1;
            let on_loki = panel["datasource"]["type"] == "loki";
            let asks_pooler = panel["targets"].as_array().into_iter().flatten().any(|target| {
                let expression = target["expr"].as_str().unwrap_or_default();
                expression.contains("pgbouncer_") || expression.contains("via=\"pooler\"")
            });
            let asked = panel["targets"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|t| t["expr"].as_str());
            let found = asked.map(with_variables).all(|expression| {
                if on_loki {
                    !loki(house, &expression).is_empty()
                } else {
                    !house.prometheus.query(&expression).is_empty()
                }
            });
            if found {
                full += 1;
            } else if on_loki && house.loki.is_none() {
                unlogged += 1;
            } else if asks_pooler && house.pooler.is_none() {
                unpooled += 1;
            } else {
                empty.push(panel["title"].as_str().unwrap_or("?").to_owned());
            }
        }
        let mut reason = String::new();
        for (count, whom) in [(unlogged, "Loki"), (unpooled, "PgBouncer")] {
            if count > 0 {
                reason.push_str(&format!(", {count} ask {whom}, which is not here"));
            }
        }
        let without =
            if empty.is_empty() { String::new() } else { format!(", empty: {}", empty.join(", ")) };
        lines.push(Line {
            what: format!("panels of \"{title}\""),
            seen: format!("{full} of {all} with data{reason}{without}"),
            good: empty.is_empty() && all > 0,
        });
    }
}

/// A panel's query with what Grafana would put in.
fn with_variables(expression: &str) -> String {
    let mut text = expression.to_owned();
    for (variable, value) in [
        ("$__rate_interval", "30s"),
        ("$__interval", "30s"),
        ("$__auto", "1m"),
        ("$cluster", ".+"),
        ("$server", ".+"),
        ("$environment", ".*"),
        ("$database", ".*"),
    ] {
        text = text.replace(variable, value);
    }
    text
}

/// The streams or series that Loki returns for the last ten minutes.
fn loki(house: &House, query: &str) -> Vec<Value> {
    let Some(loki) = &house.loki else { return Vec::new() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let path = format!(
        "/loki/api/v1/query_range?query={}&start={}&end={}&step=60&limit=100",
        escape(query),
        now.saturating_sub(600),
        now + 5
    );
    let answer: Value =
        serde_json::from_str(&get(loki.address, &path, &[]).body).unwrap_or_default();
    answer["data"]["result"].as_array().cloned().unwrap_or_default()
}
