//! The checkpoint: how far each file is done for each route. It advances when a destination has
//! acknowledged, never before; the files themselves are the write-ahead log.

mod file;
mod keeper;
mod state;

use file::Loaded;
pub use keeper::OpenError;
pub(super) use keeper::{Checkpoint, Lock, WeakLock};
pub(super) use state::{Cut, FileId, FileState, Mark, ReadingText, RouteState, State};
