//! A whole page: families of one name merged under one header, what clashes dropped and counted.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::dropped::Dropped;
use super::gzip::Packer;
use super::lines::{self, Seen, Title};
use super::negotiate::{Choice, Format};
use super::press::{Press, Print};
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
    Press::default().render(families, choice)
}

impl Press {
    /// The same page as [`render`] gives, and cheaper where families were on a page before.
    pub fn render(&self, families: &[Arc<Family>], choice: Choice) -> Page {
        self.tidy();
        let mut dropped = Dropped::default();
        let groups = Groups::gather(families, &mut dropped);
        let mut sink = Sink::new(choice.gzip, groups.estimate());
        for Group { parts } in groups.sorted() {
            let first = parts[0];
            let taken = |name: &str| groups.takes(name);
            let title = Title::of(&first.name, first.kind, choice.format, taken);
            let start = sink.out.len();
            lines::header(&mut sink.out, title, &first.help, choice.format);
            match sink.packer.as_ref().and_then(|_| self.prints(parts)) {
                Some(prints) => sink.string(parts, &prints, &mut dropped),
                None => sink.write(start, parts, &mut dropped),
            }
        }
        if choice.format == Format::OpenMetrics {
            sink.out.extend_from_slice(b"# EOF\n");
        }
        Page { body: sink.finish(), dropped }
    }
}

/// Where a page goes: into one piece of memory, or family by family through gzip, so that a large page
/// is never held plain.
struct Sink {
    out: Vec<u8>,
    packer: Option<Packer>,
}

/// So many bytes are gathered before they are compressed.
const CHUNK: usize = 64 << 10;

impl Sink {
    fn new(gzip: bool, estimate: usize) -> Self {
        let out = Vec::with_capacity(if gzip { CHUNK } else { estimate });
        Self { out, packer: gzip.then(Packer::new) }
    }

    /// Writes a family's samples after its header, which begins at `start`.
    fn write(&mut self, start: usize, parts: &[&Arc<Family>], dropped: &mut Dropped) {
        let end = self.out.len();
        let mut seen = Seen::begin(parts.iter().map(|part| part.samples.len()).sum());
        for part in parts {
            lines::samples(&mut self.out, part, &part.samples, &mut seen, dropped);
        }
        // A header whose samples are all dropped goes too.
        if self.out.len() == end {
            self.out.truncate(start);
        }
        if self.out.len() >= CHUNK {
            self.pass_on();
        }
    }

    /// Adds a family whose parts are printed or small, and hold no series twice.
    fn string(
        &mut self,
        parts: &[&Arc<Family>],
        prints: &[Option<Arc<Print>>],
        dropped: &mut Dropped,
    ) {
        for (part, print) in parts.iter().zip(prints) {
            if let Some(print) = print {
                self.pass_on();
                self.packer.iter_mut().for_each(|packer| packer.append(&print.piece));
                *dropped += print.dropped;
            } else {
                let mut seen = Seen::begin(part.samples.len());
                lines::samples(&mut self.out, part, &part.samples, &mut seen, dropped);
            }
        }
    }

    fn pass_on(&mut self) {
        if let Some(packer) = &mut self.packer {
            packer.write(&self.out);
            self.out.clear();
        }
    }

    fn finish(mut self) -> Bytes {
        self.pass_on();
        Bytes::from(self.packer.map_or(self.out, Packer::into_member))
    }
}

/// The families of one name and kind.
struct Group<'a> {
    /// Never empty.
    parts: Vec<&'a Arc<Family>>,
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

    fn admit(&mut self, family: &'a Arc<Family>) -> bool {
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
