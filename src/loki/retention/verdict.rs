//! What is configured beside what Loki does. Pure.

use std::time::Duration;

use super::limits::{Period, span};
use super::told::{Kept, Told};

/// How Loki's period stands to the configured one: the label of `pgvigil_loki_retention_verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// The route says no period.
    Unset,
    TooShort,
    TooLong,
    /// Loki removes nothing.
    Disabled,
    /// Records are there that by its own settings Loki has removed.
    NotApplied,
    Unknown,
}

impl Verdict {
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Unset,
        Self::TooShort,
        Self::TooLong,
        Self::Disabled,
        Self::NotApplied,
        Self::Unknown,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unset => "unset",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Disabled => "disabled",
            Self::NotApplied => "not_applied",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found about one route.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub route: String,
    pub keep: Option<Duration>,
    /// How long its records are really kept, where that is known.
    pub effective: Option<Period>,
    pub verdict: Verdict,
    /// In words, and what to do where something is to be done.
    pub what: String,
    pub remedy: &'static str,
}

const EXPORT: &str = "put into Loki what `pgvigil export loki-retention` writes";

/// Judges a route by what Loki told; `older`: whether records were found that are older than the period
/// which Loki's settings name.
pub fn judge(kept: &Kept, told: &Told, older: Option<bool>) -> Finding {
    let period = told.period(kept);
    let contradicted = older == Some(true) && told.enabled != Some(false);
    let effective = match (told.enabled, period) {
        (Some(false), _) => Some(Period::Ever),
        (Some(true), Some(period)) if !contradicted => Some(period),
        _ => None,
    };
    let verdict = match (kept.keep.map(Period::For), effective) {
        (None, _) => Verdict::Unset,
        (Some(_), _) if contradicted => Verdict::NotApplied,
        (Some(_), Some(_)) if told.enabled == Some(false) => Verdict::Disabled,
        (Some(keep), Some(found)) if found < keep => Verdict::TooShort,
        (Some(keep), Some(found)) if found > keep => Verdict::TooLong,
        (Some(_), Some(_)) => Verdict::Ok,
        (Some(_), None) => Verdict::Unknown,
    };
    let route = &kept.route;
    let keep = kept.keep.map(span).unwrap_or_default();
    let found = effective.or(period).map_or_else(|| "for a time unknown".to_owned(), Period::words);
    let (what, remedy) = match verdict {
        Verdict::Ok => {
            (format!("Loki keeps the records of route {route} {found}, as configured"), "")
        }
        Verdict::Unset => {
            (format!("route {route} says no `keep`, Loki keeps its records {found}"), "")
        }
        Verdict::TooShort => (
            format!("Loki keeps the records of route {route} {found} only, and `keep` is {keep}"),
            EXPORT,
        ),
        Verdict::TooLong if kept.keep.is_some_and(|keep| keep < Duration::from_secs(86_400)) => (
            format!("Loki keeps the records of route {route} {found}, and `keep` is {keep}"),
            "write a `keep` of 1d or more, for Loki knows nothing shorter than a day",
        ),
        Verdict::TooLong => (
            format!("Loki keeps the records of route {route} {found}, and `keep` is {keep}"),
            EXPORT,
        ),
        Verdict::Disabled => (
            format!(
                "Loki keeps the records of route {route} for ever, because its retention is off, and \
                 `keep` is {keep}"
            ),
            EXPORT,
        ),
        Verdict::NotApplied => (
            format!(
                "Loki says that it keeps the records of route {route} {found}, and older ones are \
                 still there"
            ),
            "see whether its compactor runs and what its log says; what came late goes with its next \
             run",
        ),
        Verdict::Unknown => (
            format!(
                "how long Loki keeps the records of route {route} is not known ({})",
                told.trouble.as_deref().unwrap_or("it does not tell all of its settings here")
            ),
            "let the agent reach /config, or /config/tenant/v1/limits and /loki/api/v1/delete",
        ),
    };
    Finding { route: route.clone(), keep: kept.keep, effective, verdict, what, remedy }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;
    use crate::loki::StreamLabels;

    const DAY: Duration = Duration::from_secs(86_400);

    fn verdict(
        keep: Option<u32>,
        enabled: Option<bool>,
        period: Option<u32>,
        older: Option<bool>,
    ) -> (&'static str, Option<f64>) {
        let kept = Kept {
            route: "dev".to_owned(),
            keep: keep.map(|days| DAY * days),
            tenant: None,
            server_label: "server".to_owned(),
            streams: vec![StreamLabels::new([("route", "dev")])],
        };
        let limits = Limits { period: period.map(|days| DAY * days), ..Limits::default() };
        let told = Told { enabled, limits: [(None, limits)].into(), ..Told::default() };
        let found = judge(&kept, &told, older);
        assert!(found.what.contains("dev"), "{}", found.what);
        (found.verdict.as_str(), found.effective.map(|period| period.seconds() / 86_400.0))
    }

    #[test]
    fn verdicts() {
        let (on, off) = (Some(true), Some(false));
        assert_eq!(verdict(Some(7), on, Some(7), None), ("ok", Some(7.0)));
        assert_eq!(verdict(Some(7), on, Some(7), off), ("ok", Some(7.0)));
        assert_eq!(verdict(Some(7), on, Some(1), None), ("too_short", Some(1.0)));
        assert_eq!(verdict(Some(7), on, Some(31), None), ("too_long", Some(31.0)));
        assert_eq!(verdict(Some(7), on, Some(0), None), ("too_long", Some(f64::INFINITY)));
        assert_eq!(verdict(Some(7), off, Some(7), None), ("disabled", Some(f64::INFINITY)));
        assert_eq!(verdict(Some(7), off, None, on), ("disabled", Some(f64::INFINITY)));
        assert_eq!(verdict(Some(7), on, Some(7), on), ("not_applied", None));
        assert_eq!(verdict(Some(7), None, Some(7), on), ("not_applied", None));
        assert_eq!(verdict(Some(7), None, Some(7), off), ("unknown", None));
        assert_eq!(verdict(Some(7), on, None, None), ("unknown", None));
        assert_eq!(verdict(None, on, Some(7), None), ("unset", Some(7.0)));
        assert_eq!(verdict(None, None, None, None), ("unset", None));
    }
}
