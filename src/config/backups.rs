//! The block `backups` of an instance: how it is backed up, and where one learns how that went.
//!
//! | key | default |
//! | --- | --- |
//! | `source` | must be given: `pgbackrest`, `barman`, `cnpg`, `dump`, `json` |
//! | `name` | none; needed where two have the same source |
//! | `file`, `files`, `command` | one of them; with none, nothing is known |
//! | `environment` | nothing beside PATH, HOME, USER, LOGNAME and TZ |
//! | `server` | the only one that is told of, else the one called like the instance or its cluster |
//! | `repository` | all |
//! | `schedule` | none: never overdue |
//! | `time_zone` | the machine's |
//! | `grace` | the time until the next moment of the schedule |
//! | `keep` | none: no recovery window is too short |
//! | `max_age` | none: a file may be as old as it is |
//! | `interval` | 1 min for files, 5 min for commands |
//! | `timeout` | 30 s |
//! | `settle` | 1 min |
//! | `offsite` | false |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::walk::{Block, Item, Walk, quoted};
use super::{Place, Schedule};
use crate::secret::Secret;

pub(super) const KEYS: &[&str] = &[
    "source",
    "name",
    "file",
    "files",
    "command",
    "environment",
    "server",
    "repository",
    "schedule",
    "time_zone",
    "grace",
    "keep",
    "max_age",
    "interval",
    "timeout",
    "settle",
    "offsite",
];

/// What a command finds in its environment, where the agent has it.
const PASSED: [&str; 5] = ["PATH", "HOME", "USER", "LOGNAME", "TZ"];

/// Who makes the backups, and so how their results are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupSource {
    PgBackRest,
    Cnpg,
    Barman,
    Dump,
    Json,
}

impl BackupSource {
    const ALL: [Self; 5] = [Self::PgBackRest, Self::Cnpg, Self::Barman, Self::Dump, Self::Json];

    /// The word in the configuration and in the label `source`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PgBackRest => "pgbackrest",
            Self::Cnpg => "cnpg",
            Self::Barman => "barman",
            Self::Dump => "dump",
            Self::Json => "json",
        }
    }
}

/// Where a source's results stand.
#[derive(Clone)]
pub enum BackupInput {
    /// A file of JSON.
    File(PathBuf),
    /// Patterns over the dumps themselves.
    Dumps(Vec<String>),
    /// A program that prints JSON.
    Command(BackupCommand),
}

/// A program with its arguments, run without a shell.
#[derive(Clone)]
pub struct BackupCommand {
    /// Never empty.
    pub arguments: Vec<Secret>,
    /// All that stands in its environment.
    pub environment: BTreeMap<String, Secret>,
}

/// One way in which an instance is backed up.
#[derive(Clone)]
pub struct Backup {
    pub source: BackupSource,
    /// The label `name`.
    pub name: Option<String>,
    /// None: nothing can be known of it.
    pub input: Option<BackupInput>,
    /// The one meant, where a result tells of several: pgBackRest's stanza, Barman's server,
    /// CloudNativePG's cluster.
    pub server: Option<String>,
    /// pgBackRest's number of the repository; none: all.
    pub repository: Option<String>,
    pub schedule: Option<Schedule>,
    /// Where times that say no zone were written.
    pub time_zone: TimeZone,
    /// How long after its moment a backup must have ended; none: at the next moment.
    pub grace: Option<Duration>,
    /// How long backups are kept.
    pub keep: Option<Duration>,
    /// The oldest that a file may be.
    pub max_age: Option<Duration>,
    pub interval: Duration,
    pub timeout: Duration,
    /// For how long a dump has not grown that is taken for finished.
    pub settle: Duration,
    /// Whether a copy lies elsewhere.
    pub offsite: bool,
    /// Where the user wrote it, for problems that show later.
    pub place: Place,
}

/// The block's list.
pub(super) fn read(walk: &Walk<'_>, item: Option<Item<'_>>) -> Vec<Backup> {
    let Some(list) = item else { return Vec::new() };
    if list.is_map() {
        list.fatal("`backups` is a list", "begin each with a dash, `- source: …`");
        return Vec::new();
    }
    let mut backups: Vec<Backup> = Vec::new();
    for item in list.list() {
        let Some(backup) = backup(walk, &item) else { continue };
        if backups.iter().any(|first| first.source == backup.source && first.name == backup.name) {
            item.fatal(
                format!("two backups of this instance are {}", quoted(backup.source.as_str())),
                "give each a `name` of its own",
            );
        }
        backups.push(backup);
    }
    backups
}

fn backup(walk: &Walk<'_>, item: &Item<'_>) -> Option<Backup> {
    let block = item.block(KEYS)?;
    let Some(source) = block.get("source") else {
        item.fatal("a backup has no `source`", "add `source: pgbackrest` or the tool you use");
        return None;
    };
    let source = source.choice(&BackupSource::ALL.map(|source| (source.as_str(), source)));
    let time_zone = block.get("time_zone").and_then(|item| {
        item.parsed("write a name such as Europe/Berlin", |text| {
            TimeZone::get(text).map_err(|_| "is no time zone".to_owned())
        })
    });
    let time_zone = time_zone.unwrap_or_else(TimeZone::system);
    let schedule = block.get("schedule").and_then(|item| {
        item.parsed("write five fields as in crontab, \"0 0 * * *\"", |text| {
            let seconds = source == Some(BackupSource::Cnpg);
            Schedule::parse(text, time_zone.clone(), seconds)
        })
    });
    let time = |key: &str| block.get(key)?.period();
    let source = source?;
    let input = input(walk, &block, source);
    let often = match input {
        Some(BackupInput::Command(_)) => 300,
        _ => 60,
    };
    Some(Backup {
        source,
        name: block.get("name").and_then(|item| item.name()),
        server: block.get("server").and_then(|item| item.name()),
        repository: block.get("repository").and_then(|item| item.name()),
        schedule,
        time_zone,
        grace: time("grace"),
        keep: time("keep"),
        max_age: time("max_age"),
        interval: time("interval").unwrap_or(Duration::from_secs(often)),
        timeout: time("timeout").unwrap_or(Duration::from_secs(30)),
        settle: time("settle").unwrap_or(Duration::from_secs(60)),
        offsite: block.get("offsite").and_then(|item| item.boolean()).unwrap_or(false),
        input,
        place: block.item.place(),
    })
}

fn input(walk: &Walk<'_>, block: &Block<'_>, source: BackupSource) -> Option<BackupInput> {
    let dump = source == BackupSource::Dump;
    let (file, files, command) = (block.get("file"), block.get("files"), block.get("command"));
    let given = [&file, &files, &command].into_iter().flatten().count();
    if given == 0 && block.is_known() {
        let (what, remedy) = if dump {
            ("the dumps are nowhere", "add `files: [/var/backups/shop-*.dump]`")
        } else {
            ("nothing tells of these backups", "add `file: …` or `command: […]` that holds JSON")
        };
        block.item.warn(format!("{what}, so that no backup is known"), remedy);
    }
    if given > 1 {
        block.item.fatal(
            "a backup has more than one of `file`, `files` and `command`",
            "leave one of them",
        );
        return None;
    }
    if let Some(item) = [&file, &command].into_iter().flatten().next().filter(|_| dump) {
        item.fatal("dumps are found by `files` alone", "write `files: [PATTERN]`");
        return None;
    }
    if let Some(item) = files.as_ref().filter(|_| !dump) {
        item.fatal("`files` is for dumps", "write `file: PATH`, a file of JSON");
        return None;
    }
    if let Some(item) = block.get("environment").filter(|_| command.is_none()) {
        item.fatal("`environment` is for a `command`", "remove it, or add the command");
    }
    match (file, files, command) {
        (Some(file), _, _) => file.file().map(BackupInput::File),
        (_, Some(files), _) => dumps(walk, &files),
        (_, _, Some(command)) => program(walk, &command, block),
        _ => None,
    }
}

fn dumps(walk: &Walk<'_>, item: &Item<'_>) -> Option<BackupInput> {
    let patterns: Vec<String> =
        item.patterns().iter().map(|text| walk.resolve_pattern(text)).collect();
    if patterns.is_empty() {
        item.fatal("`files` names no file", "add a pattern, such as /var/backups/shop-*.dump");
        return None;
    }
    Some(BackupInput::Dumps(patterns))
}

fn program(walk: &Walk<'_>, item: &Item<'_>, block: &Block<'_>) -> Option<BackupInput> {
    let words: Vec<Option<String>> = item.list().iter().map(Item::text).collect();
    let arguments: Vec<Secret> =
        words.into_iter().map(|word| word.map(Secret::new)).collect::<Option<_>>()?;
    let Some(first) = arguments.first().map(Secret::expose).filter(|first| !first.is_empty())
    else {
        item.fatal("`command` names no program", "write [PROGRAM, ARGUMENT, …]");
        return None;
    };
    // A line as for a shell would be taken for the name of one program.
    if arguments.len() == 1 && first.contains(char::is_whitespace) {
        item.fatal(
            "`command` is one word with spaces, and no shell reads it",
            "write a list, [PROGRAM, ARGUMENT, …]",
        );
        return None;
    }
    let lookup = walk.lookup();
    let mut environment: BTreeMap<String, Secret> = PASSED
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), Secret::new(lookup(name)?))))
        .collect();
    let own = block.get("environment").and_then(|item| item.open());
    for (name, value) in own.iter().flat_map(Block::entries) {
        environment.insert(name.to_owned(), Secret::new(value.text()?));
    }
    Some(BackupInput::Command(BackupCommand { arguments, environment }))
}
