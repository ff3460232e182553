//! Families and samples as plain values: what every producer makes and `exposition` writes.

mod family;
mod name;

pub use family::{Family, Histogram, Kind, Labels, Point, Sample};
pub use name::{is_label_name, is_metric_name};
