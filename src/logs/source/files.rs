//! The files of one source: met, followed through every kind of rotation, and left when they are
//! done. Runs on a thread of its own, since files have no asynchronous reads worth the name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use super::content::Content;
use super::reader::{Desk, FileReader};
use super::reading::Readings;
use super::scan;
use super::track::{Glance, Look, Note, Tracked};
use crate::config::Start;
use crate::logs::Reading;
use crate::logs::checkpoint::{Checkpoint, Cut, FileId, ReadingText};
use crate::logs::count::SourceCounts;
use crate::logs::wake::Wake;
use crate::task::Stop;

/// How often patterns and directories are looked at.
const RESCAN: Duration = Duration::from_secs(1);
/// How often open files are looked at.
const POLL: Duration = Duration::from_millis(200);
/// A pod or container whose files have been gone for so long is left.
const LEAVE: Duration = Duration::from_secs(600);
/// As much of a file as a prefix is guessed from.
pub(super) const SAMPLE: usize = 64 * 1024;

/// Absolute glob patterns; those of a container change when it is made anew.
pub(in crate::logs) type Patterns = Arc<RwLock<Vec<String>>>;

/// A source of files, and what it needs of the house.
pub(in crate::logs) struct Files {
    pub(in crate::logs) source: String,
    pub(in crate::logs) patterns: Patterns,
    /// It ends when nothing of it has been there for [`LEAVE`], and all of it is acknowledged.
    pub(in crate::logs) leaves: bool,
    pub(in crate::logs) start: Start,
    /// Names by number; a route's number is its place in every [`super::RouteSet`].
    pub(in crate::logs) routes: Vec<String>,
    pub(in crate::logs) readings: Readings,
    pub(in crate::logs) checkpoint: Arc<Checkpoint>,
    pub(in crate::logs) counts: Arc<SourceCounts>,
    /// Once it begins nothing more is read.
    pub(in crate::logs) stop: Stop,
}

/// Reads until the stop begins, or the source has left. Blocking.
pub(in crate::logs) fn run(files: Files, desk: &mut dyn Desk, wake: &Wake) {
    let mut work = Work::new(files, Instant::now());
    while !work.files.stop.is_draining() {
        match work.step(desk, Instant::now()) {
            Some(Look::Busy) => {}
            Some(Look::Full) => wake.wait(POLL),
            Some(_) => wake.sleep(POLL),
            None => return,
        }
    }
}

/// What a name led to.
pub(super) struct Named {
    pub(super) key: (u64, u64),
    /// What a rotation put beside it before this time has been looked at: when that file had been
    /// written to as the name was last seen, less where something waits.
    pub(super) looked: i64,
    pub(super) seen: Instant,
}

/// A file that holds what is still in memory, whose own place is gone.
pub(super) struct Held {
    /// Its size and time.
    pub(super) looks: (u64, i64),
    pub(super) of: FileId,
}

/// The source at work: here how its files are read, in `meet` how they are found, in `kin` what copies
/// are to one another, in `leave` and `lost` how they end.
pub(super) struct Work {
    pub(super) files: Files,
    /// In the order in which they are to be read: at first the oldest first, later whose bytes have waited
    /// longest.
    pub(super) tracked: Vec<Tracked>,
    /// In the last turn a queue was full.
    crowded: bool,
    /// For each path of a pattern the file that was there when it was last seen.
    pub(super) names: BTreeMap<PathBuf, Named>,
    /// Files found to be copies of others, with their sizes and times.
    pub(super) copies: BTreeMap<(u64, u64), (u64, i64)>,
    pub(super) held: BTreeMap<(u64, u64), Held>,
    /// Files beside those of the patterns that were put there lately and are not told apart yet.
    pub(super) waiting: BTreeMap<(u64, u64), PathBuf>,
    /// What cannot be read, and the sentence about it.
    pub(super) problems: BTreeMap<PathBuf, String>,
    /// What the session said last.
    told: Option<ReadingText>,
    /// Files of which no more is read, and whose last records may still be in memory.
    pub(super) left: BTreeSet<FileId>,
    /// Files that are nowhere to be found, and since when.
    pub(super) missing: BTreeMap<FileId, Instant>,
    /// Files that were left lately, and when.
    pub(super) ended: VecDeque<(FileId, Instant)>,
    pub(super) scanned: Option<Instant>,
    /// The checkpoint has files that a restart must know.
    pub(super) unsaved: bool,
    pub(super) tidied: Option<Instant>,
    /// When something of it was there last.
    present: Instant,
}

impl Work {
    pub(super) fn new(files: Files, now: Instant) -> Self {
        Self {
            files,
            tracked: Vec::new(),
            crowded: false,
            names: BTreeMap::new(),
            copies: BTreeMap::new(),
            held: BTreeMap::new(),
            waiting: BTreeMap::new(),
            problems: BTreeMap::new(),
            told: None,
            left: BTreeSet::new(),
            missing: BTreeMap::new(),
            ended: VecDeque::new(),
            scanned: None,
            unsaved: false,
            tidied: None,
            present: now,
        }
    }

    /// A turn, behind a look at the directories where one is due; none when the source has left. The
    /// clock is the caller's.
    pub(super) fn step(&mut self, desk: &mut dyn Desk, now: Instant) -> Option<Look> {
        if self.scanned.is_none_or(|last| now - last >= RESCAN) {
            self.scan(now);
            self.save_met();
            self.scanned = Some(now);
            if self.is_present(now) {
                self.present = now;
            }
            if self.files.leaves && now - self.present >= LEAVE {
                return None;
            }
        }
        let outcome = self.turn(desk, now);
        self.save_met();
        Some(outcome)
    }

    /// What a look has met is saved at once, not by halves: of the first look a restart would take the other
    /// half for older than the agent.
    fn save_met(&mut self) {
        if std::mem::take(&mut self.unsaved) {
            self.files.checkpoint.save_soon();
        }
    }

    /// One turn over all files: what they held when they were met one after the other, oldest first, the
    /// rest fairly.
    fn turn(&mut self, desk: &mut dyn Desk, now: Instant) -> Look {
        self.follow_session();
        // Where there is not room for all, it is for the bytes that have waited longest.
        if std::mem::take(&mut self.crowded) {
            self.tracked.sort_by_cached_key(|tracked| tracked.waits_since().unwrap_or(now));
        }
        let mut outcome = Look::Quiet;
        let mut catching_up = false;
        // Behind a look at the directories those that wait are looked at too.
        let all = self.scanned == Some(now);
        let mut at = 0;
        // A turn over thousands of files takes its time, and a stop has little.
        while at < self.tracked.len() && !self.files.stop.is_draining() {
            if catching_up && !self.tracked[at].caught_up {
                if all {
                    self.tracked[at].troubled = self.glance(at, now).is_err();
                }
                at += 1;
                continue;
            }
            if self.tracked[at].is_asleep() && !self.tracked[at].linked && self.rouse(at, now) {
                continue;
            }
            if self.tracked[at].is_asleep() || !self.decide_reading(at, now) {
                catching_up |= !self.tracked[at].caught_up;
                at += 1;
                continue;
            }
            let looked = self.look(at, desk, now);
            self.tracked[at].troubled = looked.is_err();
            match looked {
                Ok(Look::Done) => {
                    self.leave(at, now);
                    outcome = Look::Busy;
                    continue;
                }
                // At once, so that of many that are read in one turn few records are in memory.
                Ok(Look::Ended) => {
                    outcome = Look::Busy;
                    continue;
                }
                Ok(Look::Replaced) => {
                    self.replace(at, now);
                    outcome = Look::Busy;
                }
                Ok(Look::Busy) => outcome = Look::Busy,
                Ok(Look::Full) => {
                    self.crowded = true;
                    if outcome != Look::Busy {
                        outcome = Look::Full;
                    }
                }
                Ok(Look::Quiet) => {}
                Err(e) => {
                    let path = self.tracked[at].seen.path.clone();
                    self.complain(&path, &e);
                    self.tracked[at].caught_up = true;
                }
            }
            // Small files are read one after the other in one turn.
            catching_up |= !self.tracked[at].caught_up;
            at += 1;
        }
        outcome
    }

    /// A file that was closed for its quiet has lost its name. Where it has another one its writer may
    /// still write to it: it is opened again, and left in its time. True where it is gone.
    fn rouse(&mut self, at: usize, now: Instant) -> bool {
        let tracked = &self.tracked[at];
        let (id, key) = (tracked.id, tracked.seen.key());
        let listing = tracked.seen.path.parent().map(scan::directory).unwrap_or_default();
        let Some(seen) = listing.into_iter().find(|seen| seen.key() == key) else {
            let end = self.tracked.remove(at).seen.size;
            self.files.checkpoint.change(|state| {
                if let Some(file) = state.files.get_mut(&id) {
                    file.end = Some(end);
                }
            });
            return true;
        };
        let before = self.tracked.len();
        if let Err(e) = self.awaken(&seen, now) {
            self.complain(&seen.path, &e);
        }
        if self.tracked.len() < before || self.tracked[at].id != id {
            return true;
        }
        self.tracked[at].watch(now);
        false
    }

    /// Whether a scan has just found something of it, or something of it is still in hand.
    fn is_present(&self, now: Instant) -> bool {
        !self.tracked.is_empty()
            || self.names.values().any(|named| named.seen == now)
            || self.files.checkpoint.read(|state| {
                let mut own = state.files.values().filter(|f| f.source == self.files.source);
                own.any(|file| !file.is_done() && !file.given_up)
            })
    }

    /// Looks at the file's size and time, and keeps what has changed.
    fn glance(&mut self, at: usize, now: Instant) -> io::Result<Glance> {
        let glance = self.tracked[at].glance(now)?;
        if glance == Glance::Changed {
            self.note(at);
            // Of what is known to be there the head is known too: without it nobody finds it again.
            self.learn_head(at);
        }
        Ok(glance)
    }

    fn look(&mut self, at: usize, desk: &mut dyn Desk, now: Instant) -> io::Result<Look> {
        if self.glance(at, now)? == Glance::Shorter {
            return Ok(Look::Replaced);
        }
        let tracked = &mut self.tracked[at];
        let (id, checkpoint) = (tracked.id, &self.files.checkpoint);
        let mut keep = |note: Note| {
            checkpoint.change(|state| match (state.files.get_mut(&id), note) {
                (Some(file), Note::Cut(cut)) => file.cuts.push(cut),
                (Some(file), Note::Head(head)) => file.head = head,
                (Some(file), Note::Size(size)) => file.size = file.size.max(size),
                (None, _) => {}
            });
        };
        let looked = tracked.look(desk, &self.files.counts, now, &mut keep)?;
        if looked == Look::Busy {
            self.guess_again(at);
        }
        Ok(looked)
    }

    /// Writes what a look at the file's name, size and time has shown into the checkpoint.
    pub(super) fn note(&self, at: usize) {
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
        });
    }

    // How lines are read.

    /// Whether it is known how the file's lines are read; decided here for a file that is new.
    fn decide_reading(&mut self, at: usize, now: Instant) -> bool {
        let tracked = &mut self.tracked[at];
        if tracked.gone {
            return true;
        }
        if let Some(in_force) = tracked.in_force() {
            let changed = self.files.readings.configured(in_force);
            if let Some(reading) = changed.filter(|_| !std::mem::replace(&mut tracked.asked, true))
            {
                // What an earlier run has seen is read as it was then.
                let from = tracked.unshaped_from();
                self.switch(at, from, reading);
            }
            return true;
        }
        let Some(file) = &tracked.file else { return true };
        let from = tracked.readers.iter().map(FileReader::offset).min().unwrap_or(0);
        // An empty file says nothing, and needs nothing.
        if file.look().map_or(0, |looks| looks.size) <= from {
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
            if tracked.in_force().is_none_or(|text| *text == reading) || tracked.readers.is_empty()
            {
                continue;
            }
            let from = tracked.unshaped_from();
            self.switch(at, from, reading.clone());
        }
    }

    /// A file without a known prefix is looked at again as it grows.
    fn guess_again(&mut self, at: usize) {
        let tracked = &self.tracked[at];
        let Some(reader) = tracked.readers.get(tracked.furthest()) else { return };
        let Some(file) = tracked.file.as_ref().filter(|_| reader.wants_prefix()) else {
            return;
        };
        let from = reader.offset();
        if from < tracked.shaped {
            return;
        }
        if let Some(reading) = self.files.readings.again(&sample(file, from)) {
            self.switch(at, from, reading);
        }
    }

    pub(super) fn complain(&mut self, path: &Path, error: &io::Error) {
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

fn sample(file: &Content, from: u64) -> Vec<u8> {
    let mut bytes = vec![0; SAMPLE];
    let read = file.read_at(&mut bytes, from).unwrap_or(0);
    bytes.truncate(read);
    bytes
}
