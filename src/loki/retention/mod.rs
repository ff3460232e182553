//! Whether Loki keeps records as long as the configuration says. It cannot be told so over its API, but
//! it can be asked: `look` asks it for its settings and for old records, `limits` and `selector` read its
//! answers and find the period of a stream, `verdict` judges, and `watch` does it again and again.

mod limits;
mod look;
mod selector;
mod told;
mod verdict;
mod watch;

pub use limits::{Limits, Period, Rule, Server, span};
pub use look::{look, older};
pub use selector::Selector;
pub use told::{Kept, Told};
pub use verdict::{Finding, Verdict, judge};
pub use watch::{Standing, Watch};
