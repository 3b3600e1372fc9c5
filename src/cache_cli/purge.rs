//! `cache purge`: removes entries.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::{Directory, Out, Refusal, entries, printable, size};
use crate::cache::{
    Found, Inspected, LAYOUT, ORIGINAL, OnDisk, PurgeMark, entries_of, inspect, is_damage, source,
    source_directory, walk,
};
use crate::config::{Config, Handler};
use crate::key;
use crate::log::print_error;

/// How much is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `--all`: everything.
    All,
    /// `/{handler}/{key}`, or everything below `/{handler}/{prefix}/`; as it stands on the command line.
    Path(String),
}

#[derive(Debug, Default)]
struct Tally {
    removed: u64,
    bytes: u64,
    failed: u64,
    damaged: u64,
}

/// Whether everything that was to be removed is. An error is a path that names nothing of this configuration.
pub fn run(
    directories: &[Directory],
    config: &Config,
    scope: &Scope,
    out: &mut Out,
) -> Result<bool, Refusal> {
    let target = match scope {
        Scope::All => None,
        Scope::Path(path) => Some(target(path, config)?),
    };
    let mut is_well = true;
    for directory in directories {
        let mut tally = Tally::default();
        match &target {
            None => tally.everything(directory),
            Some((handler, _))
                if !directory.handlers.iter().any(|one| one.route == handler.route) =>
            {
                continue;
            }
            Some((handler, key)) if key.is_empty() || key.ends_with('/') => {
                tally.prefix(directory, handler, key, out);
            }
            Some((handler, key)) => tally.key(directory, handler, key, out),
        }
        if tally.removed > 0 {
            // A running server that counts what lies there counts again.
            let _ = PurgeMark::revalidate(&directory.path);
        }
        let Tally { removed, bytes, failed, damaged } = tally;
        out.line(format_args!(
            "{}: {} removed, {}",
            printable(&directory.path),
            entries(removed),
            size(bytes)
        ));
        if damaged > 0 {
            out.line(format_args!(
                "{}: {} could not be told whose they are; see s3imageserver cache verify",
                printable(&directory.path),
                entries(damaged)
            ));
        }
        is_well &= failed == 0;
    }
    Ok(is_well)
}

/// The handler and the key or prefix that a path names.
fn target<'c>(path: &str, config: &'c Config) -> Result<(&'c Handler, String), Refusal> {
    let refuse = |why: &str| Err(format!("{path:?}: {why}"));
    if path.contains(['?', '#']) {
        return refuse("must be a path without a query; a ? in a key is written %3F");
    }
    let Some((route, key)) = key::split_path(path) else {
        return refuse("must be /{handler}/{key} or /{handler}/{prefix}/, percent-encoded UTF-8");
    };
    let Some(handler) = config.handlers.iter().find(|handler| handler.route == route) else {
        return refuse("no handler of the configuration answers there");
    };
    if !key.is_empty() && !key::is_valid(&key) {
        return refuse("no key is like that");
    }
    if handler.cache.is_none() && handler.originals.is_none() {
        return refuse("nothing is cached for this handler");
    }
    Ok((handler, key))
}

impl Tally {
    fn everything(&mut self, directory: &Directory) {
        self.walk(directory, &mut |tally, entry| {
            tally.remove(entry);
        });
    }

    fn prefix(&mut self, directory: &Directory, handler: &Handler, prefix: &str, out: &mut Out) {
        let identity = handler.identity();
        let everything = prefix.is_empty();
        self.walk(directory, &mut |tally, entry| match inspect(&entry.path) {
            Ok(Some(found)) if found.name.handler == identity => {
                if (everything || found.name.key.starts_with(prefix)) && tally.remove(entry) {
                    out.line(format_args!("{}", title(handler, &found)));
                }
            }
            Ok(_) => {}
            Err(error) if is_damage(&error) => tally.damaged += 1,
            Err(error) => tally.failure(&entry.path, &error),
        });
    }

    fn key(&mut self, directory: &Directory, handler: &Handler, key: &str, out: &mut Out) {
        let source = source(&handler.identity(), key);
        let entries = match entries_of(&directory.path, source) {
            Ok(entries) => entries,
            Err(error) => {
                return self
                    .failure(&source_directory(&directory.path.join(LAYOUT), source), &error);
            }
        };
        for entry in entries {
            // Its path alone says whose it is, so a damaged one goes as well.
            let title = match inspect(&entry.path) {
                Ok(Some(found)) => title(handler, &found),
                _ => printable(&entry.path),
            };
            if self.remove(&entry) {
                out.line(format_args!("{title}"));
            }
        }
    }

    /// Goes through a directory and removes what is no entry and nobody's any more on the way.
    fn walk(&mut self, directory: &Directory, see: &mut dyn FnMut(&mut Tally, &OnDisk)) {
        let walked = walk(&directory.path, &mut |found| {
            match found {
                Found::Entry(entry) => see(self, &entry),
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
                Found::Unreadable(path, error) => self.failure(&path, &error),
                Found::Stranger => {}
            }
            true
        });
        if let Err(error) = walked {
            self.failure(&directory.path, &error);
        }
    }

    /// Whether it was there.
    fn remove(&mut self, entry: &OnDisk) -> bool {
        match fs::remove_file(&entry.path) {
            Ok(()) => {
                self.removed += 1;
                self.bytes += entry.bytes;
                remove_empty_directories(&entry.path);
                true
            }
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                self.failure(&entry.path, &error);
                false
            }
        }
    }

    fn failure(&mut self, path: &Path, error: &io::Error) {
        self.failed += 1;
        print_error!("{}: {error}", printable(path));
    }
}

/// Removes the directories above, up to that of the layout, as far as nothing is left in them.
fn remove_empty_directories(path: &Path) {
    for directory in path.ancestors().skip(1).take_while(|directory| !directory.ends_with(LAYOUT)) {
        if fs::remove_dir(directory).is_err() {
            break;
        }
    }
}

/// How a removed entry is called, as in a URL.
fn title(handler: &Handler, entry: &Inspected) -> String {
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
    use crate::cache_cli::testing::{Room, said};

    fn purged(path: &str, config: &Config) -> (String, bool) {
        said(&Subcommand::Purge(Scope::Path(path.into())), config).unwrap()
    }

    #[test]
    fn a_key_goes_with_everything_that_was_made_of_it_and_nothing_else_does() {
        let room = Room::new();
        let config = room.config(&[("h", "x", Some("o")), ("i", "x", None)]);
        for (handler, key, options) in [
            (0, "a b/c?.png", "w=1"),
            (0, "a b/c?.png", "w=2"),
            (0, "a b/c?.png", ORIGINAL),
            (0, "a b/c", "w=1"),
            (1, "a b/c?.png", "w=1"),
        ] {
            room.store(&config, handler, key, options, 0);
        }
        let damaged = room
            .files()
            .into_iter()
            .find(|file| inspect(file).unwrap().unwrap().name.options == "w=2");
        fs::write(damaged.unwrap(), b"x").unwrap();
        let (text, is_well) = purged("/h/a%20b/c%3F.png", &config);
        assert!(is_well && text.contains("/h/a%20b/c%3F.png?w=1\n"), "{text}");
        assert!(text.contains("/h/a%20b/c%3F.png (the original)\n"), "{text}");
        assert!(
            text.contains("x: 2 entries removed") && text.contains("o: 1 entry removed"),
            "{text}"
        );
        assert_eq!(room.entries(), 2);
        assert!(purged("/h/a%20b/c%3F.png", &config).0.contains("x: 0 entries removed"));
    }

    #[test]
    fn a_prefix_ends_at_its_slash_and_is_one_handlers() {
        let room = Room::new();
        let config = room.config(&[("h", "x", Some("o")), ("i", "x", None)]);
        for (handler, key) in
            [(0, "a/1"), (0, "a/b/2"), (0, "ab/3"), (0, "a"), (0, "z"), (1, "a/1")]
        {
            room.store(&config, handler, key, "w=1", 0);
        }
        room.store(&config, 0, "a/1", ORIGINAL, 0);
        let is_of = |file: &Path, key: &str| inspect(file).unwrap().unwrap().name.key == key;
        let damaged = room.files().into_iter().find(|file| is_of(file, "z")).unwrap();
        fs::write(&damaged, b"damaged").unwrap();
        let (text, is_well) = purged("/h/a/", &config);
        for line in ["/h/a/1?w=1\n", "/h/a/b/2?w=1\n", "/h/a/1 (the original)\n"] {
            assert!(text.contains(line), "{line} {text}");
        }
        assert!(is_well && text.matches("/h/").count() == 3 && !text.contains("/i/"), "{text}");
        assert!(text.contains("x: 1 entry could not be told whose they are"), "{text}");
        assert_eq!(room.entries(), 4);
        purged("/h/", &config);
        let left: Vec<_> = room.files().into_iter().filter(|file| *file != damaged).collect();
        assert!(left.len() == 1 && is_of(&left[0], "a/1"), "only i's is left: {left:?}");
    }

    #[test]
    fn everything_goes_but_what_is_not_ours() {
        let room = Room::new();
        let config = room.config(&[("h", "x", Some("o"))]);
        for key in ["a", "b", "c"] {
            room.store(&config, 0, key, "w=1", 0);
        }
        room.store(&config, 0, "a", ORIGINAL, 0);
        let files = room.files();
        let beside = |at: usize, name: &str| files[at].with_file_name(name);
        let (stranger, abandoned) = (beside(1, "notes.txt"), beside(2, ".tmp-1-1"));
        let written = beside(3, ".tmp-2-2");
        fs::write(&stranger, b"mine").unwrap();
        fs::write(&abandoned, b"").unwrap();
        let writer = fs::File::create(&written).unwrap();
        writer.lock().unwrap();
        fs::create_dir_all(room.path().join("x/v1/00/00/00")).unwrap();
        let (text, is_well) = said(&Subcommand::Purge(Scope::All), &config).unwrap();
        assert!(is_well && text.contains("o: 1 entry removed, 8.0 KiB"), "{text}");
        assert!(text.contains("x: 3 entries removed, 24.0 KiB"), "{text}");
        assert!(
            room.entries() == 0 && stranger.exists() && !abandoned.exists() && written.exists()
        );
        assert!(!room.path().join("x/v1/00").exists(), "empty directories go");
        assert!(room.path().join("x/.purged").exists());
    }

    #[test]
    fn a_path_that_names_nothing_is_refused() {
        let room = Room::new();
        let config = room.config(&[("h", "x", None)]);
        for path in ["", "h/a", "/h", "/", "/i/a", "/h/a?w=1", "/h/%zz", "/h/../a", "/h/a/./"] {
            let refusal = said(&Subcommand::Purge(Scope::Path(path.into())), &config).unwrap_err();
            assert!(refusal.starts_with(&format!("{path:?}: ")), "{refusal}");
        }
        assert!(!room.path().join("x/.purged").exists());
    }
}
