//! Cache folders for the tests.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tempfile::TempDir;

use super::{Job, Refusal, run};
use crate::cache::{DiskCache, Found, Lifetime, Name, ORIGINAL, Picture, walk};
use crate::config::{self, CacheTime, Config};
use crate::format::Format;

/// A folder with cache folders in it.
pub struct Room(TempDir);

impl Room {
    pub fn new() -> Room {
        Room(TempDir::new().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Handlers with these names, cache folders and folders for originals; their results are fresh for an hour, stale
    /// for another and of use for a third.
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

    /// Stores a picture, or an original where the options say so, whose origin was asked so many seconds ago.
    pub fn store(&self, config: &Config, handler: usize, key: &str, options: &str, age: u64) {
        let handler = &config.handlers[handler];
        let folder = match options {
            ORIGINAL => &handler.originals.as_ref().unwrap().path,
            _ => &handler.cache.as_ref().unwrap().path,
        };
        let cache = DiskCache::new(folder, Lifetime::from(CacheTime::Forever));
        let name = Name { handler: handler.identity(), key: key.into(), options: options.into() };
        let picture = Picture::new(vec![7; 5000], Format::Png, None);
        cache.store(&name, &picture, None, SystemTime::now() - Duration::from_secs(age)).unwrap();
    }

    /// The files of all entries.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in std::fs::read_dir(self.path()).unwrap() {
            walk(&folder.unwrap().path(), &mut |found| {
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

/// What a job says and whether all is well.
pub fn said(job: &Job, config: &Config) -> Result<(String, bool), Refusal> {
    let mut out = Vec::new();
    let is_well = run(job, config, &mut out)?;
    Ok((String::from_utf8(out).unwrap(), is_well))
}
