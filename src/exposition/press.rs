//! Pages for a client that comes again and again: a large result is written and compressed once, when
//! it changes, and a page strings the pieces together.
//!
//! A result is the same as long as it is the same `Arc`: nobody changes what others can see. A piece
//! holds one producer's samples without a header, so that it fits into both formats and beside other
//! producers of its family.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::dropped::Dropped;
use super::gzip::{Packer, Piece};
use super::lines::{self, Seen};
use crate::metric::{Family, Labels};

/// Families with fewer samples are written afresh for every page.
const LARGE: usize = 64;

/// So many samples are written before they are compressed.
const CHUNK: usize = 500;

/// Keeps what large families became on the page before, as long as somebody keeps the family.
#[derive(Default)]
pub struct Press {
    prints: Mutex<Prints>,
}

/// By the family's address, which nothing else can have while there is a `Weak` of it.
type Prints = HashMap<usize, (Weak<Family>, Arc<Print>)>;

/// One producer's samples of a family.
pub(super) struct Print {
    pub(super) piece: Piece,
    pub(super) dropped: Dropped,
    constant: OnceLock<Labels>,
}

impl Press {
    /// Forgets families that are no more.
    pub(super) fn tidy(&self) {
        self.lock().retain(|_, (family, _)| family.strong_count() > 0);
    }

    /// The print of each part of a family: the large ones', none for the others. None at all where
    /// there is no large one, or where parts may hold the same series, which only writing them
    /// together shows.
    pub(super) fn prints(&self, parts: &[&Arc<Family>]) -> Option<Vec<Option<Arc<Print>>>> {
        let is_large = |part: &&Arc<Family>| part.samples.len() >= LARGE;
        if !parts.iter().any(is_large) {
            return None;
        }
        let of = |part: &&Arc<Family>| is_large(part).then(|| self.print(part));
        let prints: Vec<_> = parts.iter().map(of).collect();
        // One that is empty would leave a header alone.
        let full = prints.iter().flatten().all(|print| print.piece.length > 0);
        (full && (parts.len() == 1 || are_apart(parts, &prints))).then_some(prints)
    }

    fn print(&self, family: &Arc<Family>) -> Arc<Print> {
        let address = Arc::as_ptr(family).addr();
        let known = self.lock().get(&address).map(|(_, print)| Arc::clone(print));
        known.unwrap_or_else(|| {
            let print = Arc::new(Print::of(family));
            self.lock().insert(address, (Arc::downgrade(family), Arc::clone(&print)));
            print
        })
    }

    fn lock(&self) -> MutexGuard<'_, Prints> {
        self.prints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Print {
    fn of(family: &Family) -> Self {
        let (mut packer, mut dropped) = (Packer::new(), Dropped::default());
        let mut seen = Seen::begin(family.samples.len());
        let mut text = Vec::new();
        for samples in family.samples.chunks(CHUNK) {
            lines::samples(&mut text, family, samples, &mut seen, &mut dropped);
            packer.write(&text);
            text.clear();
        }
        Self { piece: packer.into_piece(), dropped, constant: OnceLock::new() }
    }
}

/// Whether no two of the parts can hold the same series: of the labels that are the same on all samples
/// of a part, those that every part has differ from part to part. So it is with the results of several
/// servers or databases.
fn are_apart(parts: &[&Arc<Family>], prints: &[Option<Arc<Print>>]) -> bool {
    let constants: Vec<Cow<'_, Labels>> = parts
        .iter()
        .zip(prints)
        .map(|(part, print)| match print {
            Some(print) => Cow::Borrowed(print.constant.get_or_init(|| constant(part))),
            None => Cow::Owned(constant(part)),
        })
        .collect();
    let Some(first) = constants.first() else { return true };
    let names: Vec<&str> = first
        .iter()
        .map(|(name, _)| name)
        .filter(|name| constants.iter().all(|labels| labels.get(name).is_some()))
        .collect();
    let values = constants.iter().map(|labels| {
        let values = names.iter().map(|name| labels.get(name));
        values.collect::<Vec<_>>()
    });
    values.collect::<HashSet<_>>().len() == parts.len()
}

/// The labels that are the same on all samples.
fn constant(family: &Family) -> Labels {
    let mut samples = family.samples.iter();
    let Some(first) = samples.next() else { return Labels::default() };
    let mut same: Vec<(&str, &str)> = first.labels.iter().collect();
    for sample in samples {
        same.retain(|(name, value)| sample.labels.get(name) == Some(value));
        if same.is_empty() {
            break;
        }
    }
    Labels::new(same)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::exposition::{Choice, Format, render};
    use crate::metric::Kind;

    const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];

    fn labels(server: &str, n: usize) -> Labels {
        Labels::new([("server", server.to_owned()), ("relname", format!("table_{n}"))])
    }

    /// Samples `from..to` of a family of a server.
    fn part(name: &str, server: &str, from: usize, to: usize) -> Arc<Family> {
        let mut family = Family::new(name, "words", Kind::Counter);
        for n in from..to {
            family.push(labels(server, n), n as f64);
        }
        Arc::new(family)
    }

    /// The page of `press`, seen to be the one that is written without it; what it dropped.
    fn checked(press: &Press, families: &[Arc<Family>]) -> Dropped {
        let mut dropped = Dropped::default();
        for format in FORMATS {
            let plain = render(families, Choice { format, gzip: false });
            let packed = press.render(families, Choice { format, gzip: true });
            let mut text = Vec::new();
            let mut decoder = GzDecoder::new(&packed.body[..]);
            decoder.read_to_end(&mut text).expect("a whole member");
            assert!(decoder.into_inner().is_empty(), "bytes after the first member");
            assert!(text == plain.body, "{}", String::from_utf8_lossy(&text));
            assert_eq!(packed.dropped, plain.dropped);
            dropped = packed.dropped;
        }
        dropped
    }

    fn prints(press: &Press) -> Vec<Arc<Print>> {
        press.lock().values().map(|(_, print)| Arc::clone(print)).collect()
    }

    #[test]
    fn a_large_result_is_printed_once_until_it_changes() {
        let press = Press::default();
        let mut families = vec![
            part("a_total", "x", 0, 500),
            part("a_total", "y", 0, 500),
            part("a_total", "z", 0, 5),
            part("b", "x", 0, 3),
            part("c", "x", 0, 100),
        ];
        assert_eq!(checked(&press, &families), Dropped::default());
        let before = prints(&press);
        assert_eq!(before.len(), 3);
        let known = |press: &Press| {
            let is_known = |print: &&Arc<Print>| before.iter().any(|old| Arc::ptr_eq(old, print));
            prints(press).iter().filter(is_known).count()
        };
        checked(&press, &families);
        assert_eq!(known(&press), 3, "printed again");
        families[1] = part("a_total", "y", 0, 501);
        checked(&press, &families);
        assert_eq!(known(&press), 2);
        assert_eq!(prints(&press).len(), 3, "what is gone is kept");
        families.clear();
        checked(&press, &families);
        assert!(prints(&press).is_empty());
    }

    #[test]
    fn duplicates_are_dropped_within_and_across_parts() {
        let press = Press::default();
        let mut twice = Family::clone(&part("a", "x", 0, 100));
        twice.push(labels("x", 7), 8.0);
        let families = [
            Arc::new(twice),
            part("a", "y", 0, 100),
            // The same server: these are the first part's series.
            part("a", "x", 90, 200),
            part("a", "y", 99, 101),
        ];
        assert_eq!(checked(&press, &families).duplicate, 1 + 10 + 1);
        assert_eq!(checked(&press, &families[..2]).duplicate, 1);
    }

    /// Labels without value are no labels, so what tells two parts apart must be there.
    #[test]
    fn an_absent_label_tells_nothing_apart() {
        let press = Press::default();
        let with = |extra: Option<&str>| {
            let mut family = Family::new("a", "", Kind::Gauge);
            for n in 0..100 {
                let extra = extra.map(|value| ("extra", value.to_owned()));
                let all = extra.into_iter().chain([("n", n.to_string())]);
                family.push(Labels::new(all), 1.0);
            }
            Arc::new(family)
        };
        assert_eq!(checked(&press, &[with(None), with(Some(""))]).duplicate, 100);
        assert_eq!(checked(&press, &[with(Some("1")), with(Some(""))]).duplicate, 0);
        assert_eq!(checked(&press, &[with(Some("1")), with(Some("1"))]).duplicate, 100);
        assert_eq!(checked(&press, &[with(None), with(Some("1"))]).duplicate, 0);
    }

    #[test]
    fn a_family_of_nothing_that_may_stand_has_no_header() {
        let press = Press::default();
        let mut bad = Family::new("a", "", Kind::Gauge);
        for n in 0..100 {
            bad.push(Labels::new([("no label", n.to_string())]), 1.0);
        }
        assert_eq!(checked(&press, &[Arc::new(bad)]).name, 100);
    }

    proptest! {
        #[test]
        fn pages_of_any_parts(
            parts in proptest::collection::vec(
                ("(a|b)(_total)?", "(x|y|z)?", 0usize..120, 0usize..120), 0..7
            )
        ) {
            let families: Vec<_> =
                parts.iter().map(|(name, server, from, more)| part(name, server, *from, from + more)).collect();
            let press = Press::default();
            checked(&press, &families);
            checked(&press, &families);
        }
    }
}
