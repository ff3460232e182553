//! A server log like a busy server's: 70 % single lines, 20 % errors with DETAIL, HINT and STATEMENT,
//! 10 % statements of several lines, written by several processes in turn.

use std::io::{BufWriter, Write};
use std::path::Path;

/// What was written.
pub(crate) struct Log {
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    /// Lines that begin with a time: a record's first one, and those of its DETAIL and STATEMENT.
    pub(crate) heads: u64,
}

/// Writes at least `bytes` bytes with the prefix `%m [%p] %q%u@%d `.
pub(crate) fn log(file: &Path, bytes: u64, first_second: i64) -> std::io::Result<Log> {
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(file)?);
    let (mut written, mut records, mut heads) = (0u64, 0u64, 0u64);
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    while written < bytes {
        // xorshift: the same file on every run.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let pid = 4000 + seed % 8;
        let milliseconds = first_second * 1000 + i64::try_from(records / 4).unwrap_or(0);
        let time =
            jiff::Timestamp::from_millisecond(milliseconds).map_err(std::io::Error::other)?;
        let head = format!("{} [{pid}] app@shop ", time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC"));
        let record = match seed >> 32 & 0xff {
            0..=178 => format!(
                "{head}LOG:  duration: {}.{:03} ms  execute <unnamed>: SELECT id, total FROM orders WHERE customer = $1 AND created > $2 LIMIT 50\n",
                seed % 900,
                seed % 1000
            ),
            179..=229 => format!(
                "{head}ERROR:  duplicate key value violates unique constraint \"orders_pkey\"\n{head}DETAIL:  Key (id)=({records}) already exists.\n{head}STATEMENT:  INSERT INTO orders (id, customer, total) VALUES ($1, $2, $3)\n"
            ),
            _ => format!(
                "{head}LOG:  statement: UPDATE stock\n\tSET quantity = quantity - {}\n\tWHERE product = {}\n\tAND warehouse IN (SELECT id FROM warehouse WHERE region = 'north')\n\tRETURNING quantity\n",
                seed % 9,
                seed % 100_000
            ),
        };
        out.write_all(record.as_bytes())?;
        written += record.len() as u64;
        records += 1;
        heads += record.matches(&head).count() as u64;
    }
    out.flush()?;
    Ok(Log { bytes: written, records, heads })
}
