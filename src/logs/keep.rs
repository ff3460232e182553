//! Where a lane ends on disk: in the local store for good, or in the spool where standard input waits
//! for Loki.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::batch::Batch;
use super::checkpoint::{Checkpoint, State};
use super::lane::Lane;
use super::sender::{self, Refusals};
use super::store::{FilePosition, FrameHead, Place, Store};
use crate::loki::{Entries, Loki, Pace};
use crate::task::{Backoff, Stop};

/// Positions are in the frames, so the checkpoint has time.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// A shelf, and what to do where the disk is full.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) store: Arc<Store>,
    pub(super) shelf: String,
    /// Its lane must never stand still (standard input): the oldest goes. Else reading waits.
    pub(super) make_room: bool,
}

/// Tells a spool's sender that there is more, or that no more will come.
#[derive(Default)]
pub(super) struct Bell {
    filled: Notify,
    closed: AtomicBool,
}

/// Writes what the lane holds until it is closed and empty, or the stop cuts.
pub(super) async fn write(
    lane: Arc<Lane>,
    ending: Ending,
    checkpoint: Arc<Checkpoint>,
    bell: Option<Arc<Bell>>,
    stop: Stop,
) {
    let mut saved = Instant::now();
    while let Some(batch) = lane.next(&stop).await {
        let batch = Arc::new(batch);
        if !stored(&lane, &ending, &batch, &checkpoint, bell.is_none(), &stop).await {
            break;
        }
        checkpoint.change(|state| batch.acknowledge(&lane.route, &lane.text, state));
        if let Some(bell) = &bell {
            bell.filled.notify_one();
        }
        if saved.elapsed() >= SAVE_EVERY {
            checkpoint.save().await;
            saved = Instant::now();
        }
    }
    checkpoint.save().await;
    if let Some(bell) = &bell {
        bell.closed.store(true, Ordering::Release);
        bell.filled.notify_one();
    }
}

/// Writes one batch, however long it takes. False where the stop cut.
async fn stored(
    lane: &Lane,
    ending: &Ending,
    batch: &Arc<Batch>,
    checkpoint: &Checkpoint,
    is_last: bool,
    stop: &Stop,
) -> bool {
    let heads = checkpoint.read(|state| heads(lane, batch, state));
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    for head in heads {
        while let Err(e) = append(ending, &head, batch).await {
            let directory = ending.store.directory(&ending.shelf);
            let what = format!("cannot write the local log store in {}: {e}", directory.display());
            if ending.make_room {
                let remedy = "make room there, for what standard input brings is lost meanwhile";
                lane.stand("disk", Some(format!("{what}; {remedy}")));
                ending.store.lose(head.entries);
                return true;
            }
            let remedy =
                "make room there or lower logs.store.max_bytes, the log files wait meanwhile";
            lane.stand("disk", Some(format!("{what}; {remedy}")));
            tokio::select! {
                () = tokio::time::sleep(backoff.wait()) => {}
                () = stop.cut() => return false,
            }
        }
    }
    // In a spool nothing is at its end yet: how it stands is the sender's to say.
    if is_last {
        lane.settle(batch.entries.len() + batch.late.len());
    }
    if is_last || lane.standing().outcome == Some("disk") {
        lane.stand("stored", None);
    }
    true
}

async fn append(ending: &Ending, head: &FrameHead, batch: &Arc<Batch>) -> io::Result<()> {
    let (own, batch, head) = (ending.clone(), Arc::clone(batch), head.clone());
    // A disk may take its time; the runtime's threads have none.
    tokio::task::spawn_blocking(move || {
        let entries = if head.late { &batch.late } else { &batch.entries };
        own.store.append(&own.shelf, &head, &entries.bytes(), own.make_room)
    })
    .await
    .unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// What stands before the batch's entries on disk. The positions are in the last frame: until it is
/// written, none of the batch counts as done.
fn heads(lane: &Lane, batch: &Batch, state: &State) -> Vec<FrameHead> {
    let parts = [(&batch.late, true), (&batch.entries, false)];
    let mut heads: Vec<FrameHead> = parts
        .into_iter()
        .filter_map(|(entries, late)| {
            let (oldest, newest) = entries.span()?;
            Some(FrameHead {
                labels: lane.text.clone(),
                entries: entries.len() as u64,
                oldest,
                newest,
                late,
                files: Vec::new(),
            })
        })
        .collect();
    if let Some(last) = heads.last_mut() {
        last.files = batch
            .progress
            .iter()
            .filter_map(|progress| {
                let mut file = state.files.get(&progress.file)?.clone();
                file.routes.clear();
                Some(FilePosition { file, mark: progress.mark })
            })
            .collect();
    }
    heads
}

/// Sends what a spool holds until no more will come, or the stop cuts.
pub(super) async fn send(
    lane: Arc<Lane>,
    spool: Ending,
    loki: Arc<Loki>,
    checkpoint: Arc<Checkpoint>,
    bell: Arc<Bell>,
    stop: Stop,
) {
    let mut pace = Pace::default();
    let mut refusals = Refusals::default();
    loop {
        let closed = bell.closed.load(Ordering::Acquire);
        let place: Place =
            checkpoint.read(|state| state.spools.get(&spool.shelf).copied().unwrap_or_default());
        let own = spool.clone();
        let next = tokio::task::spawn_blocking(move || own.store.next(&own.shelf, place)).await;
        let Some((frame, behind)) = next.ok().flatten() else {
            if closed {
                break;
            }
            checkpoint.save().await;
            tokio::select! {
                () = bell.filled.notified() => continue,
                () = stop.cut() => break,
            }
        };
        let entries = frame.entries().and_then(Entries::from_bytes).unwrap_or_default();
        let labels = if frame.head.late { &lane.late_text } else { &lane.text };
        if !sender::deliver(&lane, &loki, labels, &entries, &mut pace, &mut refusals, &stop).await {
            break;
        }
        checkpoint.change(|state| state.spools.insert(spool.shelf.clone(), behind));
        // As after every acknowledgement: what is sent twice may show twice.
        checkpoint.save().await;
    }
    checkpoint.save().await;
}
