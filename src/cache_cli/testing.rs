//! Cache directories for the tests.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tempfile::TempDir;

use super::{Subcommand, run};
use crate::cache::{CacheTime, DiskCache, EncodedImage, Found, Lifetime, Name, ORIGINAL, walk};
use crate::config::{self, Config};
use crate::format::Format;

/// A temporary directory with cache directories in it.
pub struct TestCaches(TempDir);

impl TestCaches {
    pub fn new() -> TestCaches {
        TestCaches(TempDir::new().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Handlers with these names, cache directories and directories of originals. Entries are fresh for an hour, then
    /// stale-while-revalidate for another, then stale-if-error for a third.
    pub fn config(&self, handlers: &[(&str, &str, Option<&str>)]) -> Config {
        let handler = |(name, cache, originals): &(&str, &str, Option<&str>)| {
            let mut handler = json!({
                "name": name,
                "aws": {"bucket_name": format!("bucket-{name}"), "anonymous": true},
                "cache_path": self.path().join(cache),
                "cache_time": 3600,
                "stale_while_revalidate": 3600,
                "stale_if_error": 7200,
            });
            if let Some(path) = originals {
                handler["originals_cache"] = json!({"path": self.path().join(path)});
            }
            handler
        };
        let handlers: Vec<_> = handlers.iter().map(handler).collect();
        config::parse(&json!({"handlers": handlers}).to_string(), "test").unwrap()
    }

    /// Stores a variant, or an original with the options [`ORIGINAL`], validated `age` seconds ago.
    pub fn store(&self, config: &Config, handler: usize, key: &str, options: &str, age: u64) {
        let handler = &config.handlers[handler];
        let directory = match options {
            ORIGINAL => &handler.originals.as_ref().unwrap().path,
            _ => &handler.cache.as_ref().unwrap().path,
        };
        let cache = DiskCache::new(directory, Lifetime::from(CacheTime::Forever));
        let name = Name { handler: handler.identity(), key: key.into(), options: options.into() };
        let image = EncodedImage::new(vec![7; 5000], Format::Png, None);
        cache.store(&name, &image, None, SystemTime::now() - Duration::from_secs(age)).unwrap();
    }

    /// The files of all entries.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for directory in std::fs::read_dir(self.path()).unwrap() {
            walk(&directory.unwrap().path(), &mut |found| {
                if let Found::Entry(entry) = found {
                    files.push(entry.path);
                }
                true
            })
            .unwrap();
        }
        files.sort();
        files
    }

    pub fn entries(&self) -> usize {
        self.files().len()
    }
}

/// The output of a subcommand, and whether it succeeded.
pub fn output(subcommand: &Subcommand, config: &Config) -> Result<(String, bool), String> {
    let mut out = Vec::new();
    let is_ok = run(subcommand, config, &mut out)?;
    Ok((String::from_utf8(out).unwrap(), is_ok))
}
