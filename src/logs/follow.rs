//! Follows the pods of a node or the containers of a machine: each that appears becomes a source of
//! its own, under its own identity, and ends when its files are gone.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::source::{self, Member, Patterns};
use super::works::{Session, Works};
use crate::config::{LogInput, LogSource, Start};
use crate::task::Group;

/// How often it looks for those that are new. A pod's first lines wait so long at most.
const LOOK: Duration = Duration::from_secs(2);
/// As many are followed at once: each has a thread of its own. A node has at most some hundred pods.
const MOST: usize = 256;
/// What the checkpoint knows of those that are gone is forgotten so long after the start: their
/// directory may not be mounted yet.
const FORGET: Duration = Duration::from_secs(3600);

/// Follows until the stop begins.
pub(super) async fn follow(works: Arc<Works>, source: LogSource, session: Session, group: Group) {
    let stop = group.signal();
    let started = Instant::now();
    let mut forgotten = false;
    let mut running: BTreeMap<String, Patterns> = BTreeMap::new();
    let mut told = None;
    loop {
        let input = source.input.clone();
        let listed = tokio::task::spawn_blocking(move || list(&input)).await;
        let problem = match listed.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Ok(members) => {
                let first = works.is_new(&source.name);
                let members = if is_one(&source) { merged(&source, members) } else { members };
                let most = members.len();
                for member in members.into_iter().take(MOST) {
                    let own = derived(&source, &member, first);
                    begin(&works, own, member, &source, &session, &mut running, &group);
                }
                works.is_known(&source.name);
                (most > MOST).then(|| {
                    format!(
                        "the log source {} finds {most} pods or containers and reads {MOST}; name \
                         fewer",
                        source.name
                    )
                })
            }
            Err(e) => Some(format!(
                "cannot list {} for the log source {}: {e}; mount the directory into the agent's \
                 container, and let its user read it",
                root(&source.input),
                source.name
            )),
        };
        if problem != told {
            match &problem {
                Some(sentence) => tracing::error!("{sentence}"),
                None => tracing::info!(source = %source.name, "its logs can be listed again"),
            }
            works.complain(&source, problem.clone());
            told = problem;
        }
        // Those that have ended are begun again when they come back.
        running.retain(|name, _| works.runs(name));
        if !forgotten && started.elapsed() >= FORGET {
            works.forget_members(&source.name);
            forgotten = true;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.draining() => return,
        }
    }
}

fn begin(
    works: &Arc<Works>,
    own: LogSource,
    member: Member,
    parent: &LogSource,
    session: &Session,
    running: &mut BTreeMap<String, Patterns>,
    group: &Group,
) {
    if let Some(patterns) = running.get(&own.name) {
        let mut patterns = patterns.write().unwrap_or_else(PoisonError::into_inner);
        if *patterns != member.patterns {
            *patterns = member.patterns;
        }
        return;
    }
    tracing::info!(source = %own.name, "reading its log");
    let patterns = Arc::new(RwLock::new(member.patterns));
    // A session tells of one server alone.
    let session = session.clone().filter(|_| is_one(parent) || parent.server == own.server);
    let name = own.name.clone();
    let leaves = !is_one(parent);
    match works.begin_files(&own, session, Arc::clone(&patterns), leaves, group) {
        Ok(()) => {
            running.insert(name, patterns);
        }
        Err(e) => tracing::error!(source = %name, "{e}"),
    }
}

fn list(input: &LogInput) -> io::Result<Vec<Member>> {
    match input {
        LogInput::Kubernetes(wanted) => source::pods(wanted),
        LogInput::Docker(wanted) => source::docker_members(wanted),
        LogInput::Files(_) | LogInput::Stdin => Ok(Vec::new()),
    }
}

fn root(input: &LogInput) -> String {
    match input {
        LogInput::Kubernetes(wanted) => wanted.root.display().to_string(),
        LogInput::Docker(wanted) => wanted.root.display().to_string(),
        LogInput::Files(_) | LogInput::Stdin => String::new(),
    }
}

/// Whether all its containers are one server's.
fn is_one(source: &LogSource) -> bool {
    matches!(&source.input, LogInput::Docker(docker) if docker.one_server)
}

fn merged(source: &LogSource, members: Vec<Member>) -> Vec<Member> {
    let patterns: Vec<String> = members.into_iter().flat_map(|member| member.patterns).collect();
    if patterns.is_empty() {
        return Vec::new();
    }
    vec![Member {
        key: String::new(),
        server: source.server.clone(),
        cluster: source.cluster.clone(),
        namespace: None,
        patterns,
    }]
}

/// The source of one pod or container.
fn derived(source: &LogSource, member: &Member, first: bool) -> LogSource {
    let mut own = source.clone();
    if !member.key.is_empty() {
        own.name = format!("{}/{}", source.name, member.key);
        own.server.clone_from(&member.server);
        own.cluster.clone_from(&member.cluster);
    }
    if let Some(namespace) = &member.namespace {
        own.labels.insert("namespace".to_owned(), namespace.clone());
        own.labels.insert("pod".to_owned(), member.server.clone());
    }
    own.input = LogInput::Files(member.patterns.clone());
    // What appears later is new from its first line on.
    if !first {
        own.start = Start::Beginning;
    }
    own
}
