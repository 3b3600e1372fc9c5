//! Reloads certificates and keys when their files change.
//!
//! Polling once a second costs a few system calls and notices every way of replacing a file: written in place, renamed
//! over, or behind a symbolic link that is moved. inotify would need a watch on each directory along the path.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io, thread};

use super::Tls;
use crate::check_interval::check_interval;
use crate::config::Https;
use crate::file_stamp::FileStamp;

/// Starts a thread that watches the files in use, until every other reference to `tls` is dropped.
pub fn watch(tls: &Arc<Tls>) -> io::Result<()> {
    let tls = Arc::downgrade(tls);
    let poll = move || {
        let mut last = FileStamps::default();
        loop {
            thread::sleep(check_interval());
            let Some(tls) = tls.upgrade() else { return };
            last = tls.reload_if_changed(&last);
        }
    };
    thread::Builder::new().name("certificates".into()).spawn(poll).map(drop)
}

/// The stamps and ctimes of all certificate and key files. `None` is a file whose metadata can't be read. The ctime
/// changes with the permissions too, so that a key is tried again once it is readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStamps(Vec<Option<(FileStamp, (i64, i64))>>);

impl FileStamps {
    pub fn read(https: &Https) -> FileStamps {
        let stamp = |file| {
            let metadata = fs::metadata(file).ok()?;
            Some((FileStamp::new(&metadata), (metadata.ctime(), metadata.ctime_nsec())))
        };
        FileStamps(files(https).map(stamp).collect())
    }

    /// Whether every file exists.
    pub fn is_complete(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// The files whose stamps differ, separated by commas.
    pub fn changed_since(&self, earlier: &FileStamps, https: &Https) -> String {
        let changed =
            files(https).zip(&self.0).zip(&earlier.0).filter(|((_, now), then)| now != then);
        changed.map(|((file, _), _)| file.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

fn files(https: &Https) -> impl Iterator<Item = &PathBuf> {
    https.certificates.iter().flat_map(|certificate| [&certificate.cert, &certificate.key])
}
