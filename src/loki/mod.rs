//! Grafana Loki: what a push looks like on the wire, what its answers mean, and how a batch gets
//! there for certain. One stream per request: of several, Loki tells the fate of one alone. Beside it
//! `retention`: whether Loki keeps what it was given as long as it should.

mod decode;
mod deliver;
mod entries;
mod labels;
mod outcome;
mod push;
pub mod retention;
mod snappy;

pub use decode::{Entry, entries as decode};
pub use deliver::{Attempt, Delivery, Pace};
pub use entries::{Entries, Metadata};
pub use labels::StreamLabels;
pub use outcome::{Outcome, Reason, Refusal};
pub use push::{Loki, Pushed};
pub use snappy::Packer;
