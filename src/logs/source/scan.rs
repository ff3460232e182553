//! Looking at directories: which files the patterns match now, and which others lie beside them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::content::Content;

/// What stands beside a file that kept its name may be a copy in the making: it is left in peace for
/// so long, in nanoseconds.
const SETTLED: i64 = 2 * 1_000_000_000;

/// How often a directory is listed again while files in it are renamed.
pub(super) const RETRIES: usize = 5;
/// File systems take times from a clock that ticks so seldom, in nanoseconds.
const TICK: i64 = 20 * 1_000_000;

/// A file as a directory shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
}

impl Seen {
    fn new(path: PathBuf, meta: &Metadata) -> Self {
        Self {
            path,
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: modified(meta),
        }
    }

    pub(super) fn key(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Nobody has written to it for a moment: it is no copy in the making.
    pub(super) fn is_settled(&self) -> bool {
        self.modified <= now_ns().saturating_sub(SETTLED)
    }
}

/// Opens the file that was seen; none where its name leads to another one by now.
pub(super) fn open(seen: &Seen) -> io::Result<Option<Content>> {
    let file = match File::open(&seen.path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let content = Content::new(file)?;
    Ok((content.look()?.key == seen.key()).then_some(content))
}

/// Whether its name still leads to it.
pub(super) fn is_there(seen: &Seen) -> bool {
    fs::metadata(&seen.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == seen.key())
}

pub(super) fn modified(meta: &Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

/// The regular files that `patterns` match, oldest first; each file once, under its first name.
/// What cannot be looked at is told with its path.
pub(super) fn matching(patterns: &[String]) -> (Vec<Seen>, Vec<(PathBuf, io::Error)>) {
    let mut found: BTreeMap<(u64, u64), Seen> = BTreeMap::new();
    let mut problems = Vec::new();
    for pattern in patterns {
        let Ok(paths) = glob::glob(pattern) else { continue };
        for path in paths {
            let path = match path {
                // Read where a file that was followed has become one, and never else.
                Ok(path) if is_packed(&path) => continue,
                Ok(path) => path,
                Err(e) => {
                    problems.push((e.path().to_owned(), e.into()));
                    continue;
                }
            };
            match fs::metadata(&path) {
                Ok(meta) if meta.is_file() => {
                    // Rotation works where the file lies, not where a link to it does.
                    let link = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink());
                    let real = link.then(|| fs::canonicalize(&path).ok()).flatten();
                    let seen = Seen::new(real.unwrap_or(path), &meta);
                    found.entry(seen.key()).or_insert(seen);
                }
                Ok(_) => {}
                // It went between the listing and the look.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => problems.push((path, e)),
            }
        }
    }
    let mut found: Vec<Seen> = found.into_values().collect();
    // Names break the tie of files written in one moment: rotated names sort by time as well.
    found.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    (found, problems)
}

/// The regular files in a directory; none where it cannot be read. A listing may miss what is renamed
/// while it is made: so it is made again until two in a row are the same, or nothing has changed.
pub(super) fn directory(path: &Path) -> Vec<Seen> {
    let names = |listing: &[Seen]| -> BTreeMap<(u64, u64), PathBuf> {
        listing.iter().map(|seen| (seen.key(), seen.path.clone())).collect()
    };
    let mut began = now_ns();
    let mut listing = list(path);
    for _ in 0..RETRIES {
        let changed = fs::metadata(path).map_or(i64::MIN, |meta| modified(&meta));
        if changed < began.saturating_sub(TICK) {
            break;
        }
        began = now_ns();
        let again = list(path);
        let same = names(&again) == names(&listing);
        listing = again;
        if same {
            break;
        }
    }
    listing
}

fn list(path: &Path) -> Vec<Seen> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let meta = entry.metadata().ok().filter(Metadata::is_file)?;
            Some(Seen::new(entry.path(), &meta))
        })
        .collect()
}

/// Whether `sibling` is a name that a rotation gives to `path`: `NAME.…` or `NAME-…` in the same
/// directory. It may have been compressed by gzip since.
pub(super) fn is_rotated(path: &Path, sibling: &Path) -> bool {
    let own = path.file_name().map(OsStr::as_bytes);
    path.parent() == sibling.parent() && stems(sibling).any(|stem| Some(stem) == own)
}

/// The paths to which a rotation may have given this one as a name, the shortest first. Of thousands in a
/// directory few are asked for.
pub(super) fn origins(sibling: &Path) -> impl Iterator<Item = PathBuf> {
    stems(sibling).map(|stem| sibling.with_file_name(OsStr::from_bytes(stem)))
}

fn stems(sibling: &Path) -> impl Iterator<Item = &[u8]> {
    let readable = is_gzip(sibling) || !is_packed(sibling);
    let name = sibling.file_name().filter(|_| readable).map_or(&b""[..], OsStr::as_bytes);
    memchr::memchr2_iter(b'.', b'-', name).filter(|end| *end > 0).map(|end| &name[..end])
}

/// Whether it is one that gzip has made.
pub(super) fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Whether its name says that it is no text (yet).
fn is_packed(path: &Path) -> bool {
    const PACKED: [&str; 6] = ["gz", "bz2", "xz", "zst", "lz4", "tmp"];
    path.extension().is_some_and(|extension| PACKED.iter().any(|packed| extension == *packed))
}

/// Nanoseconds since 1970, as files' times are told.
pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_each_file_once_and_no_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["b.log", "a.log", "c.txt"] {
            fs::write(path(name), name).unwrap();
        }
        fs::create_dir(path("d.log")).unwrap();
        std::os::unix::fs::symlink(path("a.log"), path("link.log")).unwrap();
        let pattern = path("*.log").display().to_string();
        let (found, problems) = matching(&[pattern.clone(), pattern, "[".into()]);
        let mut names: Vec<_> = found.iter().map(|seen| seen.path.clone()).collect();
        names.sort();
        assert_eq!(names, [path("a.log"), path("b.log")]);
        assert!(problems.is_empty());
    }

    #[test]
    fn rotated_names() {
        let yes = |name: &str| is_rotated(Path::new("/l/pg.log"), Path::new(name));
        assert!(yes("/l/pg.log.1") && yes("/l/pg.log-20260101") && yes("/l/pg.log.20260101-1200"));
        assert!(yes("/l/pg.log.1.gz"));
        assert!(!yes("/l/pg.log") && !yes("/l/pg.log.1.xz") && !yes("/l/pg.logs"));
        assert!(!yes("/m/pg.log.1") && !yes("/l/other.log.1"));
        let origins: Vec<_> = origins(Path::new("/l/.a-b.log-2.gz")).collect();
        assert_eq!(
            origins,
            ["/l/.a", "/l/.a-b", "/l/.a-b.log", "/l/.a-b.log-2"].map(PathBuf::from)
        );
    }
}
