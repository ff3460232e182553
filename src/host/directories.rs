//! Which directories of a server are looked at, and where each may be.

use std::path::{Path, PathBuf};

use super::files::{Found, Seen, resolve};
use super::locate::Located;
use crate::config::{Host, Storage, Volume};
use crate::postgres::{HostReason, Whereabouts};

/// More tablespaces than that are not looked at.
const MAX_TABLESPACES: usize = 64;

/// What a directory is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Data,
    Wal,
    Log,
    Tablespace(String),
}

impl Purpose {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Wal => "wal",
            Self::Log => "log",
            Self::Tablespace(_) => "tablespace",
        }
    }
}

/// Where a directory may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The user says so: as the agent sees it.
    Configured(PathBuf),
    /// The server says so: as the server sees it.
    Told(PathBuf),
}

/// A directory to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) purpose: Purpose,
    /// The first that is seen holds.
    pub(super) places: Vec<Place>,
    /// Bytes allotted to it.
    pub(super) allotted: Option<u64>,
}

impl Directory {
    /// Where it is.
    ///
    /// # Errors
    /// Why it cannot be seen, at the most likely of its places.
    pub(super) fn find(&self, host: &Host, located: &Located) -> Seen<Found> {
        let mut first = None;
        for place in &self.places {
            let found = match place {
                Place::Configured(path) => resolve(Path::new("/"), path),
                Place::Told(path) => located.told(host, path),
            };
            match found {
                Ok(path) => return Ok(path),
                Err(reason) => first = first.or(Some(reason)),
            }
        }
        // Of a place that nobody names, the reason is why the server does not name it.
        let untold = |server: &Whereabouts| match server.data_directory {
            None => HostReason::Permission,
            Some(_) => HostReason::Unknown,
        };
        Err(first.unwrap_or_else(|| located.beside().map_or_else(|reason| reason, untold)))
    }
}

/// The directories of a server. `server`: what it says of itself, if it has said anything yet; `logs`: where
/// the configuration reads its log.
pub(super) fn directories(
    storage: &Storage,
    server: Option<&Whereabouts>,
    logs: Option<&Path>,
) -> Vec<Directory> {
    let path = |volume: &Option<Volume>| volume.as_ref().and_then(|volume| volume.path.clone());
    let size = |volume: &Option<Volume>| volume.as_ref().and_then(|volume| volume.size);
    let configured_data = path(&storage.data);
    let told_data = server.and_then(|server| server.data_directory.as_ref()).map(PathBuf::from);
    // A path that the server tells, which may stand in its data directory.
    let told = |path: &str| -> Vec<Place> {
        let path = Path::new(path);
        if path.is_absolute() {
            return vec![Place::Told(path.to_path_buf())];
        }
        let configured = configured_data.iter().map(|data| Place::Configured(data.join(path)));
        configured.chain(told_data.iter().map(|data| Place::Told(data.join(path)))).collect()
    };
    let data = match &configured_data {
        Some(path) => vec![Place::Configured(path.clone())],
        None => told_data.iter().cloned().map(Place::Told).collect(),
    };
    let wal = match path(&storage.wal) {
        Some(path) => vec![Place::Configured(path)],
        None => told("pg_wal"),
    };
    let mut log = match server.and_then(|server| server.log_directory.as_deref()) {
        Some(path) => told(path),
        None => Vec::new(),
    };
    log.extend(logs.map(|path| Place::Configured(path.to_path_buf())));
    let directory = |purpose, places, allotted| Directory { purpose, places, allotted };
    let mut all = vec![
        directory(Purpose::Data, data, size(&storage.data)),
        directory(Purpose::Wal, wal, size(&storage.wal)),
        directory(Purpose::Log, log, None),
    ];
    let tablespaces = server.map(|server| server.tablespaces.as_slice()).unwrap_or_default();
    all.extend(
        tablespaces
            .iter()
            .take(MAX_TABLESPACES)
            .map(|(name, path)| directory(Purpose::Tablespace(name.clone()), told(path), None)),
    );
    all
}

/// The directory in which all files of a pattern lie.
pub(super) fn folder(pattern: &str) -> Option<PathBuf> {
    let (folder, _) = pattern.rsplit_once('/')?;
    let plain = !folder.is_empty() && !folder.contains(['*', '?', '[']);
    plain.then(|| folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(directories: &[Directory], purpose: &Purpose) -> Vec<Place> {
        let found = directories.iter().find(|directory| directory.purpose == *purpose);
        found.unwrap().places.clone()
    }

    #[test]
    fn the_server_tells_and_the_user_knows_better() {
        let server = Whereabouts {
            data_directory: Some("/data".into()),
            log_directory: Some("log".into()),
            tablespaces: vec![("fast".into(), "/fast".into()), ("in".into(), "pg_tblspc/7".into())],
            ..Whereabouts::default()
        };
        let told = |path: &str| Place::Told(path.into());
        let configured = |path: &str| Place::Configured(path.into());
        let all = directories(&Storage::default(), Some(&server), Some(Path::new("/logs")));
        assert_eq!(places(&all, &Purpose::Data), [told("/data")]);
        assert_eq!(places(&all, &Purpose::Wal), [told("/data/pg_wal")]);
        assert_eq!(places(&all, &Purpose::Log), [told("/data/log"), configured("/logs")]);
        assert_eq!(places(&all, &Purpose::Tablespace("fast".into())), [told("/fast")]);
        assert_eq!(places(&all, &Purpose::Tablespace("in".into())), [told("/data/pg_tblspc/7")]);

        let volume =
            |path: Option<&str>| Some(Volume { path: path.map(Into::into), size: Some(7) });
        let storage = Storage { data: volume(Some("/mnt")), wal: volume(None) };
        let all = directories(&storage, Some(&server), None);
        assert_eq!(places(&all, &Purpose::Data), [configured("/mnt")]);
        assert_eq!(places(&all, &Purpose::Wal), [configured("/mnt/pg_wal"), told("/data/pg_wal")]);
        assert_eq!(places(&all, &Purpose::Log), [configured("/mnt/log"), told("/data/log")]);
        assert_eq!((all[0].allotted, all[1].allotted, all[2].allotted), (Some(7), Some(7), None));

        let none = directories(&Storage::default(), None, None);
        assert_eq!(none.iter().map(|d| d.places.len()).collect::<Vec<_>>(), [0, 0, 0]);
    }

    #[test]
    fn folders_of_patterns() {
        assert_eq!(folder("/var/log/pg/*.log"), Some("/var/log/pg".into()));
        assert_eq!((folder("/var/*/x.log"), folder("/x.log"), folder("x")), (None, None, None));
    }
}
