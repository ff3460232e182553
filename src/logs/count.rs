//! What the river counts, and how it shows: facts that PostgreSQL told under `pg_log_…`, the agent's
//! own work under `pgvigil_log_…`, both with the identity of the server whose log it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::counter::Count;
use super::events::EventKind;
use super::sessions::{Line, Sessions};
use super::source::Taken;
use super::sums::{self, Sums};
use super::{Counts, Format, Redacted, Severity};
use crate::metric::{Family, Kind, Labels};

/// The counters of one source.
#[derive(Debug)]
pub(in crate::logs) struct SourceCounts {
    pub(super) source: String,
    /// The identity of the server: labels of its facts.
    pub(super) identity: Labels,
    severities: [Count; Severity::ALL.len()],
    events: [Count; EventKind::ALL.len()],
    pub(super) read_bytes: Count,
    pub(super) vanished_bytes: Count,
    plain_lines: Count,
    torn_lines: Count,
    cut_records: Count,
    late_parts: Count,
    evicted_records: Count,
    ambiguous_records: Count,
    credentials: Count,
    literals: Count,
    patterns: Count,
    late_records: Count,
    missing_records: Count,
    repeated_records: Count,
    sessions: Mutex<Sessions>,
    pub(super) sums: Sums,
    files: Mutex<FilesNow>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FilesNow {
    pub(super) followed: usize,
    /// One sentence for each file that cannot be read.
    pub(super) problems: Vec<String>,
}

impl SourceCounts {
    pub(super) fn new(source: &str, identity: Labels) -> Self {
        Self {
            source: source.to_owned(),
            identity,
            severities: Default::default(),
            events: Default::default(),
            read_bytes: Count::default(),
            vanished_bytes: Count::default(),
            plain_lines: Count::default(),
            torn_lines: Count::default(),
            cut_records: Count::default(),
            late_parts: Count::default(),
            evicted_records: Count::default(),
            ambiguous_records: Count::default(),
            credentials: Count::default(),
            literals: Count::default(),
            patterns: Count::default(),
            late_records: Count::default(),
            missing_records: Count::default(),
            repeated_records: Count::default(),
            sessions: Mutex::default(),
            sums: Sums::default(),
            files: Mutex::default(),
        }
    }

    pub(super) fn record(&self, taken: &Taken) {
        let ours = taken.record.format != Format::Pgbouncer;
        if let Some(severity) = taken.record.severity.filter(|_| ours) {
            self.severities[severity as usize].add(1);
        }
        if let Some(kind) = taken.event.kind {
            self.events[kind as usize].add(1);
        }
        if ours {
            self.sums.add(&taken.record, &taken.event);
        }
        if matches!(taken.record.format, Format::Csv | Format::Json | Format::Cnpg) {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            match sessions.see(taken.file, &taken.record) {
                Line::Next => {}
                Line::Gap(missing) => self.missing_records.add(missing),
                Line::Repeat => self.repeated_records.add(1),
            }
        }
    }

    pub(super) fn lines(&self, counts: Counts) {
        self.plain_lines.add(counts.plain);
        self.torn_lines.add(counts.torn);
        self.cut_records.add(counts.cut);
        self.late_parts.add(counts.late);
        self.evicted_records.add(counts.evicted);
        self.ambiguous_records.add(counts.ambiguous);
    }

    pub(super) fn redacted(&self, counts: Redacted) {
        self.credentials.add(counts.credentials);
        self.literals.add(counts.literals);
        self.patterns.add(counts.patterns);
    }

    pub(super) fn late(&self) {
        self.late_records.add(1);
    }

    pub(super) fn files(&self, followed: usize, problems: Vec<String>) {
        let now = FilesNow { followed, problems };
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub(super) fn files_now(&self) -> FilesNow {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How far one route is behind in one source.
#[derive(Clone, Debug)]
pub(super) struct Lag {
    pub(super) route: String,
    pub(super) bytes: u64,
    pub(super) oldest_unsent_seconds: f64,
}

type Series = BTreeMap<Labels, f64>;
/// Takes one sample.
type Push<'a> = dyn FnMut(Labels, f64) + 'a;
/// Gives the samples of one source.
type Each<'a> = dyn Fn(&SourceCounts, &[Lag], &mut Push<'_>) + 'a;
/// Name, help and value of a counter.
type Counter<'a> = (&'a str, &'a str, &'a dyn Fn(&SourceCounts) -> u64);

/// The families of all sources. Sources of one server add up where their facts are the same series.
pub(super) fn families(sources: &[(Arc<SourceCounts>, Vec<Lag>)]) -> Vec<Arc<Family>> {
    let mut out = Vec::new();
    let mut add = |name: &str, help: &str, kind: Kind, series: Series| {
        let mut family = Family::new(name, help, kind);
        for (labels, value) in series {
            family.push(labels, value);
        }
        out.push(Arc::new(family));
    };
    let collect = |each: &Each<'_>| {
        let mut series = Series::new();
        for (counts, lags) in sources {
            each(counts, lags, &mut |labels, value| *series.entry(labels).or_default() += value);
        }
        series
    };
    // Counters are exact far beyond what a log can hold: 2^53.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 records or bytes")]
    let number = |value: u64| value as f64;
    let one = |labels: &Labels, name: &'static str, value: &str| {
        labels.over(&Labels::new([(name, value)]))
    };

    add(
        "pg_log_records_total",
        "Records in the server's log by severity.",
        Kind::Counter,
        collect(&|counts, _, push| {
            for severity in Severity::ALL {
                let value = number(counts.severities[severity as usize].get());
                push(one(&counts.identity, "severity", severity.as_str()), value);
            }
        }),
    );
    add(
        "pg_log_events_total",
        "Events that the server's log tells of, by kind.",
        Kind::Counter,
        collect(&|counts, _, push| {
            for kind in EventKind::ALL {
                let value = number(counts.events[kind as usize].get());
                push(one(&counts.identity, "event", kind.as_str()), value);
            }
        }),
    );
    let own = |get: &dyn Fn(&SourceCounts) -> u64| {
        collect(&|counts, _, push| {
            push(one(&counts.identity, "source", &counts.source), number(get(counts)));
        })
    };
    let counters: [Counter<'_>; 11] = [
        ("pgvigil_log_read_bytes_total", "Bytes read from the log.", &|c| c.read_bytes.get()),
        (
            "pgvigil_log_vanished_bytes_total",
            "Bytes that were truncated or deleted before they were sent; at most: a file that comes back \
             more than 5 s after it went is read, and stays counted.",
            &|c| c.vanished_bytes.get(),
        ),
        (
            "pgvigil_log_unparsed_lines_total",
            "Lines that are no PostgreSQL record; they are kept as they stand.",
            &|c| c.plain_lines.get(),
        ),
        (
            "pgvigil_log_torn_lines_total",
            "Lines in whose middle another process's record began.",
            &|c| c.torn_lines.get(),
        ),
        ("pgvigil_log_cut_records_total", "Records cut at 128 KiB of text.", &|c| {
            c.cut_records.get()
        }),
        (
            "pgvigil_log_late_parts_total",
            "DETAIL, STATEMENT and other parts that came after their record had been given up.",
            &|c| c.late_parts.get(),
        ),
        (
            "pgvigil_log_evicted_records_total",
            "Records given up as whole because too much was waiting.",
            &|c| c.evicted_records.get(),
        ),
        (
            "pgvigil_log_ambiguous_records_total",
            "Records whose prefix can be read in several ways.",
            &|c| c.ambiguous_records.get(),
        ),
        (
            "pgvigil_log_late_records_total",
            "Records more than an hour behind their stream, sent to its backfill stream.",
            &|c| c.late_records.get(),
        ),
        (
            "pgvigil_log_session_missing_records_total",
            "Records that csvlog or jsonlog counted and the file does not hold: lost before they were read.",
            &|c| c.missing_records.get(),
        ),
        (
            "pgvigil_log_session_repeated_records_total",
            "Records that the file holds more than once, by csvlog's or jsonlog's count.",
            &|c| c.repeated_records.get(),
        ),
    ];
    for (name, help, get) in counters {
        add(name, help, Kind::Counter, own(get));
    }
    add(
        "pgvigil_log_redacted_total",
        "Values masked, by kind.",
        Kind::Counter,
        collect(&|counts, _, push| {
            let labels = one(&counts.identity, "source", &counts.source);
            push(one(&labels, "kind", "credentials"), number(counts.credentials.get()));
            push(one(&labels, "kind", "literals"), number(counts.literals.get()));
            push(one(&labels, "kind", "patterns"), number(counts.patterns.get()));
        }),
    );
    add(
        "pgvigil_log_files",
        "Log files that are followed.",
        Kind::Gauge,
        own(&|counts| counts.files_now().followed as u64),
    );
    add(
        "pgvigil_log_unreadable_files",
        "Log files that cannot be read.",
        Kind::Gauge,
        own(&|counts| counts.files_now().problems.len() as u64),
    );
    let lag = |get: &dyn Fn(&Lag) -> f64| {
        collect(&|counts, lags, push| {
            let labels = one(&counts.identity, "source", &counts.source);
            for lag in lags {
                push(one(&labels, "route", &lag.route), get(lag));
            }
        })
    };
    add(
        "pgvigil_log_file_bytes_behind",
        "Bytes of the source's files that the route's destination has not acknowledged yet.",
        Kind::Gauge,
        lag(&|lag| number(lag.bytes)),
    );
    add(
        "pgvigil_log_oldest_unsent_seconds",
        "For how long the oldest record that was read waits for its acknowledgement.",
        Kind::Gauge,
        lag(&|lag| lag.oldest_unsent_seconds),
    );
    out.extend(sums::families(sources.iter().map(|(counts, _)| (&counts.identity, &counts.sums))));
    out
}
