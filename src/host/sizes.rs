//! What a server says of the size of its own files, for where they cannot be summed up from here.

use std::sync::Arc;

use crate::metric::{Family, Labels, Point};

/// Bytes, as the packs measure them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// The two tablespaces that lie in the data directory.
    tablespaces: Option<u64>,
    pub(super) wal: Option<u64>,
}

impl Sizes {
    /// The sizes that a page holds of the server with these labels.
    pub(super) fn of(page: &[Arc<Family>], server: &Labels) -> Self {
        let tablespace =
            |name| number(page, "pg_tablespace_size_bytes", server, Some(("spcname", name)));
        Self {
            tablespaces: tablespace("pg_default").zip(tablespace("pg_global")).map(|(a, b)| a + b),
            wal: number(page, "pg_wal_size_bytes", server, None),
        }
    }

    /// What the data directory's files take, less what is small; with the WAL, unless that lies `apart`.
    pub(super) fn data(&self, apart: bool) -> Option<u64> {
        if apart {
            return self.tablespaces;
        }
        self.tablespaces.zip(self.wal).map(|(tablespaces, wal)| tablespaces + wal)
    }
}

fn number(
    page: &[Arc<Family>],
    name: &str,
    server: &Labels,
    also: Option<(&str, &str)>,
) -> Option<u64> {
    let samples = page.iter().filter(|family| *family.name == *name).flat_map(|f| &f.samples);
    let mut fitting = samples.filter(|sample| {
        server.iter().chain(also).all(|(name, value)| sample.labels.get(name) == Some(value))
    });
    match fitting.next()?.point {
        Point::Number(value) if value >= 0.0 && value.is_finite() => Some(value as u64),
        Point::Number(_) | Point::Histogram(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Kind;

    #[test]
    fn sizes_of_one_server_among_many() {
        let size = |server: &str, name: &str, value: f64| {
            let labels = Labels::new([("server", server), ("spcname", name)]);
            Arc::new(Family::new("pg_tablespace_size_bytes", "", Kind::Gauge).with(labels, value))
        };
        let wal = Family::new("pg_wal_size_bytes", "", Kind::Gauge)
            .with(Labels::new([("server", "a")]), 5.0)
            .with(Labels::new([("server", "b")]), f64::NAN);
        let page = [
            size("b", "pg_default", 100.0),
            size("a", "pg_default", 10.0),
            size("a", "pg_global", 1.0),
            size("a", "fast", 1000.0),
            Arc::new(wal),
        ];
        let of = |server: &str| Sizes::of(&page, &Labels::new([("server", server)]));
        assert_eq!(
            (of("a").data(true), of("a").data(false), of("a").wal),
            (Some(11), Some(16), Some(5))
        );
        // Half of it is none.
        assert_eq!((of("b").data(true), of("b").wal), (None, None));
        assert_eq!(of("c"), Sizes::default());
    }
}
