//! Server versions and ranges of them.

use std::fmt;

/// `server_version_num`: 170010 is 17.10. PgBouncer's stand below all of PostgreSQL's, two digits a
/// part: 11800 is 1.18.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// The oldest server that the packs are written for.
    pub const OLDEST: Self = Self(130_000);

    pub fn major(self) -> u32 {
        self.0 / 10_000
    }

    /// Reads what PgBouncer calls itself: `1.18.0/bouncer` at the login, `PgBouncer 1.18.0` in its
    /// console. None where it is something else.
    pub fn of_pgbouncer(said: &str) -> Option<Self> {
        let parts = said.strip_suffix("/bouncer").or_else(|| said.strip_prefix("PgBouncer "))?;
        let mut numbers = parts.splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse::<u32>().unwrap_or(0).min(99)
        });
        let mut next = || numbers.next().unwrap_or(0);
        Some(Self(next().min(6) * 10_000 + next() * 100 + next()))
    }

    /// Whether it is PgBouncer's: PostgreSQL has been past these numbers since 2006.
    pub fn is_pgbouncer(self) -> bool {
        (1..70_000).contains(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.0 % 10_000;
        if self.is_pgbouncer() {
            return write!(f, "{}.{}.{}", self.major(), rest / 100, rest % 100);
        }
        write!(f, "{}.{rest}", self.major())
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

/// The first version that `digits` names and the first after it: `17` is all of 17.x, `1.24` all of
/// PgBouncer's 1.24.x.
fn span(digits: &str) -> Option<(Version, Version)> {
    if let Some(minor) = digits.strip_prefix("1.") {
        let minor: u32 = minor.parse().ok().filter(|m| *m < 99)?;
        return Some((Version(10_000 + minor * 100), Version(10_000 + (minor + 1) * 100)));
    }
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

    #[test]
    fn pgbouncers_versions() {
        let is = |said: &str| Version::of_pgbouncer(said).map(|v| v.0);
        assert_eq!(is("1.18.0/bouncer"), Some(11_800));
        assert_eq!(is("PgBouncer 1.25.1"), Some(12_501));
        assert_eq!((is("1.24/bouncer"), is("17.10")), (Some(12_400), None));
        assert!(Version(11_800).is_pgbouncer() && !Version(130_000).is_pgbouncer());
        assert!(!Version(0).is_pgbouncer(), "that is none");
        assert_eq!(Version(12_501).to_string(), "1.25.1");
        let newer = VersionRange::parse(">=1.24").unwrap();
        assert!(newer.contains(Version(12_400)) && !newer.contains(Version(12_301)));
    }
}
