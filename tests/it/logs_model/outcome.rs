//! What has come of a schedule.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ledger::Sent;
use super::random::ranges;
use super::world::{ADMIN, DEVELOPER, Trouble, World, lost, vanished};
use crate::support::agent::Agent;

/// For how long all that is owed may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

impl World {
    /// Whether the route's readers must get the record.
    pub(super) fn owes(&self, route: &str, number: usize) -> bool {
        let known = &self.writer.known[number];
        match route {
            ADMIN => true,
            // A half of a record may not say whose it is.
            DEVELOPER => known.database == Some("shop") && !known.torn,
            _ => known.database == Some("other") && !known.torn,
        }
    }

    /// Takes into the ledgers what was sent since the last time.
    pub(super) fn look(&mut self) {
        for push in self.stub.take_pushes() {
            let to = |route: &&str| push.labels.contains(&format!("route=\"{route}\""));
            let route = self.shape.routes().iter().find(|route| to(route)).unwrap();
            self.ledgers.get_mut(route).unwrap().note(push);
        }
    }

    /// What is not there: of that which still could be, and the bytes of that which the agent knew.
    fn missing(&self, route: &str, held: &BTreeSet<usize>) -> (Vec<usize>, u64) {
        let ledger = &self.ledgers[route];
        let not_there =
            (0..self.writer.count()).filter(|n| self.owes(route, *n) && !ledger.is_settled(*n));
        let (lost, missing): (Vec<usize>, Vec<usize>) =
            not_there.partition(|n| self.destroyed.contains(n) && !held.contains(n));
        let tried = self.tried.get(route);
        let known = lost.iter().filter(|n| tried.is_some_and(|tried| tried.contains(n)));
        (missing, known.map(|n| self.writer.known[*n].bytes).sum())
    }

    fn counted(&self) -> f64 {
        self.counted + self.agent.as_ref().map_or(0.0, |agent| vanished(&agent.metrics()))
    }

    /// Waits until nothing is owed any more, and looks at all that was sent.
    pub(super) fn finish(mut self) {
        self.stub.heal();
        self.stub.accept_tenants();
        let deadline = Instant::now() + PATIENCE;
        // Nobody writes any more.
        let held: BTreeSet<usize> = self.files.held().into_iter().collect();
        let mut counted = 0.0;
        for route in self.shape.routes() {
            loop {
                self.look();
                let (missing, lost) = self.missing(route, &held);
                if missing.is_empty() {
                    counted = self.counted();
                    if counted >= lost as f64 {
                        break;
                    }
                }
                if Instant::now() > deadline {
                    let log = self.agent.as_ref().map(Agent::log).unwrap_or_default();
                    panic!(
                        "{}: route {route} misses {}; {lost} bytes are known to be lost, {counted} \
                         are counted\n{}\n{}{log}",
                        self.story(),
                        ranges(missing),
                        self.files.holdings(),
                        self.logs,
                    );
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        counted = self.counted();
        if let Some(agent) = self.agent.take() {
            let page = agent.metrics();
            let log = agent.stop_and_tell();
            assert!(
                lost(&log) >= vanished(&page),
                "{}: what is counted is told\n{log}",
                self.story()
            );
            self.logs += &log;
        }
        assert!(
            counted <= self.destroyed_bytes as f64,
            "{}: {counted} bytes are counted as lost, and {} were gone\n{}\n{}",
            self.story(),
            self.destroyed_bytes,
            self.files.holdings(),
            self.logs
        );
        self.assert_repeats();
        assert_eq!(self.stub.most_in_flight(), 1, "{}", self.story());
    }

    /// Every sending of a record was whole and the same, and it shows once.
    fn assert_repeats(&mut self) {
        self.look();
        for (route, ledger) in &self.ledgers {
            for (number, shapes) in &ledger.shapes {
                let known = self.writer.known[*number];
                let forgotten = self.forgot && known.unsettled;
                let near = self.forgot && known.near;
                let (first, others) = shapes.split_first().unwrap();
                let line = &first.entry.line;
                let statement = line.split_once("STATEMENT:  ").map(|(_, text)| text.len());
                assert!(
                    known.statement == statement || known.torn || self.is_other(route, *number),
                    "{}: number {number} was sent to {route} with a statement of {statement:?} instead \
                     of {:?} bytes\n{first:?}\n{}\n{}",
                    self.story(),
                    known.statement,
                    self.files.holdings(),
                    self.logs
                );
                // What was sent is read again, and may be truncated meanwhile.
                let cut_short = self.forgot && self.destroyed.contains(number);
                // What only the damaged checkpoint knew may be told in another way.
                let same = |other: &Sent| {
                    (cut_short && line.starts_with(other.entry.line.trim_end()))
                        || (forgotten && (known.torn || other.entry.line == *line))
                        || (near && first.differs_in_time(other) < 1_000_000)
                };
                let other = others.iter().find(|other| !same(other));
                assert!(
                    other.is_none(),
                    "{}: number {number} was sent in two shapes to {route}\n{first:?}\n{other:?}\n{}\n{}",
                    self.story(),
                    self.files.holdings(),
                    self.logs
                );
                let times = shapes.iter().filter(|shape| shape.stored).count();
                let once = times <= 1 || forgotten || near || cut_short;
                assert!(once, "{}: {number} shows {times} times", self.story());
            }
        }
    }

    /// Its statement may be another one: literals are masked on some routes, with a wrong prefix nobody
    /// knows what belongs together, and what is destroyed may be so while it is read.
    fn is_other(&self, route: &str, number: usize) -> bool {
        let wrong = self.shape.trouble == Trouble::Settings;
        wrong || route == DEVELOPER || self.destroyed.contains(&number)
    }

    fn story(&self) -> String {
        format!("seed {} {:?} {:?}", self.seed, self.shape, self.told)
    }
}
