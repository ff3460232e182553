//! The command line's shape: what may be typed, and what `--help` says about it. Nothing happens here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use super::help;
use crate::config::{self, LogFormat, Masking};
use crate::logs::Severity;
use crate::postgres::password_in_argument;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "pgvigil",
    version,
    about = help::ABOUT,
    long_about = help::LONG_ABOUT,
    after_help = help::AFTER,
    disable_help_subcommand = true
)]
pub struct Args {
    /// How much is said on stderr: error, warn, info, debug, trace [env: PGVIGIL_LOG] [default: info]
    #[arg(long, global = true, value_name = "LEVEL", display_order = 100)]
    pub log_level: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent
    Run(Run),
    /// Find every problem in configuration and packs, and in what they need, with the remedy
    Check(Check),
    /// Run query packs once and print what they measure
    Query(Query),
    /// Look at logs without Loki
    #[command(subcommand)]
    Logs(Logs),
    /// Print dashboards, alert rules, grants or Loki's retention, fitted to the configuration
    Export(Export),
}

/// `pgvigil run`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = help::RUN_AFTER)]
pub struct Run {
    /// The configuration, a YAML file [env: PGVIGIL_CONFIG]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where metrics and pages are served; may be given several times, or several with commas
    /// [env: PGVIGIL_LISTEN] [default: 127.0.0.1:9187]
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Log files to read, as a pattern; may be given several times [env: PGVIGIL_LOGS]
    #[arg(long, value_name = "GLOB")]
    pub logs: Vec<String>,

    /// Where records go, such as http://loki:3100; without it they stay in the state directory
    /// [env: PGVIGIL_LOKI]
    #[arg(long, value_name = "URL")]
    pub loki: Option<String>,

    /// Where checkpoints and the local log store lie [env: PGVIGIL_STATE_DIRECTORY]
    #[arg(long, value_name = "DIR")]
    pub state_directory: Option<PathBuf>,
}

/// `pgvigil check`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = help::CHECK_AFTER)]
pub struct Check {
    /// The configuration, a YAML file [env: PGVIGIL_CONFIG]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Look at files only: ask neither PostgreSQL nor Loki
    #[arg(long)]
    pub offline: bool,

    /// How problems are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
}

/// How things are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// `pgvigil query`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = help::QUERY_AFTER)]
pub struct Query {
    /// A built-in pack's name, a file, or a directory of YAML files
    #[arg(value_name = "PACK", required = true)]
    pub packs: Vec<String>,

    /// The server, without its password [default: the configuration's, or the environment's]
    #[arg(long, value_name = "DSN")]
    pub dsn: Option<String>,

    /// The configuration, a YAML file [env: PGVIGIL_CONFIG]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Which of the configuration's instances [default: the first]
    #[arg(long, value_name = "NAME", conflicts_with = "dsn")]
    pub instance: Option<String>,

    /// In which dialect the files are written [default: detected]
    #[arg(long, value_name = "DIALECT", value_parser = PossibleValuesParser::new(config::DIALECTS))]
    pub dialect: Option<String>,

    /// Exit 69 when a query failed
    #[arg(long)]
    pub strict: bool,
}

/// `pgvigil export`.
#[derive(Debug, clap::Args)]
#[command(after_help = help::EXPORT_AFTER)]
pub struct Export {
    /// What is wanted
    #[arg(value_name = "KIND", value_enum)]
    pub kind: Exported,

    /// The configuration, a YAML file [env: PGVIGIL_CONFIG]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Write files into this directory [default: print to stdout]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,

    /// For grants: which of the configuration's instances [default: the first; with --to all of them]
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
}

/// What `pgvigil export` can print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Exported {
    /// Grafana dashboards, JSON
    Dashboards,
    /// Alert rules for Prometheus, YAML
    Alerts,
    /// SQL that makes the agent's role, for psql and a superuser
    Grants,
    /// The settings of Loki that keep each route's records as long as the configuration says, YAML
    LokiRetention,
}

#[derive(Debug, Subcommand)]
pub enum Logs {
    /// Show how the lines of log files become records
    Parse(Parse),
    /// Read the local log store
    Cat(Cat),
}

/// `pgvigil logs parse`.
#[derive(Debug, clap::Args)]
#[command(after_help = help::PARSE_AFTER)]
pub struct Parse {
    /// Log files; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// The server's log_line_prefix [default: found from the lines]
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    pub line_prefix: Option<String>,

    /// The server's log_timezone, for prefixes without one [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,

    /// How the lines are written, where that is known; what is of another format is no record
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = input_format())]
    pub input_format: LogFormat,

    /// What is masked, as on a route
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t, conflicts_with = "config")]
    pub redact: Redact,

    /// Mask what this regular expression fits; may be given several times
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true, value_parser = pattern)]
    pub pattern: Vec<String>,

    /// A configuration, a YAML file: show what one of its routes lets through, masked as it says
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Which route [default: the first]
    #[arg(long, value_name = "NAME", requires = "config")]
    pub route: Option<String>,

    /// How records are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
}

fn input_format() -> impl TypedValueParser<Value = LogFormat> {
    PossibleValuesParser::new(LogFormat::WORDS.map(|(word, _)| word)).try_map(|word| {
        let found = LogFormat::WORDS.into_iter().find(|(known, _)| *known == word);
        found.map(|(_, format)| format).ok_or("no format of a log")
    })
}

fn pattern(text: &str) -> Result<String, String> {
    Masking::compile(text).map(|_| text.to_owned()).map_err(|why| format!("the pattern {why}"))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Redact {
    /// Passwords
    #[default]
    Credentials,
    /// Passwords, and every literal, parameter and value of a row
    Literals,
}

/// `pgvigil logs cat`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = help::CAT_AFTER)]
pub struct Cat {
    /// The configuration, a YAML file [env: PGVIGIL_CONFIG]
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where the store lies [env: PGVIGIL_STATE_DIRECTORY]
    #[arg(long, value_name = "DIR")]
    pub state_directory: Option<PathBuf>,

    /// Records from then on: a time, or how long ago (1h30m, 2d)
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub since: Option<When>,

    /// Records before then
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub until: Option<When>,

    /// At least this severe
    #[arg(long, value_name = "SEVERITY", ignore_case = true, value_parser = severity())]
    pub severity: Option<Severity>,

    /// Records of this database only
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,

    /// Records of this SQLSTATE, or of a class of them by its first two characters
    #[arg(long, value_name = "CODE")]
    pub sqlstate: Option<String>,

    /// Records of this route: who may read what [default: the first]
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,

    /// Records whose text holds this
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub grep: Option<String>,

    /// Go on with what is stored from now on, until interrupted
    #[arg(long, short)]
    pub follow: bool,

    /// How records are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
}

/// A point in time as a user tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Ago(Duration),
    At(SystemTime),
}

impl When {
    /// The time that it means now.
    pub fn from(self, now: SystemTime) -> SystemTime {
        match self {
            Self::Ago(span) => now.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH),
            Self::At(time) => time,
        }
    }
}

/// `1h30m`, `2026-01-31T12:00:00Z`, `2026-01-31 12:00` or `2026-01-31`, the last two in local time.
fn when(text: &str) -> Result<When, String> {
    if let Ok(span) = config::duration(text) {
        return Ok(When::Ago(span));
    }
    let local = || {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        jiff::tz::TimeZone::system().to_timestamp(civil).ok()
    };
    text.parse::<jiff::Timestamp>()
        .ok()
        .or_else(local)
        .and_then(|at| SystemTime::try_from(at).ok())
        .map(When::At)
        .ok_or_else(|| "write 1h30m, 2026-01-31 12:00 or 2026-01-31T12:00:00Z".to_owned())
}

fn severity() -> impl TypedValueParser<Value = Severity> {
    let words = ["debug", "log", "info", "notice", "warning", "error", "fatal", "panic"];
    PossibleValuesParser::new(words).try_map(|word| {
        let found = Severity::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(&word));
        found.ok_or("no severity of PostgreSQL")
    })
}

/// Why the program ends before it has begun: help that was asked for, or a wrong call.
#[derive(Debug)]
pub struct Refusal(clap::Error);

impl Refusal {
    /// 0 for help and version, else 64.
    pub fn exit_code(&self) -> u8 {
        match self.0.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
            _ => 64,
        }
    }

    /// Prints it where it belongs: help to stdout, errors to stderr; coloured on a terminal.
    ///
    /// # Errors
    /// When that stream is closed.
    pub fn print(&self) -> std::io::Result<()> {
        self.0.print()
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Understands the arguments, the program's name first; what no flag says comes from `PGVIGIL_…`.
///
/// # Errors
/// Help that was asked for, or what is wrong with the call. A password among the arguments is refused
/// without repeating it: every user of the machine can read the command lines of all processes.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: config::Lookup<'_>,
) -> Result<Args, Refusal> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Before clap sees them: its messages quote what they do not understand.
    if password_among(&arguments) {
        let message = "a password stands on the command line, where every user of this machine can \
                       read it; use PGPASSFILE, PGPASSWORD, or password_file in a configuration";
        return Err(Refusal(Args::command().error(ErrorKind::ValueValidation, message)));
    }
    let mut args = Args::try_parse_from(arguments).map_err(Refusal)?;
    args.fill(environment);
    Ok(args)
}

/// Flags whose value is free text, which may look like a DSN (`%m [%p]: user=%u@%d`) and is none.
const FREE_TEXT: [&str; 3] = ["--line-prefix", "--pattern", "--grep"];

fn password_among(arguments: &[OsString]) -> bool {
    arguments.windows(2).any(|pair| {
        let [before, argument] = [&pair[0], &pair[1]].map(|argument| argument.to_string_lossy());
        let flag = argument.split('=').next().unwrap_or_default();
        !FREE_TEXT.contains(&&*before) && !FREE_TEXT.contains(&flag) && shows_password(&argument)
    })
}

/// Whether an argument holds a password: a DSN's, or a URL's.
fn shows_password(argument: &str) -> bool {
    let value = match argument.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
        Some((_, value)) => value,
        None if argument.starts_with('-') => return false,
        None => argument,
    };
    let looks_like_dsn = value.contains("://") || value.contains('=');
    looks_like_dsn && password_in_argument(value)
}

impl Args {
    /// Takes from the environment what the flags leave open. An empty variable is as good as none:
    /// Compose files set such ones.
    fn fill(&mut self, environment: config::Lookup<'_>) {
        let get = |name: &str| environment(name).filter(|value| !value.is_empty());
        let path = |to: &mut Option<PathBuf>, name: &str| {
            if to.is_none() {
                *to = get(name).map(PathBuf::from);
            }
        };
        if self.log_level.is_none() {
            self.log_level = get("PGVIGIL_LOG");
        }
        match &mut self.command {
            Command::Run(run) => {
                path(&mut run.config, "PGVIGIL_CONFIG");
                path(&mut run.state_directory, "PGVIGIL_STATE_DIRECTORY");
                if run.listen.is_empty() {
                    let list = get("PGVIGIL_LISTEN").unwrap_or_default();
                    run.listen = list.split(',').map(|one| one.trim().to_owned()).collect();
                }
                if run.logs.is_empty() {
                    run.logs.extend(get("PGVIGIL_LOGS"));
                }
                if run.loki.is_none() {
                    run.loki = get("PGVIGIL_LOKI");
                }
                run.listen.retain(|one| !one.is_empty());
                run.logs.retain(|one| !one.is_empty());
            }
            Command::Check(check) => path(&mut check.config, "PGVIGIL_CONFIG"),
            Command::Query(query) => path(&mut query.config, "PGVIGIL_CONFIG"),
            Command::Logs(Logs::Cat(cat)) => {
                path(&mut cat.config, "PGVIGIL_CONFIG");
                path(&mut cat.state_directory, "PGVIGIL_STATE_DIRECTORY");
            }
            Command::Export(export) => path(&mut export.config, "PGVIGIL_CONFIG"),
            Command::Logs(Logs::Parse(_)) => {}
        }
    }
}

impl From<Run> for config::Flags {
    fn from(run: Run) -> Self {
        Self {
            listen: run.listen,
            logs: run.logs,
            loki: run.loki,
            state_directory: run.state_directory,
            dsn: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_with(line: &[&str], environment: &[(&str, &str)]) -> Result<Args, Refusal> {
        let line = std::iter::once("pgvigil").chain(line.iter().copied()).map(OsString::from);
        parse(line, &|name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn run(line: &[&str], environment: &[(&str, &str)]) -> Run {
        match parse_with(line, environment).unwrap().command {
            Command::Run(run) => run,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn the_shape_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_outrank_the_environment() {
        let line = ["run", "--listen", "127.0.0.1:1", "--listen", "[::1]:1", "--loki", "http://l"];
        let environment = [
            ("PGVIGIL_LISTEN", "0.0.0.0:9187"),
            ("PGVIGIL_LOKI", "http://other"),
            ("PGVIGIL_CONFIG", "x.yaml"),
            ("PGVIGIL_LOGS", ""),
        ];
        let found = run(&line, &environment);
        assert_eq!(found.listen, ["127.0.0.1:1", "[::1]:1"]);
        assert_eq!(found.loki.as_deref(), Some("http://l"));
        assert_eq!(found.config, Some(PathBuf::from("x.yaml")));
        assert!(found.logs.is_empty());
        assert_eq!(run(&["run"], &environment).listen, ["0.0.0.0:9187"]);
        assert!(run(&["run"], &[]).listen.is_empty());
    }

    #[test]
    fn a_wrong_call_is_64_and_help_is_0() {
        let code = |line: &[&str]| parse_with(line, &[]).unwrap_err().exit_code();
        assert_eq!(code(&[]), 64);
        assert_eq!(code(&["runn"]), 64);
        assert_eq!(code(&["run", "--lisen", "x"]), 64);
        assert_eq!(code(&["query"]), 64);
        assert_eq!(code(&["query", "x", "--dialect", "y"]), 64);
        assert_eq!(code(&["logs", "cat", "--since", "yesterday"]), 64);
        assert_eq!(code(&["--help"]), 0);
        assert_eq!(code(&["logs", "cat", "--help"]), 0);
        assert_eq!(code(&["--version"]), 0);
        assert!(
            parse_with(&["run", "--lisen", "x"], &[]).unwrap_err().to_string().contains("--listen")
        );
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for line in [
            &["query", "x", "--dsn", "postgresql://u:hunter2@h/d"][..],
            &["query", "x", "--dsn=postgresql://u:hunter2@h/d"],
            &["query", "x", "--dsn", "host=h password=hunter2"],
            &["query", "x", "--dsn", "postgresql://u@h/d?password=hunter2"],
            // Not quoted, so that the rest looks like packs.
            &["query", "x", "--dsn", "host=h", "password=hunter2"],
            // Where no DSN belongs.
            &["run", "postgresql://u:hunter2@h/d"],
            &["run", "--loki", "http://u:hunter2@loki:3100"],
        ] {
            let refusal = parse_with(line, &[]).unwrap_err();
            let text = refusal.to_string();
            assert_eq!(refusal.exit_code(), 64, "{line:?}");
            assert!(!text.contains("hunter2") && text.contains("password"), "{text}");
        }
        for line in [
            &["query", "x", "--dsn", "host=h user=u passfile=/x sslmode=require"][..],
            &["query", "x", "--dsn", "postgresql://u@h:5432/d"],
            &["logs", "parse", "--line-prefix", "%m [%p]: user=%u@%d ", "x.log"],
            &["logs", "parse", "--pattern", "://u:(.*)@", "x.log"],
            &["logs", "cat", "--grep=password=x"],
        ] {
            assert!(parse_with(line, &[]).is_ok(), "{line:?}");
        }
    }

    #[test]
    fn points_in_time() {
        let at = |text: &str| when(text).map(|when| when.from(SystemTime::UNIX_EPOCH));
        let hour = SystemTime::UNIX_EPOCH + Duration::from_secs(3600);
        assert_eq!(at("1970-01-01T01:00:00Z"), Ok(hour));
        assert_eq!(when("90m"), Ok(When::Ago(Duration::from_secs(5400))));
        assert!(when("2026-01-31").is_ok() && when("2026-01-31 12:00").is_ok());
        assert!(when("noon").is_err());
    }

    #[test]
    fn severities_in_any_case() {
        let line = ["logs", "cat", "--severity", "Error"];
        let Command::Logs(Logs::Cat(cat)) = parse_with(&line, &[]).unwrap().command else {
            panic!("another command")
        };
        assert_eq!(cat.severity, Some(Severity::Error));
    }
}
