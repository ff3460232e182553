//! Meeting files, at the start and at each look at their directories, whatever their names are by
//! now.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::content::Content;
use super::files::{Held, Named, SAMPLE, Work};
use super::identity::{Head, Tail};
use super::kin::{Beginnings, Kin, fits, fitting};
use super::scan::{self, Seen};
use super::track::Tracked;
use crate::config::Start;
use crate::logs::checkpoint::{FileId, FileState, Mark, RouteState};
use crate::logs::stamp::Stamps;

/// How long a name that leads nowhere is watched for what is put beside it.
const REMEMBER: Duration = Duration::from_secs(600);
/// What came of meeting a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It is followed from now on.
    New,
    /// It is followed already, or nothing is left to read in it.
    Known,
    /// It cannot be told yet.
    Later,
}

impl Work {
    pub(super) fn scan(&mut self, now: Instant) {
        let first = self.scanned.is_none();
        let (found, problems) =
            scan::matching(&self.files.patterns.read().unwrap_or_else(PoisonError::into_inner));
        let mut troubled: BTreeSet<PathBuf> = BTreeSet::new();
        for (path, error) in problems {
            self.complain(&path, &error);
            troubled.insert(path);
        }
        if first {
            self.resume(now);
        }
        self.distrust(&found, now);
        self.follow_names(&found);
        self.learn_heads();
        self.meet_siblings(&found, now);
        // What was there before the first start may be left out; what may have been there since, not.
        let lost = self.files.checkpoint.is_lost_to(&self.files.source);
        let known =
            self.files.checkpoint.read(|state| state.known_sources.contains(&self.files.source));
        // Most are followed already: of thousands each is looked up once.
        let awake: HashSet<(u64, u64)> = self
            .tracked
            .iter()
            .filter(|tracked| !tracked.gone && !tracked.is_asleep())
            .map(|tracked| tracked.seen.key())
            .collect();
        for seen in found.iter().filter(|seen| !awake.contains(&seen.key())) {
            if let Err(e) = self.meet(seen, &seen.path, first && !known && !lost, now) {
                self.complain(&seen.path, &e);
                troubled.insert(seen.path.clone());
            }
        }
        if !known {
            let source = self.files.source.clone();
            self.files.checkpoint.change(|state| state.known_sources.push(source));
            self.unsaved = true;
        }
        troubled.extend(self.tracked.iter().filter(|t| t.troubled).map(|t| t.seen.path.clone()));
        self.problems.retain(|path, sentence| {
            let still = troubled.contains(path);
            if !still {
                tracing::info!("no longer so: {sentence}");
            }
            still
        });
        self.remember(&found, now);
        self.count_lost(now);
        self.forget(now);
        self.put_to_sleep(now);
        let open = self.tracked.iter().filter(|tracked| tracked.linked).count();
        self.files.counts.files(open, self.problems.values().cloned().collect());
    }

    /// What each name led to, for the next look at what lies beside it.
    fn remember(&mut self, found: &[Seen], now: Instant) {
        // A name that leads nowhere may come back after several rotations.
        self.names.retain(|_, named| now - named.seen < REMEMBER);
        let mut looked: BTreeMap<(u64, u64), i64> = BTreeMap::new();
        let waited_for: BTreeSet<PathBuf> =
            self.waiting.values().flat_map(|path| scan::origins(path)).collect();
        for seen in found {
            let before = self.names.get(&seen.path).map(|named| named.looked);
            let waits = waited_for.contains(&seen.path);
            let until = before.filter(|_| waits).unwrap_or(seen.modified);
            if before != Some(until) {
                looked.insert(seen.key(), until);
            }
            let named = Named { key: seen.key(), looked: until, seen: now };
            self.names.insert(seen.path.clone(), named);
        }
        if looked.is_empty() {
            return;
        }
        self.files.checkpoint.change(|state| {
            let own = state.files.values_mut().filter(|file| file.source == self.files.source);
            for file in own {
                if let Some(until) = looked.get(&(file.device, file.inode)) {
                    file.looked = *until;
                }
            }
        });
    }

    /// At the start: the files that the checkpoint knows, whatever their names are now.
    fn resume(&mut self, now: Instant) {
        let known: Vec<(FileId, FileState)> = self.files.checkpoint.read(|state| {
            let own = state.files.iter().filter(|(_, file)| file.source == self.files.source);
            own.map(|(id, file)| (*id, file.clone())).collect()
        });
        let mut directories: BTreeMap<PathBuf, Vec<Seen>> = BTreeMap::new();
        let mut order = Vec::new();
        // One file is read once: by whoever knows most of it.
        let mut claims: BTreeMap<(u64, u64), (usize, u64, FileId)> = BTreeMap::new();
        let mut last: BTreeMap<PathBuf, i64> = BTreeMap::new();
        let mut beginnings = Beginnings::default();
        for (id, file) in known {
            let (modified, looked) = (file.modified, file.looked);
            let (file_device, file_inode) = (file.device, file.inode);
            let path = file.name().to_owned();
            let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
            let listing =
                directories.entry(parent.clone()).or_insert_with(|| scan::directory(&parent));
            let moved = |seen: &Seen| seen.key() == file.key() && !scan::is_there(seen);
            for _ in 0..scan::RETRIES {
                if !listing.iter().any(moved) {
                    break;
                }
                // Renamed since it was listed.
                *listing = scan::directory(&parent);
            }
            let same = listing.iter().find(|seen| seen.key() == file.key());
            let opened = same.and_then(|seen| Some((seen, fitting(seen, &file)?))).or_else(|| {
                // Copied away, and truncated, removed or compressed: the copy goes on where it
                // stopped. Those of what is done are not even looked for.
                let wanted: &[Seen] = if file.is_done() { &[] } else { listing };
                wanted
                    .iter()
                    .filter(|seen| scan::is_rotated(&path, &seen.path))
                    .filter(|seen| beginnings.are_alike(seen, file.head))
                    .find_map(|seen| Some((seen, fitting(seen, &file)?)))
            });
            // What is read and acknowledged to its end stays closed.
            let done = |seen: &Seen| file.end == Some(seen.size) && file.is_done();
            if let Some((seen, opened)) = opened.filter(|(seen, _)| !done(seen)) {
                let size = opened.look().map_or(seen.size, |looks| looks.size);
                let claim = (file.head.length(), file.reached(), id);
                let best = claims.entry(seen.key()).or_insert(claim);
                *best = claim.max(*best);
                order.push((seen.modified, id, file, Seen { size, ..seen.clone() }, opened));
            }
            // Of several files that had the name, the newest was the last.
            let looked = looked.max(self.names.get(&path).map_or(0, |named| named.looked));
            if last.get(&path).is_none_or(|known| *known <= modified) {
                last.insert(path.clone(), modified);
                let named = Named { key: (file_device, file_inode), looked, seen: now };
                self.names.insert(path, named);
            } else if let Some(named) = self.names.get_mut(&path) {
                named.looked = looked;
            }
        }
        order.retain(|(_, id, _, seen, _)| {
            claims.get(&seen.key()).is_some_and(|best| best.2 == *id)
        });
        order.sort_by_key(|(modified, ..)| *modified);
        for (_, id, file, seen, opened) in order {
            let marks = self.marks(id, &file, &opened, &seen, false);
            match Tracked::new(id, seen, opened, &file, &marks, now) {
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
        let mut left = false;
        for tracked in self.tracked.iter_mut().filter(|tracked| !tracked.gone) {
            match by_key.get(&tracked.seen.key()) {
                Some(seen) => {
                    tracked.linked = true;
                    tracked.succeeded = false;
                    tracked.seen.path.clone_from(&seen.path);
                }
                None => {
                    left |= tracked.linked;
                    tracked.linked = false;
                    // What was met under a rotated name has its successor already.
                    tracked.succeeded |= taken.contains(tracked.seen.path.as_path());
                }
            }
        }
        if left {
            // It may be deleted before it is sent: then a restart must know how much of it there was.
            self.files.checkpoint.save_soon();
        }
    }

    /// While queues are full, files wait that were empty when they were met. Only by their heads are their
    /// copies known, should they be copied or compressed meanwhile.
    fn learn_heads(&mut self) {
        (0..self.tracked.len()).for_each(|at| self.learn_head(at));
    }

    pub(super) fn learn_head(&mut self, at: usize) {
        let tracked = &mut self.tracked[at];
        let Some(head) = tracked.learn_head().filter(|_| !tracked.gone) else { return };
        self.files.checkpoint.change(|state| {
            if let Some(file) = state.files.get_mut(&tracked.id) {
                file.head = head;
            }
        });
        self.files.checkpoint.save_soon();
    }

    /// Files that a rotation put beside those of the patterns after they were last seen.
    fn meet_siblings(&mut self, found: &[Seen], now: Instant) {
        let followed: HashMap<(u64, u64), i64> = self
            .tracked
            .iter()
            .filter(|tracked| !tracked.gone)
            .map(|tracked| (tracked.seen.key(), tracked.seen.modified))
            .collect();
        let known: HashSet<(u64, u64)> =
            followed.keys().copied().chain(found.iter().map(Seen::key)).collect();
        let by_path: BTreeMap<&Path, (u64, u64)> =
            found.iter().map(|seen| (seen.path.as_path(), seen.key())).collect();
        let parents: BTreeSet<&Path> = self.names.keys().filter_map(|path| path.parent()).collect();
        let mut waiting = BTreeMap::new();
        let mut new: Vec<(Seen, PathBuf)> = Vec::new();
        let listed: Vec<Seen> = parents.into_iter().flat_map(scan::directory).collect();
        let keys: HashSet<(u64, u64)> = listed.iter().map(Seen::key).collect();
        self.copies.retain(|key, _| keys.contains(key));
        self.held.retain(|key, _| keys.contains(key));
        for seen in listed {
            let copy = self.copies.get(&seen.key());
            // It has changed since the last look, perhaps into another content: until that is known,
            // what lies beside the name is not looked through.
            if followed.get(&seen.key()).is_some_and(|modified| *modified != seen.modified) {
                waiting.insert(seen.key(), seen.path.clone());
            }
            if known.contains(&seen.key()) || copy == Some(&(seen.size, seen.modified)) {
                continue;
            }
            // By the next look the name has been seen again, and its file may be newer.
            let waited = self.waiting.contains_key(&seen.key());
            let newer = scan::origins(&seen.path).find_map(|path| {
                let named = self.names.get(&path)?;
                (waited || seen.modified >= named.looked).then_some((path, named))
            });
            let Some((path, named)) = newer else { continue };
            let kept_its_name = by_path.get(path.as_path()) == Some(&named.key);
            waiting.insert(seen.key(), seen.path.clone());
            // So is what gzip is still writing; when it is whole, it gets the time of the original.
            let at_once = !waited && !kept_its_name && !scan::is_gzip(&seen.path);
            if at_once || seen.is_settled() {
                new.push((seen, path));
            }
        }
        self.waiting = waiting;
        new.sort_by(|(a, _), (b, _)| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        for (seen, name) in new {
            if let Err(e) = self.meet_rotated(&seen, &name, now) {
                self.complain(&seen.path, &e);
            }
        }
    }

    /// Begins to follow a file that is not a pattern's: it is read once.
    pub(super) fn meet_rotated(
        &mut self,
        seen: &Seen,
        name: &Path,
        now: Instant,
    ) -> io::Result<()> {
        match self.meet(seen, name, false, now)? {
            Met::New => {
                tracing::info!(file = %seen.path.display(), "reading a rotated file");
                if let Some(tracked) = self.tracked.last_mut() {
                    tracked.linked = false;
                    tracked.succeeded = true;
                }
                self.waiting.remove(&seen.key());
            }
            Met::Known => {
                self.waiting.remove(&seen.key());
            }
            Met::Later => {
                self.waiting.insert(seen.key(), seen.path.clone());
            }
        }
        Ok(())
    }

    /// Begins to follow a file, unless it is followed or known to be done. `name`: what it was called
    /// before it was rotated.
    pub(super) fn meet(
        &mut self,
        seen: &Seen,
        name: &Path,
        existed_before: bool,
        now: Instant,
    ) -> io::Result<Met> {
        let key = seen.key();
        if let Some(tracked) = self.tracked.iter_mut().find(|t| !t.gone && t.seen.key() == key) {
            if !tracked.is_asleep() {
                return Ok(Met::Known);
            }
            if seen.size == tracked.seen.size && seen.modified == tracked.seen.modified {
                return Ok(Met::Known);
            }
            return self.awaken(seen, now);
        }
        // What is compressed does not change: it is unpacked once to see whose copy it is.
        let held = self.held.get(&key).filter(|held| held.looks == (seen.size, seen.modified));
        if held.is_some_and(|held| self.tracked.iter().any(|tracked| tracked.id == held.of)) {
            return Ok(Met::Later);
        }
        // Renamed between the listing and now: the next one shows it under its name.
        let Some(file) = scan::open(seen)? else { return Ok(Met::Later) };
        let (listed, looks) = ((seen.size, seen.modified), file.look()?);
        let seen = &Seen { size: looks.size, modified: looks.modified, ..seen.clone() };
        let rest = match self.kin(seen, &file) {
            Kin::Stranger => None,
            Kin::Later => return Ok(Met::Later),
            Kin::Held(of) => {
                self.held.insert(seen.key(), Held { looks: listed, of });
                return Ok(Met::Later);
            }
            Kin::Copy => {
                self.copies.insert(seen.key(), listed);
                return Ok(Met::Known);
            }
            Kin::Rest(id, state) => Some((id, *state)),
        };
        // The checkpoint may know it: as a rotated file that was left, or as an older content.
        let known = rest.or_else(|| {
            self.files.checkpoint.read(|state| {
                let mut own = state.files.iter().filter(|(_, f)| f.source == self.files.source);
                own.find(|(_, f)| (f.device, f.inode) == key && fits(&file, f))
                    .map(|(id, file)| (*id, file.clone()))
            })
        });
        let (id, state) = match known {
            Some((_, state)) if state.end == Some(seen.size) => {
                // It may lie here for longer than the checkpoint remembers what it is a copy of.
                self.copies.insert(seen.key(), listed);
                return Ok(Met::Known);
            }
            Some(known) => known,
            None => {
                let state = FileState {
                    source: self.files.source.clone(),
                    path: seen.path.to_string_lossy().into_owned(),
                    name: name.to_string_lossy().into_owned(),
                    device: seen.device,
                    inode: seen.inode,
                    head: Head::of(&file)?,
                    met: scan::now_ns(),
                    size: seen.size,
                    modified: seen.modified,
                    looked: self.names.get(name).map_or(seen.modified, |named| named.looked),
                    cuts: Vec::new(),
                    routes: BTreeMap::new(),
                    end: None,
                    missing_since: None,
                    given_up: false,
                };
                (self.files.checkpoint.change(|all| all.name_file(state.clone())), state)
            }
        };
        self.unsaved = true;
        let marks = self.marks(id, &state, &file, seen, existed_before);
        self.tracked.push(Tracked::new(id, seen.clone(), file, &state, &marks, now)?);
        self.note(self.tracked.len() - 1);
        Ok(Met::New)
    }

    /// A file that was closed for its quiet has changed.
    pub(super) fn awaken(&mut self, seen: &Seen, now: Instant) -> io::Result<Met> {
        let at = self.tracked.iter().position(|t| t.is_asleep() && t.seen.key() == seen.key());
        let Some(at) = at else { return Ok(Met::Known) };
        let id = self.tracked[at].id;
        let state = self.files.checkpoint.read(|state| state.files.get(&id).cloned());
        let Some(file) = scan::open(seen)? else { return Ok(Met::Later) };
        match state.filter(|state| fits(&file, state)) {
            Some(state) => {
                let marks = self.marks(id, &state, &file, seen, false);
                self.tracked[at].seen.clone_from(seen);
                self.tracked[at].open(file, &marks)?;
                Ok(Met::Known)
            }
            None => {
                self.tracked.remove(at);
                self.end(id, None, now);
                self.meet(seen, &seen.path, false, now)
            }
        }
    }

    /// Where each route begins, or goes on; a route that is new to the file begins like a new file.
    fn marks(
        &self,
        id: FileId,
        state: &FileState,
        file: &Content,
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
            stored.given_up = false;
            for (at, mark) in &marks {
                stored.routes.entry(self.files.routes[*at].clone()).or_insert_with(|| {
                    Box::new(RouteState { mark: *mark, ..RouteState::default() })
                });
            }
            // A route that is no longer configured holds back nothing.
            stored.routes.retain(|name, _| self.files.routes.contains(name));
        });
        marks
    }
}

/// The end of the last whole line before `size`.
fn last_line_end(file: &Content, size: u64) -> u64 {
    let mut bytes = vec![0; SAMPLE];
    let from = size.saturating_sub(SAMPLE as u64);
    let read = file.read_at(&mut bytes, from).unwrap_or(0);
    memchr::memrchr(b'\n', &bytes[..read]).map_or(size, |at| from + at as u64 + 1)
}
