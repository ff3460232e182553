//! The status page.

use std::time::SystemTime;

use super::Status;

pub(super) struct About {
    pub started: SystemTime,
    pub now: SystemTime,
}

pub(super) fn html(_status: &Status, about: &About) -> String {
    format!("<!doctype html><title>pgvigil</title>{:?}", about.now.duration_since(about.started))
}
