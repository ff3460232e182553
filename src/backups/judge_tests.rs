//! What findings mean: the states one by one, and what holds of all of them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::fault::Reason;
use super::findings::{Findings, Kind, Outcome, Taken};
use super::judge::{Known, State, Verdict, judge};
use crate::config::{Backup, BackupSource, Place, Schedule};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Every night at midnight, kept for a week.
fn nightly() -> Backup {
    Backup {
        source: BackupSource::Json,
        name: None,
        input: None,
        server: None,
        repository: None,
        schedule: Some(Schedule::parse("0 0 * * *", TimeZone::UTC, false).unwrap()),
        time_zone: TimeZone::UTC,
        grace: None,
        keep: Some(Duration::from_secs(7 * DAY)),
        max_age: None,
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(30),
        settle: Duration::from_secs(60),
        offsite: false,
        place: Place::default(),
    }
}

fn at(text: &str) -> Timestamp {
    format!("2026-03-{text}:00Z").parse().unwrap()
}

fn taken(kind: Kind, outcome: Outcome, ended: &str, bytes: f64) -> Taken {
    let time = Some(at(ended));
    let running = outcome == Outcome::Running;
    Taken {
        kind,
        outcome,
        repository: None,
        began: if running { time } else { None },
        ended: if running { None } else { time },
        bytes: Some(bytes),
        listed: true,
    }
}

fn full(ended: &str) -> Taken {
    taken(Kind::Full, Outcome::Done, ended, 100.0)
}

fn list(taken: Vec<Taken>) -> Findings {
    Findings { taken, listed: true, ..Findings::default() }
}

fn verdict(backup: &Backup, findings: &Findings, now: Timestamp) -> Verdict {
    let known =
        Known { findings: Some(findings), read: Some(now), written: None, reason: Reason::Ok };
    judge(backup, &known, now)
}

fn states(backup: &Backup, findings: &Findings, now: &str) -> Vec<State> {
    verdict(backup, findings, at(now)).states
}

#[test]
fn overdue_is_one_missed_run_seen_at_the_next() {
    let one = |taken: Vec<Taken>, now: &str| {
        let backup = Backup { keep: None, ..nightly() };
        states(&backup, &list(taken), now)
    };
    // The run of the 10th took 20 minutes.
    let last = || vec![full("10T00:20")];
    assert_eq!(one(last(), "10T12:00"), [State::Ok]);
    // The run of the 11th may last until the 12th.
    assert_eq!(one(last(), "11T23:59"), [State::Ok]);
    assert_eq!(one(last(), "12T00:00"), [State::Overdue]);
    // The run of the 11th goes on over the 12th; after that it is waited for no longer.
    let running = taken(Kind::Full, Outcome::Running, "11T00:00", 0.0);
    let with = || [last(), vec![running.clone()]].concat();
    assert_eq!(one(with(), "12T12:00"), [State::Ok]);
    assert_eq!(one(with(), "13T00:00"), [State::Overdue]);

    let with_grace = Backup { grace: Some(Duration::from_secs(2 * HOUR)), keep: None, ..nightly() };
    let graced = |now: &str| states(&with_grace, &list(last()), now);
    assert_eq!(graced("11T01:59"), [State::Ok]);
    assert_eq!(graced("11T02:00"), [State::Overdue]);
    let never = Backup { schedule: None, keep: None, ..nightly() };
    assert_eq!(states(&never, &list(last()), "31T00:00"), [State::Ok]);
}

#[test]
fn a_failure_holds_until_a_success_of_its_type_or_a_whole_one() {
    let backup = Backup { schedule: None, keep: None, ..nightly() };
    let failed = |kind, ended| taken(kind, Outcome::Failed, ended, 0.0);
    let incremental = |ended| taken(Kind::Incremental, Outcome::Done, ended, 1.0);
    let of = |taken: Vec<Taken>| states(&backup, &list(taken), "20T00:00");
    assert_eq!(of(vec![full("10T00:00"), failed(Kind::Full, "11T00:00")]), [State::Failed]);
    assert_eq!(
        of(vec![full("10T00:00"), failed(Kind::Full, "11T00:00"), incremental("12T00:00")]),
        [State::Failed]
    );
    assert_eq!(
        of(vec![failed(Kind::Incremental, "11T00:00"), full("12T00:00")]),
        [State::Ok],
        "an old failure does not latch"
    );
    // A backup that has only failed is none.
    assert_eq!(of(vec![failed(Kind::Full, "11T00:00")]), [State::NoneKnown, State::Failed]);
}

#[test]
fn the_window_is_short_by_more_than_one_period() {
    let of =
        |oldest: &str| states(&nightly(), &list(vec![full(oldest), full("20T00:10")]), "20T12:00");
    assert_eq!(of("14T11:00"), [State::Ok], "six days and an hour: expiry of seven days has run");
    assert_eq!(of("14T13:00"), [State::WindowShort]);
    let told = Findings { window_start: Some(at("01T00:00")), ..list(vec![full("20T00:10")]) };
    let verdict = verdict(&nightly(), &told, at("20T12:00"));
    assert_eq!(verdict.states, [State::Ok], "what the tool says itself counts");
    assert_eq!(verdict.window[&None], at("01T00:00"));
}

#[test]
fn each_repository_is_judged_by_itself() {
    let of = |name: &str, ended: &str| Taken { repository: Some(name.to_owned()), ..full(ended) };
    let backup = Backup { keep: None, ..nightly() };
    let mut findings = list(vec![of("1", "20T00:10"), of("2", "17T00:10")]);
    assert_eq!(states(&backup, &findings, "20T12:00"), [State::Overdue]);
    findings.taken.truncate(1);
    assert_eq!(states(&backup, &findings, "20T12:00"), [State::Ok]);
    findings.repositories = ["1".to_owned(), "2".to_owned()].into();
    assert_eq!(states(&backup, &findings, "20T12:00"), [State::NoneKnown]);
}

#[test]
fn sizes_and_room() {
    let backup = Backup { schedule: None, keep: None, source: BackupSource::Dump, ..nightly() };
    let dump = |ended, bytes| taken(Kind::Dump, Outcome::Done, ended, bytes);
    let mut findings = list(vec![dump("11T00:00", 49.0), dump("10T00:00", 100.0)]);
    findings.space = Some(49);
    let verdict = verdict(&backup, &findings, at("11T12:00"));
    assert_eq!(verdict.states, [State::Shrunken]);
    let last = &verdict.last[&(None, Kind::Dump)];
    assert_eq!((last.bytes, last.ratio, last.successful), (Some(49.0), Some(0.49), 2));
    findings.taken[0].bytes = Some(50.0);
    assert_eq!(states(&backup, &findings, "11T12:00"), [State::NoSpace]);
}

#[test]
fn what_is_not_known_is_said() {
    let backup = nightly();
    let known = |reason| Known { findings: None, read: None, written: None, reason };
    let of = |reason| judge(&backup, &known(reason), at("20T12:00")).states;
    assert_eq!(of(Reason::Unread), []);
    assert_eq!(of(Reason::Unconfigured), [State::NoneKnown]);
    assert_eq!(of(Reason::Missing), [State::NoneKnown, State::SourceError]);

    let findings = list(vec![full("20T00:10"), full("10T00:10")]);
    let old = |read: &str, written: &str, max_age: Option<u64>, reason| {
        let backup = Backup { max_age: max_age.map(Duration::from_secs), ..nightly() };
        let known = Known {
            findings: Some(&findings),
            read: Some(at(read)),
            written: Some(at(written)),
            reason,
        };
        judge(&backup, &known, at("20T12:00")).states
    };
    assert_eq!(old("20T11:59", "01T00:00", None, Reason::Ok), [State::Ok]);
    assert_eq!(old("20T11:59", "20T00:00", Some(11 * HOUR), Reason::Ok), [State::Stale]);
    // A source that fails is said at once, and stale after three of its intervals.
    assert_eq!(old("20T11:59", "20T00:00", None, Reason::Syntax), [State::SourceError]);
    assert_eq!(
        old("20T11:56", "20T00:00", None, Reason::Timeout),
        [State::Stale, State::SourceError]
    );
    assert_eq!(of(Reason::Ok), [State::NoneKnown]);
    assert_eq!(states(&backup, &list(vec![]), "20T12:00"), [State::NoneKnown]);
}

fn any_taken() -> impl Strategy<Value = Taken> {
    let kinds = prop_oneof![Just(Kind::Full), Just(Kind::Incremental), Just(Kind::Dump)];
    let outcomes = prop_oneof![Just(Outcome::Done), Just(Outcome::Failed), Just(Outcome::Running)];
    let time = proptest::option::of(1_770_000_000i64..1_780_000_000);
    let repository = proptest::option::of(Just("1".to_owned()));
    (kinds, outcomes, time.clone(), time, repository, proptest::option::of(0.0..1e12)).prop_map(
        |(kind, outcome, began, ended, repository, bytes)| {
            let time = |time: Option<i64>| time.map(|time| Timestamp::from_second(time).unwrap());
            let (began, ended) = (time(began), time(ended));
            Taken { kind, outcome, repository, began, ended, bytes, listed: true }
        },
    )
}

proptest! {
    #[test]
    fn always_a_state_and_ok_alone(
        taken in proptest::collection::vec(any_taken(), 0..12),
        now in 1_770_000_000i64..1_780_000_000,
    ) {
        let now = Timestamp::from_second(now).unwrap();
        let verdict = verdict(&nightly(), &list(taken.clone()), now);
        prop_assert!(!verdict.states.is_empty());
        prop_assert!(!verdict.states.contains(&State::Ok) || verdict.states == [State::Ok]);
        let succeeded = taken.iter().any(|t| t.outcome == Outcome::Done && t.at().is_some());
        prop_assert!(succeeded || verdict.states.contains(&State::NoneKnown));
        let counted: usize = verdict.last.values().map(|last| last.successful + last.failed).sum();
        prop_assert_eq!(counted, taken.iter().filter(|t| t.outcome != Outcome::Running).count());
    }

    /// Without a new success, what is overdue stays so; a success now ends it.
    #[test]
    fn overdue_until_a_success(
        taken in proptest::collection::vec(any_taken(), 1..8),
        now in 1_770_000_000i64..1_780_000_000, later in 0i64..3_000_000, grace in 0u64..200_000,
    ) {
        let backup = Backup { grace: (grace > 1000).then(|| Duration::from_secs(grace)), ..nightly() };
        let time = |second| Timestamp::from_second(second).unwrap();
        let mut findings = list(taken);
        let overdue = |findings: &Findings, at| {
            verdict(&backup, findings, time(at)).states.contains(&State::Overdue)
        };
        if overdue(&findings, now) {
            prop_assert!(overdue(&findings, now + later));
        }
        for repository in [None, Some("1".to_owned())] {
            findings.taken.push(Taken { repository, ended: Some(time(now)), ..full("01T00:00") });
        }
        prop_assert!(!overdue(&findings, now));
    }
}
