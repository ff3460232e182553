//! The collecting river: facts × packs → what is due → run → rows → families → snapshot.
//!
//! Scrape-fresh, never scrape-bound: a scrape asks for the fast queries to be renewed, waits a
//! moment, and takes what there is. The work belongs to each instance's `worker`, so that scrapes
//! that are cancelled, concurrent or doubled cost nothing more.
//!
//! Pure: `decode` (a column's text to a number), `shape` (rows laid out anew), `rows` (rows to
//! families: `columns` tells what each means, `barn` holds the families, `losses` what fell off),
//! `claims` (who may write which name), `cadence` (when), `caps` (what is shown one by one), `standing`
//! (how the instance stands), `outcome` (how a run ended), `board` (what is due, what is known),
//! `databases` (the same, database by database), `probe` (latency), `report` and `status` (what is told
//! of it).
//!
//! Input and output: `link` (a session to its facts), `run` (one query), `worker` (what an instance's
//! tasks share), `errands` (what is due in a database), `serve` (what is due in a lane), `visit`, `prober`,
//! `lanes` (the tasks), `collector`, `once`.

mod barn;
mod board;
mod cadence;
mod caps;
mod claims;
mod collector;
mod columns;
mod databases;
mod decode;
mod errands;
mod lanes;
mod link;
mod losses;
mod once;
mod outcome;
mod probe;
mod prober;
mod report;
mod rows;
mod run;
mod serve;
mod shape;
mod spread;
mod standing;
mod status;
#[cfg(test)]
mod testing;
mod visit;
mod worker;

pub use collector::Collector;
pub use databases::is_visited;
pub use once::{Once, OnceRun, probe_once, run_once};
pub use probe::Took;
pub use status::{InstanceStatus, QueryStatus};
