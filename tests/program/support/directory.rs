//! A temporary directory with files, removed on drop.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

pub struct Directory(tempfile::TempDir);

impl Directory {
    pub fn new() -> Directory {
        Directory(tempfile::Builder::new().prefix("s3imageserver-test-").tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Adds a file.
    pub fn with(self, name: &str, bytes: &[u8]) -> Directory {
        self.put(name, bytes);
        self
    }

    /// Writes a file, and creates its parent directories.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn set_modified(&self, name: &str, time: SystemTime) {
        fs::File::options()
            .append(true)
            .open(self.path().join(name))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    /// A handler named `h` that serves this directory.
    pub fn handler(&self) -> Value {
        json!({"name": "h", "directory": self.path()})
    }

    /// Every file below this directory, including hidden ones, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.path().to_owned()];
        while let Some(directory) = directories.pop() {
            // The program may remove files and directories meanwhile.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                    Ok(_) => found.push(entry.path()),
                    Err(_) => {}
                }
            }
        }
        found.sort();
        found
    }
}
