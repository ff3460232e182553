//! The text of every file in `queries/`, which `build.rs` lists: a new pack is one new file there.

include!(concat!(env!("OUT_DIR"), "/builtin_packs.rs"));

/// The built-in packs' names, sorted.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// Whether a built-in pack is off until the configuration names it: those that repeat other
/// programs' metrics, faults included.
pub fn is_optional(pack: &str) -> bool {
    pack.starts_with("compat-")
}
