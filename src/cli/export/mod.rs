//! `pgvigil export`: what belongs to other programs, made from this program's configuration.
//!
//! `grants` writes SQL for PostgreSQL, `retention` YAML for Loki, `boards` and `rules` change the embedded
//! dashboards and alert rules by means of `rename`; `run` alone reads settings and writes files.

mod boards;
mod grants;
mod rename;
mod retention;
mod rules;
mod run;

pub(super) use run::run;
