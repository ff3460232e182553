//! Entries of one stream in protobuf, written by hand straight from borrowed values.
//!
//! The push body (grafana/loki pkg/push/push.proto): `PushRequest{1: Stream{1: labels, 2: Entry*}}`,
//! `Entry{1: Timestamp{1: seconds, 2: nanos}, 2: line, 3: LabelPair{1: name, 2: value}*}`,
//! as a raw snappy block.

use std::ops::Range;

/// Encoded entries, one after the other, each with its field header: a stream's body is its labels
/// and any run of these.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    bytes: Vec<u8>,
    /// Where each entry ends in `bytes`.
    ends: Vec<u32>,
    oldest: Option<i64>,
    newest: Option<i64>,
}

impl Entries {
    /// Adds one entry. `ns` is nanoseconds since 1970.
    pub fn push<N: AsRef<str>, V: AsRef<str>>(&mut self, ns: i64, line: &str, metadata: &[(N, V)]) {
        let seconds = ns.div_euclid(1_000_000_000).cast_unsigned();
        let nanos = ns.rem_euclid(1_000_000_000).cast_unsigned();
        let time = field_if(seconds) + field_if(nanos);
        let pair = |name: &str, value: &str| text_size(name) + text_size(value);
        let size = delimited(time)
            + text_size(line)
            + metadata
                .iter()
                .map(|(name, value)| delimited(pair(name.as_ref(), value.as_ref())))
                .sum::<usize>();

        let out = &mut self.bytes;
        out.reserve(size + 11);
        header(out, 2, size);
        header(out, 1, time);
        number(out, 1, seconds);
        number(out, 2, nanos);
        text(out, 2, line);
        for (name, value) in metadata {
            header(out, 3, pair(name.as_ref(), value.as_ref()));
            text(out, 1, name.as_ref());
            text(out, 2, value.as_ref());
        }
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
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
        self.bytes.len()
    }

    /// Times of the oldest and the newest entry, in nanoseconds.
    pub fn span(&self) -> Option<(i64, i64)> {
        self.oldest.zip(self.newest)
    }

    /// The entries as they stand in a stream message.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Encoded entries again, as [`Entries::bytes`] gave them; none when they are damaged.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let mut entries = Self::default();
        let mut at = 0;
        while at < bytes.len() {
            let (tag, field, next) = super::decode::field(&bytes, at)?;
            let entry = super::decode::entry((tag == 2).then_some(field)?)?;
            at = next;
            entries.ends.push(u32::try_from(at).ok()?);
            entries.oldest = Some(entries.oldest.map_or(entry.ns, |old: i64| old.min(entry.ns)));
            entries.newest = Some(entries.newest.map_or(entry.ns, |old: i64| old.max(entry.ns)));
        }
        entries.bytes = bytes;
        Some(entries)
    }

    /// The body of a push request with the entries of `range` under `labels`.
    pub fn body(&self, labels: &str, range: Range<usize>) -> Vec<u8> {
        let from = if range.start == 0 { 0 } else { self.ends[range.start - 1] as usize };
        let to = if range.end == 0 { 0 } else { self.ends[range.end - 1] as usize };
        let entries = &self.bytes[from..to.max(from)];
        let stream = text_size(labels) + entries.len();
        let mut plain = Vec::with_capacity(stream + 16);
        header(&mut plain, 1, stream);
        text(&mut plain, 1, labels);
        plain.extend_from_slice(entries);
        // The only error of a raw block is an input of 4 GiB, and a batch is a megabyte.
        snap::raw::Encoder::new().compress_vec(&plain).unwrap_or_default()
    }
}

/// How many bytes `value` takes as a varint.
fn varint_size(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
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
fn field_if(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_size(value) }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn header(out: &mut Vec<u8>, number: u8, size: usize) {
    out.push(number << 3 | 2);
    varint(out, size as u64);
}

fn text(out: &mut Vec<u8>, number: u8, value: &str) {
    if !value.is_empty() {
        header(out, number, value.len());
        out.extend_from_slice(value.as_bytes());
    }
}

fn number(out: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        out.push(number << 3);
        varint(out, value);
    }
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

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::vec(
                (0i64..4_000_000_000_000_000_000, ".{0,300}",
                 prop::collection::vec(("[a-z_]{1,20}", ".{0,200}"), 0..8)), 0..20),
        ) {
            let mut encoded = Entries::default();
            for (ns, line, metadata) in &entries {
                encoded.push(*ns, line, metadata);
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
