//! `cache purge`: removes all entries, those of a key, or those below a prefix.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::{Directory, Out, entries, printable, size};
use crate::cache::{
    Found, Inspected, LAYOUT, ORIGINAL, OnDisk, entries_of, inspect, is_damage, key_directory,
    key_hash,
};
use crate::config::{Config, Handler};
use crate::key;
use crate::log::print_error;

/// Which entries are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `--all`
    All,
    /// `/{handler}/{key}`, or `/{handler}/{prefix}/` for everything below it, as on the command line.
    Path(String),
}

#[derive(Debug, Default)]
struct Purge {
    removed: u64,
    bytes: u64,
    failed: u64,
    damaged: u64,
}

/// Returns whether everything in the scope was removed. An error is a sentence about a path that does not fit the
/// configuration.
pub fn run(
    directories: &[Directory],
    config: &Config,
    scope: &Scope,
    out: &mut Out,
) -> Result<bool, String> {
    let target = match scope {
        Scope::All => None,
        Scope::Path(path) => Some(target(path, config)?),
    };
    let mut is_ok = true;
    for directory in directories {
        let mut purge = Purge::default();
        match &target {
            None => purge.purge_all(directory),
            Some((handler, _))
                if !directory.handlers.iter().any(|one| one.route == handler.route) =>
            {
                continue;
            }
            Some((handler, key)) if key.is_empty() || key.ends_with('/') => {
                purge.purge_prefix(directory, handler, key, out);
            }
            Some((handler, key)) => purge.purge_key(directory, handler, key, out),
        }
        if purge.removed > 0 {
            directory.mark_as_purged();
        }
        let Purge { removed, bytes, failed, damaged } = purge;
        out.line(format_args!(
            "{}: {} removed, {}",
            printable(&directory.path),
            entries(removed),
            size(bytes)
        ));
        if damaged > 0 {
            out.line(format_args!(
                "{}: {} damaged and skipped; see s3imageserver cache verify",
                printable(&directory.path),
                entries(damaged)
            ));
        }
        is_ok &= failed == 0;
    }
    Ok(is_ok)
}

/// The handler and the key or prefix that a path names.
fn target<'c>(path: &str, config: &'c Config) -> Result<(&'c Handler, String), String> {
    let refuse = |why: &str| Err(format!("{path:?}: {why}"));
    if path.contains(['?', '#']) {
        return refuse("must be a path without a query; a ? in a key is written %3F");
    }
    let Some((route, key)) = key::split_path(path) else {
        return refuse("must be /{handler}/{key} or /{handler}/{prefix}/, percent-encoded UTF-8");
    };
    let Some(handler) = config.handlers.iter().find(|handler| handler.route == route) else {
        return refuse("no handler has this prefix");
    };
    if !key.is_empty() && !key::is_valid(&key) {
        return refuse("is not a valid key");
    }
    if handler.cache.is_none() && handler.originals.is_none() {
        return refuse("this handler has no cache");
    }
    Ok((handler, key))
}

impl Purge {
    fn purge_all(&mut self, directory: &Directory) {
        self.walk(directory, &mut |purge, entry| {
            purge.remove(entry);
        });
    }

    fn purge_prefix(
        &mut self,
        directory: &Directory,
        handler: &Handler,
        prefix: &str,
        out: &mut Out,
    ) {
        let identity = handler.identity();
        self.walk(directory, &mut |purge, entry| match inspect(&entry.path) {
            Ok(Some(found)) if found.name.handler == identity => {
                if found.name.key.starts_with(prefix) && purge.remove(entry) {
                    out.line(format_args!("{}", target_of(handler, &found)));
                }
            }
            Ok(_) => {}
            Err(error) if is_damage(&error) => purge.damaged += 1,
            Err(error) => purge.report_failure(&entry.path, &error),
        });
    }

    fn purge_key(&mut self, directory: &Directory, handler: &Handler, key: &str, out: &mut Out) {
        let key_hash = key_hash(&handler.identity(), key);
        let entries = match entries_of(&directory.path, key_hash) {
            Ok(entries) => entries,
            Err(error) => {
                return self.report_failure(
                    &key_directory(&directory.path.join(LAYOUT), key_hash),
                    &error,
                );
            }
        };
        for entry in entries {
            // The directory is that of the key, so a damaged entry is removed as well.
            let name = match inspect(&entry.path) {
                Ok(Some(found)) => target_of(handler, &found),
                _ => printable(&entry.path),
            };
            if self.remove(&entry) {
                out.line(format_args!("{name}"));
            }
        }
    }

    /// Walks a directory, and removes abandoned temporary files and empty directories.
    fn walk(&mut self, directory: &Directory, visit: &mut dyn FnMut(&mut Purge, &OnDisk)) {
        directory.walk(&mut |found| match found {
            Found::Entry(entry) => visit(self, &entry),
            Found::Temporary(path, written) => {
                if crate::cache::remove_abandoned(&path, written).is_ok_and(|removed| removed) {
                    remove_empty_directories(&path);
                }
            }
            Found::EmptyDirectory(path) => {
                if fs::remove_dir(&path).is_ok() {
                    remove_empty_directories(&path);
                }
            }
            Found::Unreadable(path, error) => self.report_failure(&path, &error),
            Found::Foreign => {}
        });
    }

    /// Removes an entry. Returns whether it existed.
    fn remove(&mut self, entry: &OnDisk) -> bool {
        match fs::remove_file(&entry.path) {
            Ok(()) => {
                self.removed += 1;
                self.bytes += entry.disk_bytes;
                remove_empty_directories(&entry.path);
                true
            }
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                self.report_failure(&entry.path, &error);
                false
            }
        }
    }

    fn report_failure(&mut self, path: &Path, error: &io::Error) {
        self.failed += 1;
        print_error!("{}: {error}", printable(path));
    }
}

/// Removes the parent directories, up to that of the layout, as far as they are empty.
fn remove_empty_directories(path: &Path) {
    for directory in path.ancestors().skip(1).take_while(|directory| !directory.ends_with(LAYOUT)) {
        if fs::remove_dir(directory).is_err() {
            break;
        }
    }
}

/// The path and query of an entry.
fn target_of(handler: &Handler, entry: &Inspected) -> String {
    let path = key::to_path(&handler.route, &entry.name.key);
    match entry.name.options.as_str() {
        ORIGINAL => format!("{path} (the original)"),
        "" => path,
        options => format!("{path}?{options}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_cli::Subcommand;
    use crate::cache_cli::testing::{TestCaches, output};

    fn purge(path: &str, config: &Config) -> (String, bool) {
        output(&Subcommand::Purge(Scope::Path(path.into())), config).unwrap()
    }

    #[test]
    fn purge_of_a_key_removes_its_variants_and_original_only() {
        let caches = TestCaches::new();
        let config = caches.config(&[("h", "x", Some("o")), ("i", "x", None)]);
        for (handler, key, options) in [
            (0, "a b/c?.png", "w=1"),
            (0, "a b/c?.png", "w=2"),
            (0, "a b/c?.png", ORIGINAL),
            (0, "a b/c", "w=1"),
            (1, "a b/c?.png", "w=1"),
        ] {
            caches.store(&config, handler, key, options, 0);
        }
        let damaged = caches
            .files()
            .into_iter()
            .find(|file| inspect(file).unwrap().unwrap().name.options == "w=2");
        fs::write(damaged.unwrap(), b"x").unwrap();
        let (text, is_ok) = purge("/h/a%20b/c%3F.png", &config);
        assert!(is_ok && text.contains("/h/a%20b/c%3F.png?w=1\n"), "{text}");
        assert!(text.contains("/h/a%20b/c%3F.png (the original)\n"), "{text}");
        assert!(
            text.contains("x: 2 entries removed") && text.contains("o: 1 entry removed"),
            "{text}"
        );
        assert_eq!(caches.entries(), 2);
        assert!(purge("/h/a%20b/c%3F.png", &config).0.contains("x: 0 entries removed"));
    }

    #[test]
    fn purge_of_a_prefix_ends_at_its_slash_and_concerns_one_handler() {
        let caches = TestCaches::new();
        let config = caches.config(&[("h", "x", Some("o")), ("i", "x", None)]);
        for (handler, key) in
            [(0, "a/1"), (0, "a/b/2"), (0, "ab/3"), (0, "a"), (0, "z"), (1, "a/1")]
        {
            caches.store(&config, handler, key, "w=1", 0);
        }
        caches.store(&config, 0, "a/1", ORIGINAL, 0);
        let is_of = |file: &Path, key: &str| inspect(file).unwrap().unwrap().name.key == key;
        let damaged = caches.files().into_iter().find(|file| is_of(file, "z")).unwrap();
        fs::write(&damaged, b"damaged").unwrap();
        let (text, is_ok) = purge("/h/a/", &config);
        for line in ["/h/a/1?w=1\n", "/h/a/b/2?w=1\n", "/h/a/1 (the original)\n"] {
            assert!(text.contains(line), "{line} {text}");
        }
        assert!(is_ok && text.matches("/h/").count() == 3 && !text.contains("/i/"), "{text}");
        assert!(text.contains("x: 1 entry damaged and skipped"), "{text}");
        assert_eq!(caches.entries(), 4);
        purge("/h/", &config);
        let left: Vec<_> = caches.files().into_iter().filter(|file| *file != damaged).collect();
        assert!(left.len() == 1 && is_of(&left[0], "a/1"), "only the entry of i is left: {left:?}");
    }

    #[test]
    fn purge_all_keeps_foreign_and_locked_files() {
        let caches = TestCaches::new();
        let config = caches.config(&[("h", "x", Some("o"))]);
        for key in ["a", "b", "c"] {
            caches.store(&config, 0, key, "w=1", 0);
        }
        caches.store(&config, 0, "a", ORIGINAL, 0);
        let files = caches.files();
        let sibling = |at: usize, name: &str| files[at].with_file_name(name);
        let foreign = sibling(1, "notes.txt");
        let abandoned = sibling(2, ".tmp-1-1");
        let written = sibling(3, ".tmp-2-2");
        fs::write(&foreign, b"mine").unwrap();
        fs::write(&abandoned, b"").unwrap();
        let writer = fs::File::create(&written).unwrap();
        writer.lock().unwrap();
        fs::create_dir_all(caches.path().join("x/v1/00/00/00")).unwrap();
        let (text, is_ok) = output(&Subcommand::Purge(Scope::All), &config).unwrap();
        assert!(is_ok && text.contains("o: 1 entry removed, 8.0 KiB"), "{text}");
        assert!(text.contains("x: 3 entries removed, 24.0 KiB"), "{text}");
        assert!(
            caches.entries() == 0 && foreign.exists() && !abandoned.exists() && written.exists()
        );
        assert!(!caches.path().join("x/v1/00").exists(), "empty directories are removed");
        assert!(caches.path().join("x/.purged").exists());
    }

    #[test]
    fn paths_that_do_not_fit_the_configuration_are_errors() {
        let caches = TestCaches::new();
        let config = caches.config(&[("h", "x", None)]);
        for path in ["", "h/a", "/h", "/", "/i/a", "/h/a?w=1", "/h/%zz", "/h/../a", "/h/a/./"] {
            let refusal =
                output(&Subcommand::Purge(Scope::Path(path.into())), &config).unwrap_err();
            assert!(refusal.starts_with(&format!("{path:?}: ")), "{refusal}");
        }
        assert!(!caches.path().join("x/.purged").exists());
    }
}
