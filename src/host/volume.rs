//! How much room a directory has: the file system that it lies in, and what its own files take.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::files::{Found, Seen, read, reason};
use super::reading::Space;
use super::text;
use crate::postgres::HostReason;

/// Entries of one directory tree that are looked at; beyond that its use stays unknown.
const MAX_ENTRIES: usize = 2_000_000;

/// The unit of a file's allocated size, whatever the file system's block is.
const BLOCK: u64 = 512;

/// The file system of a directory.
pub(super) fn space(proc: &Path, found: Found) -> Seen<Space> {
    let Found { path, called } = found;
    let found = rustix::fs::statvfs(&path).map_err(|error| reason(&error.into()))?;
    let device = path.metadata().map_err(|error| reason(&error))?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = read(&proc.join("self/mountinfo")).unwrap_or_default();
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space {
        path,
        called: called.to_string_lossy().into_owned(),
        device: text::device(&mounts, major, minor).unwrap_or_else(|| format!("{major}:{minor}")),
        size: bytes(found.f_blocks),
        used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        available: bytes(found.f_bavail),
        inodes: (found.f_files > 0).then_some((found.f_files, found.f_favail)),
    })
}

/// The bytes that the files below `path` take on its file system; links and other file systems are left
/// out, and files that vanish meanwhile.
///
/// # Errors
/// Where something may not be looked at, or it takes longer than `until`: half a sum is none.
pub(super) fn taken(path: &Path, until: Instant) -> Seen<u64> {
    let top = path.metadata().map_err(|error| reason(&error))?;
    let mut blocks = top.blocks();
    let mut entries = 0;
    let mut left: Vec<PathBuf> = vec![path.to_path_buf()];
    while let Some(folder) = left.pop() {
        let listed = match std::fs::read_dir(&folder) {
            Ok(listed) => listed,
            Err(error) if reason(&error) == HostReason::NotFound && folder != path => continue,
            Err(error) => return Err(reason(&error)),
        };
        for entry in listed {
            let metadata = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                Ok(found) => found,
                Err(error) if reason(&error) == HostReason::NotFound => continue,
                Err(error) => return Err(reason(&error)),
            };
            entries += 1;
            if entries > MAX_ENTRIES || (entries % 256 == 0 && Instant::now() > until) {
                return Err(HostReason::Timeout);
            }
            let (path, metadata) = metadata;
            if metadata.dev() != top.dev() {
                continue;
            }
            blocks += metadata.blocks();
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    Ok(blocks.saturating_mul(BLOCK))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn what_files_take() {
        let here = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let root = here.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/f"), vec![1; 1 << 20]).unwrap();
        fs::write(other.path().join("f"), vec![1; 4 << 20]).unwrap();
        symlink(other.path(), root.join("link")).unwrap();
        symlink(root, root.join("loop")).unwrap();
        // A hole takes nothing.
        fs::File::create(root.join("hole")).unwrap().set_len(1 << 30).unwrap();
        let taken = taken(root, later()).unwrap();
        assert!((1 << 20..2 << 20).contains(&taken), "{taken}");
        assert_eq!(super::taken(&root.join("x"), later()), Err(HostReason::NotFound));
    }

    #[test]
    fn half_a_sum_is_none() {
        let here = tempfile::tempdir().unwrap();
        for number in 0..300 {
            fs::write(here.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(taken(here.path(), Instant::now()), Err(HostReason::Timeout));
        assert!(taken(here.path(), later()).is_ok());
    }

    #[test]
    fn file_systems() {
        let space = |path: &Path| {
            let found = Found { path: path.into(), called: path.into() };
            space(Path::new("/proc"), found)
        };
        let here = tempfile::tempdir().unwrap();
        let found = space(here.path()).unwrap();
        assert!(found.size >= found.used && found.size > found.available, "{found:?}");
        assert!(!found.device.is_empty());
        assert_eq!(space(&here.path().join("x")), Err(HostReason::NotFound));
        // A file system that makes inodes as they are needed has no number of them.
        let proc = space(Path::new("/proc")).unwrap();
        assert_eq!(proc.inodes, None);
    }
}
