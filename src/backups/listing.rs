//! Finding dumps, and the room that is left for the next. Blocks.

use std::fs::Metadata;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::fault::{Fault, Reason};
use super::results::Dump;

/// More files than that are not dumps.
const MOST_DUMPS: usize = 10_000;
/// Files of one dump that is a directory.
const MOST_FILES: usize = 200_000;

/// The dumps that the patterns find, and the bytes free where the newest lies.
pub(crate) fn find(patterns: &[String]) -> Result<(Vec<Dump>, Option<u64>), Fault> {
    let mut found = Vec::new();
    let mut newest: Option<(Timestamp, std::path::PathBuf)> = None;
    for pattern in patterns {
        let paths = glob::glob(pattern).map_err(|error| {
            Fault::new(Reason::Error, format!("{pattern} is no pattern ({error}); correct `files`"))
        })?;
        for path in paths {
            let path = path.map_err(|error| {
                Fault::of_file(&error.path().display().to_string(), error.error())
            })?;
            let dump = match measure(&path) {
                Ok(dump) => dump,
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Fault::of_file(&path.display().to_string(), &error)),
            };
            if found.len() == MOST_DUMPS {
                return Err(Fault::new(
                    Reason::TooLarge,
                    format!("{pattern} finds more than {MOST_DUMPS} files; narrow it"),
                ));
            }
            if newest.as_ref().is_none_or(|(written, _)| *written < dump.written) {
                newest = Some((dump.written, path));
            }
            found.push(dump);
        }
    }
    if newest.is_none() {
        directory(patterns)?;
    }
    Ok((found, newest.and_then(|(_, path)| free(&path))))
}

/// Nothing found and nothing that could be: a directory that is not there is told.
fn directory(patterns: &[String]) -> Result<(), Fault> {
    for pattern in patterns {
        let plain = Path::new(pattern)
            .parent()
            .filter(|parent| !parent.to_string_lossy().contains(['*', '?', '[']));
        if let Some(parent) = plain {
            std::fs::read_dir(parent)
                .map_err(|error| Fault::of_file(&parent.display().to_string(), &error))?;
        }
    }
    Ok(())
}

fn measure(path: &Path) -> io::Result<Dump> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(Dump { bytes: metadata.len(), written: written(&metadata)? });
    }
    let mut whole = Dump { bytes: 0, written: written(&metadata)? };
    let mut folders = vec![path.to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            files += 1;
            if files > MOST_FILES {
                return Err(io::Error::other("it holds too many files for a dump"));
            }
            // Of links their own size: what they lead to may be anywhere.
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                whole.bytes += metadata.len();
                whole.written = whole.written.max(written(&metadata)?);
            }
        }
    }
    Ok(whole)
}

fn written(metadata: &Metadata) -> io::Result<Timestamp> {
    Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)
}

fn free(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
