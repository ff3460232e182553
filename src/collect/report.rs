//! What the agent itself says of an instance: whether it is up, why not, and how its queries fare.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::board::Board;
use super::standing::Verdict;
use crate::instances::CertificateSeen;
use crate::metric::{Family, Kind, Labels};
use crate::postgres::InstanceReason;

/// What a report is about.
pub(crate) struct Subject<'a> {
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
    let mut out = vec![
        Family::new(
            "pg_up",
            "Whether the server has answered anything, a row or an error, since the scrape began or \
             within 1 s before.",
            Kind::Gauge,
        )
        .with(own(&bare), flag(verdict.is_up())),
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
    out.extend(queries(board, base, subject.now));
    out.into_iter().filter(|family| !family.samples.is_empty()).map(Arc::new).collect()
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

fn queries(board: &Board, base: &Labels, now: Instant) -> [Family; 7] {
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
    for entry in &board.entries {
        let name = &*entry.query.name;
        let labels = base.over(&Labels::new([("query", name)]));
        if let Some(run) = &entry.last {
            let reason = Labels::new([("query", name), ("reason", run.reason.as_str())]);
            outcome.push(base.over(&reason), 1.0);
            duration.push(labels.clone(), run.duration.as_secs_f64());
            rows.push(labels.clone(), count(run.rows));
            dropped.push(labels.clone(), count(run.dropped));
            truncated.push(labels.clone(), flag(run.truncated));
        }
        if let Some(shown) = &entry.shown {
            age.push(labels.clone(), (now - shown.at).as_secs_f64());
        }
        let present = board.present(entry, now).map_or(0, |shown| shown.series);
        series.push(labels, count(present));
    }
    [outcome, duration, age, rows, series, dropped, truncated]
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
