//! Packs as text to queries and problems.

use std::path::Path;

use super::*;

#[test]
fn the_built_in_packs_are_clean() {
    let packs = builtin();
    let problems: Vec<_> = packs.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:#?}");
    let _ = Path::new("");
}
