//! What findings mean at a given time: the states, and the last of each type. Pure.
//!
//! A backup is *overdue* when a moment of the schedule has been followed by no success although the
//! time for it is over: `grace` after the moment, or, where none is set, when the next moment has come.
//! One that runs and began since that moment is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::fault::Reason;
use super::findings::{Findings, Kind, Outcome, Taken};
use crate::config::Backup;

/// What may be said of a source; several may hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing else holds.
    Ok,
    /// No backup that succeeded is known.
    NoneKnown,
    Overdue,
    /// The last attempt of a type failed.
    Failed,
    /// It cannot be gone back as far as `keep` says.
    WindowShort,
    /// The last one has less than half of the bytes of the one before.
    Shrunken,
    /// Less is free than the last dump takes.
    NoSpace,
    /// What is known was told too long ago.
    Stale,
    /// The source cannot be read, or reports an error.
    SourceError,
}

impl State {
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::NoneKnown,
        Self::Overdue,
        Self::Failed,
        Self::WindowShort,
        Self::Shrunken,
        Self::NoSpace,
        Self::Stale,
        Self::SourceError,
    ];

    /// The label `state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoneKnown => "none_known",
            Self::Overdue => "overdue",
            Self::Failed => "failed",
            Self::WindowShort => "window_short",
            Self::Shrunken => "shrunken",
            Self::NoSpace => "no_space",
            Self::Stale => "stale",
            Self::SourceError => "source_error",
        }
    }

    /// For people: what it means and what to do; none where there is nothing to do, or where the
    /// source's own sentence says more.
    pub fn advice(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Ok | Self::SourceError => None,
            Self::NoneKnown => {
                Some(("no backup is known", "make one, or correct where it is looked for"))
            }
            Self::Overdue => {
                Some(("the last backup is overdue", "see why the job does not run, or set `grace`"))
            }
            Self::Failed => Some(("the last backup failed", "see the log of the tool")),
            Self::WindowShort => Some((
                "backups reach back less far than `keep` says",
                "keep more of them; while backups are new this is as it must be",
            )),
            Self::Shrunken => Some((
                "the last backup has less than half of the size of the one before",
                "see whether it is whole",
            )),
            Self::NoSpace => Some(("there is no room for another dump", "make room")),
            Self::Stale => Some((
                "what is known was told too long ago",
                "see why the file is not written anew, or set `max_age`",
            )),
        }
    }
}

/// What the readings so far have left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// Of the last reading that told something.
    pub(crate) findings: Option<&'a Findings>,
    /// When it ended.
    pub(crate) read: Option<Timestamp>,
    /// When what it told was written, where that is known.
    pub(crate) written: Option<Timestamp>,
    /// How the last reading went.
    pub(crate) reason: Reason,
}

/// The last of one type in one repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Last {
    pub(crate) success: Option<Timestamp>,
    pub(crate) failure: Option<Timestamp>,
    pub(crate) bytes: Option<f64>,
    /// Of the last one's size to the size of the one before.
    pub(crate) ratio: Option<f64>,
    pub(crate) duration: Option<f64>,
    /// Of those that a list tells of.
    pub(crate) successful: usize,
    pub(crate) failed: usize,
}

/// Everything that can be said at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// In the order of [`State::ALL`]; empty before the first reading.
    pub(crate) states: Vec<State>,
    /// By repository and type.
    pub(crate) last: BTreeMap<(Option<String>, Kind), Last>,
    /// The first moment that can be gone back to, by repository.
    pub(crate) window: BTreeMap<Option<String>, Timestamp>,
    pub(crate) running: bool,
    /// The last and the next moment of the schedule.
    pub(crate) scheduled: Option<(Timestamp, Timestamp)>,
}

impl Verdict {
    /// The end of the last success of any type.
    pub(crate) fn last_success(&self) -> Option<Timestamp> {
        self.last.values().filter_map(|last| last.success).max()
    }
}

pub(crate) fn judge(backup: &Backup, known: &Known<'_>, now: Timestamp) -> Verdict {
    let mut verdict = Verdict::default();
    let schedule = backup.schedule.as_ref();
    verdict.scheduled =
        schedule.and_then(|schedule| Some((schedule.last(now)?, schedule.next(now)?)));
    if let Some(findings) = known.findings {
        tally(findings, &mut verdict);
    }
    if known.reason == Reason::Unread {
        return verdict;
    }
    let mut hold = |state: State, holds: bool| {
        if holds && !verdict.states.contains(&state) {
            verdict.states.push(state);
        }
    };
    hold(State::SourceError, !matches!(known.reason, Reason::Ok | Reason::Unconfigured));
    hold(State::Stale, is_stale(backup, known, now));
    match known.findings {
        None => hold(State::NoneKnown, true),
        Some(findings) => {
            for repository in findings.places() {
                let here: Vec<&Taken> =
                    findings.taken.iter().filter(|taken| taken.repository == repository).collect();
                let newest = newest(&here, Outcome::Done, |_| true);
                hold(State::NoneKnown, newest.is_none());
                if let Some(newest) = newest {
                    hold(State::Overdue, is_overdue(backup, &here, newest, now));
                    let room = newest.bytes.zip(findings.space);
                    #[expect(clippy::cast_precision_loss, reason = "a file system's free bytes")]
                    hold(State::NoSpace, room.is_some_and(|(last, free)| (free as f64) < last));
                }
                hold(State::Failed, has_failed(&here));
            }
            for start in verdict.window.values() {
                hold(State::WindowShort, is_short(backup, *start, now));
            }
            let half = |last: &Last| last.ratio.is_some_and(|ratio| ratio < 0.5);
            hold(State::Shrunken, verdict.last.values().any(half));
        }
    }
    if verdict.states.is_empty() {
        verdict.states.push(State::Ok);
    }
    verdict.states.sort_unstable();
    verdict
}

fn newest<'t>(
    taken: &[&'t Taken],
    outcome: Outcome,
    which: impl Fn(&Taken) -> bool,
) -> Option<&'t Taken> {
    taken
        .iter()
        .copied()
        .filter(|taken| taken.outcome == outcome && taken.at().is_some() && which(taken))
        .max_by_key(|taken| taken.at())
}

fn is_overdue(backup: &Backup, here: &[&Taken], newest: &Taken, now: Timestamp) -> bool {
    let moment = backup.schedule.as_ref().and_then(|schedule| match backup.grace {
        Some(grace) => schedule.last(now.checked_sub(grace).ok()?),
        None => schedule.before(schedule.last(now)?),
    });
    let Some(moment) = moment else { return false };
    let waited = here.iter().any(|taken| {
        taken.outcome == Outcome::Running && taken.began.is_some_and(|began| began >= moment)
    });
    !waited && newest.at().is_some_and(|at| at < moment)
}

/// Whether a failure has been followed by no success of its type, nor by a whole backup.
fn has_failed(here: &[&Taken]) -> bool {
    here.iter().filter(|taken| taken.outcome == Outcome::Failed).any(|failure| {
        let fits = |taken: &Taken| taken.kind == failure.kind || taken.kind.is_whole();
        newest(here, Outcome::Done, fits).is_none_or(|success| success.at() < failure.at())
    })
}

/// Expiry runs beside the backups, so one period of the schedule is no lack.
fn is_short(backup: &Backup, start: Timestamp, now: Timestamp) -> bool {
    let Some(keep) = backup.keep else { return false };
    let period = backup.schedule.as_ref().and_then(|schedule| {
        let last = schedule.last(now)?;
        Duration::try_from(last.duration_since(schedule.before(last)?)).ok()
    });
    let asked = keep.saturating_sub(period.unwrap_or_default());
    Duration::try_from(now.duration_since(start)).unwrap_or_default() < asked
}

fn is_stale(backup: &Backup, known: &Known<'_>, now: Timestamp) -> bool {
    let age = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
    let gone = 3 * backup.interval + backup.timeout;
    known.read.is_some_and(|read| age(read) > gone)
        || known.written.zip(backup.max_age).is_some_and(|(at, most)| age(at) > most)
}

fn tally(findings: &Findings, verdict: &mut Verdict) {
    let mut sorted: Vec<&Taken> = findings.taken.iter().collect();
    sorted.sort_by_key(|taken| taken.at());
    let mut sizes: BTreeMap<(Option<String>, Kind), f64> = BTreeMap::new();
    for taken in sorted {
        let key = (taken.repository.clone(), taken.kind);
        let last = verdict.last.entry(key.clone()).or_default();
        match taken.outcome {
            Outcome::Done => {
                last.successful += usize::from(taken.listed);
                last.success = taken.at().max(last.success);
                last.duration = taken.began.zip(taken.ended).map(|(began, ended)| {
                    ended.duration_since(began).max(SignedDuration::ZERO).as_secs_f64()
                });
                // What a tool tells of the last one alone has no size, and takes none away.
                last.bytes = taken.bytes.or(last.bytes);
                if let Some(bytes) = taken.bytes.filter(|_| taken.kind.is_whole()) {
                    let before = sizes.insert(key, bytes).filter(|before| *before > 0.0);
                    last.ratio = before.map(|before| bytes / before);
                }
                if let Some(at) = taken.at() {
                    let start = verdict.window.entry(taken.repository.clone()).or_insert(at);
                    *start = at.min(*start);
                }
            }
            Outcome::Failed => {
                last.failed += usize::from(taken.listed);
                last.failure = taken.at().max(last.failure);
            }
            Outcome::Running => verdict.running = true,
        }
    }
    verdict.running |= findings.running;
    if let Some(start) = findings.window_start {
        verdict.window = BTreeMap::from([(None, start)]);
    }
}
