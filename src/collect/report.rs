//! What the agent itself says of an instance: whether it is up, why not, and how its queries fare.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::board::Board;
use super::outcome::{Run, Shown};
use super::standing::Verdict;
use crate::config::InstanceKind;
use crate::instances::CertificateSeen;
use crate::metric::{Family, Kind, Labels};
use crate::postgres::{Facts, InstanceReason};

/// With more databases than that, of each query in each only its outcome and age are told.
const DETAILED: usize = 50;

/// What a report is about.
pub(crate) struct Subject<'a> {
    pub(crate) kind: InstanceKind,
    pub(crate) base: &'a Labels,
    pub(crate) verdict: &'a Verdict,
    pub(crate) certificates: &'a [CertificateSeen],
    pub(crate) now: Instant,
}

/// The families of one instance's report; only the present reason of a query is shown.
pub(crate) fn families(board: &Board, subject: &Subject<'_>) -> Vec<Arc<Family>> {
    let Subject { base, verdict, .. } = subject;
    let bare = Labels::default();
    let base = *base;
    let own = |own: &Labels| base.over(own);
    let up = match subject.kind {
        InstanceKind::Postgres => Family::new(
            "pg_up",
            "Whether the server has answered anything, a row or an error, since the scrape began or \
             within 1 s before.",
            Kind::Gauge,
        ),
        InstanceKind::Pgbouncer => Family::new(
            "pgbouncer_up",
            "Whether PgBouncer's console has answered anything since the scrape began or within 1 s \
             before.",
            Kind::Gauge,
        ),
    };
    let mut out = vec![
        up.with(own(&bare), flag(verdict.is_up())),
        states(base, verdict.reason),
        Family::new(
            "pgvigil_sessions",
            "Sessions with the server that the agent uses now.",
            Kind::Gauge,
        )
        .with(own(&bare), count(board.sessions_open)),
    ];
    let mut expiry = Family::new(
        "pgvigil_certificate_expiry_timestamp_seconds",
        "When the certificate ends: of the server, of the authority that signed it, of the client.",
        Kind::Gauge,
    );
    for CertificateSeen { usage, expires } in subject.certificates {
        if let Ok(since) = expires.duration_since(UNIX_EPOCH) {
            expiry.push(own(&Labels::new([("use", *usage)])), since.as_secs_f64());
        }
    }
    out.push(expiry);
    out.push(
        Family::new(
            "pgvigil_databases",
            "Databases of the instance that are watched one by one.",
            Kind::Gauge,
        )
        .with(own(&bare), count(board.databases.len())),
    );
    if subject.kind == InstanceKind::Pgbouncer
        && let Some(facts) = &board.facts
    {
        out.extend(pooler(base, facts));
    }
    out.extend(queries(board, base, subject.now));
    out.into_iter().filter(|family| !family.samples.is_empty()).map(Arc::new).collect()
}

/// What PgBouncer says of itself. Of PostgreSQL a pack tells that.
fn pooler(base: &Labels, facts: &Facts) -> [Family; 2] {
    let version = facts.version.to_string();
    let info = Labels::new([("kind", "pgbouncer"), ("version", &version)]);
    let called = Labels::new([("version", format!("PgBouncer {version}"))]);
    [
        Family::new(
            "pgvigil_instance_info",
            "1, with what the server says of itself as labels.",
            Kind::Gauge,
        )
        .with(base.over(&info), 1.0),
        Family::new("pgbouncer_version_info", "1, with PgBouncer's version.", Kind::Gauge)
            .with(base.over(&called), 1.0),
    ]
}

fn states(base: &Labels, present: InstanceReason) -> Family {
    let mut family = Family::new(
        "pgvigil_instance_state",
        "1 for the reason that holds: ok, or why the instance is not up.",
        Kind::Gauge,
    );
    for reason in InstanceReason::ALL {
        let labels = base.over(&Labels::new([("reason", reason.as_str())]));
        family.push(labels, flag(*reason == present));
    }
    family
}

fn queries(board: &Board, base: &Labels, now: Instant) -> [Family; 9] {
    let gauge = |name: &str, help: &str| Family::new(name, help, Kind::Gauge);
    let mut outcome = gauge(
        "pgvigil_query_outcome",
        "Always 1: the reason says how the query's last run ended. The status page says more.",
    );
    let mut duration =
        gauge("pgvigil_query_duration_seconds", "How long the query's last run took.");
    let mut rows = gauge("pgvigil_query_rows", "Rows that the query's last run read.");
    let mut dropped = gauge(
        "pgvigil_query_dropped",
        "Samples that the query's last run gave and that are not shown: duplicates, what is no \
         number, what is over a cap.",
    );
    let mut truncated = gauge(
        "pgvigil_query_truncated",
        "Whether the query's last run was cut at a cap of rows, bytes, series or a label's length.",
    );
    let mut age = gauge("pgvigil_query_age_seconds", "Age of the query's last usable result.");
    let mut series = gauge("pgvigil_query_series", "Series that the query shows now.");
    let mut interval = gauge(
        "pgvigil_query_interval_seconds",
        "Time between two runs of the query, as configured.",
    );
    let mut round = gauge(
        "pgvigil_query_round_seconds",
        "For a query that runs in every database: the longest time between its last two runs in \
         one. Longer than its interval where there are too many databases for it.",
    );
    let mut tell = |labels: &Labels, run: Option<&Run>, shown: Told<'_>, detailed: bool| {
        if let Some(run) = run {
            let reason = Labels::new([("reason", run.reason.as_str())]);
            outcome.push(labels.over(&reason), 1.0);
            if detailed {
                duration.push(labels.clone(), run.duration.as_secs_f64());
                rows.push(labels.clone(), count(run.rows));
            }
            if detailed || run.dropped > 0 {
                dropped.push(labels.clone(), count(run.dropped));
            }
            if detailed || run.truncated {
                truncated.push(labels.clone(), flag(run.truncated));
            }
        }
        if let Some(shown) = shown.last {
            age.push(labels.clone(), (now - shown.at).as_secs_f64());
        }
        if detailed {
            series.push(labels.clone(), count(shown.present.map_or(0, |shown| shown.series)));
        }
    };
    for entry in &board.entries {
        let labels = base.over(&Labels::new([("query", &*entry.query.name)]));
        let shown = Told { last: entry.shown.as_ref(), present: board.present(entry, now) };
        tell(&labels, entry.last.as_ref(), shown, true);
        interval.push(labels, entry.interval.as_secs_f64());
    }
    // Of very many databases only what tells a fault from none.
    let detailed = board.databases.len() <= DETAILED;
    let mut rounds: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (database, cell) in board.databases.cells() {
        let name = &*cell.query.name;
        let labels = base.over(&Labels::new([("query", name), ("database", &**database)]));
        let shown = Told { last: cell.shown.as_ref(), present: board.databases.present(cell, now) };
        tell(&labels, cell.last.as_ref(), shown, detailed);
        let gap = cell.gap.as_secs_f64();
        let known = rounds.entry(name).or_insert((cell.interval.as_secs_f64(), gap));
        known.1 = known.1.max(gap);
    }
    for (name, (every, gap)) in rounds {
        let labels = base.over(&Labels::new([("query", name)]));
        interval.push(labels.clone(), every);
        if gap > 0.0 {
            round.push(labels, gap);
        }
    }
    [outcome, duration, age, rows, series, dropped, truncated, interval, round]
}

/// The last result, and the same unless it is too old to be shown.
struct Told<'a> {
    last: Option<&'a Shown>,
    present: Option<&'a Shown>,
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows and series are far below 2^53")]
fn count(number: usize) -> f64 {
    number as f64
}

/// The clock's time at `at`, as seen from `now`.
pub(crate) fn wall(at: Instant, now: Instant) -> SystemTime {
    SystemTime::now().checked_sub(now.saturating_duration_since(at)).unwrap_or(UNIX_EPOCH)
}
