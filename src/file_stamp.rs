//! The stamp of a file: changes when the file does.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Device, inode, size and mtime: they change whenever the file is replaced or modified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl FileStamp {
    pub fn new(metadata: &Metadata) -> FileStamp {
        FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
