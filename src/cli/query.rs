//! `pgvigil query`: packs run once. Stdout holds only the exposition, all else goes to stderr.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::args::Query as Args;
use super::process::{coloured, input};
use crate::app::Failure;
use crate::collect::{OnceRun, run_once};
use crate::config::{self, Flags, Instance, Settings};
use crate::exposition::{self, Choice, Format};
use crate::instances::Budgets;
use crate::packs::{self, Dialect, Packs};
use crate::postgres::QueryReason;
use crate::task::Group;
use crate::telemetry::Telemetry;

/// Runs the packs that `args` names on one instance, and prints what they measure.
///
/// # Errors
/// A pack that is none, a server that does not answer; with `--strict`, a query that failed.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let dialect =
        args.dialect.as_deref().map(Dialect::parse).transpose().map_err(Failure::Usage)?;
    let mut packs = packs(&args.packs, dialect)?;
    let flags = Flags { dsn: args.dsn.clone(), ..Flags::default() };
    let loaded =
        config::load(&input(args.config.clone(), flags)).map_err(Failure::Configuration)?;
    packs.compare_tags(&loaded.settings.packs.tags);
    let instance = instance(&loaded.settings, args.instance.as_deref())?;

    let budgets = Budgets::new(&Group::new(), &Telemetry::new());
    let once = run_once(&loaded.settings, instance, None, &packs.queries, true, &budgets)
        .await
        .map_err(|(_, message)| Failure::Unavailable(message))?;
    let page = exposition::render(&once.families, Choice { format: Format::Text, gzip: false });
    let mut report = String::new();
    for (file, dialect, field) in &packs.files {
        let file = file.display();
        // A file of comments alone has no dialect to be mistaken for.
        let open = field.is_none() && args.dialect.is_none() && *dialect == Dialect::Native;
        let open = open && packs.queries.iter().any(|query| is_of(query, &file.to_string()));
        let why = match field {
            Some(field) => format!(", which `{field}` tells"),
            None if open => {
                ", as no field tells; where it is another program's, give --dialect".to_owned()
            }
            None => String::new(),
        };
        let _ = writeln!(report, "{file}: read as {dialect}{why}");
    }
    let mut problems = packs.problems.clone();
    problems.extend(packs.queries.iter().flat_map(|query| packs::advise(query)));
    problems.sort();
    for problem in &problems {
        let _ = writeln!(report, "{problem}");
    }
    for notice in &once.notices {
        let _ = writeln!(report, "{notice}");
    }
    table(&mut report, &once.runs, coloured(&std::io::stderr()));
    for (reason, number) in page.dropped.by_reason().into_iter().filter(|(_, n)| *n > 0) {
        let _ = writeln!(report, "{number} lines are left out of the page: {reason}");
    }
    // Nobody is left to tell when a stream is closed.
    let _ = std::io::stderr().write_all(report.as_bytes());
    let _ = std::io::stdout().write_all(&page.body);

    let refused = packs.problems.iter().filter(|problem| problem.fatal).count();
    let failed = once.runs.iter().filter(|run| is_failure(run)).count();
    if args.strict && refused + failed > 0 {
        return Err(Failure::Unavailable(format!(
            "{} of {} queries failed; see the table above",
            refused + failed,
            refused + once.runs.len()
        )));
    }
    Ok(())
}

/// All that `names` name; a pack of which nothing can be run ends the program.
fn packs(names: &[String], dialect: Option<Dialect>) -> Result<Packs, Failure> {
    let mut all = Packs::default();
    for name in names {
        let path = Path::new(name);
        let found = match packs::load_builtin(name) {
            Some(pack) => pack,
            None if path.try_exists().unwrap_or(true) => packs::load_path(path, dialect),
            None => {
                let known: Vec<&str> = packs::builtin_names().collect();
                return Err(Failure::Usage(format!(
                    "`{name}` is neither a file nor a built-in pack; \
                     give a path, or one of {}",
                    known.join(", ")
                )));
            }
        };
        if found.queries.is_empty() && found.problems.iter().any(|problem| problem.fatal) {
            return Err(Failure::Configuration(found.problems));
        }
        all.queries.extend(found.queries);
        all.problems.extend(found.problems);
        if packs::load_builtin(name).is_none() {
            all.files.extend(found.files);
        }
    }
    Ok(all)
}

/// Whether a query stands in `file`, which may be a part of a manifest: `PATH (NAME)`.
fn is_of(query: &packs::Query, file: &str) -> bool {
    let path = query.place.file.as_ref().map(|path| path.display().to_string());
    path.is_some_and(|path| file.starts_with(&path))
}

fn instance<'s>(settings: &'s Settings, name: Option<&str>) -> Result<&'s Instance, Failure> {
    let mut instances = settings.instances.iter();
    match name {
        None => instances.next().ok_or_else(|| {
            Failure::Usage(
                "nothing says which server to ask; give --dsn, or --config with an instance"
                    .to_owned(),
            )
        }),
        Some(name) => instances.find(|instance| instance.name == name).ok_or_else(|| {
            let known: Vec<&str> = settings.instances.iter().map(|i| i.name.as_str()).collect();
            Failure::Usage(format!(
                "the configuration has no instance `{name}`; give one of {}",
                known.join(", ")
            ))
        }),
    }
}

fn is_failure(run: &OnceRun) -> bool {
    !matches!(run.reason, QueryReason::Ok | QueryReason::Unavailable)
}

/// One line a query, and under it what there is to say of it.
fn table(out: &mut String, runs: &[OnceRun], colour: bool) {
    let width = runs.iter().map(|run| run.query.chars().count()).max().unwrap_or(0).max(5);
    let _ = writeln!(
        out,
        "{:width$}  {:14}  {:>8}  {:>8}  {:>9}  {:>11}",
        "query", "outcome", "rows", "series", "ms", "plan cost"
    );
    for run in runs {
        let (paint, plain) = match run.reason {
            _ if !colour => ("", ""),
            QueryReason::Ok => ("\x1b[32m", "\x1b[0m"),
            QueryReason::Unavailable => ("\x1b[33m", "\x1b[0m"),
            _ => ("\x1b[31m", "\x1b[0m"),
        };
        let _ = writeln!(
            out,
            "{:width$}  {paint}{:14}{plain}  {:>8}  {:>8}  {:>9.1}  {:>11}",
            run.query,
            run.reason.as_str(),
            run.rows,
            run.series,
            run.duration.as_secs_f64() * 1000.0,
            run.cost.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.1}")),
        );
        if let Some(message) = &run.message {
            let _ = writeln!(out, "  {message}");
        }
        for problem in &run.advice {
            let _ = writeln!(out, "  {problem}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ran(query: &str, reason: QueryReason, cost: Option<f64>) -> OnceRun {
        OnceRun {
            query: query.to_owned(),
            reason,
            message: None,
            rows: 2,
            series: 4,
            duration: Duration::from_micros(1500),
            cost,
            advice: Vec::new(),
        }
    }

    #[test]
    fn outcomes_are_coloured_where_asked() {
        let runs = [
            ran("fine", QueryReason::Ok, Some(12.34)),
            ran("none", QueryReason::Unavailable, None),
            ran("broken", QueryReason::Error, None),
        ];
        let (mut plain, mut coloured) = (String::new(), String::new());
        table(&mut plain, &runs, false);
        table(&mut coloured, &runs, true);
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines[1], "fine    ok                     2         4        1.5         12.3");
        assert!(lines[2].ends_with("  -"), "{plain}");
        for (line, code) in coloured.lines().skip(1).zip(["32", "33", "31"]) {
            assert!(line.contains(&format!("\x1b[{code}m")), "{line:?}");
        }
        let stripped = ["\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"]
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(stripped, plain, "columns stand where they stood");
    }
}
