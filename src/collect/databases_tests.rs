//! Visits to databases, played through on given instants.

use super::super::rows::Harvest;
use super::super::testing::{facts, queries};
use super::*;
use crate::packs::Dialect;
use crate::postgres::Role;

const PACK: &str = "
m: {scope: database, interval: medium, query: SELECT 1, metrics: [{v: {usage: GAUGE, description: d}}]}
s: {scope: database, interval: slow, query: SELECT 1, metrics: [{v: {usage: GAUGE, description: d}}]}
own: {scope: database, databases: [shop*], query: SELECT 1, metrics: [{v: {usage: GAUGE, description: d}}]}
instance: {query: SELECT 1, metrics: [{v: {usage: GAUGE, description: d}}]}
";

fn known(names: &[&str]) -> Facts {
    Facts { databases: names.iter().map(|&name| name.to_owned()).collect(), ..facts(Role::Primary) }
}

fn watched(include: &[&str], exclude: &[&str], now: Instant) -> Databases {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let filter = DatabaseFilter { include: texts(include), exclude: texts(exclude) };
    Databases::new("s", &queries(Dialect::Native, PACK), &filter, &Intervals::default(), now)
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

/// A visit in which every query takes `each`; what ran.
fn visit(databases: &mut Databases, name: &str, now: &mut Instant, each: Duration) -> Vec<String> {
    let begin = *now;
    let mut ran = Vec::new();
    while let Some(errand) = databases.begin(name, begin, *now) {
        *now += each;
        ran.push(errand.query.name.to_string());
        databases.finish(name, errand.index, good(), *now);
    }
    databases.left(begin, *now);
    ran
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn what_fits_is_visited_and_what_is_gone_shows_nothing() {
    let mut now = Instant::now();
    let mut databases = watched(&["*"], &["tmp_*"], now);
    databases.learn(&known(&["a", "shop", "tmp_1"]), true, now);
    assert_eq!((databases.len(), databases.next(now)), (2, Next::Visit("a".into())));
    assert_eq!(visit(&mut databases, "a", &mut now, MS), ["m", "s"]);
    assert!(matches!(databases.next(now), Next::At(_)), "a pause follows");
    now += 2 * MS;
    assert_eq!(databases.next(now), Next::Visit("shop".into()));
    assert_eq!(visit(&mut databases, "shop", &mut now, MS), ["m", "own", "s"]);
    let shown = |cell: &Cell| databases.present(cell, now).is_some();
    assert_eq!(databases.cells().filter(|(_, cell)| shown(cell)).count(), 5);

    databases.learn(&known(&["a"]), false, now);
    assert!(databases.cells().all(|(name, _)| &**name == "a"));
    databases.learn(&known(&["a", "new"]), false, now);
    now += Duration::from_secs(1);
    assert_eq!(databases.next(now), Next::Visit("new".into()));
}

#[test]
fn all_that_is_due_in_a_database_runs_in_one_visit() {
    let mut now = Instant::now();
    let mut databases = watched(&["*"], &[], now);
    databases.learn(&known(&["shop"]), true, now);
    let end = now + Duration::from_secs(1800);
    let (mut visits, mut runs) = (0, 0);
    while now < end {
        match databases.next(now) {
            Next::Visit(name) => {
                visits += 1;
                runs += visit(&mut databases, &name, &mut now, MS).len();
            }
            Next::At(until) => now = until,
            Next::Never => panic!("a database is known"),
        }
    }
    assert!((29..=33).contains(&visits), "{visits} visits in 30 minutes");
    assert!((2 * 29 + 6..=2 * 33 + 8).contains(&runs), "{runs} runs");
}

#[test]
fn intervals_stretch_where_there_are_too_many_databases() {
    let mut now = Instant::now();
    let mut databases = watched(&["*"], &[], now);
    let names: Vec<String> = (0..500).map(|n| format!("d{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    databases.learn(&known(&names), true, now);
    let end = now + Duration::from_secs(3600);
    while now < end {
        // What ran once is shown from then on, in the first round too.
        for (name, cell) in databases.cells().filter(|(_, cell)| cell.last.is_some()) {
            assert!(databases.present(cell, now).is_some(), "{name} is withdrawn");
        }
        match databases.next(now) {
            // Half a second each, and half a second of pause: a round takes 500 s.
            Next::Visit(name) => drop(visit(&mut databases, &name, &mut now, 250 * MS)),
            Next::At(until) => now = until,
            Next::Never => panic!("databases are known"),
        }
    }
    for (name, cell) in databases.cells() {
        assert!(cell.gap > Duration::from_secs(200), "{name}: {:?}", cell.gap);
        assert!(cell.gap < Duration::from_secs(1200), "{name} waits for {:?}", cell.gap);
        assert!(databases.present(cell, now).is_some(), "{name} {} is withdrawn", cell.query.name);
    }
    assert!(databases.is_neglected(now + Duration::from_secs(6)));
}

#[test]
fn a_database_that_cannot_be_connected_costs_only_itself() {
    let now = Instant::now();
    let mut databases = watched(&["*"], &[], now);
    databases.learn(&known(&["a", "b"]), true, now);
    assert!(databases.refused("a", InstanceReason::Authentication, "no", now));
    assert_eq!(databases.next(now), Next::Visit("b".into()));
    let reasons =
        databases.cells().filter_map(|(_, cell)| cell.last.as_ref()).map(|run| run.reason);
    assert_eq!(reasons.collect::<Vec<_>>(), [QueryReason::Connect; 2]);
    assert!(!databases.refused("a", InstanceReason::Authentication, "no", now), "no news");
    // A server without a place is not asked for the next database at once.
    databases.refused("a", InstanceReason::Budget, "no", now);
    assert_eq!(databases.next(now), Next::At(now + NO_PLACE));
}
