//! What is asked about, and what Loki told. Plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::limits::{Limits, Period};
use crate::loki::StreamLabels;

/// A route whose period is looked after.
#[derive(Clone, Debug)]
pub struct Kept {
    pub route: String,
    pub keep: Option<Duration>,
    pub tenant: Option<String>,
    /// The label that names the server, for questions about these servers alone.
    pub server_label: String,
    /// Those that the agent sends to.
    pub streams: Vec<StreamLabels>,
}

/// What Loki told; what it did not tell is absent.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Whether it removes anything at all.
    pub enabled: Option<bool>,
    /// By the routes' tenant.
    pub limits: BTreeMap<Option<String>, Limits>,
    /// Whether it splits up streams above some rate.
    pub sharding: Option<bool>,
    /// Why nothing is known.
    pub trouble: Option<String>,
}

impl Told {
    /// The period that Loki's settings name for a route. Where it differs between the route's streams:
    /// the one that is farthest from what is configured.
    pub fn period(&self, kept: &Kept) -> Option<Period> {
        let limits = self.limits.get(&kept.tenant)?;
        let periods: Option<BTreeSet<Period>> =
            kept.streams.iter().map(|labels| limits.period_of(labels)).collect();
        let periods = periods?;
        let shortest = *periods.first()?;
        let too_short = kept.keep.is_some_and(|keep| shortest < Period::For(keep));
        if too_short { Some(shortest) } else { periods.last().copied() }
    }
}
