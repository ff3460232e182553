//! Server versions and ranges of them.

use std::fmt;

/// `server_version_num`: 170010 is 17.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// The oldest server that the packs are written for.
    pub const OLDEST: Self = Self(130_000);

    pub fn major(self) -> u32 {
        self.0 / 10_000
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 10_000)
    }
}

/// A conjunction of comparisons, such as `>=14 <17` or `>=17.2`; empty means every version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionRange {
    from: Option<Version>,
    below: Option<Version>,
}

impl VersionRange {
    /// Reads comparisons separated by blanks or commas; `>= > < <= =` before `MAJOR` or `MAJOR.MINOR`.
    ///
    /// # Errors
    /// A sentence that says which part is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut range = Self::default();
        for part in text.split([' ', ',']).filter(|p| !p.is_empty()) {
            let digits = part.trim_start_matches(['<', '>', '=']);
            let operator = &part[..part.len() - digits.len()];
            let (start, end) = span(digits).ok_or_else(|| {
                format!("`{part}` is no version comparison; write such as `>=14` or `<17`")
            })?;
            match operator {
                ">=" => range.raise(start),
                ">" => range.raise(end),
                "<" => range.lower(start),
                "<=" => range.lower(end),
                "=" | "==" | "" => {
                    range.raise(start);
                    range.lower(end);
                }
                _ => return Err(format!("`{operator}` is no comparison; use >=, >, <, <= or =")),
            }
        }
        Ok(range)
    }

    /// Between two bounds, each open where there is none.
    pub fn between(from: Option<Version>, below: Option<Version>) -> Self {
        Self { from, below }
    }

    pub fn contains(&self, version: Version) -> bool {
        self.from.is_none_or(|from| from <= version) && self.below.is_none_or(|b| version < b)
    }

    fn raise(&mut self, from: Version) {
        self.from = Some(self.from.map_or(from, |old| old.max(from)));
    }

    fn lower(&mut self, below: Version) {
        self.below = Some(self.below.map_or(below, |old| old.min(below)));
    }
}

/// The first version that `digits` names and the first after it: `17` is all of 17.x.
fn span(digits: &str) -> Option<(Version, Version)> {
    let (major, minor) = match digits.split_once('.') {
        Some((major, minor)) => (major, Some(minor.split('.').next()?)),
        None => (digits, None),
    };
    let major: u32 = major.parse().ok().filter(|m| (7..1000).contains(m))?;
    match minor {
        Some(minor) => {
            let minor: u32 = minor.parse().ok().filter(|m| *m < 10_000)?;
            Some((Version(major * 10_000 + minor), Version(major * 10_000 + minor + 1)))
        }
        None => Some((Version(major * 10_000), Version((major + 1) * 10_000))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let holds = |range: &str, v: u32| VersionRange::parse(range).unwrap().contains(Version(v));
        assert!(holds(">=17", 170_000) && !holds(">=17", 160_999));
        assert!(holds("<17", 160_014) && !holds("<17", 170_000));
        assert!(holds(">=14 <17", 150_018) && !holds(">=14, <17", 130_023));
        assert!(holds("=16", 160_014) && holds(">16", 170_000) && !holds(">16", 160_014));
        assert!(holds("<=16.2", 160_002) && !holds("<=16.2", 160_003) && holds("", 999_999));
        assert!(VersionRange::parse("~17").is_err() && VersionRange::parse(">=x").is_err());
        assert_eq!(Version(170_010).to_string(), "17.10");
    }
}
