//! Dependencies between the modules of src/ point down: between rooms only as `ALLOWED` lists, and without cycles. A
//! room is a module in the code map of ARCHITECTURE.md; the ground floor is its shared modules.
//!
//! A path in code that starts with `crate::` or `super::`, outside `#[cfg(test)]` modules, is a dependency on the module
//! that defines its item: an item that another module imports or re-exports is followed to there. A module's own file
//! and its children may use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms of each process and of the ground floor, from the top down: each may use the rooms in its list, and its
/// own submodules. `ground` is every room of the ground floor.
const ALLOWED: &[(&str, &[&str])] = &[
    ("edge::process", &["edge::net", "edge::serve", "edge::variants", "edge::renderer", "ground"]),
    ("edge::net", &["edge::serve", "edge::http", "ground"]),
    ("edge::serve", &["edge::variants", "edge::renderer", "edge::http", "ground"]),
    ("edge::variants", &["edge::renderer", "ground"]),
    ("edge::renderer", &["ground"]),
    ("edge::http", &["ground"]),
    ("edge", &["edge::process", "edge::net", "ground"]),
    (
        "render::startup",
        &[
            "render::server",
            "render::service",
            "render::sandbox",
            "render::origin",
            "render::pipeline",
            "render::purge_hook",
            "render::s3",
            "render::vips",
            "render::process",
            "ground",
        ],
    ),
    ("render::server", &["render::service", "render::purge_hook", "render::pool", "ground"]),
    (
        "render::service",
        &[
            "render::origin",
            "render::originals",
            "render::pipeline",
            "render::cache_write",
            "render::sandbox",
            "render::admission",
            "render::watchdog",
            "render::decode_events",
            "render::vips",
            "render::results",
            "render::journal",
            "render::purge_hook",
            "render::sns",
            "ground",
        ],
    ),
    (
        "render::results",
        &[
            "render::journal",
            "render::result_object",
            "render::s3",
            "render::http",
            "render::pool",
            "ground",
        ],
    ),
    ("render::journal", &["render::result_object", "render::s3", "render::http", "ground"]),
    ("render::result_object", &["render::s3", "ground"]),
    ("render::purge_hook", &["render::http", "ground"]),
    ("render::sns", &["render::http", "ground"]),
    ("render::originals", &["render::origin", "render::cache_write", "ground"]),
    ("render::cache_write", &["render::sandbox", "ground"]),
    (
        "render::sandbox",
        &["render::origin", "render::s3", "render::http", "render::read_path", "ground"],
    ),
    (
        "render::origin",
        &["render::s3", "render::http", "render::read_path", "render::unsafe_key", "ground"],
    ),
    ("render::s3", &["render::http", "render::read_path", "render::unsafe_key", "ground"]),
    ("render::http", &["render::read_path", "ground"]),
    ("render::read_path", &["ground"]),
    ("render::unsafe_key", &["ground"]),
    (
        "render::once",
        &["render::service", "render::sandbox", "render::vips", "render::process", "ground"],
    ),
    ("render::online", &["render::origin", "render::results", "ground"]),
    ("render::bench", &["render::codec", "render::vips"]),
    ("render::pipeline", &["render::codec", "render::vips", "ground"]),
    ("render::watchdog", &["render::vips", "ground"]),
    ("render::codec", &["ground"]),
    ("render::vips", &["ground"]),
    ("render::admission", &["ground"]),
    ("render::decode_events", &["ground"]),
    ("render::pool", &["ground"]),
    ("render::process", &["ground"]),
    ("render", &["render::startup", "render::once", "render::online", "ground"]),
    ("documents", &["cli", "config", "error", "file_type", "format", "log", "metrics", "options"]),
    ("cli", &["cache_cli", "init", "render_cli"]),
    ("cache_cli", &["cache", "config", "key", "log", "time"]),
    ("health", &["config"]),
    ("init", &["config"]),
    (
        "render_cli",
        &["config", "format", "machine", "options", "render_call", "renderer_command", "wire"],
    ),
    ("render_call", &["error", "media_type", "wire"]),
    ("renderer_command", &["wire"]),
    ("wire", &["config", "machine"]),
    ("metrics", &["accept", "error", "media_type", "phases", "sync", "time", "token"]),
    ("phases", &["error", "media_type", "time"]),
    ("renderer_status", &["key"]),
    ("token", &["config", "key", "options"]),
    (
        "config",
        &[
            "accept",
            "cache",
            "cache_control",
            "cache_tag",
            "key",
            "options",
            "file_type",
            "format",
            "media_type",
            "network",
            "quality",
            "log",
            "machine",
        ],
    ),
    ("options", &["accept", "file_type", "format", "key", "quality"]),
    ("cache", &["cache_control", "file_stamp", "log", "media_type", "quality", "sync", "time"]),
    ("accept", &["format"]),
    ("shared_journal", &["cache"]),
    ("purge_table", &["cache", "shared_journal"]),
    ("singleflight", &["sync"]),
    ("log", &["sync", "time"]),
    ("cache_control", &[]),
    ("cache_tag", &["cache"]),
    ("calendar", &[]),
    ("certificate_expiry", &["calendar"]),
    ("check_interval", &[]),
    ("error", &[]),
    ("error_image_timeout", &[]),
    ("file_stamp", &[]),
    ("file_type", &["format"]),
    ("format", &[]),
    ("key", &[]),
    ("machine", &[]),
    ("media_type", &["file_type", "format"]),
    ("network", &[]),
    ("quality", &[]),
    ("sync", &[]),
    ("testing", &[]),
    ("time", &[]),
];

type Module = Vec<String>;

/// The names that a module imports, each with its absolute path.
type Imports = BTreeMap<String, Module>;

/// Every module of src/ with its file, the binary's main.rs left out.
fn modules() -> BTreeMap<Module, String> {
    fn add(directory: &Path, module: &Module, found: &mut BTreeMap<Module, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let child = [module.as_slice(), std::slice::from_ref(&name)].concat();
            if path.is_dir() {
                add(&path, &child, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && name != "main"
            {
                let module = if name == "mod" || name == "lib" { module.clone() } else { child };
                found.insert(module, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    add(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Vec::new(), &mut found);
    found
}

/// The text before the unit tests, without comments and strings of documentation.
fn code(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("mod tests {"));
    lines.filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |code, line| {
        code + line.split(" // ").next().unwrap_or_default() + "\n"
    })
}

/// The modules that files of `#[cfg(test)]` hold.
fn test_modules(modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let mut tests = BTreeSet::new();
    for (module, text) in modules {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            if let Some((_, name)) = pair[1].trim_end_matches(';').split_once("mod ") {
                tests.insert([module.as_slice(), &[name.to_owned()]].concat());
            }
        }
    }
    tests
}

/// The paths of a file as absolute module paths, still followed by the names of items.
fn paths(module: &Module, code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        expand(module, &code[at..], &mut found);
    }
    found.into_iter().map(|(_, path)| path).collect()
}

/// The names that the `use` declarations of a file import from modules of src/.
fn imports(module: &Module, code: &str, modules: &BTreeMap<Module, String>) -> Imports {
    let mut found = Vec::new();
    for (at, declaration) in code.match_indices("use ") {
        if code[..at].chars().next_back().is_none_or(char::is_whitespace) {
            expand(module, &code[at + declaration.len()..], &mut found);
        }
    }
    // Without `crate` or `super`, a path starts with a child or with the name of a crate.
    let is_of_crate = |path: &Module| {
        let first = path.len().min(module.len() + 1);
        !path.starts_with(module) || modules.contains_key(&path[..first])
    };
    found.into_iter().filter(|(_, path)| is_of_crate(path)).collect()
}

/// Reads one path, and each member of a group in braces at its end, with the names that a `use` of them would import.
fn expand(module: &Module, text: &str, found: &mut Vec<(String, Module)>) {
    let mut path = module.clone();
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        match &rest[..end] {
            "" => break,
            "crate" => path.clear(),
            "self" => {}
            "super" => drop(path.pop()),
            name => path.push(name.to_owned()),
        }
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => break,
        }
    }
    let Some(group) = rest.strip_prefix('{') else {
        let alias = rest.strip_prefix(" as ").map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            rest[..end].to_owned()
        });
        let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
        return found.push((name, path));
    };
    let (mut depth, mut start) = (1, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            let member = group[start..at].trim();
            if !member.is_empty() {
                expand(&path, member, found);
            }
            start = at + 1;
        }
        if depth == 0 {
            return;
        }
    }
}

/// The module that defines the item of a path.
fn definer(
    mut path: Module,
    modules: &BTreeMap<Module, String>,
    imports: &BTreeMap<Module, Imports>,
) -> Option<Module> {
    // An import may name another import. No chain is longer.
    for _ in 0..10 {
        let length =
            (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
        let imported = path.get(length).and_then(|name| imports[&path[..length]].get(name));
        let Some(imported) = imported else {
            path.truncate(length);
            return Some(path);
        };
        path = [imported.as_slice(), &path[length + 1..]].concat();
    }
    panic!("imports in a circle: {}", path.join("::"));
}

/// The dependencies between modules, without those of tests.
fn dependencies() -> BTreeSet<(Module, Module)> {
    let modules = modules();
    let tests = test_modules(&modules);
    let is_test = |module: &Module| tests.iter().any(|test| module.starts_with(test));
    let imports: BTreeMap<Module, Imports> = modules
        .iter()
        .map(|(module, text)| (module.clone(), imports(module, &code(text), &modules)))
        .collect();
    let mut dependencies = BTreeSet::new();
    for (module, text) in modules.iter().filter(|(module, _)| !is_test(module)) {
        for path in paths(module, &code(text)) {
            let Some(used) = definer(path, &modules, &imports) else { continue };
            if used != *module && !is_test(&used) {
                dependencies.insert((module.clone(), used));
            }
        }
    }
    assert!(dependencies.len() > 200, "paths are not found: {}", dependencies.len());
    dependencies
}

fn room(module: &Module) -> &'static str {
    let name = module.join("::");
    let is_in = |room: &str| name == room || name.starts_with(&format!("{room}::"));
    let room = ALLOWED.iter().map(|(room, _)| *room).find(|room| is_in(room));
    room.unwrap_or_else(|| panic!("{name} is in no room: add its room to ALLOWED"))
}

fn is_on_ground_floor(room: &str) -> bool {
    !["edge", "render"].contains(&room.split("::").next().unwrap_or_default())
}

#[test]
fn dependencies_between_rooms_are_those_that_are_allowed() {
    let mut wrong = Vec::new();
    for (module, used) in dependencies() {
        // lib.rs starts both processes.
        if module.is_empty() || used.is_empty() {
            continue;
        }
        let from = room(&module);
        let to = room(&used);
        let allowed = ALLOWED.iter().find(|(room, _)| *room == from).unwrap().1;
        let is_allowed =
            allowed.contains(&to) || (allowed.contains(&"ground") && is_on_ground_floor(to));
        // The root of a process may be used by its rooms.
        if from != to && !is_allowed && to != "edge" && to != "render" {
            wrong.push(format!("{} ({from}) -> {} ({to})", module.join("::"), used.join("::")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_modules_use_each_other_in_a_circle() {
    // At each level: the children of one module, each with everything below it.
    let mut levels: BTreeMap<Module, BTreeSet<(String, String)>> = BTreeMap::new();
    for (module, used) in dependencies() {
        let common = module.iter().zip(&used).take_while(|(one, other)| one == other).count();
        if let (Some(from), Some(to)) = (module.get(common), used.get(common)) {
            let level = levels.entry(module[..common].to_vec()).or_default();
            level.insert((from.clone(), to.clone()));
        }
    }
    let mut circles = Vec::new();
    for (level, arrows) in &levels {
        let reachable = |from: &str| {
            let mut seen = BTreeSet::new();
            let mut next = vec![from.to_owned()];
            while let Some(at) = next.pop() {
                for (_, to) in arrows.iter().filter(|(from, _)| *from == at) {
                    if seen.insert(to.clone()) {
                        next.push(to.clone());
                    }
                }
            }
            seen
        };
        let names: BTreeSet<&String> = arrows.iter().map(|(from, _)| from).collect();
        let circle: Vec<&str> = names
            .iter()
            .filter(|name| reachable(name).contains(**name))
            .map(|name| name.as_str())
            .collect();
        if !circle.is_empty() {
            circles.push(format!("{}: {}", level.join("::"), circle.join(", ")));
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}
