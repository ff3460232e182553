//! Who may come in: what exporter-toolkit's web configuration file says, kept up to date.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::web_config::{self, RateLimit, WebConfig};
use crate::config::Problem;
use crate::secret::Secret;
use crate::task::{Group, Stop};
use crate::telemetry::Telemetry;

/// What a client without credentials is told to send.
pub(super) const CHALLENGE: &str = "Basic realm=\"pgvigil\", charset=\"UTF-8\"";

/// How often the files are looked at. A change is taken over when it has stood for one look.
const LOOK: Duration = Duration::from_secs(1);

/// How soon a change that was refused is tried again though nothing has changed since.
const AGAIN: Duration = Duration::from_secs(30);

/// Passwords verified at the same time. bcrypt is slow on purpose: who sends wrong ones without end
/// gets this much of the machine.
const VERIFIERS: usize = 2;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    Unknown,
    TooMany,
}

/// The file in force, or none: then everybody comes in.
pub(super) struct Guard {
    file: Option<PathBuf>,
    rules: Arc<RwLock<Arc<Rules>>>,
    verifiers: Arc<Semaphore>,
}

/// One reading of the file.
#[derive(Default)]
pub(super) struct Rules {
    pub config: WebConfig,
    stamps: Vec<Option<Stamp>>,
    known: Known,
    rate: Option<Mutex<Bucket>>,
}

/// Reads the file with stamps from before the reading, so that what changes meanwhile is read again.
fn read(file: &Path) -> Result<Rules, Vec<Problem>> {
    let mut files = Vec::new();
    loop {
        let stamps = stamps(file, &files);
        let config = web_config::load(file)?;
        // Which files it names is known only now.
        if config.files == files {
            let rate =
                config.rate_limit.map(|limit| Mutex::new(Bucket::new(limit, Instant::now())));
            return Ok(Rules { config, stamps, known: Known::default(), rate });
        }
        files = config.files;
    }
}

impl Guard {
    pub(super) fn load(file: Option<&Path>) -> Result<Self, Vec<Problem>> {
        let rules = match file {
            Some(path) => read(path)?,
            None => Rules::default(),
        };
        Ok(Self {
            file: file.map(Path::to_path_buf),
            rules: Arc::new(RwLock::new(Arc::new(rules))),
            verifiers: Arc::new(Semaphore::new(VERIFIERS)),
        })
    }

    /// Has the files looked at until `group` stops.
    pub(super) fn watch(&self, telemetry: &Telemetry, group: &Group) {
        let Some(file) = self.file.clone() else { return };
        let valid = telemetry.gauge(
            "pgvigil_http_web_config_valid",
            "1 while the web configuration file is in force as it stands, 0 after a change that could \
             not be taken over.",
        );
        valid.set(1.0);
        let watch = Watch { file, rules: Arc::clone(&self.rules), valid, stop: group.signal() };
        group.spawn("web configuration", watch.run());
    }

    pub(super) fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets a request in or turns it away.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<(), Turned> {
        let rules = self.current();
        if let Some(bucket) = &rules.rate
            && !bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
        {
            return Err(Turned::TooMany);
        }
        let users = &rules.config.users;
        if users.is_empty() {
            return Ok(());
        }
        let Some((user, password)) = credentials(headers) else { return Err(Turned::Unknown) };
        // An unknown user costs as much time as a known one, so that names cannot be tried out.
        let known = users.get(&user);
        let Some(hash) = known.or_else(|| users.values().next()).cloned() else {
            return Err(Turned::Unknown);
        };
        let key = rules.known.key(&user, &hash, &password);
        if known.is_some() && rules.known.has(key) {
            return Ok(());
        }
        let Ok(permit) = Arc::clone(&self.verifiers).acquire_owned().await else {
            return Err(Turned::Unknown);
        };
        let verify = move || {
            // The work goes on when its client goes away, so it keeps the permit itself.
            let _permit = permit;
            bcrypt::verify(password.expose(), hash.expose()).unwrap_or(false)
        };
        let right = tokio::task::spawn_blocking(verify).await.unwrap_or(false);
        if right && known.is_some() {
            rules.known.add(key);
            Ok(())
        } else {
            Err(Turned::Unknown)
        }
    }
}

/// User and password of an `Authorization` header (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, Secret)> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), Secret::new(password)))
}

/// Credentials that were verified once. Kept are two hashes under random keys and not the passwords;
/// comparing them tells nothing about a password, however long it takes.
#[derive(Default)]
struct Known {
    random: [RandomState; 2],
    keys: Mutex<HashSet<[u64; 2]>>,
}

impl Known {
    /// More can only be those that bcrypt takes for the same, by their first 72 bytes.
    const MOST: usize = 256;

    fn key(&self, user: &str, hash: &Secret, password: &Secret) -> [u64; 2] {
        self.random
            .each_ref()
            .map(|random| random.hash_one((user, hash.expose(), password.expose())))
    }

    fn has(&self, key: [u64; 2]) -> bool {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

    fn add(&self, key: [u64; 2]) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= Self::MOST {
            keys.clear();
        }
        keys.insert(key);
    }
}

/// A token bucket: full at first, one token more each interval.
struct Bucket {
    limit: RateLimit,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, tokens: f64::from(limit.burst), at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        let more = passed.as_secs_f64() / self.limit.interval.as_secs_f64();
        self.tokens = (self.tokens + more).min(f64::from(self.limit.burst));
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

/// Changes when a file is replaced or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

fn stamps(file: &Path, named: &[PathBuf]) -> Vec<Option<Stamp>> {
    use std::os::unix::fs::MetadataExt;
    let stamp = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some(Stamp { modified: meta.modified().ok()?, bytes: meta.len(), inode: meta.ino() })
    };
    std::iter::once(file).chain(named.iter().map(PathBuf::as_path)).map(stamp).collect()
}

/// Looks at the files and takes over what changed.
struct Watch {
    file: PathBuf,
    rules: Arc<RwLock<Arc<Rules>>>,
    valid: prometheus::Gauge,
    stop: Stop,
}

/// A change that could not be taken over: tried again when the files change, and from time to time, as
/// it may wait for a file that was never read.
struct Refused {
    stamps: Vec<Option<Stamp>>,
    at: Instant,
    why: String,
}

impl Watch {
    async fn run(self) {
        let mut seen = Vec::new();
        let mut refused: Option<Refused> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.stop.draining() => return,
            }
            let old = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner));
            let (file, files) = (self.file.clone(), old.config.files.clone());
            let look = tokio::task::spawn_blocking(move || stamps(&file, &files)).await;
            let Ok(now) = look else { continue };
            let settled = now == std::mem::replace(&mut seen, now.clone());
            if now == old.stamps {
                // Also where a bad change was taken back.
                self.valid.set(1.0);
                refused = None;
                continue;
            }
            let again = refused.as_ref().is_none_or(|r| r.stamps != now || r.at.elapsed() > AGAIN);
            if !settled || !again {
                continue;
            }
            let file = self.file.clone();
            let Ok(anew) = tokio::task::spawn_blocking(move || read(&file)).await else { continue };
            match anew.map_err(told).and_then(|new| self.accept(&old, new)) {
                Ok(()) => {
                    self.valid.set(1.0);
                    refused = None;
                    tracing::info!(file = %self.file.display(), "the web configuration has changed");
                }
                Err(why) => {
                    self.valid.set(0.0);
                    if refused.as_ref().is_none_or(|known| known.why != why) {
                        tracing::error!("{why} (what was in force stays)");
                    }
                    refused = Some(Refused { stamps: now, at: Instant::now(), why });
                }
            }
        }
    }

    /// Puts new rules in force, unless they would open what was closed: a file that is just being
    /// written can look like one that asks for nothing.
    fn accept(&self, old: &Rules, new: Rules) -> Result<(), String> {
        let opens = (old.config.tls.is_some() && new.config.tls.is_none())
            || (!old.config.users.is_empty() && new.config.users.is_empty());
        if opens {
            return Err(format!(
                "{} no longer asks for what it asked for, TLS or users; restart the agent if that is \
                 meant",
                self.file.display()
            ));
        }
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }
}

fn told(problems: Vec<Problem>) -> String {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    all.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_sent() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            credentials(&headers).map(|(user, password)| (user, password.expose().to_owned()))
        };
        let sent = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read(&sent("a:b:c")), Some(("a".to_owned(), "b:c".to_owned())));
        assert_eq!(read(&sent("é:pä")), Some(("é".to_owned(), "pä".to_owned())));
        assert_eq!(read(&sent("nobody")), None);
        assert_eq!(read("Bearer abc"), None);
        assert_eq!(read("Basic !!"), None);
        assert!(read(&sent("a:b").replace("Basic", "bAsIc")).is_some());
    }

    #[test]
    fn what_is_known_is_known_for_its_hash_alone() {
        let known = Known::default();
        let (hash, other) = (Secret::new("h"), Secret::new("i"));
        known.add(known.key("a", &hash, &Secret::new("p")));
        assert!(known.has(known.key("a", &hash, &Secret::new("p"))));
        assert!(!known.has(known.key("a", &other, &Secret::new("p"))));
        assert!(!known.has(known.key("ap", &hash, &Secret::new(""))));
    }

    #[test]
    fn the_bucket_fills_by_time() {
        let limit = RateLimit { interval: Duration::from_secs(2), burst: 2 };
        let start = Instant::now();
        let mut bucket = Bucket::new(limit, start);
        let mut at = |seconds| bucket.take(start + Duration::from_secs(seconds));
        assert!(at(0) && at(0) && !at(0));
        assert!(!at(1) && at(2) && !at(2));
        assert!(at(60) && at(60) && !at(60));
    }
}
