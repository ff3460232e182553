//! What is due, what is shown and what is waited for, played through on given instants.

use super::super::testing::{facts, queries};
use super::*;
use crate::collect::rows::Harvest;
use crate::packs::Dialect;
use crate::postgres::{InstanceReason, Role};

const PACK: &str = "
dear: {interval: hourly, query: SELECT 1, metrics: [{v: {usage: GAUGE, metric: pg_d, description: d}}]}
medium: {interval: medium, query: SELECT 1, metrics: [{v: {usage: GAUGE, metric: pg_m, description: d}}]}
one: {interval: fast, query: SELECT 1, metrics: [{v: {usage: GAUGE, metric: pg_1, description: d}}]}
two: {interval: fast, query: SELECT 1, metrics: [{v: {usage: GAUGE, metric: pg_2, description: d}}]}
own: {interval: 10s, query: SELECT 1, metrics: [{v: {usage: GAUGE, metric: pg_o, description: d}}]}
primary: {interval: fast, role: primary, query: SELECT 1, metrics: [{v: {usage: GAUGE, metric: pg_p, description: d}}]}
";

/// A board, its clock, and what a lane would do with it.
struct Play {
    board: Board,
    start: Instant,
    now: Instant,
}

impl Play {
    fn new() -> Self {
        let intervals = Intervals {
            fast: seconds(15.0),
            medium: seconds(60.0),
            slow: seconds(300.0),
            hourly: seconds(3600.0),
        };
        let now = Instant::now();
        let collection = Collection { intervals, ..Collection::default() };
        let all = DatabaseFilter::default();
        let board = Board::new("s", queries(Dialect::Native, PACK), &collection, &all, now);
        Self { board, start: now, now }
    }

    fn connected(role: Role) -> Self {
        let mut play = Self::new();
        play.connect(role);
        play
    }

    fn connect(&mut self, role: Role) {
        self.board.connected(facts(role), self.now);
    }

    fn pass(&mut self, time: f64) {
        self.now += seconds(time);
    }

    fn index(&self, name: &str) -> usize {
        self.board.entries.iter().position(|e| &*e.query.name == name).unwrap()
    }

    fn entry(&self, name: &str) -> &Entry {
        &self.board.entries[self.index(name)]
    }

    fn good() -> Ending {
        Ending::Rows(Harvest {
            families: Vec::new(),
            reason: QueryReason::Ok,
            notes: Vec::new(),
            rows: 1,
            series: 1,
            dropped: 0,
            truncated: false,
        })
    }

    fn failed(reason: QueryReason) -> Ending {
        Ending::Failed { reason, message: "why".to_owned() }
    }

    /// Runs the named query for `time`.
    fn run(&mut self, lane: Lane, name: &str, time: f64, ending: Ending) {
        let index = self.index(name);
        self.board.begin(index, lane, self.now).unwrap();
        self.pass(time);
        if !matches!(ending, Ending::TooSlow) {
            self.board.standing.answered(self.now);
        }
        self.board.finish(index, lane, ending, self.now);
    }

    /// Does all that is due in a lane, 1 ms each, and returns what that was.
    fn work(&mut self, lane: Lane) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            match self.board.next(lane, self.now) {
                Job::Wait(until) => {
                    assert!(until > self.now);
                    return done;
                }
                Job::Ping => {
                    self.board.ping_begins(lane, self.now);
                    self.pass(0.001);
                    self.board.standing.answered(self.now);
                    self.board.ping_ends(lane);
                    done.push("ping".to_owned());
                }
                Job::Visit(database) => panic!("{database}"),
                Job::Facts => {
                    self.board.facts_asked(self.now);
                    self.pass(0.001);
                    done.push("facts".to_owned());
                }
                Job::Query(index) => {
                    let name = self.board.entries[index].query.name.to_string();
                    self.run(lane, &name, 0.001, Self::good());
                    done.push(name);
                }
            }
        }
    }

    /// Begins a scrape now and says whether it has nothing to wait for.
    fn scrape(&mut self) -> (Instant, bool) {
        self.board.demand(self.now);
        (self.now, self.board.is_settled(self.now, self.now))
    }
}

fn seconds(n: f64) -> Duration {
    Duration::from_secs_f64(n)
}

#[test]
fn after_connecting_everything_runs_once_the_cheap_before_the_dear() {
    let mut play = Play::connected(Role::Primary);
    assert_eq!(play.work(Lane::Fast), ["one", "two", "primary"]);
    assert_eq!(play.work(Lane::Rest), ["own", "medium", "dear"]);
    assert_eq!(play.work(Lane::Fast), Vec::<String>::new());
    assert_eq!(play.work(Lane::Rest), Vec::<String>::new());
}

#[test]
fn unscraped_fast_queries_have_a_clock_of_their_own() {
    let mut play = Play::connected(Role::Primary);
    play.work(Lane::Fast);
    play.work(Lane::Rest);
    play.pass(14.0);
    assert!(play.work(Lane::Fast).is_empty());
    play.pass(1.1);
    assert_eq!(play.work(Lane::Fast), ["ping", "one", "two", "primary"]);
    // The others have theirs: in ten minutes on their own, ten runs or so of what is due by minute.
    let mut runs = Vec::new();
    for _ in 0..600 {
        play.pass(1.0);
        runs.extend(play.work(Lane::Rest));
    }
    let count = |name: &str| runs.iter().filter(|run| *run == name).count();
    assert!((9..=11).contains(&count("medium")), "{}", count("medium"));
    assert!((9..=11).contains(&count("facts")), "{}", count("facts"));
    assert!((57..=62).contains(&count("own")), "{}", count("own"));
    assert_eq!(count("dear"), 0);
}

#[test]
fn a_scrape_renews_what_is_old_and_waits_for_that_alone() {
    let mut play = Play::connected(Role::Primary);
    assert!(!play.scrape().1, "the first results are still to come");
    play.work(Lane::Fast);
    assert!(play.board.is_settled(play.now, play.now));
    play.pass(0.5);
    assert!(play.scrape().1, "half a second is fresh enough");
    assert!(play.work(Lane::Fast).is_empty());
    play.pass(3.0);
    let (begin, settled) = play.scrape();
    assert!(!settled);
    // A second scraper at the same time and a third a moment later ask for nothing more.
    play.pass(0.01);
    let (other, settled) = play.scrape();
    assert!(!settled);
    assert_eq!(play.work(Lane::Fast), ["ping", "one", "two", "primary"]);
    assert!(play.board.is_settled(begin, play.now) && play.board.is_settled(other, play.now));
    assert!(play.scrape().1);
    assert!(play.work(Lane::Fast).is_empty());
    assert!(play.board.verdict(begin).is_up());
}

#[test]
fn a_scrape_does_not_take_what_is_still_running() {
    let mut play = Play::connected(Role::Primary);
    play.work(Lane::Fast);
    play.pass(3.0);
    let (begin, _) = play.scrape();
    play.board.ping_begins(Lane::Fast, play.now);
    for name in ["one", "two"] {
        play.run(Lane::Fast, name, 0.001, Play::good());
    }
    let last = play.index("primary");
    play.board.begin(last, Lane::Fast, play.now).unwrap();
    assert!(!play.board.is_settled(begin, play.now));
    play.board.finish(last, Lane::Fast, Play::good(), play.now);
    assert!(!play.board.is_settled(begin, play.now), "the ping has no answer yet");
    play.board.ping_ends(Lane::Fast);
    assert!(play.board.is_settled(begin, play.now));
}

#[test]
fn a_late_query_gives_up_its_place_until_it_is_quick_again() {
    let mut play = Play::connected(Role::Primary);
    play.run(Lane::Fast, "one", 0.5, Play::failed(QueryReason::LockTimeout));
    assert_eq!(play.work(Lane::Fast), ["two", "primary"]);
    play.pass(3.0);
    let (begin, _) = play.scrape();
    assert_eq!(play.work(Lane::Fast), ["ping", "two", "primary"]);
    assert!(play.board.is_settled(begin, play.now), "the late one is not waited for");
    // It runs in the other lane, an interval after its last run, and stays there while it is late.
    assert!(!play.work(Lane::Rest).contains(&"one".to_owned()));
    play.pass(15.0);
    assert_eq!(play.board.next(Lane::Rest, play.now), Job::Query(play.index("own")));
    play.work(Lane::Rest);
    assert!(play.entry("one").lane() == Lane::Fast, "it was quick in the other lane");

    play.run(Lane::Fast, "one", 0.5, Play::failed(QueryReason::LockTimeout));
    play.run(Lane::Rest, "one", 0.5, Play::failed(QueryReason::LockTimeout));
    assert!(play.entry("one").lane() == Lane::Rest);
    play.run(Lane::Rest, "one", 0.7, Play::good());
    assert!(play.entry("one").lane() == Lane::Rest, "that was not quick");
}

#[test]
fn a_query_that_needs_more_than_the_fast_lane_gives_moves_without_an_outcome() {
    let mut play = Play::connected(Role::Primary);
    play.run(Lane::Fast, "one", 0.8, Ending::TooSlow);
    assert!(play.entry("one").last.is_none());
    assert!(!play.work(Lane::Fast).contains(&"one".to_owned()));
    assert_eq!(play.work(Lane::Rest), ["own", "one", "medium", "dear"]);
}

#[test]
fn while_the_fast_session_is_stuck_the_other_speaks_for_the_server() {
    let mut play = Play::connected(Role::Primary);
    play.work(Lane::Fast);
    play.work(Lane::Rest);
    play.pass(3.0);
    let (begin, _) = play.scrape();
    play.board.ping_begins(Lane::Fast, play.now);
    play.pass(0.9);
    assert!(!play.board.is_settled(begin, play.now));
    let Job::Wait(until) = play.board.next(Lane::Rest, play.now) else { panic!("too early") };
    assert!(until <= play.now + seconds(0.2), "the other lane looks again in time");
    play.pass(0.2);
    assert!(!play.board.is_settled(begin, play.now), "nobody has answered yet");
    assert!(play.work(Lane::Rest).contains(&"ping".to_owned()));
    assert!(play.board.is_settled(begin, play.now));
    assert!(play.board.verdict(begin).is_up());
    assert!(!play.work(Lane::Rest).contains(&"ping".to_owned()), "once for a scrape");
    play.pass(2.0);
    assert!(!play.scrape().1);
    assert!(play.work(Lane::Rest).contains(&"ping".to_owned()));
    // The session is given up; the server is alive, so a scrape waits for the next one.
    let failure = super::super::standing::Failure::new(InstanceReason::Timeout, "stuck");
    play.pass(2.0);
    assert_eq!(play.board.standing.lost(play.now, failure), play.now);
    assert!(play.board.standing.is_worth_waiting());
}

#[test]
fn an_error_leaves_the_last_result_until_it_is_too_old() {
    let mut play = Play::connected(Role::Primary);
    play.work(Lane::Fast);
    play.pass(15.0);
    play.run(Lane::Fast, "one", 0.001, Play::failed(QueryReason::Error));
    let shown = |play: &Play| play.board.present(play.entry("one"), play.now).is_some();
    assert!(shown(&play));
    play.pass(29.0);
    assert!(shown(&play));
    play.pass(2.0);
    assert!(!shown(&play), "three intervals have passed");
    assert_eq!(play.entry("one").last.as_ref().unwrap().reason, QueryReason::Error);
}

#[test]
fn a_slow_scraper_keeps_its_series_for_three_of_its_gaps() {
    let mut play = Play::connected(Role::Primary);
    for scrape in 0..5 {
        play.scrape();
        assert_eq!(play.work(Lane::Fast).last().unwrap(), "primary");
        play.pass(50.0);
        if scrape > 0 {
            assert!(play.work(Lane::Fast).is_empty(), "the next scrape is waited for");
        } else {
            play.work(Lane::Fast);
        }
        play.pass(10.0);
    }
    play.pass(20.0);
    assert!(play.board.present(play.entry("one"), play.now).is_some());
    assert_eq!(play.work(Lane::Fast).len(), 4, "the scraper did not come");
}

#[test]
fn a_role_that_flips_takes_and_gives_queries_at_once() {
    let mut play = Play::connected(Role::Primary);
    play.work(Lane::Fast);
    play.pass(2.0);
    play.board.learn(facts(Role::Standby), play.now);
    let entry = play.entry("primary");
    assert!(play.board.present(entry, play.now).is_none(), "a primary's series are a lie now");
    let last = entry.last.as_ref().unwrap();
    assert_eq!(last.reason, QueryReason::Unavailable);
    assert!(last.message.as_ref().unwrap().contains("primary"));
    assert_eq!(play.work(Lane::Fast), ["one", "two"]);
    play.board.learn(facts(Role::Standby), play.now);
    assert!(play.work(Lane::Fast).is_empty(), "the same facts are no news");
    play.board.learn(facts(Role::Primary), play.now);
    assert_eq!(play.work(Lane::Fast), ["one", "two", "primary"]);
}

#[test]
fn a_query_that_took_its_session_along_is_not_run_at_once_again() {
    let mut play = Play::connected(Role::Primary);
    play.work(Lane::Fast);
    let dear = play.index("dear");
    play.board.begin(dear, Lane::Rest, play.now).unwrap();
    play.board.finish(dear, Lane::Rest, Play::failed(QueryReason::Disconnected), play.now);
    play.board.suspect(dear);
    play.pass(10.0);
    play.connect(Role::Primary);
    assert_eq!(play.work(Lane::Rest), ["own", "medium"]);
    play.pass(3601.0);
    assert!(play.work(Lane::Rest).contains(&"dear".to_owned()));
}

#[test]
fn what_only_a_lock_kept_from_running_is_tried_again_soon() {
    let mut play = Play::connected(Role::Primary);
    play.work(Lane::Fast);
    play.run(Lane::Rest, "dear", 0.5, Play::failed(QueryReason::LockTimeout));
    play.work(Lane::Rest);
    play.pass(60.0);
    assert!(play.work(Lane::Rest).contains(&"dear".to_owned()), "not after an hour");
}

#[test]
fn after_a_reconnect_everything_runs_but_what_has_just_run() {
    let mut play = Play::connected(Role::Primary);
    play.work(Lane::Fast);
    play.work(Lane::Rest);
    play.pass(7.0);
    play.connect(Role::Primary);
    assert_eq!(play.work(Lane::Fast), ["one", "two", "primary"]);
    assert_eq!(play.work(Lane::Rest), ["own", "medium"], "an hour's query ran 7 s ago");
    // What is not run again says what came of it, not for an hour that there was no session.
    play.board.unreachable(None, "nobody listens", play.now);
    play.board.unreachable(None, "still nobody", play.now);
    assert_eq!(play.entry("dear").last.as_ref().unwrap().reason, QueryReason::Connect);
    play.connect(Role::Primary);
    assert_eq!(play.entry("dear").last.as_ref().unwrap().reason, QueryReason::Ok);
    play.board.unreachable(Some(Lane::Rest), "no second session", play.now);
    play.board.rest_connected();
    assert_eq!(play.entry("dear").last.as_ref().unwrap().reason, QueryReason::Ok);
    play.pass(400.0);
    play.connect(Role::Primary);
    assert!(play.work(Lane::Rest).contains(&"dear".to_owned()));
}

#[test]
fn without_a_session_queries_say_so_and_scrapes_do_not_wait() {
    let mut play = Play::new();
    assert!(!play.scrape().1);
    let again = play.board.standing.failed(
        play.now,
        super::super::standing::Failure::new(InstanceReason::Refused, "nobody listens"),
    );
    play.board.unreachable(None, "nobody listens", play.now);
    assert!(again > play.now && play.scrape().1);
    assert_eq!(play.board.verdict(play.now).reason, InstanceReason::Refused);
    for entry in &play.board.entries {
        assert_eq!(entry.last.as_ref().unwrap().reason, QueryReason::Connect);
    }
    assert!(play.now >= play.start);
}

#[test]
fn nothing_starves_in_a_lane_that_is_always_busy() {
    let mut play = Play::connected(Role::Primary);
    let mut runs = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..200 {
        let Job::Query(index) = play.board.next(Lane::Rest, play.now) else {
            play.board.facts_asked(play.now);
            play.pass(1.0);
            continue;
        };
        let name = play.board.entries[index].query.name.to_string();
        // Each run takes as long as the shortest interval.
        play.run(Lane::Rest, &name, 10.0, Play::good());
        *runs.entry(name).or_default() += 1;
    }
    assert!(runs["medium"] >= 10 && runs["own"] >= 50 && runs["dear"] >= 1, "{runs:?}");
}

#[test]
fn with_one_session_alone_the_fast_lane_does_everything_that_is_quick() {
    let mut play = Play::connected(Role::Primary);
    play.board.single = Some("the role's limit is 1".to_owned());
    let done = play.work(Lane::Fast);
    assert_eq!(done, ["one", "two", "primary", "own", "medium", "dear"]);
    play.pass(61.0);
    let done = play.work(Lane::Fast);
    assert_eq!(done[..4], ["ping", "one", "two", "primary"]);
    assert!(done.contains(&"facts".to_owned()));
    // What needs long cannot be had, and is not tried again and again.
    play.pass(3600.0);
    play.run(Lane::Fast, "dear", 0.8, Ending::TooSlow);
    assert_eq!(play.entry("dear").last.as_ref().unwrap().reason, QueryReason::Timeout);
    assert!(!play.work(Lane::Fast).contains(&"dear".to_owned()));
    play.run(Lane::Fast, "one", 0.5, Play::failed(QueryReason::LockTimeout));
    let (begin, _) = play.scrape();
    play.work(Lane::Fast);
    assert!(play.board.is_settled(begin, play.now), "a late one is not waited for here either");
    play.pass(15.0);
    assert!(play.work(Lane::Fast).contains(&"one".to_owned()));
    assert!(play.entry("one").lane() == Lane::Fast);
}
