//! Passwords, headers and the rate of requests, as the web configuration file has them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::Open;
use crate::support::agent::{get, sample};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn users(pairs: &[(&str, &str)]) -> String {
    let mut text = "basic_auth_users:\n".to_owned();
    for (user, password) in pairs {
        text.push_str(&format!("  {user}: {}\n", bcrypt::hash(password, 4).unwrap()));
    }
    text
}

struct File {
    directory: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = Self { directory: TempDir::new().unwrap() };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("web.yml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }
}

fn status(door: &Open, path: &str, user: &str, password: &str) -> u16 {
    get(door.address, path, &[("Authorization", &basic(user, password))]).status
}

#[test]
fn a_password_is_needed_for_all_but_health() {
    let file = File::new(&users(&[("prom", "s3cret: ü"), ("other", "pw")]));
    let door = Open::guarded(&file.path());
    for path in ["/metrics", "/", "/probe?target=shop-1", "/sd", "/nothing"] {
        let reply = door.get(path);
        assert_eq!(reply.status, 401, "{path}");
        assert!(
            reply.headers.to_ascii_lowercase().contains("\r\nwww-authenticate: basic realm="),
            "{}",
            reply.headers
        );
        assert!(!reply.body.contains("shop"), "{}", reply.body);
    }
    for (user, password, expected) in [
        ("prom", "s3cret: ü", 200),
        // Now known, and asked again.
        ("prom", "s3cret: ü", 200),
        ("prom", "S3cret: ü", 401),
        ("prom", "", 401),
        ("prom", "pw", 401),
        ("nobody", "pw", 401),
        ("", "", 401),
        ("other", "pw", 200),
    ] {
        assert_eq!(status(&door, "/metrics", user, password), expected, "{user} {password}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(door.get(path).status, 200, "{path}");
    }
}

/// Asks until `found`, at most eight seconds.
fn eventually(found: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(8);
    while Instant::now() < deadline {
        if found() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

#[test]
fn a_change_counts_while_it_runs_and_a_mistake_does_not() {
    let file = File::new(&users(&[("prom", "old")]));
    let door = Open::guarded(&file.path());
    assert_eq!(status(&door, "/metrics", "prom", "old"), 200);
    let valid = |user: &str, password: &str| {
        let header = basic(user, password);
        let page = get(door.address, "/metrics", &[("Authorization", &header)]).body;
        sample(&page, "pgvigil_http_web_config_valid", &[])
    };
    assert_eq!(valid("prom", "old"), Some(1.0));

    file.write(&users(&[("prom", "new")]));
    assert!(eventually(|| status(&door, "/metrics", "prom", "new") == 200));
    assert_eq!(status(&door, "/metrics", "prom", "old"), 401);
    assert_eq!(valid("prom", "new"), Some(1.0));

    for mistake in ["", "basic_auth_users: {prom: plain}\n", "basic_auth: {}\n"] {
        file.write(mistake);
        assert!(eventually(|| valid("prom", "new") == Some(0.0)), "{mistake:?}");
        assert_eq!(door.get("/metrics").status, 401, "{mistake:?}");
        file.write(&users(&[("prom", "new")]));
        assert!(eventually(|| valid("prom", "new") == Some(1.0)), "{mistake:?}");
    }
}

#[test]
fn headers_are_added() {
    let file = File::new(
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    \
         Strict-Transport-Security: max-age=60\n",
    );
    let door = Open::guarded(&file.path());
    for path in ["/livez", "/nothing", "/metrics"] {
        let headers = door.get(path).headers.to_ascii_lowercase();
        assert!(headers.contains("\r\nx-frame-options: deny"), "{headers}");
        assert!(headers.contains("\r\nstrict-transport-security: max-age=60"), "{headers}");
        assert!(headers.contains("\r\ncache-control: no-store"), "{headers}");
    }
}

#[test]
fn too_many_requests_are_turned_away() {
    let file = File::new("rate_limit: {interval: 1h, burst: 3}\n");
    let door = Open::guarded(&file.path());
    let asked: Vec<u16> = (0..5).map(|_| door.get("/metrics").status).collect();
    assert_eq!(asked, [200, 200, 200, 429, 429]);
    assert_eq!(door.get("/livez").status, 200);
}

#[test]
fn a_wrong_file_keeps_the_door_shut() {
    let file = File::new("basic_auth_users: {prom: plain}\nusers: 1\n");
    let settings = pgvigil::config::Http {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        web_config_file: Some(file.path()),
    };
    let Err(pgvigil::http::OpenError::Config(problems)) = pgvigil::http::open(&settings).map(drop)
    else {
        panic!("taken");
    };
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].to_string().contains("web.yml:1:26: the password of `prom` is no bcrypt"));
}
