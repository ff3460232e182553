//! The block `packs`: which query packs run beside the built-in ones, and which do not.

use super::problem::why;
use super::walk::Item;
use super::{PackDirectory, Packs};

pub(super) const KEYS: &[&str] = &["include", "directories", "exclude", "tags"];
pub(super) const DIRECTORY_KEYS: &[&str] = &["path", "dialect", "null_values"];

/// The spellings of pack files that can be told; without one it is detected.
pub const DIALECTS: [&str; 4] = ["native", "postgres_exporter", "cnpg", "pgsty"];

/// What a NULL of a pack can become.
const NULL_VALUES: [&str; 2] = ["nan", "skip"];

pub(super) fn read(item: Option<Item<'_>>) -> Packs {
    let Some(block) = item.and_then(|item| item.block(KEYS)) else { return Packs::default() };
    let directories = block.get("directories").map(|item| {
        if item.is_map() {
            // One directory, written without a dash.
            return directory(&item).into_iter().collect();
        }
        item.list().iter().filter_map(directory).collect()
    });
    let named = |item: Item<'_>| {
        let patterns = item.patterns().into_iter();
        patterns.map(|pattern| (pattern, item.place())).collect()
    };
    let tags = |item: Item<'_>| item.list().iter().filter_map(Item::text).collect();
    Packs {
        include: block.get("include").map(named).unwrap_or_default(),
        directories: directories.unwrap_or_default(),
        exclude: block.get("exclude").map(|item| item.patterns()).unwrap_or_default(),
        tags: block.get("tags").map(tags).unwrap_or_default(),
    }
}

fn directory(item: &Item<'_>) -> Option<PackDirectory> {
    let (path, dialect, null_values) = if item.is_map() {
        let block = item.block(DIRECTORY_KEYS)?;
        let words = DIALECTS.map(|word| (word, word));
        let dialect = block.get("dialect").and_then(|item| item.choice(&words));
        let words = NULL_VALUES.map(|word| (word, word));
        let null_values = block.get("null_values").and_then(|item| item.choice(&words));
        let Some(path) = block.get("path") else {
            item.fatal("a directory of packs has no `path`", "add `path: DIRECTORY`");
            return None;
        };
        (path, dialect.map(str::to_owned), null_values.map(str::to_owned))
    } else {
        (item.clone(), None, None)
    };
    let place = path.place();
    let directory = path.file()?;
    // A missing one is no reason to stop: the built-in packs do their work all the same.
    if let Err(e) = std::fs::metadata(&directory) {
        let what = format!("cannot read {} ({})", directory.display(), why(&e));
        path.warn(what, "create it, or remove it here");
    }
    Some(PackDirectory { path: directory, dialect, null_values, place })
}
