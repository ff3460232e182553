//! The block `instances`: the servers that are watched.
//!
//! | key | default |
//! | --- | --- |
//! | `name` | `HOST:PORT`, on loopback or a socket with the machine's name for the host |
//! | `cluster` | the top level's `cluster`, else the name |
//! | `kind` | `postgres` |
//! | `dsn`, `dsn_file` | what libpq's variables say |
//! | `password`, `password_file` | what the DSN, `PGPASSWORD` or the password file says |
//! | `databases` | `include: ["*"]`, `exclude: []` |
//! | `labels`, `packs.exclude`, `storage`, `backups` | none |

use std::time::Duration;

use super::environment::{self, PgEnvironment};
use super::labels::{self, Identity};
use super::walk::{Block, Item, Walk, quoted};
use super::{
    Backup, BackupSource, DatabaseFilter, Instance, InstanceKind, Place, SecretSource, Storage,
    Volume,
};
use crate::secret::Secret;

pub(super) const KEYS: &[&str] = &[
    "name",
    "cluster",
    "kind",
    "dsn",
    "dsn_file",
    "password",
    "password_file",
    "databases",
    "labels",
    "packs",
    "storage",
    "backups",
];
pub(super) const DATABASE_KEYS: &[&str] = &["include", "exclude"];
pub(super) const PACK_KEYS: &[&str] = &["exclude"];
pub(super) const STORAGE_KEYS: &[&str] = &["data", "wal"];
pub(super) const VOLUME_KEYS: &[&str] = &["path", "size"];
pub(super) const BACKUP_KEYS: &[&str] = &["source", "schedule", "keep", "offsite"];

/// What instances have in common.
pub(super) struct Common<'a> {
    pub(super) cluster: Option<&'a str>,
    pub(super) identity: &'a Identity,
    pub(super) host_name: &'a str,
}

/// The instances of the file.
pub(super) fn read(walk: &Walk<'_>, item: Option<Item<'_>>, common: &Common<'_>) -> Vec<Instance> {
    let Some(list) = item else { return Vec::new() };
    if list.is_map() {
        list.fatal("`instances` is a list", "begin each instance with a dash, `- name: …`");
        return Vec::new();
    }
    let instances: Vec<Instance> = list
        .list()
        .iter()
        .filter_map(|item| Some(instance(walk, &item.block(KEYS)?, common)))
        .collect();
    for (i, later) in instances.iter().enumerate() {
        if instances[..i].iter().any(|first| first.name == later.name) {
            walk.fatal(
                later.place.clone(),
                format!("two instances are called {}", quoted(&later.name)),
                "give each server one instance with a `name` of its own; `databases` chooses among \
                 the databases of one server",
            );
        }
    }
    instances
}

/// The one instance that a flag or the environment names.
pub(super) fn alone(walk: &Walk<'_>, server: environment::Server, common: &Common<'_>) -> Instance {
    let environment = PgEnvironment::capture(walk.lookup());
    if let Some(Err(why)) = server.password.as_ref().map(SecretSource::read) {
        split(walk, &Place::default(), &why);
    }
    let name = default_name(walk, &server.dsn, &Place::default(), &environment, common);
    Instance {
        cluster: common.cluster.unwrap_or(&name).to_owned(),
        name,
        kind: InstanceKind::Postgres,
        dsn: server.dsn,
        password: server.password,
        environment,
        databases: DatabaseFilter::default(),
        labels: Default::default(),
        exclude_packs: Vec::new(),
        storage: Storage::default(),
        backups: Vec::new(),
        place: Place::default(),
    }
}

fn instance(walk: &Walk<'_>, block: &Block<'_>, common: &Common<'_>) -> Instance {
    let environment = PgEnvironment::capture(walk.lookup());
    let kind = block.get("kind").and_then(|item| {
        let kinds = [("postgres", InstanceKind::Postgres), ("pgbouncer", InstanceKind::Pgbouncer)];
        let kind = item.choice(&kinds)?;
        if kind == InstanceKind::Pgbouncer {
            item.fatal(
                "this version does not watch PgBouncer yet",
                "remove this instance, or use a later version",
            );
        }
        Some(kind)
    });

    let dsn_place = block.get("dsn").or_else(|| block.get("dsn_file")).map(|item| item.place());
    let dsn = block.secret("dsn").unwrap_or_else(|| SecretSource::Value(Secret::new("")));
    let password = block.secret("password");
    if dsn_place.is_none() && environment.get("PGHOST").is_none() {
        block.item.warn(
            "this instance has no `dsn`, so libpq's defaults hold",
            "add `dsn: postgresql://USER@HOST:PORT/DATABASE`",
        );
    }
    let place = dsn_place.unwrap_or_else(|| block.item.place());
    let default = default_name(walk, &dsn, &place, &environment, common);
    let name = block.get("name").and_then(|item| item.name()).unwrap_or(default);
    let cluster = block.get("cluster").and_then(|item| item.name());

    let databases = block.get("databases").and_then(|item| item.block(DATABASE_KEYS));
    let databases = databases.map(|block| {
        let patterns = |key: &str| block.get(key).map(|item| item.patterns());
        let all = DatabaseFilter::default();
        DatabaseFilter {
            include: patterns("include").unwrap_or(all.include),
            exclude: patterns("exclude").unwrap_or(all.exclude),
        }
    });
    let packs = block.get("packs").and_then(|item| item.block(PACK_KEYS));
    let exclude_packs = packs.and_then(|block| block.get("exclude")).map(|item| item.patterns());
    Instance {
        cluster: cluster
            .or_else(|| common.cluster.map(str::to_owned))
            .unwrap_or_else(|| name.clone()),
        name,
        kind: kind.unwrap_or(InstanceKind::Postgres),
        dsn,
        password,
        environment,
        databases: databases.unwrap_or_default(),
        labels: labels::read(block.get("labels"), common.identity),
        exclude_packs: exclude_packs.unwrap_or_default(),
        storage: storage(block.get("storage")),
        backups: backups(block.get("backups")),
        place: block.item.place(),
    }
}

/// `HOST:PORT`; on loopback and sockets the machine's own name says more than the address.
fn default_name(
    walk: &Walk<'_>,
    dsn: &SecretSource,
    place: &Place,
    environment: &PgEnvironment,
    common: &Common<'_>,
) -> String {
    // One that cannot be read has been noted already.
    let text = dsn.read().unwrap_or_else(|_| Secret::new(""));
    match reach(text.expose(), environment) {
        Ok((host, port, true)) if host.is_empty() || !common.host_name.is_empty() => {
            format!("{}:{port}", common.host_name)
        }
        Ok((host, port, _)) => format!("{host}:{port}"),
        Err(why) => {
            split(walk, place, &why);
            format!("{}:5432", common.host_name)
        }
    }
}

/// A sentence from elsewhere, `what; remedy`, as a problem.
fn split(walk: &Walk<'_>, place: &Place, sentence: &str) {
    let (what, remedy) = sentence.split_once("; ").unwrap_or((sentence, "mend it"));
    walk.fatal(place.clone(), what, remedy);
}

/// The first host, its port, and whether that is this machine.
fn reach(_dsn: &str, _environment: &PgEnvironment) -> Result<(String, u16, bool), String> {
    Ok((String::new(), 5432, true))
}

/// The block `storage`.
fn storage(item: Option<Item<'_>>) -> Storage {
    let Some(block) = item.and_then(|item| item.block(STORAGE_KEYS)) else {
        return Storage::default();
    };
    block.item.warn(
        "this version does not use `storage` yet",
        "keep it for the version that does, or remove it",
    );
    let volume = |key: &str| {
        let item = block.get(key)?;
        let volume = item.block(VOLUME_KEYS)?;
        let path = volume.get("path").and_then(|item| item.file());
        let size = volume.get("size").and_then(|item| item.byte_size());
        if path.is_none() && size.is_none() {
            let what = format!("{} says nothing", quoted(item.path()));
            item.fatal(what, "add `path`, `size` or both");
        }
        Some(Volume { path, size })
    };
    Storage { data: volume("data"), wal: volume("wal") }
}

/// The block `backups`.
fn backups(item: Option<Item<'_>>) -> Vec<Backup> {
    let Some(list) = item else { return Vec::new() };
    list.warn(
        "this version does not watch backups yet",
        "keep `backups` for the version that does, or remove it",
    );
    if list.is_map() {
        list.fatal("`backups` is a list", "begin each with a dash, `- source: …`");
        return Vec::new();
    }
    list.list().iter().filter_map(backup).collect()
}

fn backup(item: &Item<'_>) -> Option<Backup> {
    let block = item.block(BACKUP_KEYS)?;
    let sources = [
        ("pgbackrest", BackupSource::PgBackRest),
        ("cnpg", BackupSource::Cnpg),
        ("barman", BackupSource::Barman),
        ("dump", BackupSource::Dump),
        ("json", BackupSource::Json),
    ];
    let Some(source) = block.get("source") else {
        item.fatal("a backup has no `source`", "add `source: pgbackrest` or the tool you use");
        return None;
    };
    let schedule = block.get("schedule").and_then(|item| {
        item.parsed("write five fields as in crontab, \"0 0 * * *\"", |text| {
            let field = |field: &str| {
                field.bytes().all(|c| c.is_ascii_alphanumeric() || b"*/,-".contains(&c))
            };
            match text.split_whitespace().collect::<Vec<_>>() {
                fields if fields.len() == 5 && fields.iter().all(|f| field(f)) => {
                    Ok(text.to_owned())
                }
                _ => Err("is no schedule".to_owned()),
            }
        })
    });
    let keep =
        block.get("keep").and_then(|item| item.duration().filter(|keep| positive(&item, *keep)));
    let offsite = block.get("offsite").and_then(|item| item.boolean()).unwrap_or(false);
    Some(Backup { source: source.choice(&sources)?, schedule, keep, offsite })
}

/// Notes a period of nothing.
pub(super) fn positive(item: &Item<'_>, period: Duration) -> bool {
    if period.is_zero() {
        item.fatal(format!("{} is nothing", quoted(item.path())), "write a longer time");
    }
    !period.is_zero()
}
