//! `cache verify`: reads every entry whole.

use std::fs;
use std::io;

use super::{Directory, Out, entries, printable};
use crate::cache::{Found, OnDisk, PurgeMark, inspect, is_damage, walk};
use crate::log::print_error;

#[derive(Debug, Default)]
struct Tally {
    right: u64,
    damaged: u64,
    removed: u64,
    unreadable: u64,
}

/// Whether every entry is right.
pub fn run(directories: &[Directory], remove: bool, out: &mut Out) -> bool {
    let mut is_well = true;
    for directory in directories {
        let mut tally = Tally::default();
        let walked = walk(&directory.path, &mut |found| {
            match found {
                Found::Entry(entry) => tally.see(&entry, remove, out),
                Found::Unreadable(path, error) => tally.can_not_read(&path, &error),
                Found::Temporary(..) | Found::EmptyDirectory(_) | Found::Stranger => {}
            }
            true
        });
        if let Err(error) = walked {
            tally.can_not_read(&directory.path, &error);
        }
        if tally.removed > 0 {
            // Whoever counts what lies there counts again.
            let _ = PurgeMark::revalidate(&directory.path);
        }
        let Tally { right, damaged, removed, unreadable } = tally;
        out.line(format_args!(
            "{}: {} right, {damaged} damaged ({removed} removed), {unreadable} unreadable",
            printable(&directory.path),
            entries(right),
        ));
        is_well &= damaged == 0 && unreadable == 0;
    }
    is_well
}

impl Tally {
    fn see(&mut self, entry: &OnDisk, remove: bool, out: &mut Out) {
        match inspect(&entry.path).and_then(|found| found.map(|entry| entry.verify()).transpose()) {
            Ok(Some(())) => self.right += 1,
            // Somebody has removed it meanwhile.
            Ok(None) => {}
            Err(error) if is_damage(&error) => {
                self.damaged += 1;
                let path = printable(&entry.path);
                if !remove {
                    return out.line(format_args!("{path}: {error}"));
                }
                match fs::remove_file(&entry.path) {
                    Ok(()) => {
                        self.removed += 1;
                        out.line(format_args!("{path}: {error}; removed"));
                    }
                    Err(failure) => {
                        out.line(format_args!("{path}: {error}; can't be removed: {failure}"))
                    }
                }
            }
            Err(error) => self.can_not_read(&entry.path, &error),
        }
    }

    fn can_not_read(&mut self, path: &std::path::Path, error: &io::Error) {
        self.unreadable += 1;
        print_error!("{}: can't be read: {error}", printable(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ORIGINAL;
    use crate::cache_cli::Subcommand;
    use crate::cache_cli::testing::{Room, said};

    #[test]
    fn every_kind_of_damage_is_told_and_nothing_else_is() {
        let room = Room::new();
        let config = room.config(&[("a", "x", Some("o"))]);
        for n in 0..6 {
            room.store(&config, 0, &format!("{n}.png"), "w=1", 0);
        }
        room.store(&config, 0, "0.png", ORIGINAL, 0);
        let verify = |remove| said(&Subcommand::Verify { remove }, &config).unwrap();
        let (text, is_well) = verify(false);
        assert!(is_well && text.contains("x: 6 entries right, 0 damaged"), "{text}");
        assert!(text.contains("o: 1 entry right"), "{text}");

        let files: Vec<_> = room
            .files()
            .into_iter()
            .filter(|file| file.starts_with(room.path().join("x")))
            .collect();
        let change = |at: usize, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(&files[at]).unwrap();
            change(&mut bytes);
            fs::write(&files[at], bytes).unwrap();
        };
        change(0, &|bytes| *bytes.last_mut().unwrap() ^= 1);
        change(1, &|bytes| bytes.truncate(100));
        change(2, &|bytes| bytes.clear());
        change(3, &|bytes| bytes[40] ^= 1);
        fs::copy(&files[5], &files[4]).unwrap();
        let (text, is_well) = verify(false);
        assert!(
            !is_well && text.contains("x: 1 entry right, 5 damaged (0 removed), 0 unreadable"),
            "{text}"
        );
        for (file, reason) in [
            (0, "has another SHA-256 than it says"),
            (1, "is too short"),
            (2, "is not a cache entry"),
            (3, "has a damaged description"),
            (4, "belongs to another image"),
        ] {
            let line = format!("{}: the entry {reason}\n", files[file].display());
            assert!(text.contains(&line), "{line:?} is not in {text}");
        }
        assert_eq!(room.entries(), 7);

        let (text, is_well) = verify(true);
        assert!(
            !is_well && text.contains("5 damaged (5 removed)") && text.contains("; removed\n"),
            "{text}"
        );
        assert_eq!(room.entries(), 2);
        assert!(verify(true).1);
    }
}
