//! Standard input: always read, for a full pipe would stop the server that writes to it.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::reader::{Desk, FileReader, RouteSet, Step};
use super::reading::Readings;
use crate::logs::Reading;
use crate::logs::checkpoint::{FileId, ReadingText};
use crate::logs::count::SourceCounts;
use crate::logs::wake::Wake;
use crate::task::Stop;

/// How long one wait for input is: as long as a stop or an idle record may wait.
const POLL: Duration = Duration::from_millis(100);
/// What one read takes at most: as much as a pipe holds.
const PIECE: usize = 64 * 1024;
/// What is kept while it is not yet known how lines are read.
const HELD: usize = 1024 * 1024;
/// No file of the checkpoint has this name: there is no position to go back to.
const ID: FileId = FileId(u64::MAX);

/// Standard input as a source.
pub(in crate::logs) struct Stdin {
    pub(in crate::logs) routes: usize,
    pub(in crate::logs) readings: Readings,
    pub(in crate::logs) counts: Arc<SourceCounts>,
}

/// Reads until the input ends or the stop begins. Blocking.
pub(in crate::logs) fn run(
    mut stdin: Stdin,
    desk: &mut dyn Desk,
    wake: &Wake,
    stop: &Stop,
) -> io::Result<()> {
    let mut routes = RouteSet::default();
    (0..stdin.routes).for_each(|route| routes.insert(route));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let met = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    let mut work = Work {
        reader: FileReader::of_stream(ID, met, routes),
        in_force: None,
        held: Vec::new(),
        seen: 0,
        counts: Arc::clone(&stdin.counts),
    };
    stdin.counts.files(1, Vec::new());
    let input = io::stdin();
    let outcome = loop {
        if stop.is_draining() {
            break Ok(());
        }
        let ready = match wait(&input) {
            Ok(ready) => ready,
            Err(e) => break Err(e),
        };
        let now = Instant::now();
        if ready {
            match work.take(&mut input.lock()) {
                Ok(0) => {
                    tracing::info!("standard input has ended");
                    break Ok(());
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        }
        work.decide(&mut stdin.readings, now, false);
        work.give(desk, wake, stop, now);
        if !ready && work.reader.idle(now).is_some() {
            work.give(desk, wake, stop, now);
        }
    };
    let now = Instant::now();
    work.decide(&mut stdin.readings, now, true);
    work.give(desk, wake, stop, now);
    work.reader.finish(now);
    work.give(desk, wake, stop, now);
    stdin.counts.files(0, Vec::new());
    outcome
}

struct Work {
    reader: FileReader,
    /// How lines are read, once that is known.
    in_force: Option<ReadingText>,
    /// What has been read and is not yet split into lines.
    held: Vec<u8>,
    seen: u64,
    counts: Arc<SourceCounts>,
}

impl Work {
    /// Takes in what is there; 0 at the end of the input.
    fn take(&mut self, input: &mut impl Read) -> io::Result<usize> {
        let old = self.held.len();
        self.held.resize(old + PIECE, 0);
        let got = input.read(&mut self.held[old..]);
        self.held.truncate(old + got.as_ref().map_or(0, |got| *got));
        if let Ok(got) = &got {
            self.counts.read_bytes.add(*got as u64);
        }
        got
    }

    /// Settles how lines are read, and follows what the session or the lines say later.
    fn decide(&mut self, readings: &mut Readings, now: Instant, must: bool) {
        let reading = match &self.in_force {
            Some(in_force) => readings.told().filter(|told| told != in_force).or_else(|| {
                let unknown = self.reader.wants_prefix() && !self.held.is_empty();
                unknown.then(|| readings.again(&self.held)).flatten()
            }),
            None if self.held.is_empty() => None,
            // The input can't wait for a session as files can.
            None if must || self.held.len() >= HELD => Some(readings.now(&self.held)),
            None => readings.first(now, || self.held.clone()),
        };
        if let Some(reading) = reading {
            self.reader.switch(self.reader.offset(), Reading::from(&reading));
            self.in_force = Some(reading);
        }
    }

    /// Gives out every record that is whole. The lanes end on disk and make room by themselves.
    fn give(&mut self, desk: &mut dyn Desk, wake: &Wake, stop: &Stop, now: Instant) {
        if self.in_force.is_none() {
            return;
        }
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        loop {
            // Without a file to read from there is nothing that could fail.
            match self.reader.step(None, desk, &mut self.seen, now) {
                Ok(Step::Full) if stop.is_cut() => return,
                Ok(Step::Full) => wake.wait(POLL),
                _ if rest.is_empty() => break,
                _ => {
                    let fed = self.reader.feed(|room| {
                        let size = room.len().min(rest.len());
                        room[..size].copy_from_slice(&rest[..size]);
                        Ok(size)
                    });
                    rest = &rest[fed.unwrap_or(0)..];
                }
            }
        }
        self.counts.lines(self.reader.take_counts());
    }
}

/// Whether there is something to read, or the end.
fn wait(input: &impl AsFd) -> io::Result<bool> {
    let timeout = Timespec::try_from(POLL).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(input, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
