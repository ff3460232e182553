//! The files of the logs.

use super::found::Found;
use crate::config::{LogInput, Logs};

/// Whether the patterns of log files find something, and something readable.
pub(super) fn files(logs: &Logs, found: &mut Found) {
    for source in &logs.sources {
        let LogInput::Files(patterns) = &source.input else { continue };
        for pattern in patterns {
            let paths: Vec<_> = glob::glob(pattern).into_iter().flatten().collect();
            if paths.is_empty() {
                found.advise(
                    &source.place,
                    format!("{}: no file is named as {pattern} says", source.name),
                    "correct the pattern, or let the agent read the directory; files that come later are read",
                );
            }
            for path in paths {
                let opened = match path {
                    Ok(path) => std::fs::File::open(&path).map(drop).map_err(|e| (path, e)),
                    Err(error) => {
                        Err((error.path().to_owned(), std::io::Error::other(error.to_string())))
                    }
                };
                if let Err((path, error)) = opened {
                    found.needs(
                        &source.place,
                        format!("{}: cannot read {}: {error}", source.name, path.display()),
                        "let the agent's user read it (on Debian: group adm, and log_file_mode 0640)",
                    );
                }
            }
        }
    }
}
