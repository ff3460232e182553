//! Asks again and again, and keeps what was found for metrics and the status page.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::look::{look, older};
use super::told::{Kept, Told};
use super::verdict::{Finding, Verdict, judge};
use crate::loki::Loki;
use crate::metric::{Family, Kind, Labels};
use crate::task::{Group, Stop};

/// For all questions about settings: the first verdict is there within 5 s of the start.
const PATIENCE: Duration = Duration::from_secs(4);
/// For the question for old records of one route.
const PATIENCE_FOR_OLD: Duration = Duration::from_secs(20);
/// Between two looks at the settings, and where something is not known.
const EVERY: Duration = Duration::from_secs(120);
const SOONER: Duration = Duration::from_secs(30);
/// Between two questions for old records, which cost Loki more.
const OLD_EVERY: Duration = Duration::from_secs(1800);

/// What the last look found.
#[derive(Clone, Debug)]
pub struct Standing {
    pub at: SystemTime,
    pub enabled: Option<bool>,
    pub routes: Vec<Finding>,
}

/// Looks after the periods of all routes.
pub struct Watch {
    routes: Vec<Kept>,
    standing: Mutex<Option<Standing>>,
}

impl Watch {
    /// Begins to look.
    pub fn start(loki: Loki, routes: Vec<Kept>, group: &Group) -> Arc<Self> {
        let watch = Arc::new(Self { routes, standing: Mutex::new(None) });
        let (own, stop) = (Arc::clone(&watch), group.signal());
        group.spawn("loki retention", async move {
            tokio::select! {
                () = own.run(&loki, &stop) => {}
                () = stop.draining() => {}
            }
        });
        watch
    }

    /// None before the first look has ended.
    pub fn standing(&self) -> Option<Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn run(&self, loki: &Loki, stop: &Stop) {
        let mut old: Vec<Option<bool>> = vec![None; self.routes.len()];
        let mut looked_for_old: Option<Instant> = None;
        while !stop.is_draining() {
            let told = look(loki, &self.routes, Instant::now() + PATIENCE).await;
            self.note(&told, &old);
            if looked_for_old.is_none_or(|at| at.elapsed() >= OLD_EVERY)
                && told.enabled != Some(false)
                && !told.limits.is_empty()
            {
                for (kept, old) in self.routes.iter().zip(&mut old) {
                    *old = older(loki, kept, &told, Instant::now() + PATIENCE_FOR_OLD).await;
                }
                looked_for_old = Some(Instant::now());
                self.note(&told, &old);
            }
            let known = self.standing().is_some_and(|standing| {
                standing.routes.iter().all(|route| route.verdict != Verdict::Unknown)
            });
            tokio::time::sleep(if known { EVERY } else { SOONER }).await;
        }
    }

    fn note(&self, told: &Told, old: &[Option<bool>]) {
        let judged = self.routes.iter().zip(old).map(|(kept, old)| judge(kept, told, *old));
        let standing =
            Standing { at: SystemTime::now(), enabled: told.enabled, routes: judged.collect() };
        let before = self.standing();
        for (at, now) in standing.routes.iter().enumerate() {
            let verdict = before.as_ref().map(|before| before.routes[at].verdict);
            if verdict != Some(now.verdict) {
                match now.verdict {
                    Verdict::Ok | Verdict::Unset => tracing::info!("{}", now.what),
                    _ => tracing::warn!("{}; {}", now.what, now.remedy),
                }
            }
        }
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }

    /// What is not known has no series.
    pub fn families(&self) -> Vec<Arc<Family>> {
        let gauge = |name: &str, help: &str| Family::new(name, help, Kind::Gauge);
        let of = |route: &str| Labels::new([("route", route)]);
        let mut configured = gauge(
            "pgvigil_loki_retention_configured_seconds",
            "How long the route's records are to be kept, by its `keep`.",
        );
        for kept in &self.routes {
            if let Some(keep) = kept.keep {
                configured.push(of(&kept.route), keep.as_secs_f64());
            }
        }
        let mut all = vec![configured];
        if let Some(standing) = self.standing() {
            let mut effective = gauge(
                "pgvigil_loki_retention_effective_seconds",
                "How long Loki keeps the route's records, +Inf where for ever; absent where it does not tell.",
            );
            let mut verdict = gauge(
                "pgvigil_loki_retention_verdict",
                "1 for how Loki's retention of the route stands to its `keep`, else 0.",
            );
            for route in &standing.routes {
                if let Some(period) = route.effective {
                    effective.push(of(&route.route), period.seconds());
                }
                for one in Verdict::ALL {
                    let labels = Labels::new([("route", &*route.route), ("verdict", one.as_str())]);
                    verdict.push(labels, f64::from(u8::from(one == route.verdict)));
                }
            }
            let mut enabled = gauge(
                "pgvigil_loki_retention_enabled",
                "1 when Loki removes what is too old, 0 when it removes nothing; absent where it does not tell.",
            );
            if let Some(on) = standing.enabled {
                enabled.push(Labels::default(), f64::from(u8::from(on)));
            }
            let at = standing.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let looked = gauge(
                "pgvigil_loki_retention_checked_timestamp_seconds",
                "When Loki was last asked for its retention.",
            )
            .with(Labels::default(), at.as_secs_f64());
            all.extend([effective, verdict, enabled, looked]);
        }
        all.retain(|family| !family.samples.is_empty());
        all.into_iter().map(Arc::new).collect()
    }
}
