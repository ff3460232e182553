//! From what the user wrote to [`Settings`]: default < file < environment < flag.

use std::path::Path;

use super::environment;
use super::input::Input;
use super::instances::{self, Common};
use super::walk::{Item, Walk};
use super::yaml::{Fault, Node, Position, Value};
use super::{
    Place, Problem, SecretSource, Settings, collection, host, http, labels, logs, loki, packs,
    routes, yaml,
};
use crate::secret::Secret;

pub(super) const KEYS: &[&str] = &[
    "cluster",
    "labels",
    "identity",
    "state_directory",
    "http",
    "instances",
    "packs",
    "collection",
    "logs",
    "host",
];

/// All blocks with their keys, so that a key in the wrong one is told where it belongs.
const BLOCKS: [(&str, &[&str]); 15] = [
    ("http", http::KEYS),
    ("identity", labels::IDENTITY_KEYS),
    ("packs", packs::KEYS),
    ("collection", collection::KEYS),
    ("collection.intervals", collection::INTERVAL_KEYS),
    ("logs", logs::KEYS),
    ("logs.sources[]", logs::SOURCE_KEYS),
    ("logs.loki", loki::KEYS),
    ("logs.loki.basic_auth", loki::BASIC_KEYS),
    ("logs.routes[]", routes::KEYS),
    ("logs.sources[].kubernetes", logs::KUBERNETES_KEYS),
    ("logs.sources[].docker", logs::DOCKER_KEYS),
    ("logs.store", logs::STORE_KEYS),
    ("instances[]", instances::KEYS),
    ("host", host::KEYS),
];

/// The block that a key belongs to, where it belongs to one alone.
fn home_of(key: &str) -> Option<&'static str> {
    let mut homes = BLOCKS.iter().filter(|(_, keys)| keys.contains(&key)).map(|(block, _)| *block);
    homes.next().filter(|_| homes.next().is_none())
}

/// Settings with every problem, also fatal ones: where a value is wrong, its default stands. For
/// `check`, which goes on.
pub struct Examined {
    pub settings: Settings,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

/// Settings that the agent can run with.
pub struct Loaded {
    pub settings: Settings,
    /// What is doubtful, none of it fatal.
    pub warnings: Vec<Problem>,
}

/// Settings to run with.
///
/// # Errors
/// Every problem, where at least one is fatal.
pub fn load(input: &Input<'_>) -> Result<Loaded, Vec<Problem>> {
    let Examined { settings, problems } = examine(input);
    if problems.iter().any(|problem| problem.fatal) {
        return Err(problems);
    }
    Ok(Loaded { settings, warnings: problems })
}

/// Reads and judges everything; never fails.
pub fn examine(input: &Input<'_>) -> Examined {
    let walk = Walk::new(input.file.as_deref(), input.environment, home_of);
    let nothing = Node { at: Position::default(), value: Value::Null };
    let root = input.file.as_deref().and_then(|file| read(&walk, file)).unwrap_or(nothing);
    let settings = settings(&walk, &root, input);
    // Where something is wrong, the instance may be lost for that: one sentence is enough.
    if !walk.is_fatal() && settings.instances.is_empty() && settings.logs.is_none() {
        idle(&walk, input);
    }
    Examined { settings, problems: walk.finish() }
}

fn read(walk: &Walk<'_>, file: &Path) -> Option<Node> {
    let note = |fault: Fault| walk.fatal(walk.place(fault.at), fault.what, fault.remedy);
    let parsed = yaml::read(file).map_err(note).ok()?;
    parsed.faults.into_iter().for_each(note);
    let mut documents = parsed.documents.into_iter();
    let root = documents.next();
    if let Some(second) = documents.next() {
        let what = "a second document begins here, which would be ignored";
        walk.fatal(walk.place(second.at), what, "write one document, without ---");
    }
    root
}

fn settings(walk: &Walk<'_>, root: &Node, input: &Input<'_>) -> Settings {
    let block = Item::root(walk, root).block(KEYS);
    let get = |key: &str| block.as_ref().and_then(|block| block.get(key));

    let identity = labels::identity(get("identity"));
    let cluster = get("cluster").and_then(|item| item.name());
    let shared = labels::read(get("labels"), &identity);
    let common =
        Common { cluster: cluster.as_deref(), identity: &identity, host_name: &input.host_name };
    let mut instances = instances::read(walk, get("instances"), &common);
    if let Some(dsn) = &input.flags.dsn {
        let dsn = SecretSource::Value(Secret::new(dsn.as_str()));
        let server = environment::Server { dsn, password: None };
        instances = vec![instances::alone(walk, server, &common)];
    } else if input.file.is_none() {
        let mut problems = Vec::new();
        if let Some(server) = environment::server(input.environment, &mut problems) {
            instances.push(instances::alone(walk, server, &common));
        }
        walk.note(problems);
    }
    let around = logs::Around {
        cluster: cluster.as_deref(),
        labels: &shared,
        identity: &identity,
        instances: &instances,
        host_name: &input.host_name,
        flags: &input.flags,
        environment: input.environment,
    };
    let logs = logs::read(walk, get("logs"), &around);
    let state_directory = input
        .flags
        .state_directory
        .clone()
        .or_else(|| get("state_directory").and_then(|item| item.file()))
        .unwrap_or_else(|| environment::state_directory(input.environment));
    let settings = Settings {
        labels: shared,
        cluster_label: identity.cluster_label,
        server_label: identity.server_label,
        state_directory,
        http: http::read(walk, get("http"), &input.flags.listen),
        instances,
        packs: packs::read(get("packs")),
        collection: collection::read(get("collection")),
        logs,
        host: host::read(get("host")),
    };
    labels::count(walk, &settings);
    settings
}

/// Nothing to watch: with a file a slip that the agent can run with, without one a wrong call.
fn idle(walk: &Walk<'_>, input: &Input<'_>) {
    let what = "neither an instance nor a log source is set, so there is nothing to watch";
    match &input.file {
        Some(file) => walk.warn(
            Place::file(file),
            what,
            "add `instances` or `logs` (with a file, DATA_SOURCE_NAME makes no instance: write \
             `dsn: ${DATA_SOURCE_NAME}`)",
        ),
        None => walk.fatal(
            Place::default(),
            what,
            "set DATA_SOURCE_NAME=postgresql://USER@HOST:PORT/DATABASE or PGHOST, or give --logs \
             GLOB or --config FILE",
        ),
    }
}
