//! Results that are laid out otherwise than a query's metrics need them: names and values in rows, and
//! PgBouncer's times in two columns.

use std::borrow::Cow;

use crate::config::InstanceKind;
use crate::instances::{Column, Rows};
use crate::packs::{Dialect, Query};

/// `rows` as `query` means them; most are so already.
pub(crate) fn shaped<'r>(query: &Query, rows: &'r Rows) -> Cow<'r, Rows> {
    if let Some((name, value)) = &query.pivot {
        return Cow::Owned(turned(rows, name, value));
    }
    // Other programs' files know what they ask for.
    if query.kind == InstanceKind::Pgbouncer && query.dialect == Dialect::Native {
        return joined(rows);
    }
    Cow::Borrowed(rows)
}

/// One row, of which each name is a column. A result without those columns is left as it is, so that
/// each metric says what it misses.
fn turned(rows: &Rows, name: &str, value: &str) -> Rows {
    let find = |wanted: &str| rows.columns.iter().position(|column| column.name == wanted);
    let (Some(name), Some(value)) = (find(name), find(value)) else { return rows.clone() };
    let type_oid = rows.columns[value].type_oid;
    let (mut columns, mut row) = (Vec::new(), Vec::new());
    for cells in &rows.rows {
        if let Some(name) = &cells[name] {
            columns.push(Column { name: name.to_string(), type_oid });
            row.push(cells[value].clone());
        }
    }
    Rows { columns, rows: vec![row], ..*rows }
}

/// Each column `C` beside which there is a `C_us` with both in it: whole seconds and microseconds
/// become seconds with a fraction. The second one stays.
fn joined(rows: &Rows) -> Cow<'_, Rows> {
    let pairs: Vec<(usize, usize)> = rows
        .columns
        .iter()
        .enumerate()
        .filter_map(|(at, column)| {
            let fraction = format!("{}_us", column.name);
            Some((at, rows.columns.iter().position(|other| other.name == fraction)?))
        })
        .collect();
    if pairs.is_empty() {
        return Cow::Borrowed(rows);
    }
    let mut rows = rows.clone();
    for row in &mut rows.rows {
        for (seconds, fraction) in &pairs {
            let (Some(whole), Some(part)) = (&row[*seconds], &row[*fraction]) else { continue };
            if let Ok(microseconds) = part.parse::<u32>()
                && microseconds < 1_000_000
            {
                row[*seconds] = Some(format!("{whole}.{microseconds:06}").into());
            }
        }
    }
    Cow::Owned(rows)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{query, rows};
    use super::*;

    const METRICS: &str = "metrics: [{a: {usage: GAUGE, metric: a, description: d}}]";

    #[test]
    fn names_and_values_become_one_row() {
        let query = query(
            Dialect::Native,
            &format!(
                "q: {{kind: pgbouncer, query: SHOW LISTS, pivot: {{name: k, value: v}}, {METRICS}}}"
            ),
        );
        let result = rows(
            &[("k", 25), ("x", 25), ("v", 25)],
            &[&[Some("a"), None, Some("1")], &[None, None, Some("2")], &[Some("b"), None, None]],
        );
        let turned = shaped(&query, &result);
        let names: Vec<&str> = turned.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(turned.rows, [[Some("1".into()), None]]);
        let other = rows(&[("k", 25)], &[&[Some("a")]]);
        assert_eq!(*shaped(&query, &other), other);
    }

    #[test]
    fn seconds_and_microseconds_become_one_number() {
        let text = |dialect| match dialect {
            Dialect::Native => format!("q: {{kind: pgbouncer, query: SHOW POOLS, {METRICS}}}"),
            _ => "q: {query: SHOW POOLS, tags: [pgbouncer], metrics: [a: {usage: GAUGE}]}".into(),
        };
        let result = rows(
            &[("wait", 25), ("wait_us", 25)],
            &[&[Some("3"), Some("4500")], &[Some("3"), None]],
        );
        let native = shaped(&query(Dialect::Native, &text(Dialect::Native)), &result).into_owned();
        assert_eq!(native.rows[0], [Some("3.004500".into()), Some("4500".into())]);
        assert_eq!(native.rows[1], result.rows[1]);
        let foreign = query(Dialect::Pgsty, &text(Dialect::Pgsty));
        assert_eq!(*shaped(&foreign, &result), result);
    }
}
