//! The files of one source: met, followed through every kind of rotation, and left when they are
//! done. Runs on a thread of its own, since files have no asynchronous reads worth the name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::identity::{Head, Tail, read_at};
use super::reader::{Desk, FileReader};
use super::reading::Readings;
use super::scan::{self, Seen};
use super::track::{Look, Tracked};
use crate::config::Start;
use crate::logs::Reading;
use crate::logs::checkpoint::{Checkpoint, Cut, FileId, FileState, Mark, ReadingText, RouteState};
use crate::logs::count::SourceCounts;
use crate::logs::stamp::Stamps;
use crate::logs::wake::Wake;
use crate::task::Stop;

/// How often patterns and directories are looked at.
const RESCAN: Duration = Duration::from_secs(1);
/// How often open files are looked at.
const POLL: Duration = Duration::from_millis(200);
/// As much of a file as a prefix is guessed from.
const SAMPLE: usize = 64 * 1024;
/// How long a name that leads nowhere is watched for what is put beside it.
const REMEMBER: Duration = Duration::from_secs(600);
/// How often the checkpoint is freed of files that are done and gone.
const TIDY: Duration = Duration::from_secs(60);
/// A file that cannot be found is given up after so long: its directory may not be mounted yet.
const MISSING: i64 = 3600 * 1_000_000_000;
/// A file without a pattern's name is forgotten so long after its end.
const FORGET: i64 = 7 * 24 * MISSING;

/// A source of files, and what it needs of the house.
pub(in crate::logs) struct Files {
    pub(in crate::logs) source: String,
    pub(in crate::logs) patterns: Vec<String>,
    pub(in crate::logs) start: Start,
    /// Names by number; a route's number is its place in every [`super::RouteSet`].
    pub(in crate::logs) routes: Vec<String>,
    pub(in crate::logs) readings: Readings,
    pub(in crate::logs) checkpoint: Arc<Checkpoint>,
    pub(in crate::logs) counts: Arc<SourceCounts>,
}

/// Reads until the stop begins. Blocking.
pub(in crate::logs) fn run(files: Files, desk: &mut dyn Desk, wake: &Wake, stop: &Stop) {
    let mut work = Work {
        files,
        tracked: Vec::new(),
        names: BTreeMap::new(),
        copies: BTreeMap::new(),
        problems: BTreeMap::new(),
        told: None,
        scanned: None,
        tidied: None,
    };
    while !stop.is_draining() {
        let now = Instant::now();
        if work.scanned.is_none_or(|last| now - last >= RESCAN) {
            work.scan(now);
            work.scanned = Some(now);
        }
        match work.turn(desk, now) {
            Look::Busy => {}
            Look::Full => wake.wait(POLL),
            _ => wake.sleep(POLL),
        }
    }
}

/// What a name led to.
struct Named {
    key: (u64, u64),
    /// When that file had been written to, as the name was last seen: what a rotation puts beside it
    /// is newer.
    modified: i64,
    seen: Instant,
}

struct Work {
    files: Files,
    /// In the order in which they are to be read: oldest first.
    tracked: Vec<Tracked>,
    /// For each path of a pattern the file that was there when it was last seen.
    names: BTreeMap<PathBuf, Named>,
    /// Files found to be copies of others.
    copies: BTreeMap<(u64, u64), FileId>,
    /// What cannot be read, and the sentence about it.
    problems: BTreeMap<PathBuf, String>,
    /// What the session said last.
    told: Option<ReadingText>,
    scanned: Option<Instant>,
    tidied: Option<Instant>,
}

impl Work {
    /// One turn over all files: those not read to their end yet one after the other, oldest first,
    /// the others fairly.
    fn turn(&mut self, desk: &mut dyn Desk, now: Instant) -> Look {
        self.follow_session();
        let mut outcome = Look::Quiet;
        let mut catching_up = false;
        let mut at = 0;
        while at < self.tracked.len() {
            let behind = !self.tracked[at].caught_up;
            if behind && std::mem::replace(&mut catching_up, true) {
                at += 1;
                continue;
            }
            if self.tracked[at].is_asleep() || !self.decide_reading(at, now) {
                at += 1;
                continue;
            }
            let looked = self.look(at, desk, now);
            self.tracked[at].troubled = looked.is_err();
            match looked {
                Ok(Look::Done) => {
                    self.leave(at);
                    outcome = Look::Busy;
                    continue;
                }
                Ok(Look::Replaced) => {
                    self.replace(at, now);
                    outcome = Look::Busy;
                }
                Ok(Look::Busy) => outcome = Look::Busy,
                Ok(Look::Full) if outcome != Look::Busy => outcome = Look::Full,
                Ok(_) => {}
                Err(e) => {
                    let path = self.tracked[at].seen.path.clone();
                    self.complain(&path, &e);
                    self.tracked[at].caught_up = true;
                }
            }
            at += 1;
        }
        outcome
    }

    fn look(&mut self, at: usize, desk: &mut dyn Desk, now: Instant) -> io::Result<Look> {
        let tracked = &mut self.tracked[at];
        let (id, before) = (tracked.id, (tracked.seen.size, tracked.seen.modified));
        let checkpoint = &self.files.checkpoint;
        let mut keep = |cut: Cut| {
            checkpoint.change(|state| {
                if let Some(file) = state.files.get_mut(&id) {
                    file.cuts.push(cut);
                }
            });
        };
        let looked = tracked.look(desk, &self.files.counts, now, &mut keep)?;
        let tracked = &self.tracked[at];
        if looked != Look::Replaced && before != (tracked.seen.size, tracked.seen.modified) {
            self.note(at);
        }
        if looked == Look::Busy {
            self.guess_again(at);
        }
        Ok(looked)
    }

    /// Writes what a look has shown into the checkpoint.
    fn note(&self, at: usize) {
        let tracked = &self.tracked[at];
        let seen = &tracked.seen;
        let path = seen.path.to_string_lossy();
        self.files.checkpoint.change(|state| {
            let Some(file) = state.files.get_mut(&tracked.id) else { return };
            if file.path != path {
                file.path = path.into_owned();
            }
            file.size = seen.size;
            file.modified = seen.modified;
            file.device = seen.device;
            file.inode = seen.inode;
            file.missing_since = None;
            if !file.head.is_full()
                && let Some(head) = tracked.file.as_ref().and_then(|f| Head::of(f).ok())
            {
                file.head = head;
            }
        });
    }

    // How lines are read.

    /// Whether it is known how the file's lines are read; decided here for a file that is new.
    fn decide_reading(&mut self, at: usize, now: Instant) -> bool {
        let tracked = &mut self.tracked[at];
        if tracked.cuts.iter().any(|cut| cut.reading.is_some()) || tracked.gone {
            return true;
        }
        let Some(file) = &tracked.file else { return true };
        let from = tracked.readers.iter().map(FileReader::offset).min().unwrap_or(0);
        // An empty file says nothing, and needs nothing.
        if file.metadata().map_or(0, |meta| meta.len()) <= from {
            tracked.caught_up = true;
            return true;
        }
        let Some(reading) = self.files.readings.first(now, || sample(file, from)) else {
            return false;
        };
        self.switch(at, from, reading);
        true
    }

    /// From `from` on, the file's lines are read as `reading` says; stored before they are.
    fn switch(&mut self, at: usize, from: u64, reading: ReadingText) {
        let tracked = &mut self.tracked[at];
        for reader in &mut tracked.readers {
            reader.switch(from, Reading::from(&reading));
        }
        let cut = Cut { at: from, before: None, reading: Some(reading) };
        self.files.checkpoint.change(|state| {
            if let Some(file) = state.files.get_mut(&tracked.id) {
                file.cuts.push(cut.clone());
            }
        });
        tracked.cuts.push(cut);
    }

    /// The server's settings have changed: files that are being read change from here on.
    fn follow_session(&mut self) {
        let told = self.files.readings.told();
        if told.is_none() || told == self.told {
            return;
        }
        self.told.clone_from(&told);
        let Some(reading) = told else { return };
        for at in 0..self.tracked.len() {
            let tracked = &self.tracked[at];
            let in_force = tracked.cuts.iter().rev().find_map(|cut| cut.reading.as_ref());
            if in_force.is_none_or(|text| *text == reading) || tracked.readers.is_empty() {
                continue;
            }
            let from = tracked.readers[tracked.furthest()].offset();
            self.switch(at, from, reading.clone());
        }
    }

    /// A file without a known prefix is looked at again as it grows.
    fn guess_again(&mut self, at: usize) {
        let tracked = &self.tracked[at];
        let Some(reader) = tracked.readers.get(tracked.furthest()) else { return };
        let Some(file) = tracked.file.as_ref().filter(|_| reader.reading().prefix.is_none()) else {
            return;
        };
        let from = reader.offset();
        if let Some(reading) = self.files.readings.again(&sample(file, from)) {
            self.switch(at, from, reading);
        }
    }

    // Meeting, following and leaving files.

    fn scan(&mut self, now: Instant) {
        let first = self.scanned.is_none();
        let (found, problems) = scan::matching(&self.files.patterns);
        let mut troubled: BTreeSet<PathBuf> = BTreeSet::new();
        for (path, error) in problems {
            self.complain(&path, &error);
            troubled.insert(path);
        }
        if first {
            self.resume(now);
        }
        for (path, since) in self.rename(&found) {
            self.meet_siblings(&path, since, now);
        }
        let known =
            self.files.checkpoint.read(|state| state.known_sources.contains(&self.files.source));
        for seen in &found {
            if let Err(e) = self.meet(seen, first && !known, now) {
                self.complain(&seen.path, &e);
                troubled.insert(seen.path.clone());
            }
        }
        if !known {
            let source = self.files.source.clone();
            self.files.checkpoint.change(|state| state.known_sources.push(source));
        }
        troubled.extend(self.tracked.iter().filter(|t| t.troubled).map(|t| t.seen.path.clone()));
        self.problems.retain(|path, sentence| {
            let still = troubled.contains(path);
            if !still {
                tracing::info!("no longer so: {sentence}");
            }
            still
        });
        // A name that leads nowhere may come back after several rotations.
        self.names.retain(|_, named| now - named.seen < REMEMBER);
        for seen in found {
            let named = Named { key: seen.key(), modified: seen.modified, seen: now };
            self.names.insert(seen.path, named);
        }
        if self.tidied.is_none_or(|last| now - last >= TIDY) {
            self.forget();
            self.tidied = Some(now);
        }
        self.put_to_sleep(now);
        let open = self.tracked.iter().filter(|tracked| tracked.linked).count();
        self.files.counts.files(open, self.problems.values().cloned().collect());
    }

    /// At the start: the files that the checkpoint knows, whatever their names are now.
    fn resume(&mut self, now: Instant) {
        let known: Vec<(FileId, FileState)> = self.files.checkpoint.read(|state| {
            let own = state.files.iter().filter(|(_, file)| file.source == self.files.source);
            own.map(|(id, file)| (*id, file.clone())).collect()
        });
        let mut directories: BTreeMap<PathBuf, Vec<Seen>> = BTreeMap::new();
        let mut paths = Vec::new();
        let mut order = Vec::new();
        for (id, file) in known {
            let modified = file.modified;
            let path = PathBuf::from(&file.path);
            let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
            let listing =
                directories.entry(parent.clone()).or_insert_with(|| scan::directory(&parent));
            let same = listing.iter().find(|seen| seen.key() == (file.device, file.inode));
            let opened = same.and_then(|seen| Some((seen, fitting(seen, &file)?))).or_else(|| {
                // Copied away, and truncated or removed: the copy goes on where it stopped.
                listing
                    .iter()
                    .filter(|seen| scan::is_rotated(&path, &seen.path) && is_copyable(&file))
                    .find_map(|seen| Some((seen, fitting(seen, &file)?)))
            });
            // What is read and acknowledged to its end stays closed.
            let done = |seen: &Seen| {
                let end = file.end.filter(|end| *end == seen.size);
                end.is_some_and(|end| file.routes.values().all(|own| own.mark.offset >= end))
            };
            if let Some((seen, opened)) = opened.filter(|(seen, _)| !done(seen)) {
                order.push((seen.modified, id, file, seen.clone(), opened));
            }
            paths.push((path, modified));
        }
        order.sort_by_key(|(modified, ..)| *modified);
        for (_, id, file, seen, opened) in order {
            let marks = self.marks(id, &file, &opened, &seen, false);
            match Tracked::new(id, seen, opened, &marks, file.cuts.clone(), now) {
                Ok(tracked) => {
                    self.tracked.push(tracked);
                    self.note(self.tracked.len() - 1);
                }
                Err(e) => self.complain(Path::new(&file.path), &e),
            }
        }
        // Rotated away, all of it, while nobody looked: what lies between is read as well.
        paths.sort();
        for at in 0..paths.len() {
            let (path, since) = &paths[at];
            // Of several files that had the name, the newest was the last.
            if paths.get(at + 1).is_none_or(|(next, _)| next != path) {
                self.meet_siblings(path, *since, now);
            }
        }
    }

    /// Which files have lost their name to another one, or to none; returns those names, and since
    /// when something may lie beside them.
    fn rename(&mut self, found: &[Seen]) -> Vec<(PathBuf, i64)> {
        let by_key: BTreeMap<(u64, u64), &Seen> =
            found.iter().map(|seen| (seen.key(), seen)).collect();
        let taken: BTreeSet<&Path> = found.iter().map(|seen| seen.path.as_path()).collect();
        for tracked in &mut self.tracked {
            if tracked.gone {
                continue;
            }
            match by_key.get(&tracked.seen.key()) {
                Some(seen) => {
                    tracked.linked = true;
                    tracked.seen.path.clone_from(&seen.path);
                }
                None => {
                    tracked.linked = false;
                    tracked.succeeded = taken.contains(tracked.seen.path.as_path());
                }
            }
        }
        let changed = |(path, named): (&PathBuf, &Named)| {
            let now = found.iter().find(|seen| seen.path == *path).map(Seen::key);
            (now != Some(named.key)).then(|| (path.clone(), named.modified))
        };
        self.names.iter().filter_map(changed).collect()
    }

    /// Files beside `path` that a rotation put there, written to at or after `since`.
    fn meet_siblings(&mut self, path: &Path, since: i64, now: Instant) {
        let Some(parent) = path.parent() else { return };
        let mut siblings: Vec<Seen> = scan::directory(parent)
            .into_iter()
            .filter(|seen| scan::is_rotated(path, &seen.path) && seen.modified >= since)
            .collect();
        siblings.sort_by_key(|seen| seen.modified);
        for seen in siblings {
            match self.meet(&seen, false, now) {
                Ok(true) => {
                    tracing::info!(file = %seen.path.display(), "reading a rotated file");
                    // Not a pattern's: it is read once.
                    if let Some(tracked) = self.tracked.last_mut() {
                        tracked.linked = false;
                        tracked.succeeded = true;
                    }
                }
                Ok(false) => {}
                Err(e) => self.complain(&seen.path, &e),
            }
        }
    }

    /// Begins to follow a file, unless it is followed or known to be done. Returns whether it began.
    fn meet(&mut self, seen: &Seen, existed_before: bool, now: Instant) -> io::Result<bool> {
        let key = seen.key();
        if let Some(tracked) = self.tracked.iter_mut().find(|t| !t.gone && t.seen.key() == key) {
            if !tracked.is_asleep() {
                return Ok(false);
            }
            if seen.size == tracked.seen.size && seen.modified == tracked.seen.modified {
                return Ok(false);
            }
            return self.awaken(seen, now);
        }
        let file = File::open(&seen.path)?;
        let meta = file.metadata()?;
        // What was opened may be another file than the one that was seen.
        let seen = &Seen {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: scan::modified(&meta),
            path: seen.path.clone(),
        };
        if let Some(original) = self.copied(seen, &file) {
            self.copies.insert(seen.key(), original);
            return Ok(false);
        }
        // The checkpoint may know it: as a rotated file that was left, or as an older content.
        let known = self.files.checkpoint.read(|state| {
            let mut own = state.files.iter().filter(|(_, f)| f.source == self.files.source);
            own.find(|(_, f)| (f.device, f.inode) == key && fits(&file, seen.size, f))
                .map(|(id, file)| (*id, file.clone()))
        });
        let (id, state) = match known {
            Some((_, state)) if state.end == Some(seen.size) => return Ok(false),
            Some(known) => known,
            None => {
                let state = FileState {
                    source: self.files.source.clone(),
                    path: seen.path.to_string_lossy().into_owned(),
                    device: seen.device,
                    inode: seen.inode,
                    head: Head::of(&file)?,
                    met: now_ns(),
                    size: seen.size,
                    modified: seen.modified,
                    cuts: Vec::new(),
                    routes: BTreeMap::new(),
                    end: None,
                    missing_since: None,
                };
                (self.files.checkpoint.change(|all| all.name_file(state.clone())), state)
            }
        };
        let marks = self.marks(id, &state, &file, seen, existed_before);
        self.tracked.push(Tracked::new(id, seen.clone(), file, &marks, state.cuts.clone(), now)?);
        Ok(true)
    }

    /// A file that was closed for its quiet has changed.
    fn awaken(&mut self, seen: &Seen, now: Instant) -> io::Result<bool> {
        let at = self.tracked.iter().position(|t| t.is_asleep() && t.seen.key() == seen.key());
        let Some(at) = at else { return Ok(false) };
        let id = self.tracked[at].id;
        let state = self.files.checkpoint.read(|state| state.files.get(&id).cloned());
        let file = File::open(&seen.path)?;
        match state.filter(|state| fits(&file, seen.size, state)) {
            Some(state) => {
                let marks = self.marks(id, &state, &file, seen, false);
                self.tracked[at].seen.clone_from(seen);
                self.tracked[at].open(file, &marks)?;
                Ok(false)
            }
            None => {
                self.tracked.remove(at);
                self.end(id, None);
                self.meet(seen, false, now)
            }
        }
    }

    /// Where each route begins, or goes on; a route that is new to the file begins like a new file.
    fn marks(
        &self,
        id: FileId,
        state: &FileState,
        file: &File,
        seen: &Seen,
        existed_before: bool,
    ) -> Vec<(usize, Mark)> {
        let fresh = || {
            let offset = match self.files.start {
                Start::End if existed_before => last_line_end(file, seen.size),
                _ => 0,
            };
            let tail = Tail::before(file, offset).unwrap_or_default();
            Mark { offset, next: offset, stamps: Stamps::new(state.met), tail }
        };
        let names = self.files.routes.iter().enumerate();
        let marks: Vec<(usize, Mark)> = names
            .map(|(at, route)| (at, state.routes.get(route).map_or_else(fresh, |own| own.mark)))
            .collect();
        self.files.checkpoint.change(|all| {
            let Some(stored) = all.files.get_mut(&id) else { return };
            stored.end = None;
            for (at, mark) in &marks {
                stored
                    .routes
                    .entry(self.files.routes[*at].clone())
                    .or_insert_with(|| RouteState { mark: *mark, ..RouteState::default() });
            }
            // A route that is no longer configured holds back nothing.
            stored.routes.retain(|name, _| self.files.routes.contains(name));
        });
        marks
    }

    /// The known file of which this one is a copy, as `copytruncate` makes them.
    fn copied(&self, seen: &Seen, file: &File) -> Option<FileId> {
        if let Some(original) = self.copies.get(&seen.key()) {
            return Some(*original);
        }
        self.files.checkpoint.read(|state| {
            state
                .files
                .iter()
                .filter(|(_, f)| f.source == self.files.source && is_copyable(f))
                .find(|(_, f)| {
                    (f.device, f.inode) != seen.key()
                        && scan::is_rotated(Path::new(&f.path), &seen.path)
                        && fits(file, seen.size, f)
                })
                .map(|(id, _)| *id)
        })
    }

    /// The content of a file has been replaced. If its copy lies beside it, the rest is read there.
    fn replace(&mut self, at: usize, now: Instant) {
        let tracked = &mut self.tracked[at];
        let path = tracked.seen.path.clone();
        let offset = tracked.most_end();
        let state = self.files.checkpoint.read(|state| state.files.get(&tracked.id).cloned());
        let furthest = &tracked.readers[tracked.furthest()];
        let position = furthest.position();
        let copy = state.filter(|state| state.head.is_telling()).and_then(|state| {
            let listing = scan::directory(path.parent()?);
            listing.into_iter().find_map(|seen| {
                let other = seen.key() != tracked.seen.key()
                    && scan::is_rotated(&path, &seen.path)
                    && seen.size >= offset;
                let file = File::open(&seen.path).ok().filter(|_| other)?;
                let same = state.head.fits(&file).ok()?
                    && position.tail.fits(&file, position.offset).ok()?;
                same.then_some((seen, file))
            })
        });
        let known_size = tracked.seen.size;
        match copy {
            Some((seen, file)) => {
                tracing::info!(
                    file = %path.display(), copy = %seen.path.display(),
                    "truncated; the rest is read from its copy"
                );
                self.copies.remove(&seen.key());
                tracked.go_on_in(seen, file, now);
            }
            None => {
                let vanished = known_size.saturating_sub(tracked.least_end());
                self.files.counts.vanished_bytes.add(vanished);
                if vanished > 0 {
                    tracing::warn!(
                        file = %path.display(), bytes = vanished,
                        "truncated before all of it was read; let rotation keep a copy for longer"
                    );
                }
                tracked.lose();
            }
        }
        self.note_replaced(at);
        // The new content is a file of its own, met at once.
        if let Ok(meta) = std::fs::metadata(&path) {
            let seen = Seen {
                path: path.clone(),
                device: meta.dev(),
                inode: meta.ino(),
                size: meta.len(),
                modified: scan::modified(&meta),
            };
            if let Err(e) = self.meet(&seen, false, now) {
                self.complain(&path, &e);
            }
        }
    }

    /// The checkpoint must not find the old content under the inode that the new one has.
    fn note_replaced(&self, at: usize) {
        let tracked = &self.tracked[at];
        let (device, inode) = if tracked.gone { (0, 0) } else { tracked.seen.key() };
        self.files.checkpoint.change(|state| {
            if let Some(file) = state.files.get_mut(&tracked.id) {
                file.device = device;
                file.inode = inode;
            }
        });
    }

    /// A file of which no more will be read.
    fn leave(&mut self, at: usize) {
        let tracked = self.tracked.remove(at);
        let end = tracked.most_end();
        if !tracked.gone {
            tracing::info!(file = %tracked.seen.path.display(), bytes = end, "read to its end");
        }
        self.end(tracked.id, Some(end));
    }

    fn end(&self, id: FileId, end: Option<u64>) {
        self.files.checkpoint.change(|state| {
            if let Some(file) = state.files.get_mut(&id) {
                file.end = Some(end.unwrap_or(file.size));
            }
        });
    }

    /// Closes files that have been quiet for long and are acknowledged to their end.
    fn put_to_sleep(&mut self, now: Instant) {
        for tracked in self.tracked.iter_mut().filter(|tracked| tracked.is_drowsy(now)) {
            let end = tracked.most_end();
            let acknowledged = self.files.checkpoint.read(|state| {
                let file = state.files.get(&tracked.id);
                file.is_some_and(|file| file.routes.values().all(|own| own.mark.offset >= end))
            });
            if acknowledged {
                tracked.sleep();
            }
        }
    }

    /// Takes out of the checkpoint what is done and gone.
    fn forget(&self) {
        let tracked: BTreeSet<FileId> = self.tracked.iter().map(|t| t.id).collect();
        let now = now_ns();
        let mut vanished = 0;
        let left: Vec<(FileId, FileState)> = self.files.checkpoint.read(|state| {
            let own = state
                .files
                .iter()
                .filter(|(id, file)| file.source == self.files.source && !tracked.contains(id));
            own.map(|(id, file)| (*id, file.clone())).collect()
        });
        if left.is_empty() {
            return;
        }
        let there: BTreeSet<FileId> = left
            .iter()
            .filter(|(_, file)| {
                let parent = Path::new(&file.path).parent().unwrap_or(Path::new("/"));
                scan::directory(parent).iter().any(|s| s.key() == (file.device, file.inode))
            })
            .map(|(id, _)| *id)
            .collect();
        let left: BTreeSet<FileId> = left.into_iter().map(|(id, _)| id).collect();
        self.files.checkpoint.change(|state| {
            state.files.retain(|id, file| {
                if !left.contains(id) {
                    return true;
                }
                let least = file.routes.values().map(|route| route.mark.offset).min();
                let done = file.end.is_some_and(|end| least.is_none_or(|least| least >= end));
                if done && (file.inode == 0 || file.modified < now.saturating_sub(FORGET)) {
                    return false;
                }
                // Unless all of it is acknowledged, what is in memory still counts on it.
                if there.contains(id) || (file.end.is_some() && !done) {
                    file.missing_since = None;
                    return true;
                }
                let since = *file.missing_since.get_or_insert(now);
                let keep = !done && now - since < MISSING;
                if !keep && !done {
                    vanished += file.size.saturating_sub(least.unwrap_or(0));
                }
                keep
            });
        });
        self.files.counts.vanished_bytes.add(vanished);
    }

    fn complain(&mut self, path: &Path, error: &io::Error) {
        let sentence = format!(
            "cannot read the log file {}: {error}; let the agent's user read it and its directory",
            path.display()
        );
        if self.problems.get(path) != Some(&sentence) {
            tracing::error!("{sentence}");
            self.problems.insert(path.to_owned(), sentence);
        }
    }
}

fn sample(file: &File, from: u64) -> Vec<u8> {
    let mut bytes = vec![0; SAMPLE];
    let read = read_at(file, &mut bytes, from).unwrap_or(0);
    bytes.truncate(read);
    bytes
}

/// Whether the checkpoint's file is this one: the same head, and the same bytes before each mark.
fn fits(file: &File, size: u64, state: &FileState) -> bool {
    let marks = state.routes.values().map(|route| route.mark);
    state.head.fits(file).unwrap_or(false)
        && marks
            .into_iter()
            .all(|mark| mark.offset <= size && mark.tail.fits(file, mark.offset).unwrap_or(false))
}

fn fitting(seen: &Seen, state: &FileState) -> Option<File> {
    let file = File::open(&seen.path).ok()?;
    fits(&file, seen.size, state).then_some(file)
}

/// Whether a copy of it can be told by its bytes alone.
fn is_copyable(state: &FileState) -> bool {
    state.head.is_telling()
}

/// The end of the last whole line before `size`.
fn last_line_end(file: &File, size: u64) -> u64 {
    let mut bytes = vec![0; SAMPLE];
    let from = size.saturating_sub(SAMPLE as u64);
    let read = read_at(file, &mut bytes, from).unwrap_or(0);
    memchr::memrchr(b'\n', &bytes[..read]).map_or(size, |at| from + at as u64 + 1)
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
