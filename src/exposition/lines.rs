//! One family's lines: its header, and the samples of one producer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use super::dropped::Dropped;
use super::negotiate::Format;
use super::words;
use crate::metric::{Family, Histogram, Kind, Labels, Point, Sample, is_label_name};

/// How a family is called on this page.
#[derive(Clone, Copy)]
pub(super) struct Title<'a> {
    /// The name in the header: in OpenMetrics a counter's without its `_total`.
    pub name: &'a str,
    pub word: &'static str,
}

impl<'a> Title<'a> {
    /// The title of a family. `taken` tells whether another family of the page has a name, or may
    /// write a series of that name: OpenMetrics wants the names of families apart from each other
    /// without their `_total`, and there a counter that has no such name of its own is `unknown`.
    pub(super) fn of(
        name: &'a str,
        kind: Kind,
        format: Format,
        taken: impl Fn(&str) -> bool,
    ) -> Self {
        if format == Format::Text {
            return Self { name, word: kind.as_str() };
        }
        let word = match kind {
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Untyped | Kind::Counter => "unknown",
        };
        match name.strip_suffix("_total") {
            Some(stem) if kind == Kind::Counter && !stem.is_empty() && !taken(stem) => {
                Self { name: stem, word: "counter" }
            }
            _ => Self { name, word },
        }
    }
}

/// Writes `# HELP` and `# TYPE`.
pub(super) fn header(out: &mut Vec<u8>, title: Title<'_>, help: &str, format: Format) {
    if !help.is_empty() {
        out.extend_from_slice(b"# HELP ");
        out.extend_from_slice(title.name.as_bytes());
        out.push(b' ');
        words::help(out, help, format == Format::OpenMetrics);
        out.push(b'\n');
    }
    out.extend_from_slice(b"# TYPE ");
    out.extend_from_slice(title.name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(title.word.as_bytes());
    out.push(b'\n');
}

/// Writes samples of one producer of `family`; what cannot stand on the page is counted instead.
pub(super) fn samples<'a>(
    out: &mut Vec<u8>,
    family: &Family,
    samples: &'a [Sample],
    seen: &mut Seen<'a>,
    dropped: &mut Dropped,
) {
    let histogram = family.kind == Kind::Histogram;
    for Sample { labels, point } in samples {
        if !labels.iter().all(|(name, _)| is_label_name(name) && !(histogram && name == "le")) {
            dropped.name += 1;
            continue;
        }
        if !seen.is_first(labels) {
            dropped.duplicate += 1;
            continue;
        }
        match point {
            Point::Number(value) if !histogram => {
                series(out, &family.name, "", labels, None);
                words::number(out, *value);
                out.push(b'\n');
            }
            Point::Histogram(point) if histogram => buckets(out, &family.name, labels, point),
            _ => dropped.kind += 1,
        }
    }
}

fn buckets(out: &mut Vec<u8>, name: &str, labels: &Labels, histogram: &Histogram) {
    let infinite = (f64::INFINITY, histogram.count);
    let finite = histogram.buckets.iter().filter(|(bound, _)| bound.is_finite());
    for (bound, count) in finite.chain([&infinite]) {
        series(out, name, "_bucket", labels, Some(*bound));
        words::integer(out, *count);
        out.push(b'\n');
    }
    series(out, name, "_sum", labels, None);
    words::number(out, histogram.sum);
    out.push(b'\n');
    series(out, name, "_count", labels, None);
    words::integer(out, histogram.count);
    out.push(b'\n');
}

/// Writes a series' name and labels and the blank before its value.
fn series(out: &mut Vec<u8>, name: &str, suffix: &str, labels: &Labels, le: Option<f64>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    let mut before = b'{';
    for (label, value) in labels.iter() {
        out.push(before);
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(b"=\"");
        words::label_value(out, value);
        out.push(b'"');
        before = b',';
    }
    if let Some(bound) = le {
        out.push(before);
        out.extend_from_slice(b"le=\"");
        words::bound(out, bound);
        out.push(b'"');
        before = b',';
    }
    if before == b',' {
        out.push(b'}');
    }
    out.push(b' ');
}

/// The label sets that a family has on the page already. A label of empty value is, to Prometheus, no
/// label at all, so two sets that differ by one are the same series.
pub(super) struct Seen<'a> {
    /// None where a family has one sample, which cannot meet itself.
    sets: Option<Sets<'a>>,
    random: RandomState,
}

type Sets<'a> = HashMap<u64, &'a Labels, BuildHasherDefault<Keyed>>;

impl<'a> Seen<'a> {
    /// For a family of so many samples.
    pub(super) fn begin(samples: usize) -> Self {
        let sets = (samples > 1)
            .then(|| HashMap::with_capacity_and_hasher(samples, BuildHasherDefault::default()));
        Self { sets, random: RandomState::new() }
    }

    fn is_first(&mut self, labels: &'a Labels) -> bool {
        let Some(sets) = &mut self.sets else { return true };
        let mut hash = hash(&self.random, labels);
        loop {
            match sets.entry(hash) {
                Entry::Vacant(free) => {
                    free.insert(labels);
                    return true;
                }
                Entry::Occupied(known) if same(known.get(), labels) => return false,
                // Two sets of one hash: the later one moves up.
                Entry::Occupied(_) => hash = hash.wrapping_add(1),
            }
        }
    }
}

fn told(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter(|(_, value)| !value.is_empty())
}

fn same(a: &Labels, b: &Labels) -> bool {
    told(a).eq(told(b))
}

fn hash(random: &RandomState, labels: &Labels) -> u64 {
    let mut hasher = random.build_hasher();
    for (name, value) in told(labels) {
        for part in [name, value] {
            hasher.write(part.as_bytes());
            // No byte of UTF-8, so that no two sets write the same.
            hasher.write_u8(0xff);
        }
    }
    hasher.finish()
}

/// Takes a hash as it is: the map's keys are hashes already.
#[derive(Default)]
struct Keyed(u64);

impl Hasher for Keyed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
