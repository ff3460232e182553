//! The packs of an agent: the built-in ones, those that the configuration switches on, then the user's
//! directories in their order.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glob::Pattern;

use super::builtin::{FILES, builtin_names, is_optional};
use super::query::{Nulls, Usage};
use super::walk::{self, Walk};
use super::{Dialect, Query, dialect, foreign, lint, manifest, native, pgsty};
use crate::config::yaml::{self, Fault, Node, Parsed};
use crate::config::{self, InstanceKind, Place, Problem};

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

    /// Leaves the metrics that `other` has to it: a name has one source. What is left of the queries
    /// here goes on.
    fn yield_to(&mut self, other: &Self) {
        let metrics = |query: &Query| -> Vec<Arc<str>> {
            let makes = |usage: &Usage| !matches!(usage, Usage::Label | Usage::Discard);
            let columns = query.columns.iter().filter(|column| makes(&column.usage));
            columns.map(|column| Arc::clone(&column.metric)).collect()
        };
        let taken: HashSet<Arc<str>> = other.queries.iter().flat_map(|q| metrics(q)).collect();
        self.queries.retain_mut(|query| {
            let own = metrics(query);
            let lost = own.iter().filter(|name| taken.contains(*name)).count();
            if lost > 0 {
                for column in &mut Arc::make_mut(query).columns {
                    if column.usage != Usage::Label && taken.contains(&column.metric) {
                        column.usage = Usage::Discard;
                    }
                }
            }
            lost == 0 || lost < own.len()
        });
    }

    /// Leaves of the tags that queries ask for, or forbid, those that the agent's `tags` do not meet.
    pub fn compare_tags(&mut self, tags: &[String]) {
        for query in &mut self.queries {
            if query.requires.tags.is_empty() && query.requires.forbidden_tags.is_empty() {
                continue;
            }
            let requires = &mut Arc::make_mut(query).requires;
            requires.tags.retain(|tag| !tags.contains(tag));
            requires.forbidden_tags.retain(|tag| tags.contains(tag));
        }
    }

    /// The queries of an instance of that kind which leaves out what `exclude` names.
    pub fn of(&self, kind: InstanceKind, exclude: &[String]) -> Vec<Arc<Query>> {
        let meant = |query: &Query| query.kind == kind && !excluded(query, exclude);
        self.queries.iter().filter(|query| meant(query)).cloned().collect()
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
    for (pattern, place) in &settings.include {
        let named: Vec<&str> = builtin_names().filter(|name| fits(pattern, name)).collect();
        if named.is_empty() {
            let what = format!("no built-in pack is named `{pattern}`");
            let known: Vec<&str> = builtin_names().filter(|name| is_optional(name)).collect();
            let remedy = format!("those that are off until named are {}", known.join(", "));
            packs.problems.push(Problem::fatal(place.clone(), what, remedy));
        }
        for name in named.into_iter().filter(|name| is_optional(name)) {
            let mut optional = load_builtin(name).unwrap_or_default();
            optional.queries.retain(|query| !excluded(query, &settings.exclude));
            packs.yield_to(&optional);
            packs.add(optional);
        }
    }
    packs.files.clear();
    for directory in &settings.directories {
        let told = directory.dialect.as_deref().map(Dialect::parse).transpose();
        let nulls = directory.null_values.as_deref().map(Nulls::parse).transpose();
        let (told, nulls) = match (told, nulls) {
            (Ok(told), Ok(nulls)) => (told, nulls),
            (Err(error), _) | (_, Err(error)) => {
                let (what, remedy) = error.split_once("; ").unwrap_or((&error, "correct it"));
                packs.problems.push(Problem::fatal(directory.place.clone(), what, remedy));
                continue;
            }
        };
        if std::fs::metadata(&directory.path).is_ok() {
            let mut found = load_path(&directory.path, told);
            if let Some(nulls) = nulls {
                found.queries.iter_mut().for_each(|query| Arc::make_mut(query).nulls = nulls);
            }
            packs.add(found);
        }
    }
    packs.queries.retain(|query| !excluded(query, &settings.exclude));
    packs.compare_tags(&settings.tags);
    packs
}

fn fits(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).map_or(pattern == name, |pattern| pattern.matches(name))
}

/// All built-in packs that are on.
pub fn builtin() -> Packs {
    let mut packs = Packs::default();
    for name in builtin_names().filter(|name| !is_optional(name)) {
        packs.add(load_builtin(name).unwrap_or_default());
    }
    packs.files.clear();
    packs
}

/// The built-in pack of that name.
pub fn load_builtin(name: &str) -> Option<Packs> {
    let (name, text) = FILES.iter().find(|(known, _)| *known == name)?;
    Some(parse(text, name, &embedded_path(name), Some(Dialect::Native)))
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
    let documents = documents(&mut walk, parsed);
    let (manifests, documents): (Vec<_>, Vec<_>) =
        documents.into_iter().partition(manifest::is_manifest);
    let mut packs = Packs::default();
    for document in &manifests {
        for inner in manifest::files(&mut walk, document) {
            walk.inside = Some(inner.place());
            let inside = self::documents(&mut walk, yaml::parse(&inner.text));
            let (packlike, other): (Vec<_>, Vec<_>) =
                inside.into_iter().partition(|document| walk::map(document).is_some());
            for document in &other {
                let what = format!("`{}` holds no queries", inner.name);
                walk.hint(document.at, what, "nothing is to be done where that is meant");
            }
            if !packlike.is_empty() || other.is_empty() {
                let path = PathBuf::from(format!("{} ({})", file.display(), inner.name));
                let (dialect, field) = match (told, dialect::detect(&packlike)) {
                    (None, (Dialect::Native, None)) if inner.cnpg => {
                        (Dialect::Cnpg, Some("cnpg.io/reload"))
                    }
                    (None, detected) => detected,
                    (Some(told), _) => (told, None),
                };
                let open = told.is_none() && field.is_none();
                queries(&mut walk, &packlike, &pack, (dialect, open), &mut packs);
                packs.files.push((path, dialect, field));
            }
            walk.inside = None;
        }
    }
    if manifests.is_empty() || !documents.is_empty() {
        let (dialect, field) = match told {
            Some(told) => (told, None),
            None => dialect::detect(&documents),
        };
        let open = told.is_none() && field.is_none();
        queries(&mut walk, &documents, &pack, (dialect, open), &mut packs);
        packs.files.push((file.to_owned(), dialect, field));
    }
    packs.problems = walk.problems;
    packs.problems.sort();
    packs.problems.dedup();
    packs
}

/// A text's documents; what is wrong with it is noted.
fn documents(walk: &mut Walk, parsed: Result<Parsed, Fault>) -> Vec<Node> {
    let Parsed { documents, faults } = parsed.unwrap_or_else(|fault| {
        walk.error(fault.at, fault.what, fault.remedy);
        Parsed::default()
    });
    for fault in faults {
        walk.hint(fault.at, fault.what, fault.remedy);
    }
    documents
}

/// Adds the queries of a text's documents to `packs`. Where it is open which dialect they speak,
/// they may be another program's, which finds an application's tables in `public`.
fn queries(
    walk: &mut Walk,
    documents: &[Node],
    pack: &Arc<str>,
    (dialect, open): (Dialect, bool),
    packs: &mut Packs,
) {
    for document in documents {
        let Some(entries) = walk.map(document, "the file") else { continue };
        for entry in entries {
            let read = match dialect {
                Dialect::Native => native::query(walk, pack, entry),
                Dialect::Pgsty => pgsty::query(walk, pack, entry),
                Dialect::PostgresExporter | Dialect::Cnpg => {
                    foreign::query(walk, pack, dialect, entry)
                }
            };
            let Some(mut query) = read else { continue };
            if open {
                query.search_path = Query::FOREIGN_PATH;
            }
            let found = lint::lint(&query);
            let sound = !found.iter().any(|problem| problem.fatal);
            walk.problems.extend(found);
            if sound {
                packs.add(Packs { queries: vec![Arc::new(query)], ..Packs::default() });
            }
        }
    }
}
