//! Circles of imports between the files of one room: who names whom, through the re-exports of
//! `mod.rs`, test modules aside.

use std::collections::{BTreeMap, BTreeSet};

/// A module's path below `src`, such as `collect::board`; `collect` is `collect/mod.rs`.
type Module = Vec<String>;

/// Every circle of files of one room, each as the names along the way, the first again at the end.
/// `sources`: each file's path below `src` and its text.
pub(super) fn circles(sources: &[(String, String)]) -> Vec<Vec<String>> {
    let files = Files::new(sources);
    let mut edges: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, file) in &files.0 {
        let named = file.named.iter().filter_map(|path| files.home(module, path));
        let same_room = named.filter(|home| home[0] == module[0] && home != module);
        edges.insert(module, same_room.collect());
    }
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut seen: BTreeSet<Module> = BTreeSet::new();
    for &module in edges.keys() {
        if seen.contains(module) {
            continue;
        }
        if let Some(way) = way_back(module, &edges) {
            seen.extend(way.iter().cloned());
            found.push(way.iter().map(|step| step.join("::")).collect());
        }
    }
    found
}

/// The shortest way from `start` over the edges to `start`.
fn way_back(start: &Module, edges: &BTreeMap<&Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in edges.get(way.last()?).into_iter().flatten() {
                let way = || way.iter().chain([next]).cloned().collect::<Vec<_>>();
                if next == start {
                    return Some(way());
                }
                if seen.insert(next.clone()) {
                    longer.push(way());
                }
            }
        }
        ways = longer;
    }
    None
}

/// What one file says.
struct File {
    /// Paths that it names, without what it only hands on.
    named: Vec<Module>,
    /// Names that stand for something elsewhere, also those that it hands on.
    used: Vec<(String, Module)>,
}

struct Files(BTreeMap<Module, File>);

impl Files {
    fn new(sources: &[(String, String)]) -> Self {
        let files = sources.iter().filter_map(|(path, text)| {
            let module = path.strip_suffix(".rs")?.split('/').map(str::to_owned);
            let mut module: Module = module.collect();
            if module.last().is_some_and(|name| name == "mod") {
                module.pop();
            }
            let is_test = |name: &String| name.ends_with("tests") || name == "testing";
            let house = matches!(module.first()?.as_str(), "lib" | "main");
            (!house && !module.iter().any(is_test)).then(|| (module, File::read(text)))
        });
        Self(files.collect())
    }

    /// The file in which that is written which `path` names in the file of `module`; none where it is not
    /// of this crate.
    fn home(&self, module: &Module, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.descend(Module::new(), rest, 8),
            "self" => self.descend(module.clone(), rest, 8),
            "super" => {
                let above = module.split_last()?.1.to_vec();
                match rest.first() {
                    Some(next) if next == "super" => self.home(&above, rest),
                    _ => self.descend(above, rest, 8),
                }
            }
            child => {
                let below: Module = module.iter().cloned().chain([child.to_owned()]).collect();
                self.0.contains_key(&below).then(|| self.descend(below, rest, 8))?
            }
        }
    }

    /// From `module` along `path`, through re-exports, to the file that writes what it names. `patience`
    /// ends what would hand on in a circle.
    fn descend(&self, module: Module, path: &[String], patience: usize) -> Option<Module> {
        let Some((first, rest)) = path.split_first() else { return Some(module) };
        let below: Module = module.iter().cloned().chain([first.clone()]).collect();
        if self.0.contains_key(&below) {
            return self.descend(below, rest, patience);
        }
        let file = self.0.get(&module)?;
        let used = file.used.iter().find(|(name, _)| name == first);
        match used.filter(|_| patience > 0) {
            Some((_, target)) => match target.first()?.as_str() {
                "super" | "crate" => self.home(&module, target),
                _ => self.descend(module, target, patience - 1),
            },
            None => Some(module),
        }
    }
}

impl File {
    fn read(text: &str) -> Self {
        let mut file = Self { named: Vec::new(), used: Vec::new() };
        let text = code(text);
        let mut rest = text.as_str();
        while let Some(at) = rest.find("use ") {
            let before = &rest[..at];
            let line = before.rsplit('\n').next().unwrap_or_default().trim();
            let is_use = line.is_empty() || line == "pub" || line.starts_with("pub(");
            let after = &rest[at + "use ".len()..];
            rest = after;
            let Some(end) = after.find(';').filter(|_| is_use) else { continue };
            let mut leaves = Vec::new();
            tree(&after[..end], &Module::new(), &mut leaves);
            for (name, path) in leaves {
                if line.is_empty() {
                    file.named.push(path.clone());
                }
                file.used.push((name, path));
            }
            file.paths(before);
            rest = &after[end..];
        }
        file.paths(rest);
        file
    }

    /// The paths that stand in expressions and types.
    fn paths(&mut self, text: &str) {
        let in_path = |c: char| c == '_' || c == ':' || c.is_alphanumeric();
        for word in text.split(|c| !in_path(c)) {
            let path: Module = word.split("::").map(str::to_owned).collect();
            if path.len() > 1 && path.iter().all(|name| !name.is_empty() && !name.contains(':')) {
                self.named.push(path);
            }
        }
    }
}

/// The text without comments and without its test module, which stands at the end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| line.replace("pub(in crate::", "pub(") + "\n").collect()
}

/// The leaves of what `use` names: `a::{b, c as d}` is `b` for `a::b` and `d` for `a::c`.
fn tree(text: &str, above: &Module, leaves: &mut Vec<(String, Module)>) {
    let text = text.trim();
    let along = |path: &str| -> Module {
        let names = path.split("::").map(str::trim).filter(|name| !name.is_empty());
        above.iter().cloned().chain(names.map(str::to_owned)).collect()
    };
    if let Some((path, list)) = text.split_once('{') {
        let path = along(path);
        let list = list.strip_suffix('}').unwrap_or(list);
        let mut depth = 0;
        let separate = |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        };
        list.split(separate).filter(|item| !item.trim().is_empty()).for_each(|item| {
            tree(item, &path, leaves);
        });
        return;
    }
    let (path, name) = text.split_once(" as ").map_or((text, None), |(p, n)| (p, Some(n.trim())));
    let mut path = along(path);
    if path.last().is_some_and(|name| name == "self") && path.len() > 1 {
        path.pop();
    }
    let last = path.last().cloned().unwrap_or_default();
    leaves.push((name.map_or(last, str::to_owned), path));
}

#[test]
fn a_circle_is_found_through_re_exports_paths_and_parents() {
    let circles = |texts: &[(&str, &str)]| -> Vec<String> {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        let sources: Vec<_> = texts.iter().map(owned).collect();
        circles(&sources).iter().map(|way| way.join(" > ")).collect()
    };
    let room = ("room/mod.rs", "mod a;\nmod b;\npub use a::{A, Other as One};\n");
    let none = [room, ("room/a.rs", "use super::b::B;"), ("room/b.rs", "//! super::A\nstruct B;")];
    assert!(circles(&none).is_empty());
    let through =
        |b| circles(&[room, ("room/a.rs", "use super::{b::{self, B}, c};"), ("room/b.rs", b)]);
    let found = ["room::a > room::b > room::a"];
    assert_eq!(through("use super::One;"), found, "re-exported");
    assert_eq!(through("fn f() -> crate::room::a::A {}"), found, "named where it is used");
    assert_eq!(through("use crate::{task, room::{A, c}};"), found, "in a list");
    assert!(through("#[cfg(test)]\nmod tests {\n    use super::super::A;\n}").is_empty());
    assert!(through("use super::Elsewhere;").is_empty(), "what the parent itself writes");
    let parent = [("room/mod.rs", "mod a;\nuse a::A;\nstruct P;"), ("room/a.rs", "use super::P;")];
    assert_eq!(circles(&parent), ["room > room::a > room"]);
}
