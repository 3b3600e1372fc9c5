//! Checks that the directories of a configuration's handlers can be written and do not conflict.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use super::Config;
use super::cache::Store;
use super::error::{ConfigError, Result};
use super::handler::Handler;

/// Creates the directories, tries to write into each, and checks that handlers that share one have the same settings
/// for it.
pub fn check(config: &Config) -> Result<()> {
    let mut proven = HashSet::new();
    for (index, handler) in config.handlers.iter().enumerate() {
        for store in handler.stores().filter(|store| proven.insert(&store.path)) {
            prove_writable(&store.path).map_err(|error| {
                let message = format!("{}: can't be written: {error}", store.path.display());
                error_of(index, store.field, message)
            })?;
        }
    }
    let stores = check_shared(&config.handlers)?;
    check_nested(&config.handlers, &stores)
}

fn error_of(handler: usize, field: &str, message: String) -> ConfigError {
    ConfigError::new(format!("handlers[{handler}].{field}"), message)
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

/// Directories by canonical path, each as its first handler uses it, with the index of that handler.
type Stores<'h> = HashMap<PathBuf, (usize, &'h Store)>;

/// Checks that handlers that share a directory agree about it.
fn check_shared(handlers: &[Handler]) -> Result<Stores<'_>> {
    let mut stores = Stores::new();
    for (index, handler) in handlers.iter().enumerate() {
        for store in handler.stores() {
            let (first, other) = *stores.entry(place(&store.path)).or_insert((index, store));
            if let Some((field, message)) = disagreement(store, other, first) {
                return Err(error_of(index, field, message));
            }
        }
    }
    Ok(stores)
}

/// The field in which a use of a directory disagrees with that of another handler, and the problem.
fn disagreement(store: &Store, other: &Store, handler: usize) -> Option<(&'static str, String)> {
    let differs = || format!("handlers[{handler}] has the same {} and another value", store.field);
    if store.field != other.field {
        Some((store.field, format!("is the {} of handlers[{handler}]", other.field)))
    } else if store.max_bytes != other.max_bytes {
        Some((store.max_bytes_field, differs()))
    } else if store.min_free != other.min_free {
        Some(("cache_min_free", differs()))
    } else {
        None
    }
}

/// Checks that no directory is inside the layout of a cache, whose files are swept.
fn check_nested(handlers: &[Handler], stores: &Stores) -> Result<()> {
    for (index, handler) in handlers.iter().enumerate() {
        let own = handler.stores().map(|store| (store.field, store.path.as_path()));
        let own = own.map(|(field, path)| (format!("handlers[{index}].{field}"), path));
        let originals = handler.origins.iter().filter_map(|origin| {
            origin.local_directory().map(|path| (origin.json_path().to_owned(), path))
        });
        for (field, path) in own.chain(originals) {
            let path = place(path);
            let layouts = path.ancestors().filter(|ancestor| {
                ancestor.file_name().and_then(OsStr::to_str).is_some_and(crate::cache::is_layout)
            });
            let mut around = layouts.filter_map(|layout| stores.get(layout.parent()?));
            if let Some((other, _)) = around.next() {
                let message =
                    format!("is inside a cache directory of handlers[{other}], among its entries");
                return Err(ConfigError::new(field, message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Checks a configuration with these handlers, whose paths begin with the directory.
    fn problem(root: &Path, handlers: &[Value]) -> Option<String> {
        let text = json!({ "handlers": handlers }).to_string().replace("ROOT", root.to_str()?);
        let config = crate::config::parse(&text, "config.json").unwrap();
        check(&config).err().map(|error| error.to_string())
    }

    fn bucket(name: &str, fields: Value) -> Value {
        let mut handler = json!({"name": name, "aws": {"bucket_name": "b", "anonymous": true}});
        handler.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        handler
    }

    #[test]
    fn handlers_that_share_a_directory_must_agree() {
        let temp = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(temp.path(), temp.path().join("link")).unwrap();
        let first = bucket(
            "a",
            json!({
                "cache_path": "ROOT/c", "cache_max_bytes": 5, "cache_min_free": 6,
                "originals_cache": {"path": "ROOT/o", "max_bytes": 7},
            }),
        );
        for (second, expected) in [
            (json!({"cache_path": "ROOT/d"}), None),
            (json!({"cache_path": "ROOT/link/c", "cache_max_bytes": 5, "cache_min_free": 6}), None),
            (
                json!({"cache_path": "ROOT/link/./c", "cache_min_free": 6}),
                Some("cache_max_bytes: handlers[0] has the same cache_path and another value"),
            ),
            (
                json!({"cache_path": "ROOT/c", "cache_max_bytes": 5}),
                Some("cache_min_free: handlers[0] has the same cache_path and another value"),
            ),
            (
                json!({"originals_cache": {"path": "ROOT/o"}}),
                Some(
                    "originals_cache.max_bytes: handlers[0] has the same originals_cache.path and \
                     another value",
                ),
            ),
            (
                json!({"cache_path": "ROOT/o"}),
                Some("cache_path: is the originals_cache.path of handlers[0]"),
            ),
            (
                json!({"cache_path": "ROOT/e", "originals_cache": {"path": "ROOT/link/e"}}),
                Some("originals_cache.path: is the cache_path of handlers[1]"),
            ),
        ] {
            let got = problem(temp.path(), &[first.clone(), bucket("b", second)]);
            assert_eq!(got, expected.map(|sentence| format!("handlers[1].{sentence}")));
        }
    }

    #[test]
    fn no_directory_is_inside_the_layout_of_a_cache() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("c/v1/originals")).unwrap();
        let cache = bucket("a", json!({"cache_path": "ROOT/c"}));
        for (other, expected) in [
            (bucket("b", json!({"cache_path": "ROOT/c/inside"})), None),
            (bucket("b", json!({"cache_path": "ROOT/v1"})), None),
            (bucket("b", json!({"cache_path": "ROOT/c/v1"})), Some("cache_path")),
            (bucket("b", json!({"cache_path": "ROOT/c/v2/x/y"})), Some("cache_path")),
            (
                bucket("b", json!({"originals_cache": {"path": "ROOT/c/v1/x"}})),
                Some("originals_cache.path"),
            ),
            (json!({"name": "b", "directory": "ROOT/c/v1/originals"}), Some("directory")),
        ] {
            for (own, handlers) in
                [(1, [cache.clone(), other.clone()]), (0, [other.clone(), cache.clone()])]
            {
                let sentence = |field| {
                    format!(
                        "handlers[{own}].{field}: is inside a cache directory of handlers[{}], \
                         among its entries",
                        1 - own
                    )
                };
                assert_eq!(problem(temp.path(), &handlers), expected.map(sentence));
            }
        }
    }
}
