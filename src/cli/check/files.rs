//! The files of the logs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::found::Found;
use crate::config::{LogInput, LogSource, Logs};
use crate::logs::{Container, containers, pods};

/// Whether the patterns of log files find something, and something readable.
pub(super) fn files(logs: &Logs, found: &mut Found) {
    for source in &logs.sources {
        let patterns = match &source.input {
            LogInput::Files(patterns) => patterns,
            LogInput::Stdin => continue,
            LogInput::Kubernetes(wanted) => {
                let pods = pods(wanted);
                let patterns = pods.iter().flatten().flat_map(|pod| &pod.patterns);
                for (link, target) in patterns.flat_map(|pattern| dangling(pattern)) {
                    let what = format!(
                        "{}: {} leads to {}, which is not there",
                        source.name,
                        link.display(),
                        target.display()
                    );
                    let remedy = "mount that directory too into the agent's container under the same path \
                                  (with Docker as runtime /var/lib/docker/containers)";
                    found.advise(&source.place, what, remedy);
                }
                members(source, "pod", &wanted.root, pods.map(|pods| pods.len()), found);
                continue;
            }
            LogInput::Docker(wanted) => {
                let containers = containers(wanted);
                for container in containers.iter().flatten() {
                    without_file(source, container, found);
                }
                let listed = containers.map(|containers| containers.len());
                members(source, "container", &wanted.root, listed, found);
                continue;
            }
        };
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
                    Ok(path) => fs::File::open(&path).map(drop).map_err(|e| (path, e)),
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

/// Links of a pattern that lead nowhere, and where they should.
fn dangling(pattern: &str) -> Vec<(PathBuf, PathBuf)> {
    let links = glob::glob(pattern).into_iter().flatten().filter_map(Result::ok);
    links
        .filter(|link| fs::metadata(link).is_err_and(|e| e.kind() == io::ErrorKind::NotFound))
        .filter_map(|link| {
            let mut target = link.clone();
            // Each link on the way may lead to another.
            for _ in 0..40 {
                let Ok(next) = fs::read_link(&target) else { break };
                target = target.parent().unwrap_or(Path::new("/")).join(next);
            }
            (target != link).then_some((link, target))
        })
        .collect()
}

/// Whether the directory of pods or containers can be listed, and holds some that are wanted.
fn members(
    source: &LogSource,
    what: &str,
    root: &Path,
    listed: io::Result<usize>,
    found: &mut Found,
) {
    let (name, root) = (&source.name, root.display());
    match listed {
        Err(error) => found.needs(
            &source.place,
            format!("{name}: cannot list {root}: {error}"),
            "mount the directory into the agent's container, and let its user read it",
        ),
        Ok(0) => found.advise(
            &source.place,
            format!("{name}: no {what} in {root} fits"),
            "correct the patterns; those that come later are read",
        ),
        Ok(count) => {
            let plural = if count == 1 { "" } else { "s" };
            found.notes.push(format!("{name}: {count} {what}{plural}"));
        }
    }
}

/// A container whose log driver leaves no file that can be read.
fn without_file(source: &LogSource, container: &Container, found: &mut Found) {
    let Some(driver) = container.driver.as_deref().filter(|driver| *driver != "json-file") else {
        return;
    };
    found.advise(
        &source.place,
        format!(
            "{}: the container {} logs with Docker's driver {driver}, which leaves no file to read",
            source.name, container.name
        ),
        "make it anew with `--log-driver json-file`, or let PostgreSQL write its log to a volume",
    );
}
