//! How files of the kernel and of servers are read: never much of one, and every failure is a reason.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use crate::postgres::HostReason;

/// What was looked for, or why it cannot be seen.
pub(super) type Seen<T> = Result<T, HostReason>;

/// Longer than any file that is read here; what comes after it is not looked at.
const MAX_BYTES: u64 = 1 << 20;

/// As many links as the kernel itself follows in one path.
const MAX_LINKS: usize = 40;

/// A file's text.
pub(super) fn read(path: &Path) -> Seen<String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| reason(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file's first `N` bytes.
pub(super) fn head<const N: usize>(path: &Path) -> Seen<[u8; N]> {
    let mut bytes = [0; N];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| reason(&error))?;
    Ok(bytes)
}

/// The reason behind a failure.
pub(super) fn reason(error: &io::Error) -> HostReason {
    match error.kind() {
        // A process that has just ended has files that can be opened and not read.
        _ if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            HostReason::NotFound
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => HostReason::NotFound,
        io::ErrorKind::PermissionDenied => HostReason::Permission,
        io::ErrorKind::Unsupported => HostReason::Unsupported,
        _ => HostReason::Unknown,
    }
}

/// A file or directory that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the agent finds it.
    pub(super) path: PathBuf,
    /// What it is called below its root, all links followed.
    pub(super) called: PathBuf,
}

/// Where `path` leads whose root is `root`: links are followed inside it, as whoever lives there would.
pub(super) fn resolve(root: &Path, path: &Path) -> Seen<Found> {
    let mut links = 0;
    let mut done = PathBuf::new();
    let mut left: Vec<PathBuf> = steps(path);
    while let Some(step) = left.pop() {
        if step == Path::new("..") {
            done.pop();
            continue;
        }
        let here = root.join(&done).join(&step);
        let metadata = here.symlink_metadata().map_err(|error| reason(&error))?;
        if !metadata.is_symlink() {
            done.push(step);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(HostReason::NotFound);
        }
        let target = here.read_link().map_err(|error| reason(&error))?;
        if target.is_absolute() {
            done.clear();
        }
        left.extend(steps(&target));
    }
    Ok(Found { path: root.join(&done), called: Path::new("/").join(done) })
}

/// The steps of a path, the last first.
fn steps(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.into()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside_their_root() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("wal/main")).unwrap();
        fs::create_dir_all(root.join("data")).unwrap();
        symlink("/wal/main", root.join("data/pg_wal")).unwrap();
        symlink("../../wal", root.join("data/up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let resolved = |path: &str| resolve(root, Path::new(path)).map(|found| found.path);
        let called = resolve(root, Path::new("data/pg_wal")).map(|found| found.called);
        assert_eq!(called, Ok("/wal/main".into()));
        assert_eq!(resolved("/data/pg_wal"), Ok(root.join("wal/main")));
        assert_eq!(resolved("/data/up/main"), Ok(root.join("wal/main")));
        assert_eq!(resolved("/data/../wal"), Ok(root.join("wal")));
        assert_eq!(resolved("/nowhere"), Err(HostReason::NotFound));
        assert_eq!(resolved("/loop"), Err(HostReason::NotFound));
    }

    #[test]
    fn failures_are_reasons() {
        let here = tempfile::tempdir().unwrap();
        assert_eq!(read(&here.path().join("x")), Err(HostReason::NotFound));
        fs::write(here.path().join("f"), b"a\xff").unwrap();
        assert_eq!(read(&here.path().join("f")).as_deref(), Ok("a\u{fffd}"));
        assert_eq!(read(&here.path().join("f/x")), Err(HostReason::NotFound));
        assert_eq!(head::<8>(&here.path().join("f")), Err(HostReason::Unknown));
        let error = |code| reason(&io::Error::from_raw_os_error(code));
        assert_eq!(error(rustix::io::Errno::OPNOTSUPP.raw_os_error()), HostReason::Unsupported);
        assert_eq!(error(rustix::io::Errno::SRCH.raw_os_error()), HostReason::NotFound);
    }
}
