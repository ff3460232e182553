//! The block `instances`: the servers that are watched.
//!
//! | key | default |
//! | --- | --- |
//! | `name` | `HOST:PORT`, on loopback or a socket with the machine's name for the host |
//! | `cluster` | the top level's `cluster`, else the name |
//! | `kind` | `pgbouncer` where the DSN names the database `pgbouncer`, else `postgres` |
//! | `dsn`, `dsn_file` | what libpq's variables say |
//! | `password`, `password_file` | what the DSN, `PGPASSWORD` or the password file says |
//! | `databases` | `include: ["*"]`, `exclude: []` |
//! | `probe` | none; `timeout: 5s`, and the DSN's user and password |
//! | `labels`, `packs.exclude`, `storage`, `backups` | none |

use std::time::Duration;

use super::environment::{self, PgEnvironment};
use super::labels::{self, Identity};
use super::walk::{Block, Item, Walk, quoted};
use super::{
    DatabaseFilter, Instance, InstanceKind, Place, Probe, SecretSource, Storage, Volume, backups,
};
use crate::postgres::{ConnInfo, HostSpec};
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
    "probe",
    "labels",
    "packs",
    "storage",
    "backups",
];
pub(super) const DATABASE_KEYS: &[&str] = &["include", "exclude"];
pub(super) const PROBE_KEYS: &[&str] =
    &["database", "user", "password", "password_file", "timeout"];
pub(super) const PACK_KEYS: &[&str] = &["exclude"];
pub(super) const STORAGE_KEYS: &[&str] = &["data", "wal"];
pub(super) const VOLUME_KEYS: &[&str] = &["path", "size"];

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
    let mut instances: Vec<Instance> = Vec::new();
    let mut reached: Vec<Reach> = Vec::new();
    for item in list.list() {
        let Some(block) = item.block(KEYS) else { continue };
        let (instance, reach) = instance(walk, &block, common);
        if instances.iter().any(|first| first.name == instance.name) {
            item.fatal(
                format!("two instances are called {}", quoted(&instance.name)),
                "give each a `name` of its own, or list a server once, as all its databases belong \
                 to one instance",
            );
        } else if reach.as_ref().is_some_and(|reach| reached.contains(reach)) {
            item.warn(
                format!("{} is the same server as an instance above", quoted(&instance.name)),
                "list a server once, as all its databases belong to one instance",
            );
        }
        instances.push(instance);
        reached.extend(reach);
    }
    instances
}

/// The one instance that a flag or the environment names.
pub(super) fn alone(walk: &Walk<'_>, server: environment::Server, common: &Common<'_>) -> Instance {
    let environment = PgEnvironment::capture(walk.lookup());
    for secret in [Some(&server.dsn), server.password.as_ref()].into_iter().flatten() {
        if let Err(why) = secret.read() {
            split(walk, &Place::default(), &why);
        }
    }
    let reach = reach(walk, &server.dsn, &Place::default(), &environment);
    let name = default_name(reach.as_ref(), common, "instance");
    Instance {
        cluster: common.cluster.unwrap_or(&name).to_owned(),
        name,
        kind: kind_of(reach.as_ref()),
        dsn: server.dsn,
        password: server.password,
        environment,
        databases: DatabaseFilter::default(),
        probe: None,
        labels: Default::default(),
        exclude_packs: Vec::new(),
        storage: Storage::default(),
        backups: Vec::new(),
        place: Place::default(),
    }
}

fn instance(walk: &Walk<'_>, block: &Block<'_>, common: &Common<'_>) -> (Instance, Option<Reach>) {
    let environment = PgEnvironment::capture(walk.lookup());
    let kinds = [("postgres", InstanceKind::Postgres), ("pgbouncer", InstanceKind::Pgbouncer)];
    let kind = block.get("kind").and_then(|item| item.choice(&kinds));

    let written = block.get("dsn").or_else(|| block.get("dsn_file"));
    let dsn = block.secret("dsn");
    let password = block.secret("password");
    if written.is_none() && block.is_known() && environment.get("PGHOST").is_none() {
        block.item.warn(
            "this instance has no `dsn`, so libpq's defaults hold",
            "add `dsn: postgresql://USER@HOST:PORT/DATABASE`",
        );
    }
    // One that is written but could not be read says nothing about the server.
    let known = dsn.is_some() || written.is_none();
    let place = written.map_or_else(|| block.item.place(), |item| item.place());
    let dsn = dsn.unwrap_or_else(|| SecretSource::Value(Secret::new("")));
    let reach = known.then(|| reach(walk, &dsn, &place, &environment)).flatten();
    let name = block.get("name").and_then(|item| item.name());
    let name = name.unwrap_or_else(|| default_name(reach.as_ref(), common, block.item.path()));
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
    let kind = kind.unwrap_or_else(|| kind_of(reach.as_ref()));
    let instance = Instance {
        cluster: cluster
            .or_else(|| common.cluster.map(str::to_owned))
            .unwrap_or_else(|| name.clone()),
        name,
        kind,
        dsn,
        password,
        environment,
        databases: databases.unwrap_or_default(),
        probe: probe(block.get("probe"), kind),
        labels: labels::read(block.get("labels"), common.identity),
        exclude_packs: exclude_packs.unwrap_or_default(),
        storage: storage(block.get("storage")),
        backups: backups::read(walk, block.get("backups")),
        place: block.item.place(),
    };
    (instance, reach)
}

/// Where an instance is, for its default name and for telling doubles.
#[derive(PartialEq)]
struct Reach {
    host: String,
    port: u16,
    local: bool,
    /// Whether the database is named as PgBouncer's console is.
    console: bool,
}

/// What a server is where nobody says it.
fn kind_of(reach: Option<&Reach>) -> InstanceKind {
    match reach {
        Some(Reach { console: true, .. }) => InstanceKind::Pgbouncer,
        _ => InstanceKind::Postgres,
    }
}

/// The first server of a DSN with its gaps filled; none where it cannot be understood, which is noted.
fn reach(
    walk: &Walk<'_>,
    dsn: &SecretSource,
    place: &Place,
    environment: &PgEnvironment,
) -> Option<Reach> {
    // A file that cannot be read has been noted already.
    let text = dsn.read().ok()?;
    let info = ConnInfo::parse(text.expose())
        .and_then(|info| info.fill(&|name| environment.get(name)))
        .map_err(|why| split(walk, place, &why))
        .ok()?;
    let (host, port) = info.address();
    let console = info.dbname.as_deref() == Some("pgbouncer");
    Some(Reach { host, port, local: info.hosts.first().is_none_or(HostSpec::is_local), console })
}

/// `HOST:PORT`; on loopback and sockets the machine's own name says more than the address. Where it
/// is not known, `path` keeps apart what the user has to mend anyway.
fn default_name(reach: Option<&Reach>, common: &Common<'_>, path: &str) -> String {
    match reach {
        Some(Reach { host, port, local: false, .. }) => format!("{host}:{port}"),
        Some(Reach { port, .. }) => format!("{}:{port}", common.host_name),
        None => path.to_owned(),
    }
}

/// A sentence from elsewhere, `what; remedy`, as a problem.
fn split(walk: &Walk<'_>, place: &Place, sentence: &str) {
    let (what, remedy) = sentence.split_once("; ").unwrap_or((sentence, "mend it"));
    walk.fatal(place.clone(), what, remedy);
}

/// The block `probe`.
fn probe(item: Option<Item<'_>>, kind: InstanceKind) -> Option<Probe> {
    let item = item?;
    let block = item.block(PROBE_KEYS)?;
    if kind == InstanceKind::Postgres {
        item.fatal(
            "a probe goes through PgBouncer, and this instance is PostgreSQL",
            "remove `probe`, for PostgreSQL is probed without it, or write `kind: pgbouncer`",
        );
    }
    let timeout = block.get("timeout").and_then(|item| item.period());
    let (user, password) =
        (block.get("user").and_then(|item| item.filled()), block.secret("password"));
    let Some(database) = block.get("database") else {
        item.fatal(
            "the probe has no `database`",
            "add one of those that PgBouncer offers, such as `database: shop`",
        );
        return None;
    };
    Some(Probe {
        database: database.filled()?,
        user,
        password,
        timeout: timeout.unwrap_or(Duration::from_secs(5)),
    })
}

/// The block `storage`.
fn storage(item: Option<Item<'_>>) -> Storage {
    let Some(block) = item.and_then(|item| item.block(STORAGE_KEYS)) else {
        return Storage::default();
    };
    let volume = |key: &str| {
        let item = block.get(key)?;
        let volume = item.block(VOLUME_KEYS)?;
        let path = volume.get("path").and_then(|item| item.file());
        let size = volume.get("size").and_then(|item| item.byte_size());
        if volume.is_known() && volume.get("path").or_else(|| volume.get("size")).is_none() {
            let what = format!("{} says nothing", quoted(item.path()));
            item.fatal(what, "add `path`, `size` or both");
        }
        Some(Volume { path, size })
    };
    Storage { data: volume("data"), wal: volume("wal") }
}
