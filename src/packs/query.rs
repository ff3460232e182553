//! A query as the collector needs it, whatever dialect it was written in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Dialect;
use crate::config::{InstanceKind, Intervals, Place};
use crate::postgres::{Role, VersionRange};

/// How often a query runs: a class, whose length the configuration says, or a duration of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// At each scrape, and unscraped on its own clock.
    Fast,
    Medium,
    Slow,
    Hourly,
    Custom(Duration),
}

impl Every {
    /// The time between two runs under `intervals`.
    pub fn duration(self, intervals: &Intervals) -> Duration {
        match self {
            Self::Fast => intervals.fast,
            Self::Medium => intervals.medium,
            Self::Slow => intervals.slow,
            Self::Hourly => intervals.hourly,
            Self::Custom(duration) => duration,
        }
    }
}

/// Where a query runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Once for a server, in the database of the instance's DSN.
    Instance,
    /// In each database that the instance's filter and [`Query::databases`] name.
    Database,
}

/// What a server must have for a query to run there; an unmet one makes it `unavailable`, no error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requires {
    /// An extension of the session's database; `{schema}` in the SQL stands for its schema.
    pub extension: Option<String>,
    /// A setting that is on: neither `off`, `none`, `0`, `-1` nor empty; or `NAME=VALUE`.
    pub setting: Option<String>,
    /// A function by its qualified name; see [`Query::gates`].
    pub function: Option<String>,
    /// Tags (pgsty's) that the agent must have: what
    /// [`super::Packs::compare_tags`] leaves of them are those that it lacks.
    pub tags: Vec<String>,
    /// Tags that the agent must not have; those that are left are those that it has.
    pub forbidden_tags: Vec<String>,
}

/// The SQL for one range of server versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub versions: VersionRange,
    pub sql: String,
}

/// What becomes of a column's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Usage {
    Label,
    Counter,
    Gauge,
    /// A gauge: the number that the map gives the text; a text that it lacks is no sample.
    Mapped(BTreeMap<String, f64>),
    /// A gauge in milliseconds: a Go duration such as `1h2m3.5s`, or else a plain number.
    Duration,
    /// Four columns: `C` upper bounds, `C_bucket` cumulative counts, `C_sum`, `C_count`.
    Histogram,
    /// One observation a row, counted by these finite rising upper bounds (pgsty's `bucket`): the
    /// gauges `M_bucket{le}`, `M_count` and `M_sum`, for each result is a distribution of its own.
    Buckets(Vec<f64>),
    Discard,
}

/// One column and the metric (or label) that it makes.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnUse {
    /// The column's name in the result.
    pub column: String,
    pub usage: Usage,
    /// The metric's whole name; for a label, the label's.
    pub metric: Arc<str>,
    pub help: Arc<str>,
    /// A factor on the value.
    pub scale: Option<f64>,
    /// What stands for NULL (pgsty's `default`).
    pub default: Option<String>,
    /// Where it is written.
    pub place: Place,
}

/// What a NULL becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// No sample.
    Absent,
    /// A NaN, as postgres_exporter and CloudNativePG do it.
    NaN,
}

impl Nulls {
    /// What a word of the configuration, or of a native pack, names.
    ///
    /// # Errors
    /// A sentence with the words there are.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "nan" => Ok(Self::NaN),
            "skip" => Ok(Self::Absent),
            _ => Err(format!("`{word}` says nothing of NULL; write nan or skip")),
        }
    }
}

/// What becomes of a result column that no metric names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownColumns {
    Ignore,
    /// An untyped metric `QUERY_COLUMN` where it holds a number, as postgres_exporter does it.
    Untyped,
    /// The number of columns must be that of the mapped ones (a histogram counts four), else the
    /// query fails, as CloudNativePG does it.
    Refuse,
}

/// One query of a pack.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The label `query`; unique among the loaded ones.
    pub name: Arc<str>,
    /// The file's name without its suffix.
    pub pack: Arc<str>,
    /// Where it is written.
    pub place: Place,
    pub dialect: Dialect,
    /// Whom it asks: of PgBouncer the console, which knows `SHOW` alone.
    pub kind: InstanceKind,
    pub interval: Every,
    /// The server's `statement_timeout` for it.
    pub timeout: Duration,
    pub scope: Scope,
    /// None: on primaries and standbys.
    pub role: Option<Role>,
    pub requires: Requires,
    /// SQL that must give one row of one `true`, in the same database, before the query runs.
    pub predicates: Vec<String>,
    /// With [`Scope::Database`]: patterns (`*`, `?`, `[a-z]`) over database names; empty: all.
    pub databases: Vec<String>,
    /// None: the configuration's.
    pub max_series: Option<usize>,
    /// The first whose range holds the server's version is run; never empty.
    pub statements: Vec<Statement>,
    pub columns: Vec<ColumnUse>,
    pub nulls: Nulls,
    pub unknown_columns: UnknownColumns,
    /// Timestamps are cut to whole seconds, as the foreign dialects do it.
    pub whole_seconds: bool,
    /// Of a result of names and values: its columns of the names and of the values. It is read as one
    /// row, of which each name is a column.
    pub pivot: Option<(String, String)>,
    /// What to set `search_path` to: built-in and native queries name schemas. Those of a file that
    /// nothing shows to be native may do without.
    pub search_path: &'static str,
}

impl Query {
    /// `search_path` of native queries.
    pub const NATIVE_PATH: &'static str = "pg_catalog, pg_temp";
    /// `search_path` of foreign ones.
    pub const FOREIGN_PATH: &'static str = "pg_catalog, public, pg_temp";

    /// A query with a dialect's defaults, and nothing to ask yet.
    pub(super) fn new(dialect: Dialect, name: &str, pack: &Arc<str>, place: Place) -> Self {
        let native = dialect == Dialect::Native;
        Self {
            name: name.into(),
            pack: Arc::clone(pack),
            place,
            dialect,
            kind: InstanceKind::Postgres,
            interval: if native { Every::Medium } else { Every::Fast },
            timeout: Duration::from_secs(if native { 2 } else { 5 }),
            scope: Scope::Instance,
            role: None,
            requires: Requires::default(),
            predicates: Vec::new(),
            databases: Vec::new(),
            max_series: None,
            statements: Vec::new(),
            columns: Vec::new(),
            nulls: if native { Nulls::Absent } else { Nulls::NaN },
            unknown_columns: match dialect {
                Dialect::Native | Dialect::Pgsty => UnknownColumns::Ignore,
                Dialect::PostgresExporter => UnknownColumns::Untyped,
                Dialect::Cnpg => UnknownColumns::Refuse,
            },
            whole_seconds: !native,
            pivot: None,
            search_path: if native { Self::NATIVE_PATH } else { Self::FOREIGN_PATH },
        }
    }

    /// SQL that decides whether the query runs in a database: each must give one row of one `true`;
    /// no row, NULL and false mean `unavailable`.
    pub fn gates(&self) -> Vec<Cow<'_, str>> {
        let function = self.requires.function.as_deref().map(|name| {
            let name = name.replace('\'', "''");
            // A function may have several signatures, for which to_regproc gives NULL; then
            // pg_proc tells, without the right to look into the schema.
            Cow::from(format!(
                "SELECT EXISTS (SELECT FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n \
                 ON n.oid = p.pronamespace WHERE n.nspname || '.' || p.proname = '{name}')"
            ))
        });
        function.into_iter().chain(self.predicates.iter().map(|sql| sql.as_str().into())).collect()
    }

    /// How many result columns the mapped ones are: a histogram is four.
    pub fn mapped_columns(&self) -> usize {
        self.columns.iter().map(|c| if c.usage == Usage::Histogram { 4 } else { 1 }).sum()
    }
}
