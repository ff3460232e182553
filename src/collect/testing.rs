//! What the room's unit tests share: queries from YAML, rows from text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::instances::{Column, Rows};
use crate::packs::{self, Dialect, Query};
use crate::postgres::{Facts, LogSettings, Role, Version};

/// The queries of a pack that must be without problems.
pub(crate) fn queries(dialect: Dialect, yaml: &str) -> Vec<Arc<Query>> {
    let packs = packs::parse(yaml, "test", Path::new("test.yaml"), Some(dialect));
    let fatal: Vec<_> = packs.problems.iter().filter(|p| p.fatal).collect();
    assert!(fatal.is_empty(), "{fatal:?}");
    packs.queries
}

/// A pack's only query.
pub(crate) fn query(dialect: Dialect, yaml: &str) -> Arc<Query> {
    let mut queries = queries(dialect, yaml);
    assert_eq!(queries.len(), 1);
    queries.remove(0)
}

/// A result: names and type OIDs of its columns, and rows in which `None` is NULL.
pub(crate) fn rows(columns: &[(&str, u32)], rows: &[&[Option<&str>]]) -> Rows {
    Rows {
        columns: columns
            .iter()
            .map(|(name, type_oid)| Column { name: (*name).to_owned(), type_oid: *type_oid })
            .collect(),
        rows: rows.iter().map(|row| row.iter().map(|cell| cell.map(Box::from)).collect()).collect(),
        truncated: false,
        elapsed: std::time::Duration::ZERO,
    }
}

/// A server with nothing special about it.
pub(crate) fn facts(role: Role) -> Facts {
    Facts {
        version: Version(170_010),
        role,
        system_identifier: "1".to_owned(),
        timeline: 1,
        cluster_name: String::new(),
        data_directory: None,
        database: "postgres".to_owned(),
        databases: vec!["postgres".to_owned()],
        extensions: BTreeMap::new(),
        settings: BTreeMap::new(),
        superuser: false,
        monitor: true,
        log: LogSettings::default(),
        whereabouts: Default::default(),
    }
}
