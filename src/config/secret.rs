//! Where secrets come from.

use std::path::PathBuf;

use crate::secret::Secret;

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
    /// A sentence with the file's name, when it cannot be read.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| Secret::new(text.trim_end_matches(['\n', '\r'])))
                .map_err(|e| {
                    format!("cannot read the secret in {}: {e}; make it readable", path.display())
                }),
        }
    }
}
