//! A whole page: families of one name merged under one header, what clashes dropped and counted.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::dropped::Dropped;
use super::lines::{self, Seen, Title};
use super::negotiate::{Choice, Format};
use crate::metric::{Family, Kind, is_metric_name};

/// A page and what it leaves out.
#[derive(Debug)]
pub struct Page {
    /// In gzip where that was chosen.
    pub body: Bytes,
    pub dropped: Dropped,
}

/// Writes a page. Families come in alphabetical order, their samples in the order of `families`; of
/// several families with one name the first one's kind and help hold.
pub fn render(families: &[Arc<Family>], choice: Choice) -> Page {
    let mut dropped = Dropped::default();
    let groups = Groups::gather(families, &mut dropped);
    let format = choice.format;
    let mut sink = Sink::new(choice.gzip, groups.estimate());
    let mut seen = Seen::default();
    for group in groups.sorted() {
        let first = group.parts[0];
        let title = Title::of(&first.name, first.kind, format, |name| groups.takes(name));
        // A header whose samples are all dropped goes too.
        let start = sink.out.len();
        lines::header(&mut sink.out, title, &first.help, format);
        let end = sink.out.len();
        seen.begin(group.parts.iter().map(|part| part.samples.len()).sum());
        for part in &group.parts {
            lines::samples(&mut sink.out, part, &mut seen, &mut dropped);
        }
        if sink.out.len() == end {
            sink.out.truncate(start);
        }
        sink.pass_on();
    }
    if format == Format::OpenMetrics {
        sink.out.extend_from_slice(b"# EOF\n");
    }
    Page { body: sink.finish(), dropped }
}

/// Where a page goes: into one piece of memory, or family by family through gzip, so that a large page
/// is never held plain.
struct Sink {
    out: Vec<u8>,
    gzip: Option<GzEncoder<Vec<u8>>>,
}

impl Sink {
    fn new(gzip: bool, estimate: usize) -> Self {
        // The fastest level: a page is text that repeats itself, the dearer ones save little more.
        let encoder = || GzEncoder::new(Vec::with_capacity(estimate / 16), Compression::fast());
        let gzip = gzip.then(encoder);
        Self { out: Vec::with_capacity(if gzip.is_some() { CHUNK } else { estimate }), gzip }
    }

    fn pass_on(&mut self) {
        if let Some(encoder) = &mut self.gzip
            && self.out.len() >= CHUNK
        {
            // Writing to a vector cannot fail.
            let _ = encoder.write_all(&self.out);
            self.out.clear();
        }
    }

    fn finish(self) -> Bytes {
        let Some(mut encoder) = self.gzip else { return Bytes::from(self.out) };
        let _ = encoder.write_all(&self.out);
        Bytes::from(encoder.finish().unwrap_or_default())
    }
}

/// So much is gathered before it is compressed.
const CHUNK: usize = 64 << 10;

/// The families of one name and kind.
struct Group<'a> {
    /// Never empty.
    parts: Vec<&'a Family>,
}

struct Groups<'a> {
    by_name: HashMap<&'a str, Group<'a>>,
    samples: usize,
}

/// What a histogram's series are called after its name.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

impl<'a> Groups<'a> {
    fn gather(families: &'a [Arc<Family>], dropped: &mut Dropped) -> Self {
        let mut groups = Self { by_name: HashMap::with_capacity(families.len()), samples: 0 };
        for family in families {
            let count = family.samples.len();
            if count == 0 {
                continue;
            }
            if !is_metric_name(&family.name) {
                dropped.name += count as u64;
            } else if groups.admit(family) {
                groups.samples += count;
            } else {
                dropped.kind += count as u64;
            }
        }
        groups
    }

    fn admit(&mut self, family: &'a Family) -> bool {
        if let Some(group) = self.by_name.get_mut(&*family.name) {
            let fits = group.parts[0].kind == family.kind;
            if fits {
                group.parts.push(family);
            }
            return fits;
        }
        // A histogram writes series under three names more, which must be nobody else's.
        let clash = self.is_histograms(&family.name)
            || (family.kind == Kind::Histogram
                && SUFFIXES.iter().any(|suffix| {
                    self.by_name.contains_key(format!("{}{suffix}", family.name).as_str())
                }));
        if !clash {
            self.by_name.insert(&family.name, Group { parts: vec![family] });
        }
        !clash
    }

    /// Whether a histogram writes series of this name.
    fn is_histograms(&self, name: &str) -> bool {
        SUFFIXES
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .filter_map(|stem| self.by_name.get(stem))
            .any(|group| group.parts[0].kind == Kind::Histogram)
    }

    /// Whether a counter may not be called by this name in OpenMetrics, where its family writes
    /// `_total` and might write `_created`.
    fn takes(&self, stem: &str) -> bool {
        self.by_name.contains_key(stem)
            || self.by_name.contains_key(format!("{stem}_created").as_str())
            || self.is_histograms(stem)
    }

    fn sorted(&self) -> Vec<&Group<'a>> {
        let mut groups: Vec<&Group<'a>> = self.by_name.values().collect();
        groups.sort_unstable_by(|a, b| a.parts[0].name.cmp(&b.parts[0].name));
        groups
    }

    /// About how many bytes the page will have.
    fn estimate(&self) -> usize {
        self.samples * 160 + self.by_name.len() * 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Histogram, Labels, Point, Sample};

    fn text(families: Vec<Family>) -> (String, Dropped) {
        page(families, Format::Text)
    }

    fn page(families: Vec<Family>, format: Format) -> (String, Dropped) {
        let families: Vec<_> = families.into_iter().map(Arc::new).collect();
        let page = render(&families, Choice { format, gzip: false });
        (String::from_utf8(page.body.to_vec()).unwrap(), page.dropped)
    }

    fn labels(value: &str) -> Labels {
        Labels::new([("a", value)])
    }

    fn histogram(name: &str) -> Family {
        let mut family = Family::new(name, "", Kind::Histogram);
        family.samples.push(Sample {
            labels: Labels::default(),
            point: Point::Histogram(Box::new(Histogram {
                buckets: vec![(1.0, 2), (f64::INFINITY, 3)],
                sum: 4.5,
                count: 3,
            })),
        });
        family
    }

    #[test]
    fn families_of_one_name_share_a_header() {
        let (page, dropped) = text(vec![
            Family::new("b", "second", Kind::Gauge).with(labels("1"), 1.0),
            Family::new("a", "", Kind::Untyped).with(Labels::default(), 2.0),
            Family::new("b", "other words", Kind::Gauge).with(labels("2"), 3.0),
            Family::new("empty", "nothing", Kind::Gauge),
        ]);
        assert_eq!(
            page,
            "# TYPE a untyped\na 2\n# HELP b second\n# TYPE b gauge\nb{a=\"1\"} 1\nb{a=\"2\"} 3\n"
        );
        assert_eq!(dropped, Dropped::default());
    }

    #[test]
    fn the_first_kind_wins() {
        let (page, dropped) = text(vec![
            Family::new("b", "", Kind::Gauge).with(labels("1"), 1.0),
            Family::new("b", "", Kind::Counter).with(labels("2"), 1.0).with(labels("3"), 1.0),
        ]);
        assert_eq!(page, "# TYPE b gauge\nb{a=\"1\"} 1\n");
        assert_eq!(dropped, Dropped { kind: 2, ..Dropped::default() });
    }

    #[test]
    fn duplicates_go_across_producers_and_empty_labels() {
        let (page, dropped) = text(vec![
            Family::new("b", "", Kind::Gauge)
                .with(labels("1"), 1.0)
                .with(labels("1"), 2.0)
                .with(labels(""), 3.0),
            Family::new("b", "", Kind::Gauge).with(Labels::default(), 4.0).with(labels("1"), 5.0),
        ]);
        assert_eq!(page, "# TYPE b gauge\nb{a=\"1\"} 1\nb{a=\"\"} 3\n");
        assert_eq!(dropped, Dropped { duplicate: 3, ..Dropped::default() });
    }

    #[test]
    fn names_that_prometheus_refuses_do_not_break_the_page() {
        let (page, dropped) = text(vec![
            Family::new("no-name", "", Kind::Gauge).with(labels("1"), 1.0),
            Family::new("b", "", Kind::Gauge)
                .with(Labels::new([("bad label", "1")]), 1.0)
                .with(Labels::new([("__name__", "1")]), 1.0),
            Family::new("c", "", Kind::Gauge).with(Labels::new([("", "1")]), 1.0),
        ]);
        assert_eq!(page, "");
        assert_eq!(dropped, Dropped { name: 4, ..Dropped::default() });
    }

    #[test]
    fn a_histograms_names_are_its_own() {
        let gauge = || Family::new("h_count", "", Kind::Gauge).with(Labels::default(), 1.0);
        let (page, dropped) = text(vec![histogram("h"), gauge()]);
        assert_eq!(
            page,
            "# TYPE h histogram\nh_bucket{le=\"1.0\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n"
        );
        assert_eq!(dropped.kind, 1);
        let (page, dropped) = text(vec![gauge(), histogram("h")]);
        assert_eq!(page, "# TYPE h_count gauge\nh_count 1\n");
        assert_eq!(dropped.kind, 1);
    }

    #[test]
    fn a_point_of_another_kind_is_dropped() {
        let mut wrong = histogram("h");
        wrong.push(labels("1"), 1.0);
        wrong.push(Labels::new([("le", "1")]), 1.0);
        let (_, dropped) = text(vec![wrong]);
        assert_eq!(dropped, Dropped { kind: 1, name: 1, duplicate: 0 });
    }

    #[test]
    fn openmetrics_counters_need_total_and_a_free_stem() {
        let counter = |name: &str| Family::new(name, "h", Kind::Counter).with(labels("1"), 1.0);
        let (page, _) = page(
            vec![
                counter("good_total"),
                counter("plain"),
                counter("taken_total"),
                Family::new("taken", "", Kind::Gauge).with(Labels::default(), 1.0),
                counter("born_total"),
                Family::new("born_created", "", Kind::Gauge).with(Labels::default(), 1.0),
                counter("_total"),
            ],
            Format::OpenMetrics,
        );
        let types: Vec<&str> = page.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
        assert_eq!(
            types,
            [
                "_total unknown",
                "born_created gauge",
                "born_total unknown",
                "good counter",
                "plain unknown",
                "taken gauge",
                "taken_total unknown"
            ]
        );
        assert!(page.contains("\ngood_total{a=\"1\"} 1\n") && page.ends_with("\n# EOF\n"));
    }
}
