//! A family: one name, one help text, one kind, and its samples.

use std::sync::Arc;

/// The Prometheus type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Counter,
    Gauge,
    Untyped,
    Histogram,
}

impl Kind {
    /// The word that stands in a text page's `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Untyped => "untyped",
            Self::Histogram => "histogram",
        }
    }
}

/// Label names and values, sorted by name, each name once. Clones share their memory: a row of 20
/// metrics has its labels once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The set of `pairs`; of a name that comes twice the first value stays.
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        Self::of(pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }

    fn of(mut pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        Self(Arc::from(pairs))
    }

    /// The value of `name`, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| &**n == name).map(|(_, value)| &**value)
    }

    /// Names and values in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These labels and `own`; a name of `own` that `self` holds too becomes `exported_NAME`, as
    /// Prometheus itself does with a clash of target labels.
    #[must_use]
    pub fn over(&self, own: &Self) -> Self {
        let mut pairs = self.0.to_vec();
        for (name, value) in own.0.iter() {
            let name = match self.get(name) {
                Some(_) => Arc::from(format!("exported_{name}")),
                None => Arc::clone(name),
            };
            pairs.push((name, Arc::clone(value)));
        }
        Self::of(pairs)
    }
}

/// Cumulative buckets, upper bound and count each, without the one of +Inf: that is `count`.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
    pub count: u64,
}

/// What a sample measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    Number(f64),
    Histogram(Box<Histogram>),
}

/// One series' present value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: Labels,
    pub point: Point,
}

/// Samples under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub name: Arc<str>,
    pub help: Arc<str>,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

impl Family {
    pub fn new(name: impl Into<Arc<str>>, help: impl Into<Arc<str>>, kind: Kind) -> Self {
        Self { name: name.into(), help: help.into(), kind, samples: Vec::new() }
    }

    /// Adds one number.
    pub fn push(&mut self, labels: Labels, value: f64) {
        self.samples.push(Sample { labels, point: Point::Number(value) });
    }

    /// This family with one number more, for building in one expression.
    #[must_use]
    pub fn with(mut self, labels: Labels, value: f64) -> Self {
        self.push(labels, value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clash_becomes_exported() {
        let ours = Labels::new([("server", "a"), ("cluster", "c")]);
        let packs = Labels::new([("server", "x"), ("datname", "d")]);
        let both = ours.over(&packs);
        assert_eq!(both.get("server"), Some("a"));
        assert_eq!(both.get("exported_server"), Some("x"));
        assert_eq!(both.get("datname"), Some("d"));
    }

    #[test]
    fn labels_are_sorted_and_named_once() {
        let labels = Labels::new([("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "1")]);
        assert!(Labels::default().is_empty());
    }
}
