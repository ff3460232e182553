//! The local store: the destination where there is no Loki, and where standard input waits for one.
//!
//! A shelf is a directory of segments, each a file of frames, each frame one batch with the positions
//! that it brought its files to. What is in a frame is done: frames outrank the checkpoint.

mod cat;
mod frame;
mod place;
mod shelf;
mod shelves;

pub use cat::{Query, Row, Rows, cat, routes};
pub(super) use frame::{FilePosition, FrameHead};
pub(super) use place::Place;
pub(super) use shelves::{Kept, Store};
