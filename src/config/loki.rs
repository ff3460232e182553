//! The block `logs.loki`: where the records go, and who we are there.
//!
//! | key | default |
//! | --- | --- |
//! | `url` | none: the local store |
//! | `labels` | none |
//! | `tls` (`ca_file`, `cert_file`, `key_file`) | the system's roots, no client certificate |
//! | `basic_auth` (`username`, `password`, `password_file`), `bearer_token`, `bearer_token_file` | none |
//! | `proxy_url`, `proxy_url_file` | what `HTTPS_PROXY` (for http:// `HTTP_PROXY`), `ALL_PROXY` and `NO_PROXY` say |

use std::net::IpAddr;
use std::path::PathBuf;

use super::environment::Lookup;
use super::labels::{self, Identity};
use super::problem::why;
use super::walk::{Block, Item, Walk};
use super::{LokiTarget, Place, Proxy, SecretSource};
use crate::secret::Secret;

pub(super) const KEYS: &[&str] = &[
    "url",
    "labels",
    "tls",
    "basic_auth",
    "bearer_token",
    "bearer_token_file",
    "proxy_url",
    "proxy_url_file",
];
pub(super) const TLS_KEYS: &[&str] = &["ca_file", "cert_file", "key_file"];
pub(super) const BASIC_KEYS: &[&str] = &["username", "password", "password_file"];

const REMEDY: &str = "write http:// or https://, the host and the port, such as http://loki:3100";

/// Reads the block; `flag`, the URL of the command line, takes the place of the file's.
pub(super) fn read(
    walk: &Walk<'_>,
    item: Option<Item<'_>>,
    identity: &Identity,
    flag: Option<&str>,
    environment: Lookup<'_>,
) -> Option<LokiTarget> {
    let place = item.as_ref().map(Item::place).unwrap_or_default();
    let block = item.and_then(|item| item.block(KEYS));
    let get = |key: &str| block.as_ref().and_then(|block| block.get(key));

    let written = get("url").and_then(|item| item.parsed(REMEDY, base));
    let url = match flag {
        Some(text) => match base(text) {
            Ok(url) => Some(url),
            Err(why) => {
                walk.fatal(Place::default(), format!("the value of --loki {why}"), REMEDY);
                None
            }
        },
        None => written,
    };
    let labels = labels::read(get("labels"), identity);
    let tls = get("tls").and_then(|item| item.block(TLS_KEYS));
    let files = tls.as_ref().map(tls_files).unwrap_or_default();
    let basic_auth = get("basic_auth").and_then(|item| {
        let block = item.block(BASIC_KEYS)?;
        let username = block.get("username").and_then(|item| item.filled());
        let password = block.secret("password");
        if block.get("username").is_none() {
            item.fatal("`basic_auth` has no `username`", "add it");
        }
        if password.is_none() && block.get("password").is_none() {
            item.fatal("`basic_auth` has no `password`", "add it, or `password_file`");
        }
        Some((username?, password?))
    });
    let bearer_token = block.as_ref().and_then(|block| block.secret("bearer_token"));
    if let (Some(item), true) = (get("basic_auth"), bearer_token.is_some()) {
        item.fatal("both `basic_auth` and a bearer token are given", "remove one of the two");
    }

    if let (Some(block), None) = (&block, flag)
        && block.get("url").is_none()
    {
        block.item.fatal("`loki` has no `url`", "add `url: http://HOST:3100`, or remove `loki`");
    }
    let url = url?;
    let plain_host = url.strip_prefix("http://").map(host).filter(|host| !is_loopback(host));
    if let Some(host) = plain_host
        && (basic_auth.is_some() || bearer_token.is_some())
    {
        walk.warn(
            get("url").map(|item| item.place()).unwrap_or_default(),
            format!("the password for Loki crosses the network to {host} unencrypted"),
            "use https://, or a proxy on this machine",
        );
    }
    if let (Some(tls), false) = (&tls, url.starts_with("https://")) {
        tls.item.fatal("`tls` is set, but the URL is plain HTTP", "write https:// in `url`");
    }
    let proxy = match block.as_ref().and_then(|block| Some((block, block.secret("proxy_url")?))) {
        Some((block, source)) => written_proxy(block, &source),
        None => environments_proxy(&url, environment),
    };
    let [ca_file, cert_file, key_file] = files;
    Some(LokiTarget {
        url,
        labels,
        basic_auth,
        bearer_token,
        ca_file,
        cert_file,
        key_file,
        proxy,
        place,
    })
}

/// The configuration's own proxy holds for every address. A file was complained about already where it
/// cannot be read.
fn written_proxy(block: &Block<'_>, source: &SecretSource) -> Option<Proxy> {
    let url = source.read().ok()?;
    let rest = url.expose().strip_prefix("http://").unwrap_or_default();
    if host(rest.rsplit('@').next().unwrap_or_default()).is_empty() {
        let item = block.get("proxy_url").or_else(|| block.get("proxy_url_file"))?;
        // Not quoted: it may hold a password.
        item.fatal("`proxy_url` is no http:// URL", "write http://HOST:PORT of an HTTP proxy");
        return None;
    }
    Some(Proxy { url, bypass: String::new() })
}

/// What the usual variables say, in the spelling and the order of curl; never for this machine itself.
fn environments_proxy(url: &str, environment: Lookup<'_>) -> Option<Proxy> {
    let (scheme, rest) = url.split_once("://")?;
    if is_loopback(host(rest)) {
        return None;
    }
    let get = |name: &str| {
        let small = environment(&name.to_ascii_lowercase());
        small.or_else(|| environment(name)).filter(|value| !value.is_empty())
    };
    let name = if scheme == "https" { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let found = get(name).or_else(|| get("ALL_PROXY"))?;
    let found = if found.contains("://") { found } else { format!("http://{found}") };
    // Others (SOCKS) are not spoken; the variable is not ours to complain about.
    let bypass = get("NO_PROXY").unwrap_or_default();
    found.starts_with("http://").then(|| Proxy { url: Secret::new(found), bypass })
}

fn tls_files(block: &Block<'_>) -> [Option<PathBuf>; 3] {
    let file = |key: &str| {
        let item = block.get(key)?;
        let path = item.file()?;
        if let Err(e) = std::fs::File::open(&path) {
            let what = format!("cannot read {} ({})", path.display(), why(&e));
            item.fatal(what, "put the PEM file there, readable for the agent");
        }
        Some(path)
    };
    let files = ["ca_file", "cert_file", "key_file"].map(file);
    if files[1].is_some() != files[2].is_some() {
        block.item.fatal(
            "a client certificate needs both `cert_file` and `key_file`",
            "add the other one, or remove both",
        );
    }
    files
}

/// The base of the API's addresses.
fn base(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .ok_or("begins with neither http:// nor https://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if rest.contains(['?', '#']) {
        return Err("has a query or a fragment".to_owned());
    }
    if authority.contains('@') {
        return Err("holds a user or a password, which belong under `basic_auth`".to_owned());
    }
    if path.contains("loki/api") || path.contains("api/prom") {
        return Err("has the path of the API, which the agent adds by itself".to_owned());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let in_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty() || !host.chars().all(in_host) {
        return Err("has no host".to_owned());
    }
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err("has a port that is none".to_owned());
    }
    if !path.bytes().all(|c| c.is_ascii_graphic()) {
        return Err("has a path with unusual characters".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn host(rest: &str) -> &str {
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases() {
        assert_eq!(base("http://loki:3100/").as_deref(), Ok("http://loki:3100"));
        assert_eq!(base("https://gate/logs").as_deref(), Ok("https://gate/logs"));
        assert_eq!(base("http://[::1]:3100").as_deref(), Ok("http://[::1]:3100"));
        for wrong in [
            "loki:3100",
            "ftp://loki",
            "http://",
            "http://u:p@loki",
            "http://loki:3100/loki/api/v1/push",
            "http://loki:0",
            "http://loki:x",
            "http://lo ki",
            "http://loki?x=1",
        ] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_environments_proxy() {
        let with = |url: &str, pairs: &[(&str, &str)]| {
            let lookup = |name: &str| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            environments_proxy(url, &lookup).map(|p| (p.url.expose().to_owned(), p.bypass))
        };
        let both = [("HTTPS_PROXY", "http://s:1"), ("HTTP_PROXY", "p:2"), ("NO_PROXY", "a,.b")];
        let proxy = |url: &str| Some((url.to_owned(), "a,.b".to_owned()));
        assert_eq!(with("https://loki", &both), proxy("http://s:1"));
        assert_eq!(with("http://loki:3100", &both), proxy("http://p:2"));
        assert_eq!(with("http://127.0.0.1:3100", &both), None);
        assert_eq!(with("https://loki", &[("ALL_PROXY", "socks5://s:1")]), None);
        assert_eq!(
            with("https://loki", &[("HTTPS_PROXY", ""), ("all_proxy", "http://a")]).unwrap().0,
            "http://a"
        );
    }

    #[test]
    fn hosts() {
        assert!(is_loopback(host("[::1]:3100/x")) && is_loopback(host("127.0.0.1:3100")));
        assert!(!is_loopback(host("loki:3100")));
    }
}
