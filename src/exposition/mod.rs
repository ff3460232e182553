//! From families to a page that a scraper reads: Prometheus's text format 0.0.4 and OpenMetrics 1.0,
//! plain or in gzip, as the request's headers ask.
//!
//! `negotiate` reads the headers, `page` merges what several producers wrote under one name, `lines`
//! writes one family's header and one producer's samples, `words` writes names, values and escapes.
//! `press` keeps what a large result became, compressed, until it changes, and `gzip` strings such
//! pieces and what is new together.

mod dropped;
mod gzip;
mod lines;
mod negotiate;
mod page;
mod press;
mod words;

pub use dropped::Dropped;
pub use negotiate::{Choice, Format, content_type, negotiate};
pub use page::{Page, render};
pub use press::Press;
