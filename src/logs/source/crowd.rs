//! Logs that come and go with pods and containers: which there are now, and whose they are.
//!
//! Kubernetes keeps `ROOT/NAMESPACE_POD_UID/CONTAINER/N.log`; neither name can hold an underscore, so
//! the folder's name splits exactly. Docker keeps `ROOT/ID/ID-json.log`, and beside it
//! `config.v2.json` with the container's name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use glob::Pattern;
use serde::Deserialize;

use crate::config::{Docker, Kubernetes};

/// One pod's or container's logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What tells it from the others of its source: `NAMESPACE/POD`, or the container's name.
    pub key: String,
    /// The pod's or container's name.
    pub server: String,
    /// What the user named, else the server's name less a set's ordinal, which its siblings share.
    pub cluster: String,
    pub namespace: Option<String>,
    /// Absolute glob patterns of its files.
    pub patterns: Vec<String>,
}

/// A container, and what becomes of its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub id: String,
    /// As Docker calls it; none where Docker's file about it cannot be read.
    pub driver: Option<String>,
}

/// The pods that the source asks for and that have a log now, in the order of their keys.
///
/// # Errors
/// When the root cannot be listed.
pub fn pods(wanted: &Kubernetes) -> io::Result<Vec<Member>> {
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    for entry in fs::read_dir(&wanted.root)?.filter_map(Result::ok) {
        let folder = entry.file_name();
        let Some((namespace, pod)) = folder.to_str().and_then(pod_of) else { continue };
        if !any(&wanted.namespaces, namespace) || !any(&wanted.pods, pod) {
            continue;
        }
        let Ok(containers) = fs::read_dir(entry.path()) else { continue };
        for container in containers.filter_map(Result::ok) {
            let container = container.file_name();
            let Some(container) = container.to_str() else { continue };
            if !any(&wanted.containers, container) {
                continue;
            }
            // Not by its UID: a pod that comes again under its name goes on in the same stream.
            let root = Pattern::escape(&wanted.root.to_string_lossy());
            let pattern =
                format!("{root}/{namespace}_{pod}_*/{}/*.log", Pattern::escape(container));
            let key = format!("{namespace}/{pod}");
            let member = members.entry(key.clone()).or_insert_with(|| Member {
                key,
                server: pod.to_owned(),
                cluster: wanted.cluster.clone().unwrap_or_else(|| without_ordinal(pod).to_owned()),
                namespace: Some(namespace.to_owned()),
                patterns: Vec::new(),
            });
            if !member.patterns.contains(&pattern) {
                member.patterns.push(pattern);
            }
        }
    }
    Ok(members.into_values().map(sorted).collect())
}

/// The containers that the source asks for, each with its file.
///
/// # Errors
/// When the root cannot be listed.
pub fn docker_members(wanted: &Docker) -> io::Result<Vec<Member>> {
    let root = Pattern::escape(&wanted.root.to_string_lossy());
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    for container in containers(wanted)? {
        let id = Pattern::escape(&container.id);
        let member = members.entry(container.name.clone()).or_insert_with(|| Member {
            key: container.name.clone(),
            server: container.name.clone(),
            cluster: wanted.cluster.clone().unwrap_or_else(|| container.name.clone()),
            namespace: None,
            patterns: Vec::new(),
        });
        member.patterns.push(format!("{root}/{id}/{id}-json.log"));
    }
    Ok(members.into_values().map(sorted).collect())
}

/// The containers that the source asks for, whatever becomes of their output.
///
/// # Errors
/// When the root cannot be listed.
pub fn containers(wanted: &Docker) -> io::Result<Vec<Container>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(&wanted.root)?.filter_map(Result::ok) {
        let Some(container) = container(&entry.path()) else { continue };
        if any(&wanted.names, &container.name) {
            found.push(container);
        }
    }
    found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(found)
}

fn container(folder: &Path) -> Option<Container> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        name: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Host {
        log_config: LogConfig,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct LogConfig {
        r#type: String,
    }
    let id = folder.file_name()?.to_str()?.to_owned();
    let named: Named = read(&folder.join("config.v2.json"))?;
    // Where that is not told, its file says enough.
    let host: Option<Host> = read(&folder.join("hostconfig.json"));
    let driver = host.map(|host| host.log_config.r#type).filter(|driver| !driver.is_empty());
    // Docker keeps names with the slash that links once had.
    let name = named.name.trim_start_matches('/').to_owned();
    Some(Container { name, id, driver })
}

/// As much as Docker's files about a container are read; they are some kilobytes.
const LARGEST: u64 = 4 * 1024 * 1024;

fn read<T: for<'de> Deserialize<'de>>(path: &PathBuf) -> Option<T> {
    let size = fs::metadata(path).ok()?.len();
    let bytes = fs::read(path).ok().filter(|_| size <= LARGEST)?;
    serde_json::from_slice(&bytes).ok()
}

/// `NAMESPACE_POD_UID`
fn pod_of(folder: &str) -> Option<(&str, &str)> {
    let mut parts = folder.split('_');
    let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = !namespace.is_empty() && !pod.is_empty() && !uid.is_empty();
    (whole && parts.next().is_none()).then_some((namespace, pod))
}

/// `shop-db-1` is one of `shop-db`.
fn without_ordinal(pod: &str) -> &str {
    match pod.rsplit_once('-') {
        Some((set, ordinal))
            if !set.is_empty()
                && !ordinal.is_empty()
                && ordinal.bytes().all(|b| b.is_ascii_digit()) =>
        {
            set
        }
        _ => pod,
    }
}

/// Whether a pattern fits; none fits all.
fn any(patterns: &[String], name: &str) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| Pattern::new(pattern).is_ok_and(|p| p.matches(name)))
}

fn sorted(mut member: Member) -> Member {
    member.patterns.sort();
    member
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pods() {
        assert_eq!(pod_of("shop_shop-db-1_0b5f"), Some(("shop", "shop-db-1")));
        for other in ["shop", "shop_db", "a_b_c_d", "_b_c", "a__c", "a_b_"] {
            assert_eq!(pod_of(other), None, "{other}");
        }
        assert_eq!(without_ordinal("shop-db-1"), "shop-db");
        assert_eq!(without_ordinal("shop-db"), "shop-db");
        assert_eq!(without_ordinal("pg-"), "pg-");
        assert_eq!(without_ordinal("1"), "1");
    }

    #[test]
    fn pods_as_they_lie_on_a_node() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a_db-0_u1/postgres", "a_db-0_u2/postgres", "a_db-1_u3/sidecar", "b_web_u/x"]
        {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let mut wanted = Kubernetes {
            root: root.path().to_owned(),
            namespaces: vec!["a".into()],
            pods: Vec::new(),
            containers: vec!["post*".into()],
            cluster: None,
        };
        let found = pods(&wanted).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].key, &*found[0].cluster), ("a/db-0", "db"));
        let pattern = format!("{}/a_db-0_*/postgres/*.log", root.path().display());
        assert_eq!(found[0].patterns, [pattern]);
        wanted.containers.clear();
        wanted.cluster = Some("shop".into());
        let found = pods(&wanted).unwrap();
        assert_eq!(found.iter().map(|pod| &*pod.cluster).collect::<Vec<_>>(), ["shop", "shop"]);
        wanted.root = root.path().join("nowhere");
        assert!(pods(&wanted).is_err());
    }

    #[test]
    fn containers_by_what_docker_says_of_them() {
        let root = tempfile::tempdir().unwrap();
        for (id, config, host) in [
            ("aa", r#"{"ID":"aa","Name":"/pg-1"}"#, r#"{"LogConfig":{"Type":"json-file"}}"#),
            ("bb", r#"{"Name":"/web"}"#, "{}"),
            ("cc", r#"{"Name":"/pg-2"}"#, r#"{"LogConfig":{"Type":"journald","Config":{}}}"#),
            ("dd", "torn", "{}"),
        ] {
            fs::create_dir(root.path().join(id)).unwrap();
            fs::write(root.path().join(id).join("config.v2.json"), config).unwrap();
            fs::write(root.path().join(id).join("hostconfig.json"), host).unwrap();
        }
        let names = vec!["pg-*".into()];
        let wanted =
            Docker { root: root.path().to_owned(), names, one_server: false, cluster: None };
        let found = containers(&wanted).unwrap();
        let told: Vec<_> = found.iter().map(|c| (&*c.name, c.driver.as_deref())).collect();
        assert_eq!(told, [("pg-1", Some("json-file")), ("pg-2", Some("journald"))]);
        let members = docker_members(&wanted).unwrap();
        assert_eq!(members[0].patterns, [format!("{}/aa/aa-json.log", root.path().display())]);
    }
}
