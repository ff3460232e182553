//! Where secrets come from, and how one that changes or vanishes is followed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::problem::why;
use crate::secret::Secret;

/// A secret longer than this is a wrong file.
const MAX_BYTES: u64 = 64 * 1024;

/// Where a secret comes from: written in place, or in a file that is read again at each use.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    Value(Secret),
    File(PathBuf),
}

impl SecretSource {
    /// The secret now; a file's trailing line ends are no part of it.
    ///
    /// # Errors
    /// A sentence with the file's name, when it cannot be read or holds no secret.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => read_file(path)
                .map_err(|(what, remedy)| format!("{what} {}; {remedy}", path.display())),
        }
    }

    /// Something that remembers the last value; it reads nothing yet.
    pub fn reader(&self) -> SecretReader {
        SecretReader { source: self.clone(), last: Mutex::new(None) }
    }
}

/// A secret as it is now, and whether it is an old one.
pub struct Current {
    pub secret: Secret,
    /// Why the file could not be read this time: `secret` is the last value that it held.
    pub stale: Option<String>,
}

/// Follows one secret: read again at each use, and one that vanishes keeps its last value.
///
/// Secrets are rotated by replacing a file, which is gone or empty for a moment; a session or a push
/// must not fail for that.
pub struct SecretReader {
    source: SecretSource,
    last: Mutex<Option<Secret>>,
}

impl SecretReader {
    /// The secret now, or the last one with the reason why it is not today's.
    ///
    /// # Errors
    /// A sentence with the file's name, when the secret could not be read this time nor before.
    pub fn current(&self) -> Result<Current, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.source.read(), &*last) {
            (Ok(secret), _) => {
                *last = Some(secret.clone());
                Ok(Current { secret, stale: None })
            }
            (Err(why), Some(old)) => Ok(Current { secret: old.clone(), stale: Some(why) }),
            (Err(why), None) => Err(why),
        }
    }

    /// The file that holds the secret, where it is in one.
    pub fn file(&self) -> Option<&Path> {
        match &self.source {
            SecretSource::Value(_) => None,
            SecretSource::File(path) => Some(path),
        }
    }
}

/// The text of a secret's file, or what is wrong with it and what to do.
pub(super) fn read_file(path: &Path) -> Result<Secret, (String, &'static str)> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|e| {
            (
                format!("cannot read the secret ({}) in", why(&e)),
                "write it there, readable for the agent",
            )
        })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(("more than 64 KiB stand in".to_owned(), "name the file that holds a secret"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| ("no UTF-8 text stands in".to_owned(), "name the file that holds a secret"))?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(("no secret stands in".to_owned(), "write it there, readable for the agent"));
    }
    Ok(Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_followed_and_survives_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let reader = SecretSource::File(path.clone()).reader();
        let why = reader.current().err().unwrap();
        assert!(why.contains("password; write it there"), "{why}");

        std::fs::write(&path, "one\r\n").unwrap();
        assert!(reader.current().unwrap().secret == Secret::new("one"));
        std::fs::write(&path, " two \n").unwrap();
        assert!(reader.current().unwrap().secret == Secret::new(" two "));

        // Emptied while it is written anew, then gone: the last value, and a word about it.
        std::fs::write(&path, "\n").unwrap();
        let current = reader.current().unwrap();
        assert!(current.secret == Secret::new(" two ") && current.stale.is_some());
        std::fs::remove_file(&path).unwrap();
        assert!(reader.current().unwrap().stale.unwrap().contains("not exist"));
    }

    #[test]
    fn an_endless_file_is_no_secret() {
        let why = SecretSource::File("/dev/zero".into()).read().err().unwrap();
        assert!(why.contains("64 KiB"), "{why}");
    }
}
