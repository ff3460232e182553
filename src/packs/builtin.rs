//! The text of every file in `queries/`, which `build.rs` lists: a new pack is one new file there.

include!(concat!(env!("OUT_DIR"), "/builtin_packs.rs"));
