//! Meeting files, following them through every kind of rotation, and leaving them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::files::{Named, SAMPLE, Work};
use super::identity::{Head, Tail, read_at};
use super::scan::{self, Seen};
use super::track::Tracked;
use crate::config::Start;
use crate::logs::checkpoint::{FileId, FileState, Mark, RouteState};
use crate::logs::stamp::Stamps;

/// How long a name that leads nowhere is watched for what is put beside it.
const REMEMBER: Duration = Duration::from_secs(600);
/// How often the checkpoint is freed of files that are done and gone.
const TIDY: Duration = Duration::from_secs(60);
/// What stands beside a file that kept its name may be a copy in the making: it is left in peace for
/// so long, in nanoseconds.
const SETTLED: i64 = 2 * 1_000_000_000;
/// While it is left in peace, its original is written to and gets newer: what is older by so little,
/// in nanoseconds, may still be new.
const OVERTAKEN: i64 = 10 * 1_000_000_000;
/// A file that cannot be found is given up after so long, in nanoseconds: its directory may not be
/// mounted yet.
const MISSING: i64 = 3600 * 1_000_000_000;
/// A file without a pattern's name is forgotten so long after its end, in nanoseconds.
const FORGET: i64 = 7 * 24 * MISSING;

/// What a file beside a known one is to it.
enum Kin {
    Stranger,
    /// A copy: what it holds is read in the original.
    Copy,
    /// Perhaps a copy, which is still being made.
    Later,
    /// A copy of content that is gone from its own place: the rest is read here.
    Rest(FileId, Box<FileState>),
}

impl Work {
    pub(super) fn scan(&mut self, now: Instant) {
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
        self.follow_names(&found);
        self.meet_siblings(&found, now);
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
            self.files.checkpoint.save_soon();
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
        let mut order = Vec::new();
        for (id, file) in known {
            let modified = file.modified;
            let (file_device, file_inode) = (file.device, file.inode);
            let path = PathBuf::from(&file.path);
            let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
            let listing =
                directories.entry(parent.clone()).or_insert_with(|| scan::directory(&parent));
            let same = listing.iter().find(|seen| seen.key() == (file.device, file.inode));
            let opened = same.and_then(|seen| Some((seen, fitting(seen, &file)?))).or_else(|| {
                // Copied away, and truncated or removed: the copy goes on where it stopped.
                listing
                    .iter()
                    .filter(|seen| scan::is_rotated(&path, &seen.path) && !file.head.is_empty())
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
            // Of several files that had the name, the newest was the last.
            let named = Named { key: (file_device, file_inode), modified, seen: now };
            if self.names.get(&path).is_none_or(|known| known.modified <= modified) {
                self.names.insert(path, named);
            }
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
    }

    /// Which files have lost their name, to another one or to none.
    fn follow_names(&mut self, found: &[Seen]) {
        let by_key: BTreeMap<(u64, u64), &Seen> =
            found.iter().map(|seen| (seen.key(), seen)).collect();
        let taken: BTreeSet<&Path> = found.iter().map(|seen| seen.path.as_path()).collect();
        for tracked in self.tracked.iter_mut().filter(|tracked| !tracked.gone) {
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
    }

    /// Files that a rotation put beside those of the patterns after they were last seen.
    fn meet_siblings(&mut self, found: &[Seen], now: Instant) {
        let followed = self.tracked.iter().filter(|tracked| !tracked.gone).map(|t| t.seen.key());
        let known: BTreeSet<(u64, u64)> = followed.chain(found.iter().map(Seen::key)).collect();
        let by_path: BTreeMap<&Path, (u64, u64)> =
            found.iter().map(|seen| (seen.path.as_path(), seen.key())).collect();
        let parents: BTreeSet<&Path> = self.names.keys().filter_map(|path| path.parent()).collect();
        let settled = now_ns().saturating_sub(SETTLED);
        let mut new: Vec<Seen> = Vec::new();
        for seen in parents.into_iter().flat_map(scan::directory) {
            let copy = self.copies.get(&seen.key());
            if known.contains(&seen.key()) || copy == Some(&(seen.size, seen.modified)) {
                continue;
            }
            let newer = self.names.iter().find(|(path, named)| {
                seen.modified >= named.modified.saturating_sub(OVERTAKEN)
                    && scan::is_rotated(path, &seen.path)
            });
            let Some((path, named)) = newer else { continue };
            let kept_its_name = by_path.get(path.as_path()) == Some(&named.key);
            if !kept_its_name || seen.modified <= settled {
                new.push(seen);
            }
        }
        new.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        for seen in new {
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
        let rest = match self.kin(seen, &file) {
            Kin::Stranger => None,
            Kin::Later => return Ok(false),
            Kin::Copy => {
                self.copies.insert(seen.key(), (seen.size, seen.modified));
                return Ok(false);
            }
            Kin::Rest(id, state) => Some((id, *state)),
        };
        // The checkpoint may know it: as a rotated file that was left, or as an older content.
        let known = rest.or_else(|| {
            self.files.checkpoint.read(|state| {
                let mut own = state.files.iter().filter(|(_, f)| f.source == self.files.source);
                own.find(|(_, f)| (f.device, f.inode) == key && fits(&file, seen.size, f))
                    .map(|(id, file)| (*id, file.clone()))
            })
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
        self.files.checkpoint.save_soon();
        let marks = self.marks(id, &state, &file, seen, existed_before);
        self.tracked.push(Tracked::new(id, seen.clone(), file, &marks, state.cuts.clone(), now)?);
        self.note(self.tracked.len() - 1);
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

    /// What the file is to those that are known, as `copytruncate` makes copies of them.
    fn kin(&self, seen: &Seen, file: &File) -> Kin {
        let settled = now_ns().saturating_sub(SETTLED);
        let originals: Vec<(FileId, FileState)> = self.files.checkpoint.read(|state| {
            let like = |f: &FileState| {
                f.source == self.files.source
                    && (f.device, f.inode) != seen.key()
                    && f.head.is_telling()
                    && scan::is_rotated(Path::new(&f.path), &seen.path)
            };
            let like = state.files.iter().filter(|(_, file)| like(file));
            like.map(|(id, file)| (*id, file.clone())).collect()
        });
        for (id, original) in originals {
            if !original.head.fits(file).unwrap_or(false) {
                continue;
            }
            let read = original.routes.values().map(|own| own.mark.offset).max().unwrap_or(0);
            if seen.size < read && seen.modified > settled {
                return Kin::Later;
            }
            if !fits(file, seen.size, &original) {
                continue;
            }
            // Content that is gone from its place has no inode.
            if original.inode != 0 {
                return Kin::Copy;
            }
            let in_hand = self.tracked.iter().any(|tracked| tracked.id == id);
            return if in_hand { Kin::Later } else { Kin::Rest(id, Box::new(original)) };
        }
        Kin::Stranger
    }

    /// The content of a file has been replaced. If its copy lies beside it, the rest is read there.
    pub(super) fn replace(&mut self, at: usize, now: Instant) {
        let tracked = &mut self.tracked[at];
        let path = tracked.seen.path.clone();
        let offset = tracked.most_end();
        let state = self.files.checkpoint.read(|state| state.files.get(&tracked.id).cloned());
        let furthest = &tracked.readers[tracked.furthest()];
        let position = furthest.position();
        let copy = state.filter(|state| !state.head.is_empty()).and_then(|state| {
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
        self.files.checkpoint.save_soon();
    }

    /// A file of which no more will be read.
    pub(super) fn leave(&mut self, at: usize) {
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
