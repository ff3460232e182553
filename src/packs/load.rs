//! The packs of an agent: the built-in ones, then the user's directories in their order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glob::Pattern;

use super::native::TOP;
use super::walk::Walk;
use super::{Dialect, Query, builtin as embedded, dialect, foreign, lint, native};
use crate::config::yaml::{self, Fault, Parsed};
use crate::config::{self, Place, Problem};

/// Queries that run, and what is wrong with those that do not.
#[derive(Clone, Debug, Default)]
pub struct Packs {
    /// In the order of loading, each name once.
    pub queries: Vec<Arc<Query>>,
    /// `fatal` are those because of which a query or a file is not loaded; the others are advice. No
    /// problem of a pack keeps the agent from running.
    pub problems: Vec<Problem>,
    /// The dialect of each of the user's files and, where it was detected, the field that told it.
    pub files: Vec<(PathBuf, Dialect, Option<&'static str>)>,
}

impl Packs {
    /// Adds `later`, whose queries replace those of the same name in their place.
    fn add(&mut self, later: Self) {
        let mut places: HashMap<Arc<str>, usize> =
            self.queries.iter().enumerate().map(|(i, q)| (Arc::clone(&q.name), i)).collect();
        for query in later.queries {
            match places.get(&query.name) {
                Some(place) => self.queries[*place] = query,
                None => {
                    places.insert(Arc::clone(&query.name), self.queries.len());
                    self.queries.push(query);
                }
            }
        }
        self.problems.extend(later.problems);
        self.files.extend(later.files);
    }

    /// The queries of an instance that leaves out what `exclude` names.
    pub fn without(&self, exclude: &[String]) -> Vec<Arc<Query>> {
        self.queries.iter().filter(|query| !excluded(query, exclude)).cloned().collect()
    }
}

/// Whether one of `patterns` (shell patterns) names the query or its pack.
pub fn excluded(query: &Query, patterns: &[String]) -> bool {
    patterns.iter().any(|text| match Pattern::new(text) {
        Ok(pattern) => pattern.matches(&query.name) || pattern.matches(&query.pack),
        Err(_) => *text == *query.name || *text == *query.pack,
    })
}

/// The built-in packs and those of the configuration, without what it excludes. Of a directory that
/// is not there the configuration's own problems tell.
pub fn load(settings: &config::Packs) -> Packs {
    let mut packs = builtin();
    for directory in &settings.directories {
        let told = directory.dialect.as_deref().map(Dialect::parse).transpose();
        match (told, std::fs::metadata(&directory.path)) {
            (Ok(told), Ok(_)) => packs.add(load_path(&directory.path, told)),
            (Ok(_), Err(_)) => {}
            (Err(error), _) => {
                let (what, remedy) = error.split_once("; ").unwrap_or((&error, "correct it"));
                packs.problems.push(Problem::fatal(directory.place.clone(), what, remedy));
            }
        }
    }
    packs.queries.retain(|query| !excluded(query, &settings.exclude));
    packs
}

/// All built-in packs.
pub fn builtin() -> Packs {
    let mut packs = Packs::default();
    for (name, text) in embedded::FILES {
        packs.add(parse(text, name, &embedded_path(name), Some(Dialect::Native)));
    }
    packs.files.clear();
    packs
}

/// The built-in pack of that name.
pub fn load_builtin(name: &str) -> Option<Packs> {
    let (name, text) = embedded::FILES.iter().find(|(known, _)| *known == name)?;
    Some(parse(text, name, &embedded_path(name), Some(Dialect::Native)))
}

/// The built-in packs' names, sorted.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    embedded::FILES.iter().map(|(name, _)| *name)
}

/// Where a built-in pack stands in the source tree; its problems say this path.
fn embedded_path(name: &str) -> PathBuf {
    PathBuf::from(format!("queries/{name}.yaml"))
}

/// The packs of a file, or of a directory's `*.yaml` and `*.yml` in the order of their names; hidden
/// files and directories inside are left alone. The dialect is detected for each file unless told.
pub fn load_path(path: &Path, told: Option<Dialect>) -> Packs {
    let mut packs = Packs::default();
    let files = match files(path) {
        Ok(files) => files,
        Err(error) => {
            let what = format!("cannot read the packs in {}: {error}", path.display());
            let remedy = "make it readable, or correct the path";
            packs.problems.push(Problem::fatal(Place::file(path), what, remedy));
            return packs;
        }
    };
    for file in files {
        packs.add(of_file(yaml::read(&file), &stem(&file), &file, told));
    }
    packs
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
        let yaml = file.extension().is_some_and(|e| e == "yaml" || e == "yml");
        // Links are followed: a mounted ConfigMap is made of them.
        if yaml && !hidden && !std::fs::metadata(&file).is_ok_and(|m| m.is_dir()) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
}

/// The queries of one file's `text`: a problem costs its query, never the others.
pub fn parse(text: &str, pack: &str, file: &Path, told: Option<Dialect>) -> Packs {
    of_file(yaml::parse(text), pack, file, told)
}

fn of_file(parsed: Result<Parsed, Fault>, pack: &str, file: &Path, told: Option<Dialect>) -> Packs {
    let mut walk = Walk::new(file.to_owned());
    let pack: Arc<str> = pack.into();
    let Parsed { documents, faults } = parsed.unwrap_or_else(|fault| {
        walk.error(fault.at, fault.what, fault.remedy);
        Parsed::default()
    });
    for fault in faults {
        walk.hint(fault.at, fault.what, fault.remedy);
    }
    let (dialect, field) = match told {
        Some(dialect) => (dialect, None),
        None => dialect::detect(&documents),
    };
    let mut packs = Packs::default();
    if dialect == Dialect::Pgsty && !documents.is_empty() {
        walk.error(TOP, "pgsty's dialect is not read", "write the file in the native dialect");
    }
    for document in documents.iter().filter(|_| dialect != Dialect::Pgsty) {
        let Some(entries) = walk.map(document, "the file") else { continue };
        for entry in entries {
            let read = match dialect {
                Dialect::Native => native::query(&mut walk, &pack, entry),
                _ => foreign::query(&mut walk, &pack, dialect, entry),
            };
            let Some(query) = read else { continue };
            let found = lint::lint(&query);
            let sound = !found.iter().any(|problem| problem.fatal);
            walk.problems.extend(found);
            if sound {
                packs.add(Packs { queries: vec![Arc::new(query)], ..Packs::default() });
            }
        }
    }
    packs.problems = walk.problems;
    packs.problems.sort();
    packs.problems.dedup();
    packs.files.push((file.to_owned(), dialect, field));
    packs
}
