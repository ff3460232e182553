//! Service discovery: Prometheus's `http_sd_configs` reads where to scrape each instance.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Target;

#[derive(Serialize)]
struct Group<'a> {
    targets: [&'a str; 1],
    labels: BTreeMap<String, &'a str>,
}

/// The target list: this agent's own address once an instance, each with `/probe` as its path and the
/// instance's name as parameter and as the label `instance`, which drop-in boards select by. What the
/// series carry themselves comes as `__meta_pgvigil_…`, for relabelling: as labels of the target they
/// would push the series' own aside.
pub(super) fn json(targets: &[Target], address: &str, tls: bool) -> String {
    let groups: Vec<Group<'_>> = targets
        .iter()
        .map(|target| {
            let mut labels = BTreeMap::from([
                ("__metrics_path__".to_owned(), "/probe"),
                ("__scheme__".to_owned(), if tls { "https" } else { "http" }),
                ("__param_target".to_owned(), target.name.as_str()),
                ("instance".to_owned(), target.name.as_str()),
                ("__meta_pgvigil_server".to_owned(), target.name.as_str()),
                ("__meta_pgvigil_cluster".to_owned(), target.cluster.as_str()),
            ]);
            for (name, value) in &target.labels {
                labels.insert(format!("__meta_pgvigil_label_{name}"), value);
            }
            Group { targets: [address], labels }
        })
        .collect();
    serde_json::to_string(&groups).unwrap_or_else(|_| "[]".to_owned())
}

/// Where the scraper reached this agent: the `Host` that it asked for, else the address it listens on.
pub(super) fn address(host: Option<&str>, listening: &str, tls: bool) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match host.filter(|host| !host.is_empty() && host.len() < 256 && host.chars().all(plain)) {
        Some(host) if has_port(host) => host.to_owned(),
        Some(host) => format!("{host}:{}", if tls { 443 } else { 80 }),
        None => listening.to_owned(),
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(name, port)| {
        !port.is_empty()
            && port.bytes().all(|c| c.is_ascii_digit())
            && (!name.contains(':') || name.ends_with(']'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_an_instance() {
        let shop = Target {
            name: "shop-1".to_owned(),
            cluster: "shop".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "pay\"ments".to_owned())]),
        };
        let json = json(&[shop.clone(), Target { name: "b".to_owned(), ..shop }], "h:1", true);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read.as_array().unwrap().len(), 2);
        assert_eq!(read[0]["targets"], serde_json::json!(["h:1"]));
        assert_eq!(
            read[0]["labels"],
            serde_json::json!({
                "__metrics_path__": "/probe", "__scheme__": "https", "__param_target": "shop-1",
                "instance": "shop-1", "__meta_pgvigil_server": "shop-1",
                "__meta_pgvigil_cluster": "shop", "__meta_pgvigil_label_team": "pay\"ments",
            })
        );
        assert_eq!(super::json(&[], "h:1", false), "[]");
    }

    #[test]
    fn addresses() {
        for (host, tls, expected) in [
            (Some("agent:9187"), false, "agent:9187"),
            (Some("[::1]:9187"), false, "[::1]:9187"),
            (Some("[::1]"), true, "[::1]:443"),
            (Some("agent"), false, "agent:80"),
            (Some("bad/host:1"), false, "127.0.0.1:9187"),
            (Some(""), false, "127.0.0.1:9187"),
            (None, false, "127.0.0.1:9187"),
        ] {
            assert_eq!(address(host, "127.0.0.1:9187", tls), expected);
        }
    }
}
