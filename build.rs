//! Embeds `queries/*.yaml`, `dashboards/*.json` and `alerts/*.yaml`: writes the lists of their names and
//! texts that `packs::builtin` and `cli::export` include.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for folder in ["queries", "dashboards", "alerts"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    let packs = list("FILES", "each built-in pack", &root.join("queries"), "yaml")?;
    fs::write(out.join("builtin_packs.rs"), packs)?;
    let boards = list("DASHBOARDS", "each dashboard", &root.join("dashboards"), "json")?;
    let alerts = list("ALERTS", "each file of alert rules", &root.join("alerts"), "yaml")?;
    fs::write(out.join("exports.rs"), boards + &alerts)
}

/// The Rust source of a constant: name (without its ending) and text of each file, sorted by name.
fn list(constant: &str, of: &str, directory: &Path, ending: &str) -> io::Result<String> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|found| found == ending));
    files.sort();
    let mut source = format!(
        "/// Name and text of {of}, sorted by name.\n\
         pub(super) const {constant}: &[(&str, &str)] = &[\n"
    );
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        source += &format!("    ({name:?}, include_str!({:?})),\n", file.display().to_string());
    }
    Ok(source + "];\n")
}
