//! `s3imageserver cache …`: counts, verifies or removes the entries in the cache directories of a configuration.
//!
//! Each subcommand works on the directories themselves, whether or not a server uses them.

mod purge;
mod stats;
mod verify;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use purge::Scope;

use crate::cache::{Found, PurgeMark, walk};
use crate::config::{self, Config, Handler};
use crate::log::escape;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subcommand {
    /// `cache stats`
    Stats {
        /// `--json`
        json: bool,
    },
    /// `cache verify`
    Verify {
        /// `--remove`
        remove: bool,
    },
    /// `cache purge`
    Purge(Scope),
}

/// Runs a subcommand and returns whether it succeeded: no entry is damaged, and every entry could be read and removed.
/// An error is a sentence about a command line that does not fit the configuration.
pub fn run(subcommand: &Subcommand, config: &Config, out: &mut dyn Write) -> Result<bool, String> {
    let directories = directories(config);
    let mut out = Out(Some(out));
    let is_ok = match subcommand {
        Subcommand::Stats { json } => stats::run(&directories, *json, &mut out),
        Subcommand::Verify { remove } => verify::run(&directories, *remove, &mut out),
        Subcommand::Purge(scope) => purge::run(&directories, config, scope, &mut out)?,
    };
    out.flush();
    Ok(is_ok)
}

/// A cache directory and the handlers that use it.
#[derive(Debug)]
struct Directory<'c> {
    path: PathBuf,
    handlers: Vec<&'c Handler>,
}

/// The cache directories of a configuration, each once, even if several paths name it.
fn directories(config: &Config) -> Vec<Directory<'_>> {
    let mut directories: Vec<Directory> = Vec::new();
    let mut indexes = HashMap::new();
    for handler in &config.handlers {
        for store in handler.stores() {
            let index = *indexes.entry(config::place(&store.path)).or_insert(directories.len());
            match directories.get_mut(index) {
                Some(directory) => directory.handlers.push(handler),
                None => directories
                    .push(Directory { path: store.path.clone(), handlers: vec![handler] }),
            }
        }
    }
    directories
}

impl Directory<'_> {
    /// Visits everything in the directory. One that can't be read is an item of the walk, too.
    fn walk(&self, visit: &mut dyn FnMut(Found)) {
        let walked = walk(&self.path, &mut |found| {
            visit(found);
            true
        });
        if let Err(error) = walked {
            visit(Found::Unreadable(self.path.clone(), error));
        }
    }

    /// Tells a running server that entries were removed, so that it scans the directory again.
    fn mark_as_purged(&self) {
        let _ = PurgeMark::replace(&self.path);
    }
}

/// Standard output. After a write error, the rest is dropped and the work continues.
struct Out<'w>(Option<&'w mut dyn Write>);

impl Out<'_> {
    fn line(&mut self, line: std::fmt::Arguments) {
        self.write(|out| writeln!(out, "{line}"));
    }

    fn flush(&mut self) {
        self.write(|out| out.flush());
    }

    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if let Some(out) = self.0.as_mut()
            && write(out).is_err()
        {
            self.0 = None;
        }
    }
}

/// A path with its control characters escaped.
fn printable(path: &Path) -> String {
    let mut text = String::new();
    escape::push(&mut text, &path.display().to_string());
    text
}

/// A human-readable size.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0);
    format!("{value:.decimals$} {}", UNITS.get(unit).unwrap_or(&""))
}

/// `1 entry`, `2 entries`.
fn entries(count: u64) -> String {
    format!("{count} {}", if count == 1 { "entry" } else { "entries" })
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::testing::TestCaches;
    use super::*;

    #[test]
    fn directories_are_listed_once() {
        let caches = TestCaches::new();
        let config =
            caches.config(&[("a", "x", Some("o")), ("b", "./x/", Some("o")), ("c", "y", None)]);
        let found: Vec<_> = directories(&config)
            .iter()
            .map(|directory| (printable(&directory.path), directory.handlers.len()))
            .collect();
        let path = |name: &str| printable(&caches.path().join(name));
        assert_eq!(found, [(path("x"), 2), (path("o"), 2), (path("y"), 1)]);
    }

    #[test]
    fn sizes_and_paths_are_printable() {
        let sizes = [0, 1023, 1024, 1_600_000, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16384.0 PiB"]);
        assert_eq!((entries(1), entries(0)), ("1 entry".into(), "0 entries".into()));
        assert_eq!(printable(Path::new("a\n\u{1b}b")), "a\\u{a}\\u{1b}b");
    }

    #[test]
    fn a_closed_output_does_not_stop_a_purge() {
        struct Closed(u32);
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let caches = TestCaches::new();
        let config = caches.config(&[("a", "x", None)]);
        (0..3).for_each(|n| caches.store(&config, 0, &format!("{n}"), "w=1", 0));
        let mut closed = Closed(0);
        assert_eq!(run(&Subcommand::Purge(Scope::All), &config, &mut closed), Ok(true));
        assert_eq!((closed.0, caches.entries()), (1, 0));
    }
}
