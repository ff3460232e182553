//! From text and environment to [`ConnInfo`].

use super::info::ConnInfo;
use super::{keyword, syntax};

impl ConnInfo {
    /// Reads a URI (`postgresql://…`, `postgres://…`) or `keyword=value` pairs.
    ///
    /// # Errors
    /// One sentence with the remedy. It never holds a value of the string, hence no secret.
    pub fn parse(dsn: &str) -> Result<Self, String> {
        let mut info = Self::empty();
        for (keyword, value) in syntax::pairs(dsn)? {
            keyword::set(&mut info, keyword, &value)?;
        }
        info.settle()?;
        Ok(info)
    }

    /// Fills what the string left open from libpq's environment variables (`PGHOST`, `PGUSER` …).
    /// A string that names a host keeps it to itself: `PGHOSTADDR` then does not lead elsewhere.
    ///
    /// # Errors
    /// As [`ConnInfo::parse`], naming the variable; `PGSERVICE` and others that would change the
    /// meaning of a connection and are not supported are refused.
    pub fn fill(mut self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        keyword::fill(&mut self, environment)?;
        self.settle()?;
        Ok(self)
    }
}

/// Whether a connection string on the command line shows a password to all who list processes.
/// What cannot be read counts as showing one where it looks like it.
pub fn password_in_argument(dsn: &str) -> bool {
    match syntax::pairs(dsn) {
        Ok(pairs) => {
            pairs.iter().any(|(keyword, value)| keyword.ends_with("password") && !value.is_empty())
        }
        Err(_) => {
            let user_part = dsn.split_once("://").map_or(dsn, |(_, rest)| rest);
            user_part.split_once('@').is_some_and(|(user, _)| user.contains(':'))
                || dsn.to_ascii_lowercase().contains("password")
        }
    }
}
