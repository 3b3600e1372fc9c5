//! `cache stats`: counts the entries of the cache directories.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Directory, Out, entries, printable, size};
use crate::cache::{EntryId, Found, Freshness, Inspected, OnDisk, inspect};
use crate::config::Handler;
use crate::log::print_error;
use crate::time::unix_milliseconds;

/// The output of `--json`; the names of the fields are stable.
#[derive(Debug, Serialize)]
struct Stats {
    #[serde(rename = "folders")]
    directories: Vec<DirectoryStats>,
}

#[derive(Debug, Default, Serialize)]
struct DirectoryStats {
    path: String,
    entries: u64,
    bytes: u64,
    handlers: Vec<HandlerStats>,
    /// Entries of handlers or origins that are not in the configuration.
    others: Count,
    /// Entries with a damaged header.
    damaged: Count,
    temporary_files: u64,
    #[serde(rename = "strangers")]
    foreign_files: u64,
    unreadable: u64,
}

/// The entries of one handler in a directory. Freshness and times cover variants and originals.
#[derive(Debug, Default, Serialize)]
struct HandlerStats {
    handler: String,
    #[serde(rename = "results")]
    variants: Count,
    originals: Count,
    fresh: u64,
    #[serde(rename = "stale")]
    stale_while_revalidate: u64,
    #[serde(rename = "expired")]
    stale_if_error: u64,
    #[serde(rename = "useless")]
    must_revalidate: u64,
    /// Times of validation, in milliseconds since 1970.
    oldest: Option<u64>,
    newest: Option<u64>,
    #[serde(skip)]
    identity: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Count {
    entries: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }
}

/// Returns whether everything could be read.
pub fn run(directories: &[Directory], json: bool, out: &mut Out) -> bool {
    let now = SystemTime::now();
    let stats = Stats {
        directories: directories
            .iter()
            .map(|directory| DirectoryStats::of(directory, now))
            .collect(),
    };
    if json {
        match serde_json::to_string_pretty(&stats) {
            Ok(text) => out.line(format_args!("{text}")),
            Err(error) => print_error!("can't write the statistics as JSON: {error}"),
        }
    } else {
        stats.directories.iter().for_each(|directory| directory.print(now, out));
    }
    stats.directories.iter().all(|directory| directory.unreadable == 0)
}

impl DirectoryStats {
    fn of(directory: &Directory, now: SystemTime) -> DirectoryStats {
        let mut stats =
            DirectoryStats { path: printable(&directory.path), ..DirectoryStats::default() };
        for handler in &directory.handlers {
            // A handler may use one directory for variants and originals.
            if !stats.handlers.iter().any(|known| known.handler == handler.route) {
                let route = handler.route.clone();
                let identity = handler.identity();
                stats.handlers.push(HandlerStats {
                    handler: route,
                    identity,
                    ..HandlerStats::default()
                });
            }
        }
        directory.walk(&mut |found| match found {
            Found::Entry(entry) => stats.add(&entry, &directory.handlers, now),
            Found::Temporary(..) => stats.temporary_files += 1,
            Found::Foreign => stats.foreign_files += 1,
            Found::Unreadable(path, error) => stats.report_unreadable(&path, &error),
            Found::EmptyDirectory(_) => {}
        });
        stats
    }

    fn add(&mut self, entry: &OnDisk, handlers: &[&Handler], now: SystemTime) {
        let found = match inspect(&entry.path) {
            Ok(None) => return,
            Ok(Some(found)) => Some(found),
            Err(error) if crate::cache::is_damage(&error) => None,
            Err(error) => return self.report_unreadable(&entry.path, &error),
        };
        self.entries += 1;
        self.bytes += entry.disk_bytes;
        let Some(found) = found else { return self.damaged.add(entry.disk_bytes) };
        let known = self.handlers.iter_mut().find(|known| known.identity == found.name.handler);
        let handler = known.and_then(|known| {
            let handler = handlers.iter().find(|handler| handler.route == known.handler)?;
            Some((known, handler))
        });
        match handler {
            Some((stats, handler)) => stats.add(&found, entry.disk_bytes, handler, now),
            None => self.others.add(entry.disk_bytes),
        }
    }

    fn report_unreadable(&mut self, path: &Path, error: &std::io::Error) {
        self.unreadable += 1;
        print_error!("{}: can't be read: {error}", printable(path));
    }

    fn print(&self, now: SystemTime, out: &mut Out) {
        out.line(format_args!("{}: {}, {}", self.path, entries(self.entries), size(self.bytes)));
        let width = self.handlers.iter().map(|handler| handler.handler.chars().count() + 2);
        let width = width.max().unwrap_or_default().max(7);
        out.line(format_args!(
            "  {:width$} {:>9} {:>11} {:>9} {:>11} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}",
            "handler",
            "results",
            "",
            "originals",
            "",
            "fresh",
            "stale",
            "expired",
            "useless",
            "oldest",
            "newest"
        ));
        for handler in &self.handlers {
            let HandlerStats { variants, originals, fresh, .. } = handler;
            let stale = handler.stale_while_revalidate;
            let expired = handler.stale_if_error;
            let useless = handler.must_revalidate;
            out.line(format_args!(
                "  {:width$} {:>9} {:>11} {:>9} {:>11} {fresh:>9} {stale:>9} {expired:>9} {useless:>9} {:>8} {:>8}",
                format!("/{}/", handler.handler),
                variants.entries,
                size(variants.bytes),
                originals.entries,
                size(originals.bytes),
                age(handler.oldest, now),
                age(handler.newest, now),
            ));
        }
        let rest = [
            (
                self.others.entries,
                Some(self.others.bytes),
                "of handlers or origins that are not configured",
            ),
            (self.damaged.entries, Some(self.damaged.bytes), "damaged"),
            (
                self.temporary_files,
                None,
                "temporary files, being written or left by a killed renderer",
            ),
            (self.foreign_files, None, "foreign files"),
            (self.unreadable, None, "unreadable"),
        ];
        for (count, bytes, what) in rest.iter().filter(|(count, ..)| *count > 0) {
            let bytes = bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
            out.line(format_args!("  {count} {what}{bytes}"));
        }
    }
}

impl HandlerStats {
    fn add(&mut self, entry: &Inspected, bytes: u64, handler: &Handler, now: SystemTime) {
        let count = if entry.is_original() { &mut self.originals } else { &mut self.variants };
        count.add(bytes);
        let id = EntryId::of(&entry.name);
        *match handler.lifetime().freshness(id, entry.validated_at, now) {
            Freshness::Fresh => &mut self.fresh,
            Freshness::StaleWhileRevalidate => &mut self.stale_while_revalidate,
            Freshness::StaleIfError => &mut self.stale_if_error,
            Freshness::MustRevalidate => &mut self.must_revalidate,
        } += 1;
        self.oldest =
            Some(self.oldest.map_or(entry.validated_at, |oldest| oldest.min(entry.validated_at)));
        self.newest =
            Some(self.newest.map_or(entry.validated_at, |newest| newest.max(entry.validated_at)));
    }
}

/// Time since then, in its two largest units.
fn age(time: Option<u64>, now: SystemTime) -> String {
    let Some(time) = time else { return "-".to_owned() };
    let Some(age) = unix_milliseconds(now).checked_sub(time) else { return "future".to_owned() };
    let seconds = Duration::from_millis(age).as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ORIGINAL;
    use crate::cache_cli::Subcommand;
    use crate::cache_cli::testing::{TestCaches, output};
    use serde_json::{Value, json};
    use std::fs;
    use std::time::UNIX_EPOCH;

    #[test]
    fn stats_count_entries_by_handler_and_freshness() {
        let caches = TestCaches::new();
        let config = caches.config(&[("h", "x", Some("o")), ("i", "x", None)]);
        let former = caches.config(&[("former", "x", None)]);
        for (key, age) in [("fresh", 60), ("stale", 3700), ("expired", 7300), ("useless", 90_000)] {
            caches.store(&config, 0, key, "w=1", age);
        }
        caches.store(&config, 0, "fresh", ORIGINAL, 30);
        caches.store(&config, 1, "k", "w=1", 10);
        caches.store(&former, 0, "k", "w=1", 10);
        let file = caches
            .files()
            .into_iter()
            .find(|file| file.starts_with(caches.path().join("x")))
            .unwrap();
        fs::write(file.with_file_name(".tmp-1-1"), b"").unwrap();
        fs::write(caches.path().join("x/v1/notes"), b"").unwrap();
        let (text, is_ok) = output(&Subcommand::Stats { json: true }, &config).unwrap();
        let stats: Value = serde_json::from_str(&text).unwrap();
        let [x, o] = [&stats["folders"][0], &stats["folders"][1]];
        assert!(is_ok, "{text}");
        let count = |entries: u64| json!({"entries": entries, "bytes": entries * 8192});
        assert_eq!((&x["entries"], &x["bytes"]), (&json!(6), &json!(6 * 8192)), "{text}");
        let h = &x["handlers"][0];
        assert_eq!(
            (&h["handler"], &h["results"], &h["originals"]),
            (&json!("h"), &count(4), &count(0))
        );
        for freshness in ["fresh", "stale", "expired", "useless"] {
            assert_eq!(h[freshness], 1, "{freshness}: {text}");
        }
        let span = h["newest"].as_u64().unwrap() - h["oldest"].as_u64().unwrap();
        assert!((89_900_000..90_000_000).contains(&span));
        assert_eq!((&x["handlers"][1]["results"], &x["others"]), (&count(1), &count(1)));
        assert_eq!(
            (&x["temporary_files"], &x["strangers"], &x["damaged"]),
            (&json!(1), &json!(1), &count(0))
        );
        assert_eq!((&o["entries"], &o["handlers"][0]["originals"]), (&json!(1), &count(1)));
        assert_eq!(o["handlers"][0]["results"], count(0));

        fs::write(&file, b"x").unwrap();
        let (text, is_ok) = output(&Subcommand::Stats { json: false }, &config).unwrap();
        assert!(is_ok && text.contains("x: 6 entries, 44.0 KiB\n"), "{text}");
        assert!(text.contains("  1 damaged, 4.0 KiB\n"), "{text}");
        assert!(
            text.contains("  1 temporary files") && text.contains("  1 foreign files"),
            "{text}"
        );
        assert!(text.lines().any(|line| line.trim_start().starts_with("/i/ ")), "{text}");
    }

    #[test]
    fn a_missing_directory_is_empty() {
        let caches = TestCaches::new();
        let config = caches.config(&[("h", "x", None)]);
        let (text, is_ok) = output(&Subcommand::Stats { json: false }, &config).unwrap();
        assert!(is_ok && text.contains("x: 0 entries, 0 B"), "{text}");
        assert!(!caches.path().join("x").exists());
    }

    #[test]
    fn ages_have_two_units() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |seconds: u64| age(Some(1_000_000_000 - seconds * 1000), now);
        assert_eq!([0, 59, 61, 3_700, 90_000].map(ago), ["0s", "59s", "1m 1s", "1h 1m", "1d 1h"]);
        assert_eq!((age(None, now), age(Some(1_000_000_001), now)), ("-".into(), "future".into()));
    }
}
