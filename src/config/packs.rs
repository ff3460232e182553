//! The block `packs`: which query packs run beside the built-in ones, and which do not.

use super::problem::why;
use super::walk::Item;
use super::{PackDirectory, Packs};

pub(super) const KEYS: &[&str] = &["directories", "exclude"];
pub(super) const DIRECTORY_KEYS: &[&str] = &["path", "dialect"];

/// The spellings of pack files that can be told; without one it is detected.
pub const DIALECTS: [&str; 4] = ["native", "postgres_exporter", "cnpg", "pgsty"];

pub(super) fn read(item: Option<Item<'_>>) -> Packs {
    let Some(block) = item.and_then(|item| item.block(KEYS)) else { return Packs::default() };
    let directories = block.get("directories").map(|item| {
        if item.is_map() {
            // One directory, written without a dash.
            return directory(&item).into_iter().collect();
        }
        item.list().iter().filter_map(directory).collect()
    });
    let exclude = block.get("exclude").map(|item| item.patterns());
    Packs { directories: directories.unwrap_or_default(), exclude: exclude.unwrap_or_default() }
}

fn directory(item: &Item<'_>) -> Option<PackDirectory> {
    let (path, dialect) = if item.is_map() {
        let block = item.block(DIRECTORY_KEYS)?;
        let words = DIALECTS.map(|word| (word, word));
        let dialect = block.get("dialect").and_then(|item| item.choice(&words));
        let Some(path) = block.get("path") else {
            item.fatal("a directory of packs has no `path`", "add `path: DIRECTORY`");
            return None;
        };
        (path, dialect.map(str::to_owned))
    } else {
        (item.clone(), None)
    };
    let place = path.place();
    let directory = path.file()?;
    // A missing one is no reason to stop: the built-in packs do their work all the same.
    if let Err(e) = std::fs::metadata(&directory) {
        let what = format!("cannot read {} ({})", directory.display(), why(&e));
        path.warn(what, "create it, or remove it here");
    }
    Some(PackDirectory { path: directory, dialect, place })
}
