//! `pgvigil logs cat`.
use super::args::Cat;
use crate::app::Failure;

pub(super) fn run(_: &Cat) -> Result<(), Failure> {
    Err(Failure::Unavailable("the local store is not there yet".to_owned()))
}
