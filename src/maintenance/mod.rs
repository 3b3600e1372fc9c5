//! `s3imageserver cache …`: what lies in the cache folders of a configuration, whether it is right, and removing it.
//!
//! Each works on the folders themselves, whether or not a server runs on them.

mod purge;
mod stats;
mod verify;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use purge::Extent;

use crate::config::{Config, Handler};

/// What is to be done with the cache folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
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
    Purge(Extent),
}

/// Something that makes this job impossible; a sentence.
pub type Refusal = String;

/// Does the job, says what there is to say, and tells whether all is well: nothing damaged, nothing that could not be
/// looked at or removed. An error is a command line that does not fit the configuration.
pub fn run(job: &Job, config: &Config, out: &mut dyn Write) -> Result<bool, Refusal> {
    let folders = folders(config);
    let mut out = Out(Some(out));
    let is_well = match job {
        Job::Stats { json } => stats::run(&folders, *json, &mut out),
        Job::Verify { remove } => verify::run(&folders, *remove, &mut out),
        Job::Purge(extent) => purge::run(&folders, config, extent, &mut out)?,
    };
    out.flush();
    Ok(is_well)
}

/// One cache folder and the handlers that store in it.
#[derive(Debug)]
struct Folder<'c> {
    path: PathBuf,
    handlers: Vec<&'c Handler>,
}

/// Each folder once, however often and however it is named.
fn folders(config: &Config) -> Vec<Folder<'_>> {
    let mut folders: Vec<(PathBuf, Folder)> = Vec::new();
    for handler in &config.handlers {
        let results = handler.cache.as_ref().map(|cache| &cache.path);
        let originals = handler.originals.as_ref().map(|originals| &originals.path);
        for path in results.into_iter().chain(originals) {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            match folders.iter_mut().find(|(known, _)| *known == real) {
                Some((_, folder)) => folder.handlers.push(handler),
                None => folders.push((real, Folder { path: path.clone(), handlers: vec![handler] })),
            }
        }
    }
    folders.into_iter().map(|(_, folder)| folder).collect()
}

/// Lines for a reader who may go away; what is being done goes on then.
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

/// How a path is shown: on one line, whatever it is called.
fn shown(path: &Path) -> String {
    path.display().to_string().chars().flat_map(visible).collect()
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_unicode());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

/// A size as people say it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0);
    format!("{value:.decimals$} {}", UNITS.get(unit).unwrap_or(&""))
}

/// "1 entry", "2 entries".
fn entries(count: u64) -> String {
    format!("{count} {}", if count == 1 { "entry" } else { "entries" })
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::testing::Room;
    use super::*;

    #[test]
    fn each_folder_is_gone_through_once() {
        let room = Room::new();
        let config = room.config(&[("a", "x", Some("o")), ("b", "./x/", Some("o")), ("c", "y", None)]);
        let found: Vec<_> =
            folders(&config).iter().map(|folder| (shown(&folder.path), folder.handlers.len())).collect();
        let path = |name: &str| shown(&room.path().join(name));
        assert_eq!(found, [(path("x"), 2), (path("o"), 2), (path("y"), 1)]);
    }

    #[test]
    fn sizes_and_names_are_for_people() {
        let sizes = [0, 1023, 1024, 1_600_000, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16384.0 PiB"]);
        assert_eq!((entries(1), entries(0)), ("1 entry".into(), "0 entries".into()));
        assert_eq!(shown(Path::new("a\n\u{1b}b")), "a\\u{a}\\u{1b}b");
    }

    #[test]
    fn a_reader_who_goes_away_stops_nothing() {
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
        let room = Room::new();
        let config = room.config(&[("a", "x", None)]);
        (0..3).for_each(|n| room.store(&config, 0, &format!("{n}"), "w=1", 0));
        let mut closed = Closed(0);
        assert_eq!(run(&Job::Purge(Extent::All), &config, &mut closed), Ok(true));
        assert_eq!((closed.0, room.entries()), (1, 0));
    }
}
