//! The house rules that a machine can hold: who may import whom, how long a file may be, what
//! every file opens with, and that nothing in the tree speaks of anything but the project.

mod circles;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Edges that the order of floors would allow and the design forbids: the door shows plain values
/// and knows neither PostgreSQL nor Loki.
const FORBIDDEN: [(&str, &str); 5] = [
    ("http", "collect"),
    ("http", "logs"),
    ("http", "instances"),
    ("http", "loki"),
    ("exposition", "postgres"),
];

const MAX_LINES: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` whose name ends in `ending`.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The rooms from the bottom up, as `src/lib.rs` lists them.
fn floors() -> Vec<String> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// The room that a file belongs to: its folder, or its own name.
fn room(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(root().join("src")).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// The rooms that a source text names after `crate::`, also inside `use crate::{a::…, b::…}`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut item)),
                    _ if depth == 0 => item.push(c),
                    _ => {}
                }
            }
            found.push(item);
        } else {
            found.push(rest.to_owned());
        }
    }
    found
        .iter()
        .map(|item| {
            let item = item.trim_start();
            item[..item.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(item.len())]
                .to_owned()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn a_room_imports_only_what_stands_below_it() {
    let floors = floors();
    let height: BTreeMap<&str, usize> =
        floors.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut wrong = Vec::new();
    for file in files(&root().join("src"), ".rs") {
        let Some(room) = room(&file) else { continue };
        let own = *height.get(room.as_str()).unwrap_or_else(|| panic!("{room} is not in lib.rs"));
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            let Some(&other) = height.get(import.as_str()) else { continue };
            let forbidden = FORBIDDEN.contains(&(room.as_str(), import.as_str()));
            if other > own || forbidden {
                wrong.push(format!("{}: {room} must not import {import}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_every_spelling() {
    let text =
        "use crate::metric::Family;\nuse crate::{task::{Group, Stop}, net};\ncrate::loki::x()";
    assert_eq!(imports(text), ["metric", "task", "net", "loki"]);
}

#[test]
fn files_of_a_room_import_each_other_in_no_circle() {
    let source = root().join("src");
    let sources: Vec<(String, String)> = files(&source, ".rs")
        .iter()
        .map(|file| {
            let path = file.strip_prefix(&source).unwrap().to_string_lossy().into_owned();
            (path, fs::read_to_string(file).unwrap())
        })
        .collect();
    let circles = circles::circles(&sources);
    let told: Vec<String> = circles.iter().map(|way| way.join(" imports ")).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests/it"] {
        for file in files(&root().join(folder), ".rs") {
            let text = fs::read_to_string(&file).unwrap();
            if !text.starts_with("//!") {
                wrong.push(format!("{}: does not open with //!", file.display()));
            }
            let lines = text.lines().count();
            if lines > MAX_LINES {
                wrong.push(format!("{}: {lines} lines, at most {MAX_LINES}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_dependency_tree_stays_small_and_of_one_kind() {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "-e", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut packages: Vec<&str> =
        text.lines().filter_map(|line| line.split(" (").next()).filter(|l| !l.is_empty()).collect();
    packages.sort_unstable();
    packages.dedup();
    assert!(packages.len() < 250, "{} packages", packages.len());
    for banned in ["openssl-sys ", "native-tls ", "async-std ", "reqwest "] {
        assert!(!packages.iter().any(|p| p.starts_with(banned)), "{banned} is in the tree");
    }
}

#[test]
fn every_test_file_is_listed() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    for entry in fs::read_dir(root().join("tests/it")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap_or(&name).to_owned();
        let listed = main.lines().any(|line| line.starts_with(&format!("mod {module};")));
        assert!(module == "main" || listed, "tests/it/{name} is not run: list it in main.rs");
    }
}
