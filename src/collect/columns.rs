//! What the columns of one result mean, and what a row of it says by that: labels and values.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::{Claims, kind};
use super::decode::{self, Reading};
use super::losses::Losses;
use super::spread::Spread;
use crate::config::InstanceKind;
use crate::instances::Column;
use crate::metric::{Family, Histogram, Kind, Labels, Point, is_label_name, is_metric_name};
use crate::packs::{Dialect, Nulls, Query, UnknownColumns, Usage};
use crate::postgres::QueryReason;

/// A longer label value costs its series.
pub(crate) const MAX_LABEL_BYTES: usize = 16 * 1024;

/// What a query's columns mean in one result.
pub(super) struct Columns<'q> {
    pub(super) reading: Reading,
    nulls: Nulls,
    labels: Vec<LabelColumn>,
    values: Vec<ValueColumn<'q>>,
    pub(super) spreads: Vec<Spread<'q>>,
    pub(super) families: Vec<Family>,
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
    /// Index into the families.
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

impl<'q> Columns<'q> {
    /// # Errors
    /// The reason and the sentence when the result as a whole is not what the query promised.
    pub(super) fn new(
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
        let mut meant = Self {
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
                    meant.labels.push(LabelColumn {
                        name: label_name(&column.metric),
                        at,
                        type_oid: columns[at].type_oid,
                    });
                    continue;
                }
                Usage::Buckets(bounds) => {
                    let mut family = |end: &str| {
                        let name = format!("{}{end}", column.metric).into();
                        meant.family(&name, &column.help, Kind::Gauge, claims, losses)
                    };
                    let all = [family("_bucket"), family("_count"), family("_sum")];
                    if let [Some(bucket), Some(count), Some(sum)] = all {
                        meant.spreads.push(Spread {
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
            let Some(family) = meant.family(&column.metric, &column.help, kind, claims, losses)
            else {
                continue;
            };
            meant.values.push(ValueColumn {
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
            meant.unknown(query, columns, &known, claims, losses);
        }
        Ok(meant)
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
    pub(super) fn labels(
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
    pub(super) fn points(
        &self,
        row: &[Option<Box<str>>],
        losses: &mut Losses,
    ) -> Vec<(usize, Point)> {
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

pub(super) fn cell(row: &[Option<Box<str>>], at: usize) -> Option<&str> {
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
