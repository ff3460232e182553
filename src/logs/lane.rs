//! A lane: one route's queue into one stream. Readers put records in, one sender takes batches out;
//! a full lane stops the reading of whoever feeds it, and of nobody else.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::batch::{BATCH_BYTES, Batch};
use super::entry;
use super::source::Taken;
use super::wake::Wake;
use super::{Record, Severity};
use crate::loki::{Metadata, Packer, StreamLabels};
use crate::task::Stop;

/// How long a batch is filled.
const LINGER: Duration = Duration::from_secs(1);
/// The same, once it holds an error.
const LINGER_URGENT: Duration = Duration::from_millis(100);

/// Loki refuses what is more than an hour behind the newest entry of its stream (half of
/// `max_chunk_age`); five minutes are kept for what is in flight.
const LATE: i64 = 55 * 60 * 1_000_000_000;

/// Loki takes entries that are so much ahead of its clock (`creation_grace_period`).
const AHEAD: i64 = 10 * 60 * 1_000_000_000;

/// A limit that Loki named may be changed there: it is asked again, by one batch an hour.
const BELIEVED: Duration = Duration::from_secs(3600);

/// As much as the batches of all lanes hold together, those that are being sent too.
pub(super) const QUEUED_BYTES: usize = 16 * 1024 * 1024;
/// What a batch holds at the least, when it is full.
pub(super) const LEAST_BATCH: usize = 8 * 1024;
/// What all lanes hold is told in steps of this size, for it is one number that all share.
const TOLD: usize = 2 * 1024;

/// How a lane stands, for the status page.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// How the last attempt ended, in the words of `pgvigil_loki_requests_total`, `stored` for the
    /// local store.
    pub outcome: Option<&'static str>,
    /// What keeps entries from being stored, in one sentence.
    pub problem: Option<String>,
    pub last_stored: Option<SystemTime>,
}

/// Where a lane ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneKind {
    Loki,
    /// On disk, where it waits for Loki.
    Spool,
    /// In the local store.
    Local,
}

/// What the batches of all lanes hold, and how much a batch may hold before it is full: less, the more
/// lanes there are, and the least where together they hold what they may. So lanes that were filled
/// before others came leave those little, but that.
#[derive(Debug)]
pub(super) struct Room {
    share: AtomicUsize,
    held: AtomicUsize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { share: AtomicUsize::new(BATCH_BYTES), held: AtomicUsize::new(0) }
    }

    /// Shares the room among so many lanes: two batches of each wait at most.
    pub(super) fn share(&self, lanes: usize) {
        let share = QUEUED_BYTES / (2 * lanes.max(1));
        self.share.store(share.clamp(LEAST_BATCH, BATCH_BYTES), Ordering::Relaxed);
    }

    fn is_full(&self, batch: &Batch) -> bool {
        let size = batch.size();
        size >= self.share.load(Ordering::Relaxed)
            || size >= LEAST_BATCH && self.held.load(Ordering::Relaxed) >= QUEUED_BYTES
    }

    fn take(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// See the module.
pub(super) struct Lane {
    pub(super) route: String,
    pub(super) tenant: Option<String>,
    pub(super) labels: StreamLabels,
    /// The stream's name in the checkpoint.
    pub(super) text: String,
    pub(super) late_text: String,
    kind: LaneKind,
    queue: Mutex<Queue>,
    filled: Notify,
    feeders: Mutex<Vec<Arc<Wake>>>,
    room: Arc<Room>,
    standing: Mutex<Standing>,
    /// Entries that are stored, or refused for good.
    settled: AtomicU64,
}

#[derive(Default)]
struct Queue {
    building: Batch,
    sealed: Option<Batch>,
    /// An empty one, whose memory the next one takes.
    spare: Batch,
    /// So much of what is being built was not told to the room.
    untold: usize,
    /// Since when what the sender holds was waiting, and its size.
    sending_since: Option<Instant>,
    sending: usize,
    /// The newest time that was put in.
    newest: Option<i64>,
    /// How many readers may still put something in.
    open: usize,
    /// How old a record may be for Loki, and when it last said so.
    max_age: Option<(i64, Instant)>,
    /// A time that Loki takes, however much ahead of it.
    taken_ahead: i64,
}

impl Lane {
    pub(super) fn new(
        route: &str,
        tenant: Option<String>,
        labels: StreamLabels,
        kind: LaneKind,
        newest: Option<i64>,
        room: Arc<Room>,
    ) -> Self {
        Self {
            route: route.to_owned(),
            tenant,
            text: labels.text(),
            late_text: labels.with("backfill", "true").text(),
            labels,
            kind,
            queue: Mutex::new(Queue { newest, ..Queue::default() }),
            filled: Notify::new(),
            feeders: Mutex::default(),
            room,
            standing: Mutex::default(),
            settled: AtomicU64::default(),
        }
    }

    /// Another reader feeds the lane; it is woken when there is room.
    pub(super) fn add_feeder(&self, wake: Arc<Wake>) {
        self.feeders.lock().unwrap_or_else(PoisonError::into_inner).push(wake);
        self.lock().open += 1;
    }

    /// One reader has ended.
    pub(super) fn close(&self, wake: &Arc<Wake>) {
        let mut feeders = self.feeders.lock().unwrap_or_else(PoisonError::into_inner);
        feeders.retain(|feeder| !Arc::ptr_eq(feeder, wake));
        drop(feeders);
        self.lock().open -= 1;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one record; none where the lane is full.
    pub(super) fn place(&self) -> Option<Place<'_>> {
        let queue = self.lock();
        let has_room = !self.room.is_full(&queue.building) || queue.sealed.is_none();
        has_room.then(|| Place { lane: self, queue })
    }

    /// The route does not want the record, and is past it.
    pub(super) fn pass(&self, taken: &Taken, now: Instant) {
        let mut queue = self.lock();
        let progress = queue.building.progress(taken.file, now);
        progress.mark = taken.mark;
        // The sender's own timer looks after it: nothing waits for a position alone.
        if queue.building.since == Some(now) {
            drop(queue);
            self.filled.notify_one();
        }
    }

    /// Loki has said before which time it takes nothing.
    pub(super) fn learn_oldest(&self, oldest: i64) {
        let max_age = wall_clock().saturating_sub(oldest);
        self.lock().max_age = Some((max_age, Instant::now()));
    }

    /// The next batch to be sent, once it is full or has waited long enough; none when no more will
    /// come. The batch before counts as done.
    pub(super) async fn next(&self, stop: &Stop) -> Option<Batch> {
        loop {
            let due = {
                let mut queue = self.lock();
                queue.sending_since = None;
                self.room.give_back(std::mem::take(&mut queue.sending));
                match queue.take(stop.is_draining(), &self.room) {
                    Taking::Batch(batch) => {
                        queue.sending_since = batch.since;
                        queue.sending = batch.size();
                        drop(queue);
                        let feeders = self.feeders.lock().unwrap_or_else(PoisonError::into_inner);
                        for wake in feeders.iter() {
                            wake.ring();
                        }
                        return Some(*batch);
                    }
                    Taking::End => return None,
                    Taking::At(due) => due,
                }
            };
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.filled.notified() => {}
                () = timer => {}
                // From then on nothing waits to be filled: each round takes what there is.
                () = stop.draining(), if !stop.is_draining() => {}
                () = stop.cut() => return None,
            }
        }
    }

    /// Gives back a batch that is done. Where full ones follow each other, its memory is used again.
    pub(super) fn recycle(&self, batch: Batch) {
        let spare = if self.room.is_full(&batch) { batch.emptied() } else { Batch::default() };
        self.lock().spare = spare;
    }

    /// Nothing waits behind what the sender holds.
    pub(super) fn is_empty(&self) -> bool {
        let queue = self.lock();
        queue.building.is_empty() && queue.sealed.is_none()
    }

    /// As many bytes as wait.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let queue = self.lock();
        queue.building.size() + queue.sealed.as_ref().map_or(0, Batch::size)
    }

    /// No reader puts anything in any more.
    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        self.lock().open == 0
    }

    /// Since when the oldest of what was read waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let queue = self.lock();
        queue.sending_since.or_else(|| queue.sealed.as_ref()?.since).or(queue.building.since)
    }

    /// Notes that so many entries more are stored, or refused for good.
    pub(super) fn settle(&self, entries: usize) {
        self.settled.fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// Entries settled since the start.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Relaxed)
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how an attempt ended; a problem is logged when it is new, and when it is over.
    pub(super) fn stand(&self, outcome: &'static str, problem: Option<String>) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if standing.outcome != Some(outcome) {
            match (&problem, &standing.problem) {
                (Some(problem), _) => tracing::warn!(route = %self.route, "{problem}"),
                (None, Some(_)) => tracing::info!(route = %self.route, "log entries flow again"),
                (None, None) => {}
            }
        }
        if problem.is_none() {
            standing.last_stored = Some(SystemTime::now());
        }
        standing.outcome = Some(outcome);
        standing.problem = problem;
    }
}

/// Room for one record in a lane, which nobody else takes meanwhile.
pub(super) struct Place<'l> {
    lane: &'l Lane,
    queue: MutexGuard<'l, Queue>,
}

impl Place<'_> {
    /// Puts in a record as it was redacted for this route; `metadata`: what stands before its fields.
    /// Returns whether it is a late one.
    pub(super) fn put(
        self,
        taken: &Taken,
        record: &Record,
        metadata: &Metadata,
        now: Instant,
        decided: Option<bool>,
        packer: &mut Packer,
    ) -> bool {
        let Self { lane, mut queue } = self;
        let line = entry::line(record);
        let metadata = [metadata, record.fields.encoded()];
        if lane.kind == LaneKind::Loki && queue.is_too_old(taken.ns, now) {
            queue.building.progress(taken.file, now).mark = taken.mark;
            queue.building.too_old += 1;
            return false;
        }
        if lane.room.is_full(&queue.building) && queue.sealed.is_none() {
            queue.sealed = Some(queue.renew(&lane.room));
        }
        let newest = queue.newest.unwrap_or(i64::MIN);
        // In the local store any order is good.
        let late = lane.kind != LaneKind::Local
            && decided.unwrap_or(taken.ns < newest.saturating_sub(LATE));
        let first = queue.building.is_empty();
        let progress = queue.building.progress(taken.file, now);
        progress.mark = taken.mark;
        progress.decide(record.bytes.start, late);
        let before = queue.building.size();
        if late {
            queue.building.late.push(taken.ns, &line, &metadata);
        } else {
            queue.building.entries.push(taken.ns, &line, &metadata);
            let newest = newest.max(queue.at_most_ahead(taken.ns));
            queue.newest = Some(newest);
            queue.building.newest = Some(newest);
        }
        // What is kept on this machine is kept as it is.
        if lane.kind == LaneKind::Loki {
            queue.building.pack(packer);
        }
        queue.untold += queue.building.size() - before;
        if queue.untold >= TOLD {
            queue.tell(&lane.room);
        }
        let urgent = record.severity.is_some_and(|severity| severity >= Severity::Error);
        let news =
            first || lane.room.is_full(&queue.building) || (urgent && !queue.building.urgent);
        queue.building.urgent |= urgent;
        drop(queue);
        if news {
            lane.filled.notify_one();
        }
        late
    }
}

/// Nanoseconds since 1970, now.
fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

enum Taking {
    Batch(Box<Batch>),
    /// Nothing yet; something at this time unless more comes.
    At(Option<Instant>),
    End,
}

impl Queue {
    /// Takes out what was built.
    fn renew(&mut self, room: &Room) -> Batch {
        self.tell(room);
        std::mem::replace(&mut self.building, std::mem::take(&mut self.spare))
    }

    fn tell(&mut self, room: &Room) {
        room.take(std::mem::take(&mut self.untold));
    }

    fn is_too_old(&self, ns: i64, now: Instant) -> bool {
        self.max_age.is_some_and(|(max_age, since)| {
            now.saturating_duration_since(since) < BELIEVED
                && ns < wall_clock().saturating_sub(max_age)
        })
    }

    /// What a wrong clock dates into the future is refused, and makes nothing else late.
    fn at_most_ahead(&mut self, ns: i64) -> i64 {
        if ns > self.taken_ahead {
            self.taken_ahead = wall_clock().saturating_add(AHEAD);
        }
        ns.min(self.taken_ahead)
    }

    fn take(&mut self, draining: bool, room: &Room) -> Taking {
        if let Some(sealed) = self.sealed.take() {
            return Taking::Batch(Box::new(sealed));
        }
        let Some(since) = self.building.since else {
            return if draining && self.open == 0 { Taking::End } else { Taking::At(None) };
        };
        let linger = if self.building.urgent { LINGER_URGENT } else { LINGER };
        let due = since + linger;
        if room.is_full(&self.building) || draining || due <= Instant::now() {
            return Taking::Batch(Box::new(self.renew(room)));
        }
        Taking::At(Some(due))
    }
}
