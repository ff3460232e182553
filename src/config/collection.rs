//! The block `collection`: how often queries run, and how many series they may make.

use std::time::Duration;

use super::Collection;
use super::walk::{Item, quoted};

pub(super) const KEYS: &[&str] = &["intervals", "tables", "indexes", "max_series"];
pub(super) const INTERVAL_KEYS: &[&str] = &["fast", "medium", "slow", "hourly"];

/// Shorter ones would be a burden on the server.
const SHORTEST: Duration = Duration::from_secs(1);

pub(super) fn read(item: Option<Item<'_>>) -> Collection {
    let mut collection = Collection::default();
    let Some(block) = item.and_then(|item| item.block(KEYS)) else { return collection };
    if let Some(intervals) = block.get("intervals").and_then(|item| item.block(INTERVAL_KEYS)) {
        let to = &mut collection.intervals;
        let mut before: Option<(&str, Duration)> = None;
        for (key, value) in [
            ("fast", &mut to.fast),
            ("medium", &mut to.medium),
            ("slow", &mut to.slow),
            ("hourly", &mut to.hourly),
        ] {
            let item = intervals.get(key);
            if let Some(wanted) = item.as_ref().and_then(Item::duration) {
                *value = wanted;
            }
            let here = item.as_ref().unwrap_or(&intervals.item);
            let short = *value < SHORTEST;
            if short {
                let what = format!("{} is shorter than a second", quoted(here.path()));
                here.fatal(what, "write 1s or more");
            }
            if let Some((name, shorter)) = before.filter(|(_, shorter)| *shorter > *value && !short)
            {
                here.warn(
                    format!("{key} ({value:?}) is more frequent than {name} ({shorter:?})"),
                    "let them grow in the order fast, medium, slow, hourly",
                );
            }
            before = Some((key, *value));
        }
    }
    let cap = |key: &str, lifts: &str, to: &mut Option<usize>| {
        if let Some(wanted) = block.get(key).and_then(|item| item.cap(lifts)) {
            *to = wanted;
        }
    };
    cap("tables", "all", &mut collection.tables);
    cap("indexes", "all", &mut collection.indexes);
    cap("max_series", "none", &mut collection.max_series);
    if collection.max_series == Some(0)
        && let Some(item) = block.get("max_series")
    {
        item.fatal("`max_series: 0` would drop every series", "write a number, or `none`");
    }
    collection
}
