//! One query's rows to families: what each column means, decoded, labelled, counted and capped.
//!
//! Whatever a row holds costs at most its own samples, and every loss has a reason and a sentence.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::barn::Barn;
use super::caps::{Members, Shown};
use super::claims::Claims;
use super::columns::{Columns, cell};
use super::losses::Losses;
use super::spread::Tally;
use crate::instances::Rows;
use crate::metric::{Family, Labels};
use crate::packs::Query;
use crate::postgres::QueryReason;

/// What holds for every row of a run.
pub(crate) struct Terms<'a> {
    /// On every sample; a query's own label of the same name becomes `exported_…`.
    pub(crate) base: &'a Labels,
    pub(crate) claims: &'a Claims,
    /// None: no cap.
    pub(crate) max_series: Option<usize>,
    /// The label `datname` of rows that do not name their database themselves.
    pub(crate) database: Option<&'a str>,
    pub(crate) shown: Shown,
    /// Who was shown before, where only the first rows are.
    pub(crate) members: &'a Mutex<Members>,
}

/// What became of one run's rows.
#[derive(Debug)]
pub(crate) struct Harvest {
    pub(crate) families: Vec<Arc<Family>>,
    /// The worst of what happened; with [`QueryReason::MissingObject`] and a refused column count
    /// there are no families.
    pub(crate) reason: QueryReason,
    /// Sentences for the status page: what was lost and what to do. No values of rows.
    pub(crate) notes: Vec<String>,
    pub(crate) rows: usize,
    /// Lines on a page; a histogram is several.
    pub(crate) series: usize,
    /// Samples that rows held and the page lacks: duplicates, undecodable, over a cap.
    pub(crate) dropped: usize,
    pub(crate) truncated: bool,
}

/// Turns `rows` into what `query` says they are.
pub(crate) fn harvest(query: &Query, rows: &Rows, terms: &Terms<'_>) -> Harvest {
    let mut losses = Losses::default();
    let columns = match Columns::new(query, &rows.columns, terms.claims, &mut losses) {
        Ok(columns) => columns,
        Err((reason, note)) => return Harvest::refused(reason, note, rows.rows.len()),
    };
    let mut barn = Barn::new(columns.families.clone(), terms.max_series);
    if rows.truncated {
        losses.cut("the result is longer than what is read of one");
    }
    let mut tallies: Vec<Tally> = columns.spreads.iter().map(|_| Tally::default()).collect();
    let database = terms.database.map(Arc::<str>::from);
    let now = Instant::now();
    let mut members = terms.members.lock().unwrap_or_else(PoisonError::into_inner);
    members.forget(now);
    for (rank, row) in rows.rows.iter().enumerate() {
        let Some(labels) = columns.labels(row, database.as_ref(), &mut losses) else { continue };
        if let Shown::First(most) = terms.shown
            && !members.keep(&labels, rank, most, now)
        {
            continue;
        }
        for (spread, tally) in columns.spreads.iter().zip(&mut tallies) {
            let text = cell(row, spread.at);
            if let Err(why) = spread.observe(text, &labels, columns.reading, tally) {
                losses.undecodable(spread.column, why);
            }
        }
        let points = columns.points(row, &mut losses);
        if !barn.store(terms.base.over(&labels), points, &mut losses) {
            losses.cut("it has more series than `max_series` allows");
            break;
        }
    }
    let spreads = columns.spreads.iter().zip(tallies);
    for (labels, family, point) in spreads.flat_map(|(spread, tally)| spread.samples(tally)) {
        if !barn.store(terms.base.over(&labels), vec![(family, point)], &mut losses) {
            losses.cut("it has more series than `max_series` allows");
            break;
        }
    }
    Harvest {
        series: barn.series,
        families: barn.into_families(),
        rows: rows.rows.len(),
        reason: losses.reason(),
        dropped: losses.dropped,
        truncated: losses.truncated,
        notes: losses.into_notes(),
    }
}

impl Harvest {
    fn refused(reason: QueryReason, note: String, rows: usize) -> Self {
        Self {
            families: Vec::new(),
            reason,
            notes: vec![note],
            rows,
            series: 0,
            dropped: rows,
            truncated: false,
        }
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
