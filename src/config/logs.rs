//! The block `logs`: whose logs are read, who may read them for how long, and where they go.
//!
//! | key | default |
//! | --- | --- |
//! | `sources[].name` | its instance's name, else the machine's |
//! | `sources[].server` | the only instance of kind postgres, else the source's name |
//! | `sources[].kubernetes` | `root: /var/log/pods`, every namespace, pod and container |
//! | `sources[].docker` | `root: /var/lib/docker/containers`, every container |
//! | `sources[].cluster` | its instance's, else the top level's, else the server's name (a pod's less its ordinal) |
//! | `sources[].format` | `auto` |
//! | `sources[].line_prefix`, `time_zone` | from the session, else from the lines |
//! | `sources[].start` | `beginning` |
//! | `routes` | one: `admin`, everything, redacted of credentials |
//! | `patterns` | none: what is masked on every route, before the route's own |
//! | `destination` | `loki` where a URL is set, else `local` |
//! | `store` | `max_bytes: 1GiB`, `keep: 7d` |

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Lookup;
use super::input::Flags;
use super::labels::Identity;
use super::walk::{Block, Item, Walk, quoted};
use super::{
    Destination, Docker, Instance, InstanceKind, Kubernetes, LogFormat, LogInput, LogSource, Logs,
    Place, Route, Start, Store, loki, routes, scalar,
};

pub(super) const KEYS: &[&str] = &["sources", "routes", "patterns", "loki", "destination", "store"];
pub(super) const SOURCE_KEYS: &[&str] = &[
    "name",
    "files",
    "stdin",
    "kubernetes",
    "docker",
    "server",
    "cluster",
    "format",
    "line_prefix",
    "time_zone",
    "start",
];
pub(super) const KUBERNETES_KEYS: &[&str] = &["root", "namespaces", "pods", "containers"];
pub(super) const DOCKER_KEYS: &[&str] = &["root", "names"];
pub(super) const STORE_KEYS: &[&str] = &["max_bytes", "keep"];

/// Loki's own lower bound of a period.
const SHORTEST_KEEP: Duration = Duration::from_secs(86400);

/// What the block needs to know of the rest.
pub(super) struct Around<'a> {
    pub(super) cluster: Option<&'a str>,
    pub(super) labels: &'a std::collections::BTreeMap<String, String>,
    pub(super) identity: &'a Identity,
    pub(super) instances: &'a [Instance],
    pub(super) host_name: &'a str,
    pub(super) flags: &'a Flags,
    pub(super) environment: Lookup<'a>,
}

/// Reads the block; `--logs` takes the place of the file's sources, `--loki` of its URL.
pub(super) fn read(walk: &Walk<'_>, item: Option<Item<'_>>, around: &Around<'_>) -> Option<Logs> {
    let place = item.as_ref().map(Item::place).unwrap_or_default();
    let block = item.and_then(|item| item.block(KEYS));
    let get = |key: &str| block.as_ref().and_then(|block| block.get(key));

    let mut sources = get("sources").map(|item| sources(&item, around)).unwrap_or_default();
    if !around.flags.logs.is_empty() {
        sources = vec![flag_source(walk, around)];
    }
    for (i, later) in sources.iter().enumerate() {
        if sources[..i].iter().any(|first| first.name == later.name) {
            walk.fatal(
                later.place.clone(),
                format!("two log sources are called {}", quoted(&later.name)),
                "give each a `name` of its own, or list the files of both in one",
            );
        }
    }
    let stdin = sources.iter().filter(|source| source.input == LogInput::Stdin);
    if let Some(second) = stdin.skip(1).last() {
        let what = "two log sources read standard input";
        walk.fatal(second.place.clone(), what, "remove one of the two");
    }

    let loki = loki::read(
        walk,
        get("loki"),
        around.identity,
        around.flags.loki.as_deref(),
        around.environment,
    );
    let (routes, routes_places) =
        get("routes").map(|item| routes::read(walk, &item)).unwrap_or_default();
    let patterns = get("patterns").map(|item| routes::patterns(&item)).unwrap_or_default();
    let chosen = get("destination").and_then(|item| {
        let words = [("loki", Destination::Loki), ("local", Destination::Local)];
        let chosen = item.choice(&words)?;
        if chosen == Destination::Loki && loki.is_none() && around.flags.loki.is_none() {
            let what = "the destination is Loki, but no URL is set";
            item.fatal(what, "add `loki: {url: …}` under `logs`, or write `destination: local`");
        }
        Some(chosen)
    });
    let destination = match (chosen, around.flags.loki.is_some()) {
        (_, true) => Destination::Loki,
        (Some(chosen), false) => chosen,
        (None, false) if loki.is_some() => Destination::Loki,
        (None, false) => Destination::Local,
    };
    for (route, place) in routes.iter().zip(routes_places) {
        if destination == Destination::Loki && route.keep.is_some_and(|keep| keep < SHORTEST_KEEP) {
            walk.fatal(
                place,
                format!("the route {} keeps less than a day", quoted(&route.name)),
                "write `keep: 24h` or more, as Loki does not keep less",
            );
        }
    }
    let store = get("store").map(store).unwrap_or_default();
    if sources.is_empty() {
        // Where some are written, what is wrong with them has been said.
        let said =
            get("sources").is_some() || block.as_ref().is_some_and(|block| !block.is_known());
        if !said && (block.is_some() || around.flags.loki.is_some()) {
            walk.warn(
                place,
                "no log source is set, so no log is read",
                "add `logs: {sources: [{files: [/var/log/postgresql/*.log]}]}`, or --logs GLOB",
            );
        }
        return None;
    }
    let mut routes = if routes.is_empty() { vec![Route::everything()] } else { routes };
    for route in &mut routes {
        route.patterns.splice(0..0, patterns.iter().cloned());
    }
    Some(Logs { sources, routes, loki, destination, store })
}

fn sources(list: &Item<'_>, around: &Around<'_>) -> Vec<LogSource> {
    if list.is_map() {
        list.fatal("`sources` is a list", "begin each source with a dash, `- files: …`");
        return Vec::new();
    }
    list.list().iter().filter_map(|item| source(&item.block(SOURCE_KEYS)?, around)).collect()
}

fn source(block: &Block<'_>, around: &Around<'_>) -> Option<LogSource> {
    let input = input(block, around);
    let crowd = matches!(input, Some(LogInput::Kubernetes(_) | LogInput::Docker(_)));
    let name = block.get("name").and_then(|item| item.name());
    let named = block.get("server").and_then(|item| Some((item.name()?, item)));
    let instance = match &named {
        Some((server, item)) => {
            let found = around.instances.iter().position(|instance| instance.name == *server);
            if found.is_none() && !around.instances.is_empty() {
                let names: Vec<&str> =
                    around.instances.iter().map(|instance| instance.name.as_str()).collect();
                let remedy = match scalar::nearest(server, &names) {
                    Some(near) => format!("did you mean {}?", quoted(near)),
                    None => "name one, or leave it if its server is not watched".to_owned(),
                };
                item.warn(format!("{} is no instance", quoted(server)), remedy);
            }
            found
        }
        // Its members have identities of their own.
        None if crowd => None,
        // One that is called like an instance is meant for it.
        None => name
            .as_ref()
            .and_then(|name| around.instances.iter().position(|instance| instance.name == *name))
            .or_else(|| only(around.instances)),
    };
    let server = named.map(|(server, _)| server);
    let cluster = block.get("cluster").and_then(|item| item.name());
    let identity = identify(around, instance, name, server, cluster);

    let format = block.get("format").and_then(|item| item.choice(&LogFormat::WORDS));
    let line_prefix = block.get("line_prefix").and_then(|item| item.text());
    let time_zone = block.get("time_zone").and_then(|item| {
        item.parsed("write an IANA name such as Europe/Berlin", |text| {
            jiff::tz::TimeZone::get(text)
                .map(|_| text.to_owned())
                .map_err(|_| "is no time zone that is known here".to_owned())
        })
    });
    let starts = [("beginning", Start::Beginning), ("end", Start::End)];
    let start = block.get("start").and_then(|item| item.choice(&starts));
    Some(LogSource {
        name: identity.name,
        input: input?,
        cluster: identity.cluster,
        server: identity.server,
        labels: identity.labels,
        instance,
        format: format.unwrap_or(LogFormat::Auto),
        line_prefix,
        time_zone,
        start: start.unwrap_or(Start::Beginning),
        place: block.item.place(),
    })
}

/// Which of the four kinds of source it is.
fn input(block: &Block<'_>, around: &Around<'_>) -> Option<LogInput> {
    let stdin = block.get("stdin").and_then(|item| item.boolean().filter(|on| *on));
    let (files, kubernetes) = (block.get("files"), block.get("kubernetes"));
    let docker = block.get("docker");
    let kinds = [stdin.is_some(), files.is_some(), kubernetes.is_some(), docker.is_some()];
    let kinds = kinds.into_iter().filter(|kind| *kind).count();
    if kinds > 1 || kinds == 0 && block.is_known() {
        let what = if kinds == 0 {
            "a log source says not what to read"
        } else {
            "a log source names two kinds of input"
        };
        let remedy = "give each source one of `files: [GLOB]`, `stdin: true`, `kubernetes: {…}` and \
                      `docker: {…}`";
        block.item.fatal(what, remedy);
    }
    if stdin.is_some() {
        return Some(LogInput::Stdin);
    }
    let cluster = block.get("cluster").and_then(|item| item.name());
    let cluster = cluster.or_else(|| around.cluster.map(str::to_owned));
    if let Some(item) = kubernetes {
        let block = item.block(KUBERNETES_KEYS)?;
        return Some(LogInput::Kubernetes(Kubernetes {
            root: root(&block, "/var/log/pods")?,
            namespaces: names(&block, "namespaces"),
            pods: names(&block, "pods"),
            containers: names(&block, "containers"),
            cluster,
        }));
    }
    if let Some(item) = docker {
        let inner = item.block(DOCKER_KEYS)?;
        return Some(LogInput::Docker(Docker {
            root: root(&inner, "/var/lib/docker/containers")?,
            names: names(&inner, "names"),
            one_server: block.get("server").is_some(),
            cluster,
        }));
    }
    let list = files?;
    let patterns: Vec<String> = list
        .list()
        .iter()
        .filter_map(|item| {
            let text = item.parsed("write a glob pattern from / on", |text| {
                check_glob(text).map(|()| text.to_owned())
            })?;
            if Path::new(&text).is_relative() {
                item.fatal(
                    format!("the pattern {} is relative", quoted(&text)),
                    "write it from / on, as the agent has no directory of its own",
                );
            }
            Some(text)
        })
        .collect();
    if patterns.is_empty() && list.list().is_empty() {
        list.fatal("`files` names no file", "add a pattern, such as /var/log/postgresql/*.log");
    }
    Some(LogInput::Files(patterns))
}

/// The directory `root`, from / on.
fn root(block: &Block<'_>, default: &str) -> Option<PathBuf> {
    let Some(item) = block.get("root") else { return Some(PathBuf::from(default)) };
    item.parsed(&format!("write a path from / on, such as {default}"), |text| {
        let path = PathBuf::from(text);
        if path.is_absolute() { Ok(path) } else { Err("is no path from / on".to_owned()) }
    })
}

/// A list of patterns over names.
fn names(block: &Block<'_>, key: &str) -> Vec<String> {
    let Some(item) = block.get(key) else { return Vec::new() };
    let patterns = item.list().into_iter().filter_map(|item| {
        item.parsed("write a name, or a pattern such as shop-*", |text| {
            check_glob(text).map(|()| text.to_owned())
        })
    });
    let patterns: Vec<String> = patterns.collect();
    if patterns.is_empty() && item.list().is_empty() {
        item.fatal("the list is empty", "name at least one, or leave the key out for all");
    }
    patterns
}

fn check_glob(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.contains('{') {
        return Err("holds braces, which stand for themselves: list the patterns one by one".into());
    }
    glob::Pattern::new(text).map(drop).map_err(|e| format!("is no pattern ({})", e.msg))
}

/// The source that `--logs` makes.
fn flag_source(walk: &Walk<'_>, around: &Around<'_>) -> LogSource {
    let mut patterns = Vec::new();
    for text in &around.flags.logs {
        // At a shell a relative pattern is natural; it means the directory the agent starts in.
        let whole = std::path::absolute(text).ok();
        let whole = whole.and_then(|path| path.into_os_string().into_string().ok());
        let whole = whole.unwrap_or_else(|| text.clone());
        if let Err(why) = check_glob(&whole) {
            walk.fatal(Place::default(), format!("--logs {text} {why}"), "write a glob pattern");
        }
        patterns.push(whole);
    }
    let instance = only(around.instances);
    let identity = identify(around, instance, None, None, None);
    LogSource {
        name: identity.name,
        input: LogInput::Files(patterns),
        cluster: identity.cluster,
        server: identity.server,
        labels: identity.labels,
        instance,
        format: LogFormat::Auto,
        line_prefix: None,
        time_zone: None,
        start: Start::Beginning,
        place: Place::default(),
    }
}

fn only(instances: &[Instance]) -> Option<usize> {
    // A pooler writes no log of PostgreSQL's.
    let mut servers =
        (0..instances.len()).filter(|at| instances[*at].kind == InstanceKind::Postgres);
    servers.next().filter(|_| servers.next().is_none())
}

/// Under which names a source's records are sent.
struct Named {
    name: String,
    server: String,
    cluster: String,
    labels: std::collections::BTreeMap<String, String>,
}

/// A source belongs to the instance that it names, else to the only one, else to itself.
fn identify(
    around: &Around<'_>,
    instance: Option<usize>,
    name: Option<String>,
    server: Option<String>,
    cluster: Option<String>,
) -> Named {
    let instance = instance.and_then(|index| around.instances.get(index));
    let server = server
        .or_else(|| instance.map(|instance| instance.name.clone()))
        .or_else(|| name.clone())
        .unwrap_or_else(|| around.host_name.to_owned());
    let cluster = cluster
        .or_else(|| instance.map(|instance| instance.cluster.clone()))
        .or_else(|| around.cluster.map(str::to_owned))
        .unwrap_or_else(|| server.clone());
    let mut labels = around.labels.clone();
    labels.extend(instance.into_iter().flat_map(|instance| instance.labels.clone()));
    Named { name: name.unwrap_or_else(|| server.clone()), server, cluster, labels }
}

fn store(item: Item<'_>) -> Store {
    let mut store = Store::default();
    let Some(block) = item.block(STORE_KEYS) else { return store };
    if let Some(item) = block.get("max_bytes")
        && let Some(bytes) = item.byte_size()
    {
        if bytes < 1 << 20 {
            item.fatal("the store would hold less than 1 MiB", "write `max_bytes: 1MiB` or more");
        }
        store.max_bytes = bytes;
    }
    if let Some(item) = block.get("keep")
        && let Some(keep) = item.period()
    {
        store.keep = keep;
    }
    store
}
