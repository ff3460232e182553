//! Query packs: YAML files of SQL queries, each query with the list of what its columns mean.
//!
//! `dialect` says whose words a file speaks; `native`, `foreign` and `pgsty` walk its tree and make
//! [`Query`] values of it, one problem costing one query and never the file; `lint` looks at the
//! values; `load` strings together the built-in packs (embedded from `queries/`) and the user's
//! directories; `manifest` finds the files in a ConfigMap or Secret; [`select`] picks the SQL for a
//! server.
//!
//! All but `load` is pure.

mod builtin;
mod dialect;
mod foreign;
mod lint;
mod load;
mod manifest;
mod native;
mod pgsty;
mod query;
mod select;
mod sql;
mod walk;

#[cfg(test)]
mod dialect_tests;
#[cfg(test)]
mod lint_tests;
#[cfg(test)]
mod tests;

pub use builtin::{builtin_names, is_optional};
pub use dialect::Dialect;
pub use lint::advise;
pub use load::{Packs, builtin, excluded, load, load_builtin, load_path, parse};
pub use query::{
    ColumnUse, Every, Nulls, Query, Requires, Scope, Statement, UnknownColumns, Usage,
};
pub use select::{Unavailable, select};
pub use sql::has_plan;
