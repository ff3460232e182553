//! What files are to one another: rotation copies, compresses and truncates them, and what was read
//! in one goes on in its copy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::content::Content;
use super::files::Work;
use super::identity::Head;
use super::scan::{self, Seen};
use super::track::count_truncated;
use crate::logs::checkpoint::{FileId, FileState, Mark};

/// What a file beside a known one is to it.
pub(super) enum Kin {
    Stranger,
    /// A copy: what it holds is read in the original.
    Copy,
    /// Perhaps a copy, which is still being made.
    Later,
    /// A copy of what is gone from its own place, and still in memory.
    Held(FileId),
    /// A copy of content that is gone from its own place: the rest is read here.
    Rest(FileId, Box<FileState>),
}

impl Work {
    /// What the file is to those that are known, as `copytruncate` makes copies of them.
    pub(super) fn kin(&self, seen: &Seen, file: &Content) -> Kin {
        // Of thousands that may be known, few begin alike: those alone are looked at.
        let other = |f: &FileState| {
            let alike = f.end.unwrap_or(f.size) == seen.size && f.head.is_all_of(seen.size);
            f.source == self.files.source && f.key() != seen.key() && (f.head.is_telling() || alike)
        };
        let lengths: BTreeSet<usize> = self.files.checkpoint.read(|state| {
            state.files.values().filter(|f| other(f)).map(|f| f.head.length()).collect()
        });
        let heads: Vec<Head> =
            lengths.into_iter().filter_map(|length| Head::first(file, length).ok()).collect();
        let originals: Vec<(FileId, FileState)> = self.files.checkpoint.read(|state| {
            let alike = state.files.iter().filter(|(_, f)| {
                other(f) && heads.contains(&f.head) && scan::is_rotated(f.name(), &seen.path)
            });
            alike.map(|(id, file)| (*id, file.clone())).collect()
        });
        if originals.is_empty() && !seen.is_settled() && self.may_be_a_copy(seen, file) {
            return Kin::Later;
        }
        for (id, original) in originals {
            if !reaches(file, original.reached()) && !seen.is_settled() {
                return Kin::Later;
            }
            if !fits(file, &original) {
                continue;
            }
            let in_hand = self.tracked.iter().any(|tracked| tracked.id == id);
            // Content that is gone from its place has no inode.
            return match (original.inode, in_hand) {
                (0, true) => Kin::Held(id),
                (0, false) => Kin::Rest(id, Box::new(original)),
                (_, true) => Kin::Copy,
                // At the start it was nowhere to be found.
                (_, false) if original.end.is_none() => Kin::Rest(id, Box::new(original)),
                (_, false) => Kin::Copy,
            };
        }
        Kin::Stranger
    }

    /// Whether it begins like a file of which too little was seen to know its copies by it. The next
    /// look at that one tells: it has grown, or it was truncated, and finds its copy.
    fn may_be_a_copy(&self, seen: &Seen, file: &Content) -> bool {
        let followed: BTreeSet<FileId> =
            self.tracked.iter().filter(|t| !t.gone).map(|t| t.id).collect();
        let short: Vec<Head> = self.files.checkpoint.read(|state| {
            let own = state.files.iter().filter(|(id, f)| {
                followed.contains(id)
                    && f.key() != seen.key()
                    && !f.head.is_empty()
                    && !f.head.is_telling()
                    && scan::is_rotated(f.name(), &seen.path)
            });
            own.map(|(_, f)| f.head).collect()
        });
        short.into_iter().any(|head| head.fits(file).unwrap_or(false))
    }

    /// The content of a file has been replaced. If its copy lies beside it, the rest is read there.
    pub(super) fn replace(&mut self, at: usize, now: Instant) {
        let tracked = &mut self.tracked[at];
        let (path, key) = (tracked.seen.path.clone(), tracked.seen.key());
        let offset = tracked.most_end();
        let state = self.files.checkpoint.read(|state| state.files.get(&tracked.id).cloned());
        let name = state.as_ref().map_or(path.clone(), |state| state.name().to_owned());
        let furthest = &tracked.readers[tracked.furthest()];
        let position = furthest.position();
        let copy = state.filter(|state| !state.head.is_empty()).and_then(|state| {
            let listing = scan::directory(path.parent()?);
            listing.into_iter().find_map(|seen| {
                let other = seen.key() != tracked.seen.key() && scan::is_rotated(&path, &seen.path);
                let file = other.then(|| scan::open(&seen).ok()?).flatten()?;
                let size = file.look().ok()?.size;
                let seen = Seen { size, ..seen };
                if !reaches(&file, offset) {
                    return None;
                }
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
                tracked.lose();
                let vanished = known_size.saturating_sub(tracked.least_end());
                count_truncated(&self.files.counts, &path, vanished);
                // What is in memory is given out; only a restart would lose that too, and count it.
                let (id, left) = (tracked.id, tracked.least_end());
                self.files.checkpoint.change(|state| {
                    if let Some(file) = state.files.get_mut(&id) {
                        file.size = left;
                    }
                });
            }
        }
        self.note_replaced(at);
        // The new content is a file of its own, met at once, whatever its name is by now.
        let listing = path.parent().map(scan::directory).unwrap_or_default();
        let Some(seen) = listing.into_iter().find(|seen| seen.key() == key) else { return };
        let met = if seen.path == path {
            self.meet(&seen, &path, false, now).map(drop)
        } else {
            self.meet_rotated(&seen, &name, now)
        };
        if let Err(e) = met {
            self.complain(&seen.path, &e);
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
}

/// What the files of a directory begin with: each is opened once, however many are looked for.
#[derive(Default)]
pub(super) struct Beginnings(BTreeMap<((u64, u64), usize), Option<Head>>);

impl Beginnings {
    /// Whether the file begins with what was hashed.
    pub(super) fn are_alike(&mut self, seen: &Seen, head: Head) -> bool {
        let length = head.length();
        let look = || Head::first(&scan::open(seen).ok()??, length).ok();
        *self.0.entry((seen.key(), length)).or_insert_with(look) == Some(head)
    }
}

/// Whether the checkpoint's file is this one: the same head, and the same bytes before each mark. One
/// of which nothing was seen is none: the inode alone may have been given to another since.
pub(super) fn fits(file: &Content, state: &FileState) -> bool {
    let mut marks: Vec<Mark> = state.routes.values().map(|route| route.mark).collect();
    // What is compressed is read forward only.
    marks.sort_by_key(|mark| mark.offset);
    !state.head.is_empty()
        && state.head.fits(file).unwrap_or(false)
        && marks.into_iter().all(|mark| {
            reaches(file, mark.offset) && mark.tail.fits(file, mark.offset).unwrap_or(false)
        })
}

/// Whether there is so much of it. Of what is compressed the size is not known for sure.
fn reaches(file: &Content, offset: u64) -> bool {
    file.is_packed() || file.look().is_ok_and(|looks| offset <= looks.size)
}

/// Opens the file if it is the checkpoint's.
pub(super) fn fitting(seen: &Seen, state: &FileState) -> Option<Content> {
    let file = scan::open(seen).ok()??;
    fits(&file, state).then_some(file)
}
