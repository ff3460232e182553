//! exporter-toolkit's `web.config.file`, read whole: every problem in it is told at once. The same
//! file serves other exporters beside this one.
//!
//! | key | what it does |
//! | --- | --- |
//! | `tls_server_config` | certificate, key, who must show one, versions (see `tls`) |
//! | `http_server_config.headers` | headers on every answer, five names as in the toolkit |
//! | `http_server_config.http2` | read and without effect: the door speaks HTTP/1.1 |
//! | `basic_auth_users` | user names and bcrypt hashes |
//! | `rate_limit` | `interval` between requests, `burst` of them at once |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::header::{HeaderName, HeaderValue};

use super::tls::{self, Material};
use crate::config::yaml::{self, Key, Node, Position, Value};
use crate::config::{Place, Problem, duration};
use crate::secret::Secret;

/// The file's meaning, its certificates loaded.
#[derive(Default)]
pub struct WebConfig {
    /// None: plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// When the door's own certificate ends.
    pub certificate_expires: Option<SystemTime>,
    /// Names and bcrypt hashes; none: everybody comes in.
    pub users: BTreeMap<String, Secret>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub rate_limit: Option<RateLimit>,
    /// What was read besides the file itself, and makes another reading worthwhile when it changes.
    pub files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// One request more may come each `interval`.
    pub interval: Duration,
    /// So many may come at once.
    pub burst: u32,
}

/// Reads the file and the certificates that it names; relative paths start at its own directory.
///
/// # Errors
/// Every problem found, in the order of the file. There are no others than fatal ones.
pub fn load(path: &Path) -> Result<WebConfig, Vec<Problem>> {
    let mut walk = Walk { file: path, problems: Vec::new() };
    let config = walk.file();
    if walk.problems.is_empty() {
        return Ok(config);
    }
    walk.problems.sort();
    Err(walk.problems)
}

/// The toolkit's five, with the values that it takes where it names them.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// bcrypt's work doubles with each step: at 10 a login takes some 50 ms, at 17 more than five seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=16;

struct Walk<'a> {
    file: &'a Path,
    problems: Vec<Problem>,
}

type Entries<'n> = &'n [(Key, Node)];

impl Walk<'_> {
    fn problem(&mut self, at: Position, what: impl Into<String>, remedy: impl Into<String>) {
        let place = Place { file: Some(self.file.to_path_buf()), line: at.line, column: at.column };
        self.problems.push(Problem::fatal(place, what, remedy));
    }

    fn file(&mut self) -> WebConfig {
        let mut config = WebConfig::default();
        let parsed = match yaml::read(self.file) {
            Ok(parsed) => parsed,
            Err(fault) => {
                self.problem(fault.at, fault.what, fault.remedy);
                return config;
            }
        };
        for fault in parsed.faults {
            self.problem(fault.at, fault.what, fault.remedy);
        }
        if let Some(second) = parsed.documents.get(1) {
            self.problem(second.at, "a second document begins here", "keep one document a file");
        }
        let Some(root) = parsed.documents.first() else { return config };
        let keys = ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];
        for (key, node) in self.map(root, "the file", &keys) {
            match key.name.as_str() {
                "tls_server_config" => self.tls(key, node, &mut config),
                "http_server_config" => config.headers = self.http(node),
                "basic_auth_users" => config.users = self.users(node),
                "rate_limit" => config.rate_limit = self.rate_limit(node),
                _ => {}
            }
        }
        config
    }

    /// The entries of a map whose keys are all among `keys`; nothing counts as an empty map.
    fn map<'n>(&mut self, node: &'n Node, name: &str, keys: &[&str]) -> Entries<'n> {
        let entries = self.open_map(node, name);
        for (key, _) in entries {
            if !keys.contains(&key.name.as_str()) {
                let what = format!("unknown key `{}` in {name}", key.name);
                self.problem(key.at, what, format!("known here are {}", keys.join(", ")));
            }
        }
        entries
    }

    fn open_map<'n>(&mut self, node: &'n Node, name: &str) -> Entries<'n> {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Scalar { .. } | Value::List(_) => {
                let what = format!("{name} holds {}", node.value.kind());
                self.problem(node.at, what, "write a map, `KEY: VALUE`");
                &[]
            }
        }
    }

    /// A value's text; nothing counts as empty.
    fn text<'n>(&mut self, key: &Key, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Null => Some(""),
            Value::List(_) | Value::Map(_) => {
                let what = format!("`{}` holds {}", key.name, node.value.kind());
                self.problem(node.at, what, "write one value");
                None
            }
        }
    }

    fn texts<'n>(&mut self, key: &Key, node: &'n Node) -> Vec<(Position, &'n str)> {
        match &node.value {
            Value::List(items) => items
                .iter()
                .filter_map(|item| self.text(key, item).map(|text| (item.at, text)))
                .collect(),
            Value::Null => Vec::new(),
            Value::Scalar { .. } | Value::Map(_) => {
                let what = format!("`{}` holds {}", key.name, node.value.kind());
                self.problem(node.at, what, "write a list, `- VALUE` or [VALUE, …]");
                Vec::new()
            }
        }
    }

    fn boolean(&mut self, key: &Key, node: &Node) -> Option<bool> {
        match self.text(key, node)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                let what = format!("`{}` is neither true nor false", key.name);
                self.problem(node.at, what, "write true or false");
                None
            }
        }
    }

    fn path(&self, text: &str) -> PathBuf {
        self.file.parent().map_or_else(|| PathBuf::from(text), |base| base.join(text))
    }

    fn tls(&mut self, block: &Key, node: &Node, config: &mut WebConfig) {
        let mut settings = tls::Settings::default();
        let mut names: BTreeMap<&str, Position> = BTreeMap::new();
        for (key, node) in self.map(node, "`tls_server_config`", &tls::KEYS) {
            if node.value == Value::Null {
                continue;
            }
            names.insert(&key.name, node.at);
            match key.name.as_str() {
                "client_allowed_sans" => {
                    let sans = self.texts(key, node);
                    settings.allowed_sans =
                        Some(sans.into_iter().map(|(_, san)| san.to_owned()).collect());
                }
                "cipher_suites" | "curve_preferences" => {
                    let find = tls::Settings::prefer(key.name == "cipher_suites");
                    for (at, name) in self.texts(key, node) {
                        if let Err((what, remedy)) = find(&mut settings, name) {
                            self.problem(at, what, remedy);
                        }
                    }
                }
                "prefer_server_cipher_suites" => {
                    settings.server_order = self.boolean(key, node).unwrap_or(true);
                }
                name => {
                    let Some(text) = self.text(key, node).filter(|text| !text.is_empty()) else {
                        names.remove(name);
                        continue;
                    };
                    let file = || Material::File(self.path(text));
                    let inline = || Material::Inline(Secret::new(text));
                    let taken = match name {
                        "cert" => settings.certificate(inline()),
                        "cert_file" => settings.certificate(file()),
                        "key" => settings.key(inline()),
                        "key_file" => settings.key(file()),
                        "client_ca" => settings.client_ca(inline()),
                        "client_ca_file" => settings.client_ca(file()),
                        "client_auth_type" => settings.client_auth(text),
                        "min_version" => settings.min_version(text),
                        "max_version" => settings.max_version(text),
                        _ => Ok(()),
                    };
                    if let Err((what, remedy)) = taken {
                        self.problem(node.at, what, remedy);
                    }
                }
            }
        }
        // The toolkit too takes a block of versions alone as no TLS.
        let turns_on = |name: &str| {
            ["cert", "key", "client_ca"].iter().any(|stem| name.starts_with(stem))
                || name == "client_auth_type"
        };
        if !names.keys().any(|name| turns_on(name)) {
            return;
        }
        config.files = settings.files();
        match settings.build() {
            Ok(built) => {
                config.tls = Some(built.config);
                config.certificate_expires = built.expires;
            }
            Err(wrong) => {
                for tls::Wrong { key, what, remedy } in wrong {
                    let file = format!("{key}_file");
                    let at = names.get(file.as_str()).or_else(|| names.get(key));
                    self.problem(at.copied().unwrap_or(block.at), what, remedy);
                }
            }
        }
    }

    fn http(&mut self, node: &Node) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        for (key, node) in self.map(node, "`http_server_config`", &["http2", "headers"]) {
            match key.name.as_str() {
                "http2" => {
                    self.boolean(key, node);
                }
                "headers" => {
                    let names = HEADERS.map(|(name, _)| name);
                    for (key, node) in self.map(node, "`headers`", &names) {
                        headers.extend(self.header(key, node));
                    }
                }
                _ => {}
            }
        }
        headers
    }

    fn header(&mut self, key: &Key, node: &Node) -> Option<(HeaderName, HeaderValue)> {
        let (_, values) = HEADERS.iter().find(|(name, _)| *name == key.name)?;
        let text = self.text(key, node).filter(|text| !text.is_empty())?;
        if !values.is_empty() && !values.contains(&text) {
            let what = format!("`{}` has a value that it cannot have", key.name);
            self.problem(node.at, what, format!("write {}", values.join(" or ")));
            return None;
        }
        let name = HeaderName::from_str(&key.name).ok()?;
        let Ok(value) = HeaderValue::from_str(text) else {
            let what = format!("`{}` holds what no header can hold", key.name);
            self.problem(node.at, what, "write it in one line of ASCII");
            return None;
        };
        Some((name, value))
    }

    fn users(&mut self, node: &Node) -> BTreeMap<String, Secret> {
        let mut users = BTreeMap::new();
        for (key, node) in self.open_map(node, "`basic_auth_users`") {
            let Some(hash) = self.text(key, node) else { continue };
            let name = &key.name;
            if name.contains(':') {
                let what = format!("the user name `{name}` holds a colon");
                self.problem(key.at, what, "choose another, as HTTP cannot send it");
            } else {
                match hash.parse::<bcrypt::HashParts>() {
                    Ok(parts) if COSTS.contains(&parts.get_cost()) => {
                        users.insert(name.clone(), Secret::new(hash));
                    }
                    Ok(parts) => {
                        let what =
                            format!("the hash of `{name}` has the cost {}", parts.get_cost());
                        self.problem(node.at, what, "hash the password with a cost from 10 to 14");
                    }
                    Err(_) => {
                        let what = format!("the password of `{name}` is no bcrypt hash");
                        let remedy = format!("write what `htpasswd -nBC 10 {name}` prints");
                        self.problem(node.at, what, remedy);
                    }
                }
            }
        }
        users
    }

    fn rate_limit(&mut self, node: &Node) -> Option<RateLimit> {
        let mut limit = RateLimit { interval: Duration::ZERO, burst: 0 };
        for (key, value) in self.map(node, "`rate_limit`", &["interval", "burst"]) {
            let Some(text) = self.text(key, value) else { continue };
            if key.name == "burst" {
                match text.parse() {
                    Ok(burst) => limit.burst = burst,
                    Err(_) => self.problem(value.at, "`burst` is no number", "write 1 or more"),
                }
            } else if key.name == "interval" && text != "0" {
                match duration(text) {
                    Ok(interval) => limit.interval = interval,
                    Err(why) => {
                        let what = format!("`interval` {why}");
                        self.problem(value.at, what, "write a number and a unit (ms, s, m)");
                    }
                }
            }
        }
        if limit.interval.is_zero() {
            return None;
        }
        if limit.burst == 0 {
            let what = "`rate_limit` has an interval but no burst, so nothing would be answered";
            self.problem(node.at, what, "add `burst`, 1 or more");
        }
        Some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash as htpasswd writes it; of what does not matter here.
    const HASH: &str = "$2y$04$MZ9iBCnbtXBw2pO8QVCm9.h9dSYTEwLJkdnMVqCnIVMCKSPA1q.bK";

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            files.write("tls.crt", &made.cert.pem());
            files.write("tls.key", &made.signing_key.serialize_pem());
            let other = rcgen::KeyPair::generate().unwrap();
            files.write("other.key", &other.serialize_pem());
            files.write("empty.pem", "nothing\n");
            files
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn load(&self, text: &str) -> Result<WebConfig, Vec<String>> {
            self.write("web.yml", text);
            let told = |problem: &Problem| {
                let whole = problem.to_string();
                let path = format!("{}/", self.0.path().display());
                whole.replace(&path, "")
            };
            load(&self.0.path().join("web.yml")).map_err(|all| all.iter().map(told).collect())
        }
    }

    #[test]
    fn the_whole_file() {
        let files = Files::new();
        let config = files
            .load(&format!(
                "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n  \
                 client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: tls.crt\n  \
                 client_allowed_sans: [prometheus]\n  min_version: TLS13\n  max_version: TLS13\n  \
                 cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n  \
                 curve_preferences: [CurveP256, X25519]\n  prefer_server_cipher_suites: false\n\
                 http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    \
                 Strict-Transport-Security: max-age=31536000\n    X-XSS-Protection:\n\
                 basic_auth_users:\n  alice: {HASH}\n  bob: {HASH}\n\
                 rate_limit: {{interval: 100ms, burst: 20}}\n"
            ))
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        let tls = config.tls.unwrap();
        assert!(!tls.ignore_client_order);
        assert!(config.certificate_expires.unwrap() > SystemTime::now());
        assert_eq!(config.users.keys().collect::<Vec<_>>(), ["alice", "bob"]);
        let headers: Vec<&str> = config.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(headers, ["x-frame-options", "strict-transport-security"]);
        let limit = RateLimit { interval: Duration::from_millis(100), burst: 20 };
        assert_eq!(config.rate_limit, Some(limit));
        assert_eq!(config.files.len(), 3);
    }

    #[test]
    fn little_is_asked_for() {
        let files = Files::new();
        for text in
            ["", "# nothing\n", "tls_server_config:\n", "tls_server_config: {min_version: TLS12}\n"]
        {
            let config = files.load(text).unwrap_or_else(|problems| panic!("{problems:?}"));
            assert!(config.tls.is_none() && config.users.is_empty(), "{text}");
        }
        for kind in ["NoClientCert", "RequestClientCert", "RequireAnyClientCert"] {
            let text = format!(
                "tls_server_config: {{cert_file: tls.crt, key_file: tls.key, client_auth_type: {kind}}}"
            );
            assert!(files.load(&text).is_ok_and(|config| config.tls.is_some()), "{kind}");
        }
    }

    #[test]
    fn inline_certificates() {
        let files = Files::new();
        let read = |name| std::fs::read_to_string(files.0.path().join(name)).unwrap();
        let block = |text: String| text.replace('\n', "\n    ");
        let text = format!(
            "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n",
            block(read("tls.crt")),
            block(read("tls.key"))
        );
        assert!(files.load(&text).is_ok_and(|config| config.files.is_empty()));
    }

    #[test]
    fn every_problem_with_its_place() {
        let files = Files::new();
        let problems = files
            .load(
                "tls_server_config:\n  cert_file: tls.crt\n  key_file: other.key\n  min_version: TLS10\n  \
                 client_auth: x\n  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n\
                 http_server_config:\n  headers:\n    X-Frame-Options: maybe\n    Server: x\n\
                 basic_auth_users:\n  alice: secret\n  \
                 bob: $2y$31$MZ9iBCnbtXBw2pO8QVCm9.h9dSYTEwLJkdnMVqCnIVMCKSPA1q.bK\n\
                 rate_limit: {interval: often}\nusers: {}\n",
            )
            .err()
            .unwrap();
        let begins = [
            "web.yml:3:13: the key does not belong to the certificate; name the key that the cert",
            "web.yml:4:16: `min_version` names a version that is broken and not offered; write",
            "web.yml:5:3: unknown key `client_auth` in `tls_server_config`; known here are cert_file",
            "web.yml:6:19: the cipher suite `TLS_RSA_WITH_RC4_128_SHA` is not offered; remove it",
            "web.yml:9:22: `X-Frame-Options` has a value that it cannot have; write deny or same",
            "web.yml:10:5: unknown key `Server` in `headers`; known here are Strict-Transport",
            "web.yml:12:10: the password of `alice` is no bcrypt hash; write what `htpasswd -nBC",
            "web.yml:13:8: the hash of `bob` has the cost 31; hash the password with a cost",
            "web.yml:14:24: `interval` is no duration such as 15s, 1h30m or 30d; write a number",
            "web.yml:15:1: unknown key `users` in the file; known here are tls_server_config",
        ];
        assert_eq!(problems.len(), begins.len(), "{problems:#?}");
        for (problem, begin) in problems.iter().zip(begins) {
            assert!(problem.starts_with(begin), "{problem}\n{begin}");
        }
        assert!(!problems.concat().contains("secret"), "{problems:#?}");
    }

    #[test]
    fn blocks_that_do_not_fit() {
        let files = Files::new();
        for (text, problem) in [
            ("cert_file: tls.crt", "`key_file` is missing"),
            ("key_file: tls.key", "`cert_file` is missing"),
            ("cert_file: no.crt, key_file: tls.key", "cannot read no.crt (entity not found)"),
            ("cert_file: empty.pem, key_file: tls.key", "empty.pem holds no certificate"),
            ("cert_file: tls.crt, key_file: empty.pem", "empty.pem holds no private key"),
            ("cert_file: tls.crt, cert: x, key_file: tls.key", "`cert` and `cert_file` are both"),
            ("client_auth_type: NoClientCert", "`cert_file` is missing"),
            ("cert_file: tls.crt, key_file: tls.key, client_auth_type: Maybe", "is unknown"),
            ("cert_file: tls.crt, key_file: tls.key, client_ca_file: tls.crt", "nobody is asked"),
            (
                "cert_file: tls.crt, key_file: tls.key, client_auth_type: RequireAndVerifyClientCert",
                "no authority is named",
            ),
            (
                "cert_file: tls.crt, key_file: tls.key, client_allowed_sans: [a]",
                "need not show a certificate",
            ),
            (
                "cert_file: tls.crt, key_file: tls.key, min_version: TLS13, max_version: TLS12",
                "`max_version` is below",
            ),
        ] {
            let problems = files.load(&format!("tls_server_config: {{{text}}}")).err().unwrap();
            assert!(problems.iter().any(|told| told.contains(problem)), "{text}\n{problems:?}");
        }
        for (text, problem) in [
            ("[1]", "the file holds a list"),
            ("a: 1\n---\nb: 2\n", "a second document"),
            ("tls_server_config: {cert_file: [a]}", "`cert_file` holds a list"),
            ("rate_limit: {interval: 1s}", "nothing would be answered"),
            ("basic_auth_users: {\"a:b\": x}", "holds a colon"),
            ("basic_auth_users: {a: x, a: y}", "in line 1 already"),
        ] {
            let problems = files.load(text).err().unwrap();
            assert!(problems.iter().any(|told| told.contains(problem)), "{text}\n{problems:?}");
        }
    }
}
