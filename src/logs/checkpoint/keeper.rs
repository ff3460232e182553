//! The state directory's one owner: it holds the lock, and saves for all who ask at once.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use prometheus::{IntCounter, IntCounterVec};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::Notify;

use super::{Loaded, State, file};
use crate::task::Stop;
use crate::telemetry::Telemetry;

/// Whoever holds its lock owns the directory.
const LOCK: &str = "lock";
/// What it holds once a checkpoint has been written.
const MARK: &str = "a checkpoint has been written here\n";

/// So many bytes of saves that nobody waits for are written in a second: of a few files as many saves as are
/// asked for, of thousands two or three.
const BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// And no longer than this is rested, for a restart must not know too little.
const REST_LONGEST: Duration = Duration::from_secs(1);

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "another agent runs with the state directory {}; stop it or give this one a directory of \
         its own", .0.display()
    )]
    Locked(PathBuf),
    #[error(
        "cannot use the state directory {}: {source}; make it writable for the agent's user or set \
         state_directory", directory.display()
    )]
    Directory { directory: PathBuf, source: io::Error },
}

/// The right to use the state directory. It ends with the last clone: tasks that write hold one each,
/// so that a successor can begin when they have ended, whoever still looks at the old state.
#[derive(Clone, Debug)]
pub(in crate::logs) struct Lock {
    file: Arc<File>,
}

impl Lock {
    /// For who may begin more such tasks, and does not hold the directory meanwhile.
    pub(in crate::logs) fn weak(&self) -> WeakLock {
        WeakLock(Arc::downgrade(&self.file))
    }
}

/// See [`Lock::weak`].
#[derive(Clone, Debug)]
pub(in crate::logs) struct WeakLock(Weak<File>);

impl WeakLock {
    /// None where everybody has ended.
    pub(in crate::logs) fn lock(&self) -> Option<Lock> {
        Some(Lock { file: self.0.upgrade()? })
    }
}

/// The state and its file.
pub(in crate::logs) struct Checkpoint {
    directory: PathBuf,
    state: Mutex<Versioned>,
    /// Who holds it, writes.
    saved: tokio::sync::Mutex<Saved>,
    problem: Mutex<Option<String>>,
    hurry: Notify,
    saves: IntCounter,
    errors: IntCounter,
    saved_at: Option<SystemTime>,
    lost: bool,
    /// The sources that are known to the generation before the last one, where that is used.
    known_before: Option<Vec<String>>,
}

#[derive(Default)]
struct Saved {
    /// The version of the state that is safe on disk.
    version: u64,
    /// Memory for the encoded state: several times a second as much would be asked for anew, by any thread.
    room: Vec<u8>,
}

struct Versioned {
    state: State,
    version: u64,
}

impl Checkpoint {
    /// Makes the directory if need be, locks it and loads what is there.
    ///
    /// # Errors
    /// When another agent holds the lock, or the directory cannot be made, read or written.
    pub(in crate::logs) fn open(
        directory: &Path,
        telemetry: &Telemetry,
    ) -> Result<(Self, Lock), OpenError> {
        let fail = |source| OpenError::Directory { directory: directory.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(fail)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK))
            .map_err(fail)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(OpenError::Locked(directory.to_owned()));
            }
            Err(e) => return Err(fail(e.into())),
        }
        let (state, mut loaded) = file::load(directory).map_err(fail)?;
        let marked = lock.metadata().map_err(fail)?.len() > 0;
        if loaded == Loaded::Fresh && marked {
            loaded = Loaded::Gone;
        }
        // The next save is written over the other one.
        if matches!(loaded, Loaded::Swapped | Loaded::Previous) {
            file::exchange(directory).map_err(fail)?;
        }
        let saved_at = match loaded {
            Loaded::Current | Loaded::Swapped => file::saved_at(directory),
            Loaded::Fresh | Loaded::Previous | Loaded::Damaged | Loaded::Gone => None,
        };
        let loads: IntCounterVec = telemetry.counters(
            "pgvigil_checkpoint_damaged_total",
            "Checkpoints found damaged at the start, by what was used instead.",
            &["used"],
        );
        for used in ["previous", "none"] {
            loads.with_label_values(&[used]).inc_by(0);
        }
        match loaded {
            Loaded::Fresh | Loaded::Current | Loaded::Swapped => {}
            Loaded::Previous => {
                loads.with_label_values(&["previous"]).inc();
                tracing::warn!(
                    "the checkpoint in {} was damaged or missing; the one before it is used, and \
                     some records are sent again",
                    directory.display()
                );
            }
            Loaded::Damaged | Loaded::Gone => {
                loads.with_label_values(&["none"]).inc();
                tracing::error!(
                    "the checkpoints in {} are damaged or gone; all files are read from their \
                     beginning, rotated ones too, and what was sent already is sent again",
                    directory.display()
                );
            }
        }
        let known_before = (loaded == Loaded::Previous).then(|| state.known_sources.clone());
        let checkpoint = Self {
            known_before,
            directory: directory.to_owned(),
            state: Mutex::new(Versioned { state, version: 1 }),
            saved: tokio::sync::Mutex::default(),
            problem: Mutex::new(None),
            hurry: Notify::new(),
            saves: telemetry.counter("pgvigil_checkpoint_saves_total", "Checkpoints written."),
            errors: telemetry.counter(
                "pgvigil_checkpoint_errors_total",
                "Checkpoints that could not be written.",
            ),
            saved_at,
            lost: matches!(loaded, Loaded::Damaged | Loaded::Gone),
        };
        Ok((checkpoint, Lock { file: Arc::new(lock) }))
    }

    /// When the state that was loaded had been saved; none where that is not known.
    pub(in crate::logs) fn saved_at(&self) -> Option<SystemTime> {
        self.saved_at
    }

    /// Whether there was one that is damaged or gone; for a source also where the generation before it
    /// is used and does not know the source.
    pub(in crate::logs) fn is_lost_to(&self, source: &str) -> bool {
        self.lost || self.known_before.as_ref().is_some_and(|all| !all.iter().any(|s| s == source))
    }

    /// Looks at the state.
    pub(in crate::logs) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner).state)
    }

    /// Changes the state; [`Checkpoint::save`] makes the change outlive the process.
    pub(in crate::logs) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.version += 1;
        change(&mut state.state)
    }

    /// Returns when every change made before the call is safe on disk, or could not be written:
    /// then false, and [`Checkpoint::problem`] says why. Calls at the same time share one write.
    pub(in crate::logs) async fn save(&self) -> bool {
        let wanted = self.state.lock().unwrap_or_else(PoisonError::into_inner).version;
        let mut saved = self.saved.lock().await;
        if saved.version >= wanted {
            return true;
        }
        let mut room = std::mem::take(&mut saved.room);
        let (version, encoded) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.state.generation += 1;
            (state.version, file::encode(&state.state, &mut room))
        };
        let directory = self.directory.clone();
        let first = saved.version == 0;
        let written = tokio::task::spawn_blocking(move || {
            encoded?;
            file::write(&directory, &room)?;
            // From now on a missing checkpoint is a lost one.
            if first {
                fs::write(directory.join(LOCK), MARK)?;
            }
            room.shrink_to(2 * room.len());
            Ok(room)
        })
        .await
        .unwrap_or_else(|e| Err(io::Error::other(e)));
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(room) => {
                *saved = Saved { version, room };
                self.saves.inc();
                if problem.take().is_some() {
                    tracing::info!(
                        "the checkpoint in {} is written again",
                        self.directory.display()
                    );
                }
                true
            }
            Err(e) => {
                self.errors.inc();
                let sentence = format!(
                    "cannot write the checkpoint in {}: {e}; make room or give write permission, \
                     else a restart sends records again",
                    self.directory.display()
                );
                if problem.as_ref() != Some(&sentence) {
                    tracing::error!("{sentence}");
                }
                *problem = Some(sentence);
                false
            }
        }
    }

    /// Asks for a save that nobody waits for: something is known that a restart must know.
    pub(in crate::logs) fn save_soon(&self) {
        self.hurry.notify_one();
    }

    /// Whether such a save was asked for; it counts as done.
    #[cfg(test)]
    pub(in crate::logs) async fn was_hurried(&self) -> bool {
        tokio::select! {
            biased;
            () = self.hurry.notified() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// Saves when it was asked to, until the stop begins. Behind a large save it rests: what is asked for
    /// meanwhile shares the next one.
    pub(in crate::logs) async fn keep_saving(&self, stop: &Stop) {
        loop {
            tokio::select! {
                () = self.hurry.notified() => {}
                () = stop.draining() => return,
            }
            self.save().await;
            let written = self.saved.lock().await.room.len();
            let rest = REST_LONGEST.min(Duration::from_secs_f64(written as f64 / BYTES));
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.draining() => return,
            }
        }
    }

    /// What keeps the checkpoint from being written now.
    pub(in crate::logs) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_agent_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new").join("state");
        let (first, lock) = Checkpoint::open(&path, &Telemetry::new()).unwrap();
        let second = Checkpoint::open(&path, &Telemetry::new()).err().unwrap();
        assert!(matches!(second, OpenError::Locked(_)), "{second}");
        first.change(|state| state.known_sources.push("s".into()));
        assert!(first.save().await);
        drop(lock);
        let (again, _lock) = Checkpoint::open(&path, &Telemetry::new()).unwrap();
        assert_eq!(again.read(|state| state.known_sources.clone()), ["s"]);
    }

    #[tokio::test]
    async fn a_lost_checkpoint_is_told_from_a_first_start() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Checkpoint::open(directory.path(), &Telemetry::new()).unwrap().0;
        assert!(!open().is_lost_to("s"));
        // Who ended before there was anything to keep leaves a first start behind.
        let first = open();
        assert!(!first.is_lost_to("s"));
        first.change(|state| state.known_sources.push("s".into()));
        assert!(first.save().await);
        assert!(!open().is_lost_to("s"));
        fs::remove_file(directory.path().join("checkpoint.json")).unwrap();
        assert!(open().is_lost_to("s"));
    }

    #[tokio::test]
    async fn what_was_loaded_is_not_what_the_next_save_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let open = || Checkpoint::open(directory.path(), &Telemetry::new()).unwrap().0;
        let first = open();
        for source in ["one", "two"] {
            first.change(|state| state.known_sources.push(source.into()));
            assert!(first.save().await);
        }
        drop(first);
        let loaded = fs::read(file("checkpoint.previous.json")).unwrap();
        fs::write(file("checkpoint.json"), "damaged").unwrap();
        let second = open();
        second.change(|state| state.known_sources.push("three".into()));
        assert!(second.save().await);
        assert_eq!(fs::read(file("checkpoint.previous.json")).unwrap(), loaded);
        drop(second);
        let third = open();
        assert_eq!(third.read(|state| state.known_sources.clone()), ["one", "three"]);
    }

    #[tokio::test]
    async fn a_checkpoint_that_cannot_be_written_is_said_and_mended() {
        let directory = tempfile::tempdir().unwrap();
        let (checkpoint, _lock) = Checkpoint::open(directory.path(), &Telemetry::new()).unwrap();
        // A directory where the new file should be: nobody can write it, not even root.
        let blocker = directory.path().join("checkpoint.previous.json");
        fs::create_dir(&blocker).unwrap();
        assert!(!checkpoint.save().await);
        assert!(checkpoint.problem().unwrap().contains("; make room"));
        fs::remove_dir(&blocker).unwrap();
        assert!(checkpoint.save().await);
        assert_eq!(checkpoint.problem(), None);
    }
}
