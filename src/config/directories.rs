//! Checks that the directories of a configuration's handlers can be written and do not conflict.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::Config;
use super::error::{ConfigError, Result};
use super::handler::Handler;

/// Creates the directories, tries to write into each, and checks that handlers that share one have the same settings
/// for it.
pub fn check(config: &Config) -> Result<()> {
    for (index, handler) in config.handlers.iter().enumerate() {
        for (field, directory) in handler.stores() {
            prove_writable(directory).map_err(|error| {
                let message = format!("{}: can't be written: {error}", directory.display());
                ConfigError::new(format!("handlers[{index}].{field}"), message)
            })?;
        }
    }
    for (index, handler) in config.handlers.iter().enumerate() {
        for (at, other) in config.handlers.iter().enumerate() {
            let conflict = if at <= index { disagreement(handler, other) } else { None }
                .or_else(|| nested(handler, other));
            if let Some((field, problem)) = conflict {
                let message = problem.replace("{other}", &format!("handlers[{at}]"));
                return Err(ConfigError::new(format!("handlers[{index}].{field}"), message));
            }
        }
    }
    Ok(())
}

/// Creates the directory and a file in it: permission bits do not show read-only mounts and ACLs.
pub fn prove_writable(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    // Another user of the directory can neither guess the name nor have a link followed.
    let number = RandomState::new().build_hasher().finish();
    let probe = directory.join(format!(".write-test-{number:016x}"));
    File::create_new(&probe)?;
    fs::remove_file(&probe)
}

/// The canonical path of a directory, the same for every spelling.
pub fn place(directory: &Path) -> PathBuf {
    fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

/// The field in which a handler disagrees with another one that has the same directory, and the problem.
fn disagreement(handler: &Handler, other: &Handler) -> Option<(&'static str, &'static str)> {
    let same = |one: &Path, two: &Path| place(one) == place(two);
    if let (Some(originals), Some(cache)) = (&handler.originals, &other.cache)
        && same(&originals.path, &cache.path)
    {
        return Some(("originals_cache.path", "is the cache_path of {other}"));
    }
    if let (Some(cache), Some(originals)) = (&handler.cache, &other.originals)
        && same(&cache.path, &originals.path)
    {
        return Some(("cache_path", "is the originals_cache.path of {other}"));
    }
    if let (Some(one), Some(two)) = (&handler.cache, &other.cache)
        && same(&one.path, &two.path)
    {
        let differs = "{other} has the same cache_path and another value";
        if one.max_bytes != two.max_bytes {
            return Some(("cache_max_bytes", differs));
        }
        if one.min_free != two.min_free {
            return Some(("cache_min_free", differs));
        }
    }
    if let (Some(one), Some(two)) = (&handler.originals, &other.originals)
        && same(&one.path, &two.path)
        && one.max_bytes != two.max_bytes
    {
        return Some((
            "originals_cache.max_bytes",
            "{other} has the same originals_cache.path and another value",
        ));
    }
    None
}

/// The field that names a directory inside the layout of the other handler's cache, whose files are swept.
fn nested(handler: &Handler, other: &Handler) -> Option<(&'static str, &'static str)> {
    let originals = handler.origin.local_directory().map(|directory| ("directory", directory));
    let (field, _) = handler.stores().chain(originals).find(|(_, directory)| {
        let directory = place(directory);
        other.stores().any(|(_, cache)| {
            let rest = directory.strip_prefix(place(cache)).ok();
            let first = rest.and_then(|rest| match rest.components().next() {
                Some(Component::Normal(name)) => name.to_str(),
                _ => None,
            });
            first.is_some_and(crate::cache::is_layout)
        })
    })?;
    Some((field, "is inside a cache directory of {other}, among its entries"))
}
