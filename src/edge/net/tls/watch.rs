//! Looks after the files of certificates and keys, and has them loaded again when they change.
//!
//! Looking once a second costs a few system calls and works for every way of replacing a file: written in place,
//! renamed over, or behind a symbolic link that is moved. inotify would need a watch on each directory on the way.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, thread};

use super::Tls;
use crate::config::Https;

const INTERVAL: Duration = Duration::from_secs(1);

/// Watches the files that are in use, whichever those are, as long as there is somebody else who uses `tls`.
pub fn watch(tls: &Arc<Tls>) -> io::Result<()> {
    let tls = Arc::downgrade(tls);
    let watching = move || {
        let mut last = Look::default();
        loop {
            thread::sleep(INTERVAL);
            let Some(tls) = tls.upgrade() else { return };
            last = tls.refresh(&last);
        }
    };
    thread::Builder::new().name("certificates".into()).spawn(watching).map(drop)
}

/// What the file system says of the files of all certificates, without reading them. `None` is a file that can't be
/// seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look(Vec<Option<Seen>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    /// Moves with the permissions as well, so that a key is tried again once it can be read.
    changed: (i64, i64),
}

impl Look {
    /// Looks now.
    pub fn at(https: &Https) -> Look {
        Look(
            files(https)
                .map(|file| fs::metadata(file).ok().map(|metadata| Seen::new(&metadata)))
                .collect(),
        )
    }

    /// Whether every file is there.
    pub fn is_whole(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// The names of the files that looked different at an earlier time.
    pub fn changed_since(&self, earlier: &Look, https: &Https) -> String {
        let changed =
            files(https).zip(&self.0).zip(&earlier.0).filter(|((_, now), then)| now != then);
        changed.map(|((file, _), _)| file.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Seen {
    fn new(metadata: &fs::Metadata) -> Seen {
        Seen {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn files(https: &Https) -> impl Iterator<Item = &PathBuf> {
    https.certificates.iter().flat_map(|certificate| [&certificate.cert, &certificate.key])
}
