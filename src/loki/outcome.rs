//! What an answer of Loki means: a pure function of its status and its body.
//!
//! The classes are as measured against Loki 3.7; its texts stand in `pkg/validation/validate.go`,
//! `pkg/ingester/stream.go` and `pkg/util/errors.go` of its source.

/// How one push ended; the label of `pgvigil_loki_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 204: all entries are stored.
    Stored,
    /// Another 2xx, as gateways write them: taken for stored, and counted apart.
    UnexpectedSuccess,
    /// 260: the tenant is blocked and the data was thrown away, behind a success.
    Discarded,
    /// 400 of validation: some entries were refused for good, the others are stored.
    Refused(Vec<Refusal>),
    /// 400 before validation: nothing was stored, and the same body will never do better.
    Malformed,
    /// 401, 403, 404, 405: the address or the credentials are wrong; nothing was stored.
    Misconfigured,
    /// 413: the request is too large.
    TooLarge,
    /// 422: Loki saw no stream in it.
    Empty,
    /// 429 of the tenant's rate: the whole request was refused.
    RateLimited,
    /// 429 of the stream's own rate.
    StreamRateLimited,
    /// 429: no room for another stream.
    StreamLimit,
    /// 5xx, 499: the server's trouble; entries may have been stored or not.
    Unavailable,
    /// No whole answer came; entries may have been stored or not.
    NoAnswer,
}

/// Entries of one request that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub entries: u64,
}

/// Why entries were refused for good; the label of `pgvigil_loki_refused_entries_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    TooOld,
    TooNew,
    TooFarBehind,
    LineTooLong,
    Metadata,
    Labels,
    TooLarge,
    Malformed,
    Other,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::TooOld,
        Self::TooNew,
        Self::TooFarBehind,
        Self::LineTooLong,
        Self::Metadata,
        Self::Labels,
        Self::TooLarge,
        Self::Malformed,
        Self::Other,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::TooFarBehind => "too_far_behind",
            Self::LineTooLong => "line_too_long",
            Self::Metadata => "metadata",
            Self::Labels => "labels",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }

    /// The reason that a message of Loki's validation gives.
    fn of(text: &str) -> Option<Self> {
        let holds = |part: &str| text.contains(part);
        if holds("too far behind") || holds("out of order") {
            Some(Self::TooFarBehind)
        } else if holds("timestamp too old") {
            Some(Self::TooOld)
        } else if holds("timestamp too new") {
            Some(Self::TooNew)
        } else if holds("ax entry size") {
            Some(Self::LineTooLong)
        } else if holds("structured metadata") {
            Some(Self::Metadata)
        } else if holds("label name")
            || holds("label value")
            || holds("label pair")
            || holds("required labels")
        {
            Some(Self::Labels)
        } else {
            None
        }
    }
}

impl Outcome {
    /// Every value of the label, so that each series exists from the start.
    pub const ALL: [&'static str; 13] = [
        "stored",
        "unexpected_success",
        "discarded",
        "refused",
        "malformed",
        "misconfigured",
        "too_large",
        "empty",
        "rate_limited",
        "stream_rate_limited",
        "stream_limit",
        "unavailable",
        "no_answer",
    ];

    /// The meaning of an answer to a push of `entries` entries in one stream.
    pub fn of(status: u16, body: &str, entries: u64) -> Self {
        match status {
            204 => Self::Stored,
            260 => Self::Discarded,
            200..300 => Self::UnexpectedSuccess,
            400 => refused(body, entries),
            401 | 403 | 404 | 405 | 407 => Self::Misconfigured,
            413 => Self::TooLarge,
            422 => Self::Empty,
            429 if body.contains("stream limit") => Self::StreamLimit,
            429 if body.contains("er stream rate limit") => Self::StreamRateLimited,
            429 => Self::RateLimited,
            408 | 499 | 500.. => Self::Unavailable,
            // Redirects and what else a wrong address answers.
            _ => Self::Misconfigured,
        }
    }

    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::UnexpectedSuccess => "unexpected_success",
            Self::Discarded => "discarded",
            Self::Refused(_) => "refused",
            Self::Malformed => "malformed",
            Self::Misconfigured => "misconfigured",
            Self::TooLarge => "too_large",
            Self::Empty => "empty",
            Self::RateLimited => "rate_limited",
            Self::StreamRateLimited => "stream_rate_limited",
            Self::StreamLimit => "stream_limit",
            Self::Unavailable => "unavailable",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// The time before which Loki takes nothing, in nanoseconds since 1970, where a refusal names it:
/// its clock less the tenant's `reject_old_samples_max_age`.
pub(super) fn oldest_accepted(body: &str) -> Option<i64> {
    let (_, rest) = body.split_once("timestamp too old: ")?;
    let (_, rest) = rest.split_once("oldest acceptable timestamp is: ")?;
    let end = rest.find(|c: char| c == ';' || c.is_whitespace()).unwrap_or(rest.len());
    let time: jiff::Timestamp = rest[..end].trim_end_matches(['.', ',']).parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

fn refused(body: &str, entries: u64) -> Outcome {
    // The ingester's own form is exact: "total ignored: N out of M for stream: …".
    if let Some(ignored) = number_after(body, "total ignored: ") {
        let reason = Reason::of(body).unwrap_or(Reason::Other);
        return Outcome::Refused(vec![Refusal { reason, entries: ignored.min(entries) }]);
    }
    // Labels that do not parse: "couldn't parse labels", "error parsing labels '…'". A body that
    // could not be read at all speaks of snappy or protobuf.
    if body.contains("parse labels") || body.contains("parsing labels") {
        return Outcome::Malformed;
    }
    let mut found: Vec<Refusal> = Vec::new();
    for part in body.split("; ") {
        let Some(reason) = Reason::of(part) else { continue };
        let count = match part.split_once(" errors like: ") {
            Some((count, _)) => count.trim().rsplit(' ').next().and_then(|n| n.parse().ok()),
            None => None,
        };
        // Whatever is wrong with the labels concerns the whole stream.
        let count = if reason == Reason::Labels { entries } else { count.unwrap_or(1) };
        match found.iter_mut().find(|refusal| refusal.reason == reason) {
            Some(refusal) => refusal.entries += count,
            None => found.push(Refusal { reason, entries: count }),
        }
    }
    if found.is_empty() {
        return Outcome::Malformed;
    }
    let mut left = entries;
    for refusal in &mut found {
        refusal.entries = refusal.entries.min(left);
        left -= refusal.entries;
    }
    Outcome::Refused(found)
}

fn number_after(text: &str, mark: &str) -> Option<u64> {
    let (_, rest) = text.split_once(mark)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(reason: Reason, entries: u64) -> Outcome {
        Outcome::Refused(vec![Refusal { reason, entries }])
    }

    #[test]
    fn every_class() {
        let ignored = "entry with timestamp 2026-01-01 00:00:00 +0000 UTC ignored, reason: \
             'entry too far behind, entry timestamp is: 2026-01-01T00:00:00Z, oldest acceptable \
             timestamp is: 2026-01-01T01:00:00Z',\nuser 'fake', total ignored: 3 out of 9 for \
             stream: {a=\"b\"}";
        let old = "entry for stream '{a=\"b\"}' has timestamp too old: 2020-01-01T00:00:00Z, \
             oldest acceptable timestamp is: 2026-01-01T00:00:00Z";
        let grouped = format!(
            "2 errors like: {old}; 1 errors like: max entry size '262144' bytes exceeded for \
             stream '{{a=\"b\"}}' while adding an entry with length '300000' bytes"
        );
        let limit = "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while \
             attempting to ingest '10' lines totaling '999' bytes, reduce log volume";
        let stream = "Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest \
             for stream '{a=\"b\"}' totaling 1MB, consider splitting a stream";
        let many = "maximum active stream limit exceeded when trying to create stream {a=\"b\"}, \
             reduce the number of active streams";
        let labels = "entry for stream '{a=\"b\"}' has 16 label names; limit 15";
        let metadata = "stream '{a=\"b\"}' has structured metadata too large: '70000' bytes";
        let table = [
            (204, "", Outcome::Stored),
            (200, "", Outcome::UnexpectedSuccess),
            (202, "queued", Outcome::UnexpectedSuccess),
            (260, "ingestion blocked for user 'fake'", Outcome::Discarded),
            (400, ignored, one(Reason::TooFarBehind, 3)),
            (400, old, one(Reason::TooOld, 1)),
            (
                400,
                &grouped,
                Outcome::Refused(vec![
                    Refusal { reason: Reason::TooOld, entries: 2 },
                    Refusal { reason: Reason::LineTooLong, entries: 1 },
                ]),
            ),
            (400, labels, one(Reason::Labels, 9)),
            (400, metadata, one(Reason::Metadata, 1)),
            (400, "couldn't parse labels: 1:2: parse error", Outcome::Malformed),
            (400, "error parsing labels '{a=}' with error: x", Outcome::Malformed),
            (400, "snappy: corrupt input", Outcome::Malformed),
            (401, "no org id", Outcome::Misconfigured),
            (403, "", Outcome::Misconfigured),
            (404, "404 page not found", Outcome::Misconfigured),
            (405, "", Outcome::Misconfigured),
            (302, "", Outcome::Misconfigured),
            (413, "", Outcome::TooLarge),
            (422, "error at least one valid stream is required for ingestion", Outcome::Empty),
            (429, limit, Outcome::RateLimited),
            (429, "", Outcome::RateLimited),
            (429, stream, Outcome::StreamRateLimited),
            (429, many, Outcome::StreamLimit),
            (499, "", Outcome::Unavailable),
            (500, "empty ring", Outcome::Unavailable),
            (502, "", Outcome::Unavailable),
            (503, "", Outcome::Unavailable),
        ];
        for (status, body, expected) in table {
            let outcome = Outcome::of(status, body, 9);
            assert_eq!(outcome, expected, "{status} {body}");
            assert!(Outcome::ALL.contains(&outcome.as_str()));
        }
    }

    #[test]
    fn the_oldest_time_is_found() {
        let body = "2 errors like: entry for stream '{a=\"b\"}' has timestamp too old: \
             2020-01-01T00:00:00Z, oldest acceptable timestamp is: 2026-01-01T00:00:01Z; 1 errors \
             like: x";
        assert_eq!(oldest_accepted(body), Some(1_767_225_601_000_000_000));
        assert_eq!(
            oldest_accepted("entry too far behind, oldest acceptable timestamp is: x"),
            None
        );
    }

    #[test]
    fn never_more_are_refused_than_were_sent() {
        let body = "5 errors like: timestamp too old; 5 errors like: timestamp too new";
        let Outcome::Refused(found) = Outcome::of(400, body, 7) else { panic!() };
        assert_eq!(found.iter().map(|refusal| refusal.entries).collect::<Vec<_>>(), [5, 2]);
    }
}
