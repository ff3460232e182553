//! The status page: what the agent knows of itself, for people. One HTML text without scripts, fit for
//! a phone, light or dark as the reader has it; everything that came from elsewhere is escaped.

#[cfg(test)]
mod tests;
mod words;

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use self::words::{Safe, bytes, class, clock, count, span, took};
use super::{
    BackupRow, CertificateRow, DestinationRow, InstanceRow, LogRow, ProblemRow, QueryRow,
    RetentionRow, Status, Tone,
};

/// The agent itself.
pub(super) struct About {
    pub started: SystemTime,
    pub now: SystemTime,
}

/// Queries that are well and shown one by one, of each instance; the rest is only counted.
const MOST_WELL: usize = 200;

/// Writing to a string cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { { let _ = write!($out, $($text)*); } };
}

/// The whole page.
pub(super) fn html(status: &Status, about: &About) -> String {
    let mut out = String::with_capacity(32 << 10);
    put!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>pgvigil: {}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{}</style>\n</head>\n<body>\n",
        Safe(&verdict(status, about.now).1),
        include_str!("style.css")
    );
    head(&mut out, status, about);
    problems(&mut out, &status.problems);
    instances(&mut out, status);
    logs(&mut out, &status.destinations, &status.logs);
    retention(&mut out, &status.retention);
    backups(&mut out, &status.backups);
    certificates(&mut out, &status.certificates, about.now);
    out.push_str(
        "<footer class=\"small\">For machines: <a href=\"metrics\">metrics</a> · \
         <a href=\"sd\">service discovery</a> · <a href=\"livez\">livez</a> · \
         <a href=\"readyz\">readyz</a></footer>\n</body>\n</html>\n",
    );
    out
}

/// How it stands altogether.
fn verdict(status: &Status, now: SystemTime) -> (Tone, String) {
    let down: Vec<&str> = status
        .instances
        .iter()
        .filter(|instance| instance.tone == Tone::Bad)
        .map(|instance| instance.name.as_str())
        .collect();
    // What an instance that is down cannot answer is the same trouble, not one more each.
    let queries = status.queries.iter().filter(|query| !down.contains(&query.instance.as_str()));
    let tones: Vec<Tone> = (status.instances.iter().map(|row| row.tone))
        .chain(queries.map(|row| row.tone))
        .chain(status.logs.iter().map(|row| row.tone))
        .chain(status.destinations.iter().map(|row| row.tone))
        .chain(status.retention.iter().map(|row| row.tone))
        .chain(status.backups.iter().map(|row| row.tone))
        .chain(status.problems.iter().map(|row| row.tone))
        .chain(status.certificates.iter().map(|row| tone_of_end(row, now)))
        .collect();
    let of = |tone| tones.iter().filter(|t| **t == tone).count();
    match (of(Tone::Bad), of(Tone::Warn)) {
        (0, 0) => (Tone::Good, "all well".to_owned()),
        (0, 1) => (Tone::Warn, "1 thing to look at".to_owned()),
        (0, n) => (Tone::Warn, format!("{n} things to look at")),
        (1, _) => (Tone::Bad, "1 thing does not work".to_owned()),
        (n, _) => (Tone::Bad, format!("{n} things do not work")),
    }
}

fn pill(out: &mut String, tone: Tone, text: &str) {
    put!(out, "<span class=\"pill {}\">{}</span>", class(tone), Safe(text));
}

fn note(out: &mut String, tone: Tone, text: &str) {
    put!(out, "<p class=\"note {}\">{}</p>\n", class(tone), Safe(text));
}

fn head(out: &mut String, status: &Status, about: &About) {
    out.push_str("<header>\n<h1>pgvigil</h1>\n");
    let (tone, words) = verdict(status, about.now);
    pill(out, tone, &words);
    let running = about.now.duration_since(about.started).unwrap_or_default();
    put!(
        out,
        "\n<p class=\"small\">Version {}, running for {}",
        env!("CARGO_PKG_VERSION"),
        span(running)
    );
    if let Some(now) = clock(about.now) {
        put!(out, ", as of {now}");
    }
    out.push_str("</p>\n</header>\n");
}

fn problems(out: &mut String, rows: &[ProblemRow]) {
    if rows.is_empty() {
        return;
    }
    out.push_str("<h2>Problems</h2>\n<div class=\"card\">\n");
    for row in rows {
        put!(
            out,
            "<div class=\"note {}\"><p>{}; {}</p><p class=\"small\">{}</p></div>\n",
            class(row.tone),
            Safe(&row.what),
            Safe(&row.remedy),
            Safe(&row.place)
        );
    }
    out.push_str("</div>\n");
}

fn instances(out: &mut String, status: &Status) {
    out.push_str("<h2>Instances</h2>\n");
    if status.instances.is_empty() {
        out.push_str(
            "<p class=\"dim\">None is configured. Name one under <code>instances</code>, or in \
             <code>DATA_SOURCE_NAME</code>.</p>\n",
        );
    }
    for instance in &status.instances {
        out.push_str("<div class=\"card\">\n");
        self::instance(out, instance);
        let queries = status.queries.iter().filter(|query| query.instance == instance.name);
        self::queries(out, queries.collect(), instance.tone != Tone::Bad);
        out.push_str("</div>\n");
    }
}

fn instance(out: &mut String, row: &InstanceRow) {
    put!(out, "<div class=\"top\"><h3>{}</h3>", Safe(&row.name));
    pill(out, row.tone, &row.state);
    if let Some(since) = row.since {
        put!(out, "<span class=\"dim small\">for {}</span>", span(since));
    }
    out.push_str("</div>\n");
    if let Some(message) = &row.message {
        note(out, row.tone, message);
    }
    out.push_str("<dl class=\"small\">");
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            put!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Safe(value));
        }
    };
    fact("Cluster", &row.cluster);
    fact("Address", &row.address);
    fact("Version", row.version.as_deref().unwrap_or_default());
    fact("Role", row.role.as_deref().unwrap_or_default());
    if let Some((used, most)) = row.sessions {
        fact("Sessions", &format!("{used} of at most {most}"));
    }
    out.push_str("</dl>\n");
    for text in &row.notices {
        note(out, Tone::Warn, text);
    }
}

/// A table of queries, unfolded where one is not well and `tell` is set: of a server that is down no
/// query needs to be told of.
fn queries(out: &mut String, mut rows: Vec<&QueryRow>, tell: bool) {
    if rows.is_empty() {
        return;
    }
    // What is wrong comes first, what does not run here last.
    let rank = |row: &QueryRow| match row.tone {
        Tone::Bad => 0,
        Tone::Warn => 1,
        Tone::Good => 2,
        Tone::Quiet => 3,
    };
    rows.sort_by(|a, b| (rank(a), &a.name, &a.database).cmp(&(rank(b), &b.name, &b.database)));
    let series: usize = rows.iter().map(|row| row.series).sum();
    let failing = rows.iter().filter(|row| row.tone >= Tone::Warn).count();
    put!(
        out,
        "<details{}><summary>{}, {} series{}</summary>\n<table>\n<thead><tr><th>Query</th>\
         <th>Database</th><th>Outcome</th><th class=\"number\">Age</th><th class=\"number\">Took</th>\
         <th class=\"number\">Series</th><th>Every</th></tr></thead>\n<tbody>\n",
        if failing > 0 && tell { " open" } else { "" },
        plural(rows.len(), "query", "queries"),
        count(series as u64),
        if failing > 0 { format!(", {failing} not well") } else { String::new() }
    );
    let mut well = 0;
    for row in &rows {
        if row.tone < Tone::Warn {
            well += 1;
            if well > MOST_WELL {
                continue;
            }
        }
        query(out, row);
    }
    out.push_str("</tbody>\n</table>\n");
    if well > MOST_WELL {
        put!(out, "<p class=\"dim small\">And {} more that are well.</p>\n", well - MOST_WELL);
    }
    out.push_str("</details>\n");
}

fn query(out: &mut String, row: &QueryRow) {
    put!(out, "<tr><td data-label=\"Query\"><span>{}", Safe(&row.name));
    if !row.pack.is_empty() && row.pack != row.name {
        put!(out, " <span class=\"dim small sub\">{}</span>", Safe(&row.pack));
    }
    out.push_str("</span></td>");
    cell(out, "Database", row.database.as_deref().unwrap_or_default());
    let outcome = if row.outcome.is_empty() { "not yet run" } else { &row.outcome };
    judged(out, "Outcome", row.tone, outcome, row.message.as_deref());
    figure(out, "Age", row.age.map(span));
    figure(out, "Took", row.took.map(took));
    figure(out, "Series", row.age.map(|_| count(row.series as u64)));
    cell(out, "Every", &row.interval);
    out.push_str("</tr>\n");
}

/// A plain cell; empty ones do not show on a phone.
fn cell(out: &mut String, label: &str, text: &str) {
    put!(out, "<td data-label=\"{label}\">{}</td>", Safe(text));
}

fn figure(out: &mut String, label: &str, text: Option<String>) {
    put!(out, "<td class=\"number\" data-label=\"{label}\">{}</td>", text.unwrap_or_default());
}

/// A cell with a state and what is to be said about it.
fn judged(out: &mut String, label: &str, tone: Tone, state: &str, message: Option<&str>) {
    put!(out, "<td data-label=\"{label}\"><div>");
    pill(out, tone, state);
    if let Some(message) = message {
        put!(out, "<p class=\"small\">{}</p>", Safe(message));
    }
    out.push_str("</div></td>");
}

fn plural(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number as u64), if number == 1 { one } else { many })
}

fn ago(last: Option<Duration>) -> Option<String> {
    last.map(|last| format!("{} ago", span(last)))
}

fn logs(out: &mut String, destinations: &[DestinationRow], rows: &[LogRow]) {
    out.push_str("<h2>Logs</h2>\n");
    if destinations.is_empty() && rows.is_empty() {
        out.push_str(
            "<p class=\"dim\">No source is configured. Name files under \
             <code>logs.sources</code>, or with <code>--logs</code>.</p>\n",
        );
        return;
    }
    out.push_str(
        "<div class=\"card\">\n<table>\n<thead><tr><th>Route</th><th>Server</th>\
         <th>Goes to</th><th>State</th>\
         <th class=\"number\">Entries</th><th class=\"number\">Last</th></tr></thead>\n<tbody>\n",
    );
    for row in destinations {
        out.push_str("<tr>");
        cell(out, "Route", &row.route);
        cell(out, "Server", &row.server);
        cell(out, "Goes to", &row.place);
        judged(out, "State", row.tone, &row.state, row.message.as_deref());
        figure(out, "Entries", Some(count(row.entries)));
        figure(out, "Last", ago(row.last));
        out.push_str("</tr>\n");
    }
    out.push_str(
        "</tbody>\n</table>\n</div>\n<div class=\"card\">\n<table>\n<thead><tr><th>File</th>\
         <th>Server</th><th>State</th><th class=\"number\">Size</th>\
         <th class=\"number\">Behind</th></tr></thead>\n<tbody>\n",
    );
    for row in rows {
        put!(out, "<tr><td data-label=\"File\"><span>{}", Safe(&row.file));
        if !row.source.is_empty() {
            put!(out, " <span class=\"dim small sub\">{}</span>", Safe(&row.source));
        }
        out.push_str("</span></td>");
        cell(out, "Server", &row.server);
        judged(out, "State", row.tone, &row.state, row.message.as_deref());
        figure(out, "Size", Some(bytes(row.size)));
        figure(out, "Behind", row.behind.map(bytes));
        out.push_str("</tr>\n");
    }
    if rows.is_empty() {
        out.push_str("<tr><td class=\"dim\" colspan=\"5\">No file has been found yet.</td></tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn retention(out: &mut String, rows: &[RetentionRow]) {
    if rows.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Retention</h2>\n<div class=\"card\">\n<table>\n<thead><tr><th>Route</th><th>To be kept</th>\
         <th>Kept</th><th>Verdict</th></tr></thead>\n<tbody>\n",
    );
    for row in rows {
        out.push_str("<tr>");
        cell(out, "Route", &row.route);
        cell(out, "To be kept", row.configured.as_deref().unwrap_or_default());
        cell(out, "Kept", row.effective.as_deref().unwrap_or("not known"));
        judged(out, "Verdict", row.tone, &row.verdict, Some(&row.message));
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn backups(out: &mut String, rows: &[BackupRow]) {
    if rows.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Backups</h2>\n<div class=\"card\">\n<table>\n<thead><tr><th>Server</th><th>Source</th>\
         <th>State</th><th class=\"number\">Size</th><th class=\"number\">Last success</th></tr></thead>\n\
         <tbody>\n",
    );
    for row in rows {
        out.push_str("<tr>");
        cell(out, "Server", &row.server);
        cell(out, "Source", &row.source);
        judged(out, "State", row.tone, &row.state, row.message.as_deref());
        figure(out, "Size", row.size.map(bytes));
        figure(out, "Last success", ago(row.last));
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

const DAY: u64 = 86_400;

/// A certificate's end: soon is a month, as reissuing one takes people; a week is too late to wait.
fn tone_of_end(row: &CertificateRow, now: SystemTime) -> Tone {
    match row.expires.duration_since(now) {
        Ok(left) if left.as_secs() > 30 * DAY => Tone::Good,
        Ok(left) if left.as_secs() > 7 * DAY => Tone::Warn,
        _ => Tone::Bad,
    }
}

fn certificates(out: &mut String, rows: &[CertificateRow], now: SystemTime) {
    if rows.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Certificates</h2>\n<div class=\"card\">\n<table>\n<thead><tr><th>Of</th><th>Use</th>\
         <th>Ends</th><th>At</th></tr></thead>\n<tbody>\n",
    );
    let mut rows: Vec<&CertificateRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.expires);
    for row in rows {
        out.push_str("<tr>");
        cell(out, "Of", &row.of);
        cell(out, "Use", &row.usage);
        let ends = match row.expires.duration_since(now) {
            Ok(left) => format!("in {}", span(left)),
            Err(past) => format!("{} ago", span(past.duration())),
        };
        judged(out, "Ends", tone_of_end(row, now), &ends, None);
        cell(out, "At", &clock(row.expires).unwrap_or_default());
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}
