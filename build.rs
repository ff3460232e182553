//! Embeds `queries/*.yaml`: writes the list of their names and texts that `packs::builtin` includes.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let directory = root.join("queries");
    println!("cargo::rerun-if-changed=queries");
    fs::write(out.join("builtin_packs.rs"), list(&directory)?)
}

/// The Rust source of `FILES`: name (without `.yaml`) and text, sorted by name.
fn list(directory: &Path) -> io::Result<String> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    let mut source = "/// Name and text of each built-in pack, sorted by name.\n\
                      pub(super) const FILES: &[(&str, &str)] = &[\n"
        .to_owned();
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        source += &format!("    ({name:?}, include_str!({:?})),\n", file.display().to_string());
    }
    Ok(source + "];\n")
}
