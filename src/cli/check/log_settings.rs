//! The server's settings that keep its log from telling who did what. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use glob::Pattern;

use crate::config::{LogFormat, LogInput, LogSource, Route};

/// What an instance says of its log; absent is what it does not know, or does not show to the agent.
pub(super) type Settings = BTreeMap<String, String>;

/// A prefix with which a record names all that can be named, and which is read without doubt.
const PREFIX: &str = "%m [%p] %e %q%u@%d %r %a ";

/// Words of `log_connections` with which it names who logged in: all but 18's `receipt` and
/// `setup_durations`.
const LOGINS: [&str; 7] = ["on", "true", "yes", "1", "all", "authentication", "authorization"];

/// What a prefix should name, by the escapes that do.
const WANTED: [(&[char], &str); 7] = [
    (&['m', 't', 'n'], "time (%m)"),
    (&['p', 'c'], "process (%p)"),
    (&['u'], "user (%u)"),
    (&['d'], "database (%d)"),
    (&['r', 'h'], "client's address (%r)"),
    (&['a'], "application (%a)"),
    (&['e'], "SQLSTATE (%e)"),
];

/// What is wrong and what to do about it, for one source of an instance's log.
pub(super) fn advice(
    settings: &Settings,
    source: &LogSource,
    routes: &[Route],
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if source.format != LogFormat::Cnpg {
        found.extend(destination(settings, source));
        found.extend(prefix(settings, source));
        found.extend(place(settings, source));
    }
    found.extend(statements(settings));
    found.extend(audit(settings, routes));
    found.extend(parameters(settings, routes));
    found
}

fn is(settings: &Settings, name: &str, values: &[&str]) -> bool {
    settings.get(name).is_some_and(|value| values.contains(&value.as_str()))
}

/// Whether one of the names in a setting's list begins so.
fn lists(settings: &Settings, name: &str, wanted: &str) -> bool {
    let list = settings.get(name).map(String::as_str).unwrap_or_default();
    list.split(',').any(|one| one.trim().trim_matches('"') == wanted)
}

/// Whether a list of libraries names one, by its name or its path.
fn loads(settings: &Settings, name: &str, library: &str) -> bool {
    let list = settings.get(name).map(String::as_str).unwrap_or_default();
    list.split(',').any(|one| {
        let path = Path::new(one.trim().trim_matches('"'));
        path.file_stem().is_some_and(|stem| stem == library)
    })
}

/// Where the server writes, and what the source is to read.
fn destination(settings: &Settings, source: &LogSource) -> Option<(String, String)> {
    let destination = settings.get("log_destination")?;
    let writes = |what: &str| lists(settings, "log_destination", what);
    let told = |what: String, remedy: &str| Some((what, remedy.to_owned()));
    let needed = match source.format {
        LogFormat::Csv => "csvlog",
        LogFormat::Json => "jsonlog",
        LogFormat::Stderr => "stderr",
        _ if !["csvlog", "jsonlog", "stderr"].into_iter().any(writes) => "stderr",
        _ => "",
    };
    if !needed.is_empty() && !writes(needed) {
        return told(
            format!("log_destination is {destination}, and the source reads {needed}"),
            &format!("add {needed} to log_destination, or change the source's `format`"),
        );
    }
    if is(settings, "logging_collector", &["off"]) && !writes("stderr") {
        return told(
            format!(
                "log_destination is {destination}, and no file is written without the collector"
            ),
            "set logging_collector = on and restart the server",
        );
    }
    None
}

fn prefix(settings: &Settings, source: &LogSource) -> Option<(String, String)> {
    let text_alone = settings.get("log_destination").is_none_or(|value| value == "stderr");
    if !text_alone && source.format != LogFormat::Stderr || source.format == LogFormat::Plain {
        return None;
    }
    let prefix = settings.get("log_line_prefix")?;
    let named = escapes(prefix);
    let lacking: Vec<&str> = WANTED
        .iter()
        .filter(|(letters, _)| !letters.iter().any(|letter| named.contains(letter)))
        .map(|(_, name)| *name)
        .collect();
    (!lacking.is_empty()).then(|| {
        (
            format!("log_line_prefix `{prefix}` does not name {}", lacking.join(", ")),
            format!("set log_line_prefix = '{PREFIX}' and reload the server"),
        )
    })
}

/// The letters of the escapes in a prefix, without their padding.
fn escapes(prefix: &str) -> Vec<char> {
    let mut found = Vec::new();
    let mut chars = prefix.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            found.extend(chars.by_ref().find(|c| !c.is_ascii_digit() && *c != '-'));
        }
    }
    found
}

/// Whether the source reads the files that the server's collector writes, by their names: the
/// directories may be others where the agent stands.
fn place(settings: &Settings, source: &LogSource) -> Option<(String, String)> {
    let LogInput::Files(patterns) = &source.input else { return None };
    if !is(settings, "logging_collector", &["on"]) {
        return None;
    }
    let (directory, filename) = (settings.get("log_directory")?, settings.get("log_filename")?);
    let text = example(filename);
    let stem = text.strip_suffix(".log").unwrap_or(&text);
    let written: Vec<String> = [
        ("stderr", text.clone()),
        ("csvlog", format!("{stem}.csv")),
        ("jsonlog", format!("{stem}.json")),
    ]
    .into_iter()
    .filter(|(destination, _)| lists(settings, "log_destination", destination))
    .map(|(_, file)| file)
    .collect();
    let names = || patterns.iter().filter_map(|pattern| Path::new(pattern).file_name());
    let read = written.iter().any(|file| {
        names().any(|name| {
            Pattern::new(&name.to_string_lossy()).map_or(true, |pattern| pattern.matches(file))
        })
    });
    let first = written.first()?;
    (!read).then(|| {
        (
            format!("the server writes to files such as {directory}/{first}, and no pattern fits"),
            "name its files under `files`".to_owned(),
        )
    })
}

/// A name that `log_filename`, a pattern of strftime, can give.
fn example(filename: &str) -> String {
    let mut out = String::new();
    let mut chars = filename.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next() {
                Some('Y') => out.push_str("2026"),
                Some('a') => out.push_str("Mon"),
                Some('A') => out.push_str("Monday"),
                Some('b' | 'h') => out.push_str("Jan"),
                Some('B') => out.push_str("January"),
                Some('j') => out.push_str("001"),
                Some('F') => out.push_str("2026-01-31"),
                Some('s') => out.push_str("1769817600"),
                Some('%') => out.push('%'),
                _ => out.push_str("01"),
            },
            c => out.push(c),
        }
    }
    out
}

/// What is logged at all.
fn statements(settings: &Settings) -> Vec<(String, String)> {
    let audited = loads(settings, "shared_preload_libraries", "pgaudit");
    let mut found = Vec::new();
    let mut add = |what: String, remedy: &str| found.push((what, remedy.to_owned()));
    if is(settings, "log_statement", &["none"]) && !audited {
        add(
            "log_statement is none, so that the log does not say who dropped or changed what"
                .into(),
            "set log_statement = ddl and reload the server",
        );
    }
    // From 18 on it is a list, and empty means off.
    if is(settings, "log_connections", &["off", ""]) {
        add(
            "log_connections is off, so that the log does not say who logged in".into(),
            "set log_connections = on and reload the server",
        );
    } else if let Some(list) = settings.get("log_connections")
        && !LOGINS.into_iter().any(|word| lists(settings, "log_connections", word))
    {
        add(
            format!("log_connections is {list}, so that the log does not say who logged in"),
            "add authorization to log_connections and reload the server",
        );
    }
    if let Some(level) = settings.get("log_min_error_statement")
        && ["log", "fatal", "panic"].contains(&level.as_str())
    {
        add(
            format!("log_min_error_statement is {level}, so that errors lack their statement"),
            "set log_min_error_statement = error and reload the server",
        );
    }
    found
}

/// A route that is for audits.
fn auditing(routes: &[Route]) -> Option<&Route> {
    routes.iter().find(|route| {
        route.include_events.iter().any(|kind| kind == "audit")
            || route.name.to_ascii_lowercase().contains("audit")
    })
}

/// Statements without the values that were given to them do not say what was done.
fn parameters(settings: &Settings, routes: &[Route]) -> Option<(String, String)> {
    let route = auditing(routes)?;
    is(settings, "log_parameter_max_length", &["0"]).then(|| {
        (
            format!(
                "route {} is for audits, and log_parameter_max_length is 0, so that statements lack \
                 their parameters",
                route.name
            ),
            "set log_parameter_max_length = -1, for all of them, or a size in bytes, and reload the server"
                .to_owned(),
        )
    })
}

/// What makes records for a route that is for audits.
fn audit(settings: &Settings, routes: &[Route]) -> Option<(String, String)> {
    let route = auditing(routes)?;
    settings.get("shared_preload_libraries")?;
    let loaded = ["shared_preload_libraries", "session_preload_libraries"]
        .into_iter()
        .any(|list| loads(settings, list, "pgaudit"));
    if !loaded {
        return Some((
            format!("route {} is for audits, and pgaudit is not loaded", route.name),
            "add pgaudit to shared_preload_libraries, restart the server, and set pgaudit.log = 'ddl, role'"
                .to_owned(),
        ));
    }
    is(settings, "pgaudit.log", &["none", ""]).then(|| {
        (
            format!("route {} is for audits, and pgaudit.log is none", route.name),
            "set pgaudit.log = 'ddl, role', or what else is to be audited, and reload the server"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Place, Redaction, Start};
    use crate::logs::{Prefix, format::Escape};

    fn source(format: LogFormat, files: &[&str]) -> LogSource {
        LogSource {
            name: "s".to_owned(),
            input: LogInput::Files(files.iter().map(|f| (*f).to_owned()).collect()),
            cluster: "c".to_owned(),
            server: "s".to_owned(),
            labels: BTreeMap::new(),
            instance: Some(0),
            format,
            line_prefix: None,
            time_zone: None,
            start: Start::Beginning,
            place: Place::default(),
        }
    }

    fn told(settings: &[(&str, &str)], format: LogFormat, routes: &[&str]) -> String {
        let settings =
            settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Settings>();
        let routes: Vec<Route> = routes
            .iter()
            .map(|name| Route {
                name: (*name).to_owned(),
                redact: Redaction::Credentials,
                tenant: None,
                keep: None,
                databases: Vec::new(),
                include_events: Vec::new(),
                patterns: Vec::new(),
                exclude_events: Vec::new(),
            })
            .collect();
        let found = advice(&settings, &source(format, &["/log/*.log"]), &routes);
        found.iter().map(|(what, remedy)| format!("{what}; {remedy}\n")).collect()
    }

    const GOOD: [(&str, &str); 6] = [
        ("log_destination", "stderr"),
        ("logging_collector", "off"),
        ("log_line_prefix", PREFIX),
        ("log_statement", "ddl"),
        ("log_connections", "receipt,authentication"),
        ("log_min_error_statement", "error"),
    ];

    /// The good settings with one of another value.
    fn but(name: &str, value: &str, format: LogFormat) -> String {
        let all: Vec<(&str, &str)> =
            GOOD.iter().map(|(n, v)| if *n == name { (*n, value) } else { (*n, *v) }).collect();
        told(&all, format, &[])
    }

    #[test]
    fn what_keeps_the_log_from_telling() {
        assert_eq!(told(&GOOD, LogFormat::Auto, &["admin"]), "");
        assert_eq!(told(&[], LogFormat::Auto, &["audit"]), "", "what is not known is not told");
        for (name, value, format, words) in [
            ("log_statement", "none", LogFormat::Auto, "log_statement = ddl"),
            ("log_connections", "off", LogFormat::Auto, "log_connections = on"),
            ("log_connections", "", LogFormat::Auto, "log_connections = on"),
            ("log_connections", "receipt, setup_durations", LogFormat::Auto, "add authorization"),
            ("log_min_error_statement", "panic", LogFormat::Auto, "is panic, so that"),
            ("log_line_prefix", "%m [%p] ", LogFormat::Auto, "not name user (%u), database (%d)"),
            ("log_line_prefix", "%t %c %u %d %h %-10a", LogFormat::Auto, "not name SQLSTATE (%e);"),
            ("log_destination", "syslog", LogFormat::Auto, "add stderr to log_destination"),
            ("log_destination", "stderr", LogFormat::Json, "add jsonlog to log_destination"),
            ("log_destination", "csvlog", LogFormat::Csv, "logging_collector = on"),
        ] {
            let told = but(name, value, format);
            assert!(told.contains(words) && told.lines().count() == 1, "{name} {value}: {told}");
        }
        assert_eq!(but("log_line_prefix", "", LogFormat::Cnpg), "");
    }

    #[test]
    fn an_audit_route_wants_pgaudit() {
        let with = |more: &[(&str, &str)]| {
            told(&[&GOOD[..], more].concat(), LogFormat::Auto, &["admin", "audit"])
        };
        let lacking = with(&[("shared_preload_libraries", "pg_stat_statements")]);
        assert!(lacking.contains("pgaudit is not loaded; add pgaudit"), "{lacking}");
        let by_path = ("shared_preload_libraries", "pg_cron, \"$libdir/pgaudit\"");
        assert!(with(&[by_path, ("pgaudit.log", "none")]).contains("pgaudit.log is none"));
        let loaded = ("shared_preload_libraries", "pg_stat_statements, pgaudit");
        assert!(with(&[loaded, ("pgaudit.log", "none")]).contains("pgaudit.log is none"));
        assert_eq!(with(&[loaded, ("pgaudit.log", "ddl")]), "");
    }

    #[test]
    fn files_of_another_name() {
        let told = |destination: &str, patterns: &[&str]| {
            let settings = [
                ("logging_collector", "on"),
                ("log_destination", destination),
                ("log_directory", "log"),
                ("log_filename", "pg-%Y-%m-%d_%H%M%S.log"),
            ];
            let settings = settings.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
            place(&settings, &source(LogFormat::Auto, patterns)).map(|(what, _)| what)
        };
        assert_eq!(told("stderr", &["/var/log/*.log"]), None);
        assert_eq!(told("stderr", &["/x/**/pg-20*_*.log", "/y"]), None);
        assert_eq!(told("csvlog, jsonlog", &["/var/log/*.json"]), None);
        let other = told("csvlog", &["/var/log/*.log"]).unwrap();
        assert!(other.contains(" log/pg-2026-01-01_010101.csv,"), "{other}");
    }

    #[test]
    fn the_advised_prefix_is_read_whole() {
        let prefix = Prefix::compile(PREFIX);
        let line = b"2026-03-04 09:15:01.207 UTC [7] 42P01 app@shop 10.0.0.7(4711) my app LOG:  x";
        let found = prefix.matches(line).unwrap();
        let field =
            |escape| found.get(line, escape).map(|f| String::from_utf8_lossy(f).into_owned());
        assert_eq!(field(Escape::User).as_deref(), Some("app"));
        assert_eq!(field(Escape::ApplicationName).as_deref(), Some("my app"));
        assert_eq!(field(Escape::SqlState).as_deref(), Some("42P01"));
        let background = b"2026-03-04 09:15:01.207 UTC [7] 00000 LOG:  checkpoint starting: time";
        assert!(prefix.matches(background).is_some());
    }
}
