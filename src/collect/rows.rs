//! One query's rows to families: what each column means, decoded, labelled, counted and capped.
//!
//! Whatever a row holds costs at most its own samples, and every loss has a reason and a sentence.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::caps::{Members, Shown};
use super::claims::{Claims, kind};
use super::decode::{self, Reading};
use super::spread::{Spread, Tally};
use crate::config::InstanceKind;
use crate::instances::{Column, Rows};
use crate::metric::{
    Family, Histogram, Kind, Labels, Point, Sample, is_label_name, is_metric_name,
};
use crate::packs::{Dialect, Nulls, Query, UnknownColumns, Usage};
use crate::postgres::QueryReason;

/// A longer label value costs its series.
pub(crate) const MAX_LABEL_BYTES: usize = 16 * 1024;

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
    let plan = match Plan::new(query, &rows.columns, terms.claims, &mut losses) {
        Ok(plan) => plan,
        Err((reason, note)) => return Harvest::refused(reason, note, rows.rows.len()),
    };
    let mut barn = Barn::new(&plan, terms);
    if rows.truncated {
        losses.cut("the result is longer than what is read of one");
    }
    let mut tallies: Vec<Tally> = plan.spreads.iter().map(|_| Tally::default()).collect();
    let database = terms.database.map(Arc::<str>::from);
    let now = Instant::now();
    let mut members = terms.members.lock().unwrap_or_else(PoisonError::into_inner);
    members.forget(now);
    for (rank, row) in rows.rows.iter().enumerate() {
        let Some(labels) = plan.labels(row, database.as_ref(), &mut losses) else { continue };
        if let Shown::First(most) = terms.shown
            && !members.keep(&labels, rank, most, now)
        {
            continue;
        }
        for (spread, tally) in plan.spreads.iter().zip(&mut tallies) {
            let text = cell(row, spread.at);
            if let Err(why) = spread.observe(text, &labels, plan.reading, tally) {
                losses.undecodable(spread.column, why);
            }
        }
        let points = plan.points(row, &mut losses);
        if !barn.store(terms.base.over(&labels), points, &mut losses) {
            losses.cut("it has more series than `max_series` allows");
            break;
        }
    }
    let spreads = plan.spreads.iter().zip(tallies);
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

/// What went wrong in a run, gathered.
#[derive(Default)]
struct Losses {
    /// A sentence, once, and how often it came true.
    notes: BTreeMap<String, usize>,
    duplicate: bool,
    undecodable: bool,
    truncated: bool,
    dropped: usize,
}

impl Losses {
    fn note(&mut self, sentence: impl Into<String>) {
        *self.notes.entry(sentence.into()).or_default() += 1;
    }

    fn cut(&mut self, what: &str) {
        self.truncated = true;
        self.note(format!("{what}; aggregate in the query, or raise `max_series`"));
    }

    fn undecodable(&mut self, column: &str, why: &str) {
        self.undecodable = true;
        self.dropped += 1;
        self.note(format!("column `{column}` {why}; its sample is dropped, mend the query"));
    }

    fn reason(&self) -> QueryReason {
        match self {
            Self { truncated: true, .. } => QueryReason::Truncated,
            Self { duplicate: true, .. } => QueryReason::Duplicate,
            Self { undecodable: true, .. } => QueryReason::Type,
            _ => QueryReason::Ok,
        }
    }

    fn into_notes(self) -> Vec<String> {
        let say = |(note, times)| match times {
            1 => note,
            _ => format!("{note} ({times} times)"),
        };
        self.notes.into_iter().map(say).collect()
    }
}

/// What a query's columns mean in one result.
struct Plan<'q> {
    reading: Reading,
    nulls: Nulls,
    labels: Vec<LabelColumn>,
    values: Vec<ValueColumn<'q>>,
    spreads: Vec<Spread<'q>>,
    families: Vec<Family>,
}

struct LabelColumn {
    name: Arc<str>,
    at: usize,
    type_oid: u32,
}

struct ValueColumn<'q> {
    column: &'q str,
    at: usize,
    type_oid: u32,
    /// Index into the plan's families.
    family: usize,
    meaning: Meaning<'q>,
    scale: Option<f64>,
    default: Option<&'q str>,
}

enum Meaning<'q> {
    Number,
    /// A number that the query's author did not ask for: what is none is not missed.
    Perhaps,
    Mapped(&'q BTreeMap<String, f64>),
    /// CloudNativePG's -1 is "there is none".
    Duration {
        minus_one_is_none: bool,
    },
    /// Where the companions stand.
    Histogram {
        bucket: usize,
        sum: usize,
        count: usize,
    },
}

impl<'q> Plan<'q> {
    /// # Errors
    /// The reason and the sentence when the result as a whole is not what the query promised.
    fn new(
        query: &'q Query,
        columns: &'q [Column],
        claims: &Claims,
        losses: &mut Losses,
    ) -> Result<Self, (QueryReason, String)> {
        if query.unknown_columns == UnknownColumns::Refuse
            && query.mapped_columns() != columns.len()
        {
            let note = format!(
                "the result has {} columns and `metrics` names {}; name every column",
                columns.len(),
                query.mapped_columns()
            );
            return Err((QueryReason::Type, note));
        }
        let foreign = query.dialect != Dialect::Native;
        let mut plan = Self {
            reading: Reading { whole_seconds: query.whole_seconds, go_floats: foreign },
            nulls: query.nulls,
            labels: Vec::new(),
            values: Vec::new(),
            spreads: Vec::new(),
            families: Vec::new(),
        };
        // Of two columns with one name the first counts.
        let find = |name: &str| columns.iter().position(|column| column.name == name);
        let mut known = vec![false; columns.len()];
        for column in &query.columns {
            let Some(at) = find(&column.column) else {
                let name = &column.column;
                if column.usage == Usage::Label {
                    let note = format!(
                        "the result has no column `{name}`, which is a label; \
                         select it, or take it out of `metrics`"
                    );
                    return Err((QueryReason::MissingObject, note));
                }
                // PgBouncer's versions differ in columns; its result cannot be asked for otherwise.
                if column.usage != Usage::Discard && query.kind == InstanceKind::Postgres {
                    losses.note(format!(
                        "the result has no column `{name}`; select it, or take it out of `metrics`"
                    ));
                }
                continue;
            };
            known[at] = true;
            let meaning = match &column.usage {
                Usage::Discard => continue,
                Usage::Label => {
                    plan.labels.push(LabelColumn {
                        name: label_name(&column.metric),
                        at,
                        type_oid: columns[at].type_oid,
                    });
                    continue;
                }
                Usage::Buckets(bounds) => {
                    let mut family = |end: &str| {
                        let name = format!("{}{end}", column.metric).into();
                        plan.family(&name, &column.help, Kind::Gauge, claims, losses)
                    };
                    let all = [family("_bucket"), family("_count"), family("_sum")];
                    if let [Some(bucket), Some(count), Some(sum)] = all {
                        plan.spreads.push(Spread {
                            column: &column.column,
                            at,
                            type_oid: columns[at].type_oid,
                            bounds,
                            scale: column.scale,
                            default: column.default.as_deref(),
                            families: [bucket, count, sum],
                        });
                    }
                    continue;
                }
                Usage::Counter | Usage::Gauge => Meaning::Number,
                Usage::Mapped(map) => Meaning::Mapped(map),
                Usage::Duration => {
                    Meaning::Duration { minus_one_is_none: query.dialect == Dialect::Cnpg }
                }
                Usage::Histogram => {
                    let companion = |end: &str| find(&format!("{}{end}", column.column));
                    let all = (companion("_bucket"), companion("_sum"), companion("_count"));
                    let (Some(bucket), Some(sum), Some(count)) = all else {
                        losses.undecodable(
                            &column.column,
                            "lacks one of the columns `…_bucket`, `…_sum`, `…_count` beside it",
                        );
                        continue;
                    };
                    for at in [bucket, sum, count] {
                        known[at] = true;
                    }
                    Meaning::Histogram { bucket, sum, count }
                }
            };
            let Some(kind) = kind(&column.usage) else { continue };
            let Some(family) = plan.family(&column.metric, &column.help, kind, claims, losses)
            else {
                continue;
            };
            plan.values.push(ValueColumn {
                column: &column.column,
                at,
                type_oid: columns[at].type_oid,
                family,
                meaning,
                scale: column.scale,
                default: column.default.as_deref(),
            });
        }
        if query.unknown_columns == UnknownColumns::Untyped {
            plan.unknown(query, columns, &known, claims, losses);
        }
        Ok(plan)
    }

    /// The index of the family `name`, made where there is none; none where it may not be written.
    fn family(
        &mut self,
        name: &Arc<str>,
        help: &Arc<str>,
        kind: Kind,
        claims: &Claims,
        losses: &mut Losses,
    ) -> Option<usize> {
        if !claims.allow(name, kind) {
            losses.duplicate = true;
            losses.note(format!(
                "`{name}` is written by the agent itself or by another query with another type; \
                 give the metric another name"
            ));
            return None;
        }
        let known = self.families.iter().position(|f| f.name == *name && f.kind == kind);
        Some(known.unwrap_or_else(|| {
            self.families.push(Family::new(Arc::clone(name), Arc::clone(help), kind));
            self.families.len() - 1
        }))
    }

    /// Columns that `metrics` does not name, as postgres_exporter shows them.
    fn unknown(
        &mut self,
        query: &Query,
        columns: &'q [Column],
        known: &[bool],
        claims: &Claims,
        losses: &mut Losses,
    ) {
        for (at, column) in columns.iter().enumerate().filter(|(at, _)| !known[*at]) {
            let name: Arc<str> = format!("{}_{}", query.name, column.name).into();
            if !is_metric_name(&name) || columns[..at].iter().any(|c| c.name == column.name) {
                continue;
            }
            let help = format!("Unknown metric from {}", query.name).into();
            if let Some(family) = self.family(&name, &help, Kind::Untyped, claims, losses) {
                self.values.push(ValueColumn {
                    column: &column.name,
                    at,
                    type_oid: column.type_oid,
                    family,
                    meaning: Meaning::Perhaps,
                    scale: None,
                    default: None,
                });
            }
        }
    }

    /// A row's labels; none where one of them is too long.
    fn labels(
        &self,
        row: &[Option<Box<str>>],
        database: Option<&Arc<str>>,
        losses: &mut Losses,
    ) -> Option<Labels> {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::with_capacity(self.labels.len() + 1);
        if let Some(database) = database
            && self.labels.iter().all(|label| &*label.name != "datname")
        {
            pairs.push(("datname".into(), Arc::clone(database)));
        }
        for label in &self.labels {
            let Some(text) = cell(row, label.at) else { continue };
            let value = decode::label(label.type_oid, text, self.reading);
            if value.len() > MAX_LABEL_BYTES {
                losses.dropped += self.values.len();
                losses.truncated = true;
                losses.note(format!(
                    "label `{}` is longer than 16 KiB, which costs its series; \
                     shorten it in the query",
                    label.name
                ));
                return None;
            }
            // To Prometheus an empty label is an absent one.
            if !value.is_empty() {
                pairs.push((Arc::clone(&label.name), Arc::from(&*value)));
            }
        }
        Some(Labels::new(pairs))
    }

    /// A row's values, each with the index of its family.
    fn points(&self, row: &[Option<Box<str>>], losses: &mut Losses) -> Vec<(usize, Point)> {
        let mut points = Vec::with_capacity(self.values.len());
        for value in &self.values {
            match self.point(value, row) {
                Ok(Some(point)) => points.push((value.family, point)),
                Ok(None) => {}
                Err(why) => losses.undecodable(value.column, why),
            }
        }
        points
    }

    fn point(
        &self,
        value: &ValueColumn<'_>,
        row: &[Option<Box<str>>],
    ) -> Result<Option<Point>, &'static str> {
        let text = cell(row, value.at).or(value.default);
        let number = |text| decode::number(value.type_oid, text, self.reading);
        // Times and booleans are what they are.
        let scale = value
            .scale
            .filter(|_| cell(row, value.at).is_none() || decode::is_scaled(value.type_oid));
        let scaled = |number: f64| scale.map_or(number, |scale| number * scale);
        let Some(text) = text else {
            // Text that stands for a number cannot stand for NaN; the other NULLs are the dialect's.
            let nan = self.nulls == Nulls::NaN
                && matches!(value.meaning, Meaning::Number | Meaning::Perhaps);
            return Ok(nan.then_some(Point::Number(f64::NAN)));
        };
        let number = match value.meaning {
            // A default is written in the pack and has no type of the server's.
            Meaning::Number if cell(row, value.at).is_none() => {
                decode::parse(text).ok_or("has a default that is no number")?
            }
            Meaning::Number => number(text)?,
            Meaning::Perhaps => return Ok(number(text).ok().map(Point::Number)),
            Meaning::Mapped(map) => match map.get(text) {
                Some(number) => *number,
                None => number(text).map_err(|_| "holds a text that `metric_mapping` lacks")?,
            },
            Meaning::Duration { minus_one_is_none } => {
                let milliseconds = match decode::go_duration(text) {
                    Some(milliseconds) => milliseconds,
                    None => number(text).map_err(|_| "is no duration such as 1h2m3.5s")?,
                };
                if minus_one_is_none && milliseconds == -1.0 {
                    return Ok(None);
                }
                milliseconds
            }
            Meaning::Histogram { bucket, sum, count } => {
                let cells = [cell(row, bucket), cell(row, sum), cell(row, count)];
                return histogram(text, cells, self.nulls)
                    .map(|histogram| Some(Point::Histogram(Box::new(histogram))));
            }
        };
        Ok(Some(Point::Number(scaled(number))))
    }
}

fn cell(row: &[Option<Box<str>>], at: usize) -> Option<&str> {
    row.get(at)?.as_deref()
}

/// A column's name as a label's: what Prometheus does not take becomes `_`.
fn label_name(name: &Arc<str>) -> Arc<str> {
    if is_label_name(name) {
        return Arc::clone(name);
    }
    let mut out = String::from("label_");
    out.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    out.into()
}

/// A histogram from its four columns (array of bounds, array of cumulative counts, sum, count).
fn histogram(
    bounds: &str,
    [buckets, sum, count]: [Option<&str>; 3],
    nulls: Nulls,
) -> Result<Histogram, &'static str> {
    let bounds = decode::array(bounds).ok_or("is no array of upper bounds")?;
    let counts = buckets.and_then(decode::array).ok_or("has no array of counts beside it")?;
    let mut buckets = Vec::with_capacity(bounds.len());
    for (bound, count) in bounds.iter().zip(&counts) {
        let bound = bound.as_deref().and_then(decode::parse).ok_or("has a bound that is none")?;
        let count = count.as_deref().and_then(whole).ok_or("has a count that is none")?;
        if bound.is_nan() {
            return Err("has a bound that is none");
        }
        // Of two equal bounds the last wins; +Inf is what the count says.
        buckets.retain(|(known, _)| *known != bound);
        if bound != f64::INFINITY {
            buckets.push((bound, count));
        }
    }
    buckets.sort_by(|(a, _): &(f64, u64), (b, _)| a.total_cmp(b));
    let count = match count {
        Some(text) => whole(text).ok_or("has a total count that is no whole number")?,
        None => 0,
    };
    let sum = match (sum, nulls) {
        (Some(text), _) => decode::parse(text).ok_or("has a sum that is no number")?,
        (None, Nulls::NaN) => f64::NAN,
        (None, Nulls::Absent) => return Err("has no sum"),
    };
    let totals = buckets.iter().map(|(_, count)| *count).chain([count]);
    if !totals.is_sorted() {
        return Err("has counts that fall from one bound to the next");
    }
    Ok(Histogram { buckets, sum, count })
}

/// A count; below zero is zero, as CloudNativePG has it.
fn whole(text: &str) -> Option<u64> {
    match text.strip_prefix('-') {
        Some(digits) => digits.parse().ok().map(|_: u64| 0),
        None => text.parse().ok(),
    }
}

/// The families while they fill.
struct Barn {
    families: Vec<Family>,
    /// Each label set that came, by number: hashed once a row, whatever the number of columns.
    numbers: HashMap<Labels, usize>,
    /// By family, which of the numbers it holds.
    taken: Vec<Vec<bool>>,
    series: usize,
    max_series: usize,
}

impl Barn {
    fn new(plan: &Plan<'_>, terms: &Terms<'_>) -> Self {
        Self {
            families: plan.families.clone(),
            numbers: HashMap::new(),
            taken: vec![Vec::new(); plan.families.len()],
            series: 0,
            max_series: terms.max_series.unwrap_or(usize::MAX),
        }
    }

    /// Takes a row's samples in. Returns whether there is room for more.
    fn store(&mut self, labels: Labels, points: Vec<(usize, Point)>, losses: &mut Losses) -> bool {
        let next = self.numbers.len();
        let number = *self.numbers.entry(labels.clone()).or_insert(next);
        for (family, point) in points {
            let lines = match &point {
                Point::Number(_) => 1,
                Point::Histogram(histogram) => histogram.buckets.len() + 3,
            };
            let taken = &mut self.taken[family];
            if taken.len() <= number {
                taken.resize(number + 1, false);
            }
            if taken[number] {
                losses.duplicate = true;
                losses.dropped += 1;
                losses.note(format!(
                    "`{}` came more than once with the same labels, and the first counts; \
                     make the labels tell the rows apart",
                    self.families[family].name
                ));
                continue;
            }
            if self.series + lines > self.max_series {
                losses.dropped += 1;
                return false;
            }
            taken[number] = true;
            self.series += lines;
            self.families[family].samples.push(Sample { labels: labels.clone(), point });
        }
        true
    }

    fn into_families(self) -> Vec<Arc<Family>> {
        self.families.into_iter().filter(|f| !f.samples.is_empty()).map(Arc::new).collect()
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
