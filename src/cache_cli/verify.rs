//! `cache verify`: reads every entry and checks its SHA-256.

use std::fs;
use std::io;

use super::{Directory, Out, entries, printable};
use crate::cache::{Found, OnDisk, inspect, is_damage};
use crate::log::print_error;

#[derive(Debug, Default)]
struct Verification {
    valid: u64,
    damaged: u64,
    removed: u64,
    unreadable: u64,
}

/// Returns whether every entry is valid.
pub fn run(directories: &[Directory], remove: bool, out: &mut Out) -> bool {
    let mut is_ok = true;
    for directory in directories {
        let mut verification = Verification::default();
        directory.walk(&mut |found| match found {
            Found::Entry(entry) => verification.verify(&entry, remove, out),
            Found::Unreadable(path, error) => verification.report_unreadable(&path, &error),
            Found::Temporary(..) | Found::EmptyDirectory(_) | Found::Foreign => {}
        });
        if verification.removed > 0 {
            directory.mark_as_purged();
        }
        let Verification { valid, damaged, removed, unreadable } = verification;
        out.line(format_args!(
            "{}: {} valid, {damaged} damaged ({removed} removed), {unreadable} unreadable",
            printable(&directory.path),
            entries(valid),
        ));
        is_ok &= damaged == 0 && unreadable == 0;
    }
    is_ok
}

impl Verification {
    fn verify(&mut self, entry: &OnDisk, remove: bool, out: &mut Out) {
        match inspect(&entry.path).and_then(|found| found.map(|entry| entry.verify()).transpose()) {
            Ok(Some(())) => self.valid += 1,
            // Removed during the walk.
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
            Err(error) => self.report_unreadable(&entry.path, &error),
        }
    }

    fn report_unreadable(&mut self, path: &std::path::Path, error: &io::Error) {
        self.unreadable += 1;
        print_error!("{}: can't be read: {error}", printable(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ORIGINAL;
    use crate::cache_cli::Subcommand;
    use crate::cache_cli::testing::{TestCaches, output};

    #[test]
    fn verify_reports_every_kind_of_damage() {
        let caches = TestCaches::new();
        let config = caches.config(&[("a", "x", Some("o"))]);
        for n in 0..6 {
            caches.store(&config, 0, &format!("{n}.png"), "w=1", 0);
        }
        caches.store(&config, 0, "0.png", ORIGINAL, 0);
        let verify = |remove| output(&Subcommand::Verify { remove }, &config).unwrap();
        let (text, is_ok) = verify(false);
        assert!(is_ok && text.contains("x: 6 entries valid, 0 damaged"), "{text}");
        assert!(text.contains("o: 1 entry valid"), "{text}");

        let files: Vec<_> = caches
            .files()
            .into_iter()
            .filter(|file| file.starts_with(caches.path().join("x")))
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
        let (text, is_ok) = verify(false);
        assert!(
            !is_ok && text.contains("x: 1 entry valid, 5 damaged (0 removed), 0 unreadable"),
            "{text}"
        );
        for (file, reason) in [
            (0, "does not match its SHA-256"),
            (1, "is too short"),
            (2, "is not a cache entry"),
            (3, "has a damaged header"),
            (4, "belongs to another image"),
        ] {
            let line = format!("{}: the entry {reason}\n", files[file].display());
            assert!(text.contains(&line), "{line:?} is not in {text}");
        }
        assert_eq!(caches.entries(), 7);

        let (text, is_ok) = verify(true);
        assert!(
            !is_ok && text.contains("5 damaged (5 removed)") && text.contains("; removed\n"),
            "{text}"
        );
        assert_eq!(caches.entries(), 2);
        assert!(verify(true).1);
    }
}
