//! Reading a file that somebody else writes: bounded, and never waiting for a pipe.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;

use super::fault::{Fault, Reason};

/// More than the longest history of backups has.
pub(crate) const MOST_BYTES: u64 = 16 << 20;

/// A whole file, and when it was written last. Blocks.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, Timestamp), Fault> {
    let shown = path.display().to_string();
    let of_file = |error: io::Error| Fault::of_file(&shown, &error);
    // Asked before it is opened: the opening of a pipe waits for somebody who writes.
    if !std::fs::metadata(path).map_err(of_file)?.is_file() {
        return Err(Fault::new(
            Reason::Error,
            format!("{shown} is no regular file; name the file that the backup job writes"),
        ));
    }
    let file = File::open(path).map_err(of_file)?;
    let written = file.metadata().and_then(|metadata| metadata.modified()).map_err(of_file)?;
    let written = Timestamp::try_from(written).map_err(|_| {
        Fault::new(Reason::Error, format!("{shown} was written at no time; touch it"))
    })?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(of_file)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Fault::new(
            Reason::TooLarge,
            format!("{shown} is larger than {} MiB; is it the right file?", MOST_BYTES >> 20),
        ));
    }
    Ok((bytes, written))
}
