//! The rows of one statement as text, up to its caps.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

/// A column of a result, as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// `pg_type.oid`: says how the text is to be read.
    pub type_oid: u32,
}

/// What a statement gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    pub columns: Vec<Column>,
    /// Text in the server's output form; None is NULL. Bytes that are no UTF-8 stand as U+FFFD.
    pub rows: Vec<Vec<Option<Box<str>>>>,
    /// There were more rows than the caps allow.
    pub truncated: bool,
    pub elapsed: Duration,
}

/// Where a result stands after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    More,
    /// A cap is reached.
    Full,
    /// A value is no UTF-8: the statement must be asked anew in hexadecimal form.
    Unreadable,
    /// The columns are no longer those that were prepared.
    Changed,
}

pub(super) struct Reader {
    columns: Arc<[Column]>,
    hexadecimal: bool,
    rows: Vec<Vec<Option<Box<str>>>>,
    bytes: usize,
    max_rows: usize,
    max_bytes: usize,
}

impl Reader {
    pub(super) fn new(
        columns: Arc<[Column]>,
        hexadecimal: bool,
        max_rows: usize,
        max_bytes: usize,
    ) -> Self {
        Self { columns, hexadecimal, rows: Vec::new(), bytes: 0, max_rows, max_bytes }
    }

    pub(super) fn take(&mut self, message: &SimpleQueryMessage) -> Taken {
        match message {
            SimpleQueryMessage::RowDescription(now) => {
                let same = now.len() == self.columns.len()
                    && (self.hexadecimal
                        || now.iter().zip(&*self.columns).all(|(n, old)| n.name() == old.name));
                if same { Taken::More } else { Taken::Changed }
            }
            SimpleQueryMessage::Row(row) => self.row(row),
            _ => Taken::More,
        }
    }

    fn row(&mut self, row: &SimpleQueryRow) -> Taken {
        if self.rows.len() >= self.max_rows {
            return Taken::Full;
        }
        let mut values = Vec::with_capacity(row.len());
        for (at, column) in self.columns.iter().enumerate() {
            let value = match row.try_get(at) {
                Ok(Some(text)) if self.hexadecimal && may_be_foreign(column.type_oid) => {
                    Some(from_hexadecimal(text))
                }
                Ok(value) => value.map(Box::from),
                Err(_) if self.hexadecimal => Some(char::REPLACEMENT_CHARACTER.to_string().into()),
                Err(_) => return Taken::Unreadable,
            };
            self.bytes += value.as_deref().map_or(0, str::len);
            values.push(value);
        }
        if self.bytes > self.max_bytes {
            return Taken::Full;
        }
        self.rows.push(values);
        Taken::More
    }

    pub(super) fn finish(self, truncated: bool, elapsed: Duration) -> Rows {
        Rows { columns: self.columns.to_vec(), rows: self.rows, truncated, elapsed }
    }
}

/// Whether a type's text can hold bytes of another encoding: not so for numbers, times and the like.
fn may_be_foreign(type_oid: u32) -> bool {
    // bool, bytea, int8, int2, int4, oid, tid, xid, cid, float4, float8, money, inet, date, time,
    // timestamp, timestamptz, interval, numeric, uuid, pg_lsn, xid8 (src/include/catalog/pg_type.dat).
    const PLAIN: [u32; 22] = [
        16, 17, 20, 21, 23, 26, 27, 28, 29, 700, 701, 790, 869, 1082, 1083, 1114, 1184, 1186, 1700,
        2950, 3220, 5069,
    ];
    !PLAIN.contains(&type_oid)
}

/// The statement in a form that any bytes survive: columns of text as hexadecimal digits.
///
/// A server sends names and queries of other databases in those databases' encoding, unchecked; one
/// with SQL_ASCII refuses to send what is no UTF-8 (22021). tokio-postgres gives no access to bytes.
pub(super) fn in_hexadecimal(sql: &str, columns: &[Column], sql_ascii: bool) -> String {
    let sql = sql.trim_end().trim_end_matches(';');
    let names: Vec<String> = (1..=columns.len()).map(|n| format!("c{n}")).collect();
    let shown: Vec<String> = columns
        .iter()
        .zip(&names)
        .map(|(column, name)| {
            if !may_be_foreign(column.type_oid) {
                return name.clone();
            }
            // The one checks what it sends in SQL_ASCII, the other what it converts elsewhere.
            let bytes = if sql_ascii {
                format!("pg_catalog.convert_to({name}::text, 'SQL_ASCII')")
            } else {
                format!("pg_catalog.textsend({name}::text)")
            };
            format!("pg_catalog.encode({bytes}, 'hex')")
        })
        .collect();
    // The line ends keep a comment at the statement's end from hiding what follows.
    format!("SELECT {} FROM (\n{sql}\n) AS pgvigil ({})", shown.join(", "), names.join(", "))
}

fn from_hexadecimal(text: &str) -> Box<str> {
    let digit = |c: u8| char::from(c).to_digit(16).unwrap_or(0) as u8;
    let bytes: Vec<u8> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |n, c| n << 4 | digit(*c)))
        .collect();
    String::from_utf8_lossy(&bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_form() {
        let columns =
            [("a", 25), ("n", 20)].map(|(name, type_oid)| Column { name: name.into(), type_oid });
        assert_eq!(
            in_hexadecimal("SELECT a, n FROM t; ", &columns, false),
            "SELECT pg_catalog.encode(pg_catalog.textsend(c1::text), 'hex'), c2 FROM (\n\
             SELECT a, n FROM t\n) AS pgvigil (c1, c2)"
        );
        assert!(in_hexadecimal("x", &columns, true).contains("convert_to(c1::text, 'SQL_ASCII')"));
        assert_eq!(&*from_hexadecimal("61ff62"), "a\u{fffd}b");
        assert_eq!(&*from_hexadecimal(""), "");
    }
}
