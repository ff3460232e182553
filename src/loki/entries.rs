//! Entries of one stream in protobuf, written by hand straight from borrowed values.
//!
//! The push body (grafana/loki pkg/push/push.proto): `PushRequest{1: Stream{1: labels, 2: Entry*}}`,
//! `Entry{1: Timestamp{1: seconds, 2: nanos}, 2: line, 3: LabelPair{1: name, 2: value}*}`,
//! as a raw snappy block.

use std::borrow::Cow;
use std::ops::Range;

use super::decode;
use super::snappy::{self, PIECE, Packed, Packer, varint, varint_size};

/// Encoded entries, one after the other, each with its field header: a stream's body is its labels
/// and any run of these.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// Whole pieces of them, where they are packed as they come …
    packed: Packed,
    /// … and what follows those.
    bytes: Vec<u8>,
    /// Where each entry ends, before it is packed.
    ends: Vec<u32>,
    oldest: Option<i64>,
    newest: Option<i64>,
}

/// The structured metadata of one entry, as it stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    bytes: Vec<u8>,
}

impl Metadata {
    /// Empty again, for the next entry.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Adds a pair.
    pub fn push(&mut self, name: &str, value: &str) {
        let out = &mut self.bytes;
        let size = text_size(name) + text_size(value);
        out.reserve(size + FIELD_HEAD);
        // Nearly all are short, and then every size is one byte.
        let [short, name_size, value_size] =
            [size, name.len(), value.len()].map(|size| u8::try_from(size).unwrap_or(u8::MAX));
        if short < 0x80 && name_size > 0 && value_size > 0 {
            out.extend_from_slice(&[3 << 3 | 2, short, 1 << 3 | 2, name_size]);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&[2 << 3 | 2, value_size]);
            out.extend_from_slice(value.as_bytes());
            return;
        }
        let mut head = Head::new();
        head.field(3, size);
        text(out, head, 1, name);
        text(out, Head::new(), 2, value);
    }

    /// The value of the pair that has so many before it.
    pub fn value(&self, before: usize) -> Option<&str> {
        let (_, pair, _) = self.nth(before)?;
        decode::pair(pair).map(|(_, value)| value)
    }

    /// Puts ASCII text in the place of a value that is as long: of the pair that has so many before it.
    pub fn overwrite(&mut self, before: usize, value: &[u8]) {
        // A pair ends with its value.
        if let Some((_, _, end)) = self.nth(before) {
            self.bytes[end - value.len()..end].copy_from_slice(value);
        }
    }

    /// The pair that has so many before it: they are passed over, not read.
    fn nth(&self, before: usize) -> Option<decode::Field<'_>> {
        let first = decode::field(&self.bytes, 0);
        (0..before).try_fold(first?, |(_, _, end), _| decode::field(&self.bytes, end))
    }

    /// Adds all pairs of another one.
    pub fn append(&mut self, more: &Self) {
        self.bytes.extend_from_slice(&more.bytes);
    }

    /// Names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        decode::pairs(&self.bytes)
    }

    /// As they stand in the entry.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut metadata = Self::default();
        for (name, value) in pairs {
            metadata.push(name.as_ref(), value.as_ref());
        }
        metadata
    }
}

impl Entries {
    /// Adds one entry. `ns` is nanoseconds since 1970; the pairs of all `metadata` follow one another.
    pub fn push(&mut self, ns: i64, line: &str, metadata: &[&Metadata]) {
        let seconds = ns.div_euclid(1_000_000_000).cast_unsigned();
        let nanos = ns.rem_euclid(1_000_000_000).cast_unsigned();
        let time = number_size(seconds) + number_size(nanos);
        let pairs: usize = metadata.iter().map(|own| own.bytes.len()).sum();
        let size = delimited(time) + text_size(line) + pairs;

        let out = &mut self.bytes;
        out.reserve(size + FIELD_HEAD);
        let mut head = Head::new();
        head.field(2, size);
        head.field(1, time);
        head.number(1, seconds);
        head.number(2, nanos);
        text(out, head, 2, line);
        for own in metadata {
            out.extend_from_slice(&own.bytes);
        }
        self.ends.push(u32::try_from(self.size()).unwrap_or(u32::MAX));
        self.oldest = Some(self.oldest.map_or(ns, |old| old.min(ns)));
        self.newest = Some(self.newest.map_or(ns, |old| old.max(ns)));
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes before compression, metadata and framing included.
    pub fn size(&self) -> usize {
        self.packed.size() + self.bytes.len()
    }

    /// Packs what is whole pieces: they take a quarter of the memory, and are packed while they are near.
    pub fn pack(&mut self, packer: &mut Packer) {
        let whole = self.bytes.len() / PIECE * PIECE;
        if whole > 0 {
            packer.pack(&self.bytes[..whole], &mut self.packed);
            self.bytes.drain(..whole);
        }
    }

    /// Times of the oldest and the newest entry, in nanoseconds.
    pub fn span(&self) -> Option<(i64, i64)> {
        self.oldest.zip(self.newest)
    }

    /// The entries as they stand in a stream message.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        if self.packed.size() == 0 {
            return Cow::Borrowed(&self.bytes);
        }
        let mut bytes = self.packed.text();
        bytes.extend_from_slice(&self.bytes);
        Cow::Owned(bytes)
    }

    /// Encoded entries again, as [`Entries::bytes`] gave them; none when they are damaged.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let mut entries = Self::default();
        let mut at = 0;
        while at < bytes.len() {
            let (tag, field, next) = decode::field(&bytes, at)?;
            let entry = decode::entry((tag == 2).then_some(field)?)?;
            at = next;
            entries.ends.push(u32::try_from(at).ok()?);
            entries.oldest = Some(entries.oldest.map_or(entry.ns, |old: i64| old.min(entry.ns)));
            entries.newest = Some(entries.newest.map_or(entry.ns, |old: i64| old.max(entry.ns)));
        }
        entries.bytes = bytes;
        Some(entries)
    }

    /// Takes all entries out, and keeps their memory.
    pub fn clear(&mut self) {
        self.packed.clear();
        self.bytes.clear();
        self.ends.clear();
        self.oldest = None;
        self.newest = None;
    }

    /// The body of a push request with the entries of `range` under `labels`.
    pub fn body(&self, labels: &str, range: Range<usize>) -> Vec<u8> {
        let end = |count: usize| count.checked_sub(1).map_or(0, |last| self.ends[last] as usize);
        let (from, to) = (end(range.start), end(range.end).max(end(range.start)));
        let mut head = Vec::with_capacity(labels.len() + 2 * FIELD_HEAD);
        let mut stream = Head::new();
        stream.field(1, text_size(labels) + to - from);
        text(&mut head, stream, 1, labels);
        if to - from == self.size() {
            return snappy::block(&head, &self.packed, &self.bytes);
        }
        snappy::block(&head, &Packed::default(), &self.bytes()[from..to])
    }
}

/// The size of a length-delimited field of `size` bytes; numbers of fields here are below 16.
fn delimited(size: usize) -> usize {
    1 + varint_size(size as u64) + size
}

/// A string field's size; an empty string is left out, as proto3 does.
fn text_size(value: &str) -> usize {
    if value.is_empty() { 0 } else { delimited(value.len()) }
}

/// A number field's size; zero is left out, as proto3 does.
fn number_size(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_size(value) }
}

/// A field's tag and its size, or its number, take at most so many bytes.
const FIELD_HEAD: usize = 11;

/// What stands before a text field, at most five heads of fields, put together where a byte costs
/// nothing.
struct Head {
    bytes: [u8; 5 * FIELD_HEAD],
    length: usize,
}

impl Head {
    fn new() -> Self {
        Self { bytes: [0; 5 * FIELD_HEAD], length: 0 }
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn varint(&mut self, value: u64) {
        varint(value, |byte| self.byte(byte));
    }

    /// The tag and the size of a length-delimited field.
    fn field(&mut self, number: u8, size: usize) {
        self.byte(number << 3 | 2);
        self.varint(size as u64);
    }

    /// A number field, but for a zero.
    fn number(&mut self, number: u8, value: u64) {
        if value != 0 {
            self.byte(number << 3);
            self.varint(value);
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Adds what stands before a text field, and the field itself, but for an empty one.
fn text(out: &mut Vec<u8>, mut head: Head, number: u8, value: &str) {
    if !value.is_empty() {
        head.field(number, value.len());
    }
    out.extend_from_slice(head.bytes());
    out.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    // loki-api's messages, extended by the structured metadata which they lack.
    #[derive(Clone, PartialEq, Message)]
    struct PushRequest {
        #[prost(message, repeated, tag = "1")]
        streams: Vec<Stream>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Stream {
        #[prost(string, tag = "1")]
        labels: String,
        #[prost(message, repeated, tag = "2")]
        entries: Vec<Entry>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Entry {
        #[prost(message, optional, tag = "1")]
        timestamp: Option<loki_api::prost_types::Timestamp>,
        #[prost(string, tag = "2")]
        line: String,
        #[prost(message, repeated, tag = "3")]
        metadata: Vec<Pair>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Pair {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }

    type Plain = (i64, String, Vec<(String, String)>);

    fn decode(body: &[u8]) -> (String, Vec<Plain>) {
        let plain = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        let request = PushRequest::decode(&plain[..]).unwrap();
        assert_eq!(request.encode_to_vec(), plain, "as the reference encoder writes it");
        let [stream] = &request.streams[..] else { panic!("one stream per request") };
        let entries = stream.entries.iter().map(|e| {
            let time = e.timestamp.as_ref().unwrap();
            let metadata = e.metadata.iter().map(|p| (p.name.clone(), p.value.clone())).collect();
            (time.seconds * 1_000_000_000 + i64::from(time.nanos), e.line.clone(), metadata)
        });
        (stream.labels.clone(), entries.collect())
    }

    #[test]
    fn labels_of_any_length_stand_before_the_entries() {
        let mut encoded = Entries::default();
        encoded.push(7, "LOG:  one", &[&[("level", "info")].into_iter().collect()]);
        // The head of the body is four bytes longer: 60 is the longest piece with a short tag.
        for length in [0, 1, 55, 56, 57, 58, 200, 255, 256, 300, 70_000, 140_000] {
            let labels = "x".repeat(length);
            for (range, entries) in [(0..1, 1), (0..0, 0)] {
                let (read, found) = decode(&encoded.body(&labels, range));
                assert_eq!((read.len(), found.len()), (length, entries));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_as_it_comes_is_the_same(
            entries in prop::collection::vec((0..100_000usize, any::<u8>()), 0..8),
            from in 0..8usize,
            to in 0..8usize,
        ) {
            let (mut at_once, mut packed) = (Entries::default(), Entries::default());
            let mut packer = Packer::default();
            for (ns, (length, byte)) in (0..).zip(&entries) {
                let line: String = (0..*length).map(|at| char::from(byte ^ (at % 251) as u8)).collect();
                at_once.push(ns, &line, &[]);
                packed.push(ns, &line, &[]);
                packed.pack(&mut packer);
                prop_assert!(packed.bytes.len() < PIECE);
            }
            prop_assert_eq!(packed.size(), at_once.size());
            prop_assert!(packed.bytes() == at_once.bytes());
            let (from, to) = (from.min(entries.len()), to.min(entries.len()));
            for range in [0..entries.len(), from.min(to)..to] {
                let bodies = [&packed, &at_once].map(|own| decode(&own.body("{}", range.clone())));
                prop_assert!(bodies[0] == bodies[1]);
            }
            packed.clear();
            prop_assert!(packed.bytes().is_empty() && packed.size() == 0);
        }

        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::vec(
                (0i64..4_000_000_000_000_000_000, ".{0,300}",
                 prop::collection::vec(("[a-z_]{1,20}", ".{0,200}"), 0..8)), 0..20),
        ) {
            let mut encoded = Entries::default();
            for (ns, line, metadata) in &entries {
                let (first, second) = metadata.split_at(metadata.len() / 2);
                let [first, second] = [first, second].map(|own| own.iter().map(|(n, v)| (n, v)).collect());
                encoded.push(*ns, line, &[&first, &second]);
            }
            let (labels, read) = decode(&encoded.body("{a=\"b\"}", 0..encoded.len()));
            prop_assert_eq!(labels, "{a=\"b\"}");
            prop_assert_eq!(&read, &entries);
            // Halves are whole requests of their own.
            let middle = entries.len() / 2;
            let (_, first) = decode(&encoded.body("{}", 0..middle));
            let (_, second) = decode(&encoded.body("{}", middle..entries.len()));
            prop_assert_eq!([first, second].concat(), entries);
            // And the store's way back.
            let again = Entries::from_bytes(encoded.bytes().to_vec()).unwrap();
            prop_assert_eq!(again.ends, encoded.ends);
            prop_assert_eq!(again.oldest.zip(again.newest), encoded.oldest.zip(encoded.newest));
        }
    }
}
