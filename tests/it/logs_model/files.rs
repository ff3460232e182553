//! The files that are written, and what rotation makes of them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::random::{Random, ranges};
use super::writer::numbers;
use crate::support::river::append;

/// How the files are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// `pg.log`, which something else rotates.
    One,
    /// The same in several directories.
    Several,
    /// `postgresql-Mon.log` and so on, which the server itself uses again.
    Weekdays,
}

const DIRECTORIES: [&str; 3] = ["a", "b", "c"];
const DAYS: [&str; 3] = ["Mon", "Tue", "Wed"];

pub(super) struct Files {
    root: PathBuf,
    names: Names,
    day: usize,
    copies: usize,
}

impl Files {
    pub(super) fn new(root: PathBuf, names: Names) -> Self {
        let files = Self { root, names, day: 0, copies: 0 };
        for path in files.live() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            append(&path, "");
        }
        files
    }

    /// The pattern in the agent's configuration.
    pub(super) fn pattern(&self) -> String {
        let pattern = match self.names {
            Names::One => "logs/pg.log",
            Names::Several => "logs/*/pg.log",
            Names::Weekdays => "logs/postgresql-*.log",
        };
        self.root.join(pattern).display().to_string()
    }

    fn day(&self, day: usize) -> PathBuf {
        self.root.join(format!("logs/postgresql-{}.log", DAYS[day % DAYS.len()]))
    }

    /// What is written to now.
    fn live(&self) -> Vec<PathBuf> {
        match self.names {
            Names::One => vec![self.root.join("logs/pg.log")],
            Names::Several => {
                DIRECTORIES.iter().map(|d| self.root.join("logs").join(d).join("pg.log")).collect()
            }
            Names::Weekdays => vec![self.day(self.day)],
        }
    }

    /// One of those that are written to now.
    pub(super) fn pick(&self, random: &mut Random) -> PathBuf {
        let live = self.live();
        live[random.below(live.len())].clone()
    }

    /// Renames it and all that was rotated before.
    pub(super) fn rotate(&self, log: &Path) {
        let free = |n: &usize| !exists(&rotated(log, *n)) && !exists(&packed(log, *n));
        let last = (1..).find(free).unwrap();
        for n in (1..last).rev() {
            for path in [rotated, packed] {
                let _ = fs::rename(path(log, n), path(log, n + 1));
            }
        }
        fs::rename(log, rotated(log, 1)).unwrap();
        append(log, "");
    }

    /// As gzip does it: the time is the original's, which goes at the end.
    pub(super) fn compress(&self, log: &Path, random: &mut Random) {
        let Some(n) = (1..20).find(|n| exists(&rotated(log, *n))) else { return };
        let path = rotated(log, n);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        // Some write it aside, and rename it in the moment in which the original goes.
        let aside = random.once_in(2);
        let target =
            if aside { PathBuf::from(format!("{}.tmp", path.display())) } else { packed(log, n) };
        let mut encoder = GzEncoder::new(fs::File::create(&target).unwrap(), Compression::fast());
        encoder.write_all(&fs::read(&path).unwrap()).unwrap();
        encoder.finish().unwrap().set_modified(modified).unwrap();
        if aside {
            fs::rename(target, packed(log, n)).unwrap();
        }
        fs::remove_file(path).unwrap();
    }

    pub(super) fn copy_and_truncate(&mut self, log: &Path) {
        self.copies += 1;
        let copy = format!("{}-{}", log.display(), self.copies);
        fs::copy(log, copy).unwrap();
        fs::File::create(log).unwrap();
    }

    /// Truncates it where it lies, and keeps no copy; returns what is gone.
    pub(super) fn truncate(&self, log: &Path) -> Vec<u8> {
        let gone = fs::read(log).unwrap();
        fs::File::create(log).unwrap();
        gone
    }

    /// Deletes the last of what was rotated; returns what is gone.
    pub(super) fn delete(&self, log: &Path) -> Vec<u8> {
        let oldest = (1..50).rev().find_map(|n| {
            let paths = [rotated(log, n), packed(log, n)];
            paths.into_iter().find(|path| exists(path))
        });
        let Some(path) = oldest else { return Vec::new() };
        let gone = content(&path);
        fs::remove_file(path).unwrap();
        gone
    }

    /// What the next day's file holds that will be gone when the server opens it.
    pub(super) fn next_day_holds(&self) -> Vec<u8> {
        fs::read(self.day(self.day + 1)).unwrap_or_default()
    }

    /// The server goes on to the next day's file, and truncates what a week ago was in it; with
    /// `remove` something has removed it before, and it is made anew.
    pub(super) fn next_day(&mut self, remove: bool) {
        self.day += 1;
        let path = self.day(self.day);
        if remove {
            let _ = fs::remove_file(&path);
        }
        fs::File::create(path).unwrap();
    }

    pub(super) fn is_by_weekday(&self) -> bool {
        self.names == Names::Weekdays
    }

    /// What lies on the disk, compressed or not.
    pub(super) fn held(&self) -> Vec<usize> {
        self.all().iter().flat_map(|path| numbers(&text(path))).collect()
    }

    /// Which numbers lie in which file.
    pub(super) fn holdings(&self) -> String {
        let mut told = String::new();
        for path in self.all() {
            let Ok(meta) = fs::metadata(&path) else { continue };
            let name = path.strip_prefix(&self.root).unwrap().display().to_string();
            let age = meta
                .modified()
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok())
                .unwrap_or_default();
            let numbers = ranges(numbers(&text(&path)));
            told += &format!("{name}: {numbers} (inode {}, {age:?} old)\n", meta.ino());
        }
        told
    }

    fn all(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.root.join("logs")];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => found.push(path),
                }
            }
        }
        found.sort();
        found
    }
}

fn rotated(log: &Path, n: usize) -> PathBuf {
    PathBuf::from(format!("{}.{n}", log.display()))
}

fn packed(log: &Path, n: usize) -> PathBuf {
    PathBuf::from(format!("{}.{n}.gz", log.display()))
}

fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}

fn content(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = Vec::new();
    MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
    plain
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&content(path)).into_owned()
}
