//! The private directory of the renderer's sockets.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::sync;

/// The longest path that fits into a socket address (`sun_path` has 108 bytes, one of them NUL), less the name.
const LONGEST_DIRECTORY: usize = 107 - "/renderer-18446744073709551615.sock".len();

/// What our directories' names start with.
const PREFIX: &str = "s3imageserver-";

/// A directory that only we can enter; removed when it is dropped.
#[derive(Debug)]
pub struct SocketDirectory {
    path: PathBuf,
    /// Tells others, in this process too, that the directory is in use also while nobody listens in it.
    lock: Mutex<Option<File>>,
}

impl SocketDirectory {
    /// Makes the directory where the system keeps sockets, or, on a system that has no such place, where we are.
    /// Its name is new each time, so what a killed server left behind is never in the way.
    pub fn create() -> io::Result<SocketDirectory> {
        let variables = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"];
        let mut places: Vec<PathBuf> =
            variables.iter().filter_map(env::var_os).map(PathBuf::from).collect();
        places.push(env::temp_dir());
        places.push("/run".into());
        places.extend(env::current_dir());
        Self::create_among(&places)
    }

    /// In the first of these places that can be written. The error names what is wrong with each.
    fn create_among(places: &[PathBuf]) -> io::Result<SocketDirectory> {
        let mut refused = Vec::new();
        for place in places {
            match Self::create_in(place) {
                Ok(directory) => {
                    sweep(place, &directory.path);
                    return Ok(directory);
                }
                Err(error) => refused.push(format!("{}: {error}", place.display())),
            }
        }
        Err(io::Error::other(format!(
            "no directory for its private socket: {}",
            refused.join("; ")
        )))
    }

    fn create_in(place: &Path) -> io::Result<SocketDirectory> {
        let random = RandomState::new().build_hasher().finish();
        let path = place.join(format!("{PREFIX}{}-{random:016x}", std::process::id()));
        if !path.is_absolute() || path.as_os_str().len() > LONGEST_DIRECTORY {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is too long for a socket",
            ));
        }
        private().create(&path)?;
        let directory = SocketDirectory { lock: Mutex::new(locked(&path)), path };
        Ok(directory)
    }

    /// Makes the directory again if something that cleans temporary files has taken it away.
    pub fn ensure(&self) -> io::Result<()> {
        match private().create(&self.path) {
            Ok(()) => {
                *sync::lock(&self.lock) = locked(&self.path);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where a worker of the renderer listens.
    pub fn socket(&self, worker: u64) -> PathBuf {
        self.path.join(format!("renderer-{worker}.sock"))
    }

    /// Removes the directory with its sockets.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        self.remove();
    }
}

fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// The directory, held with a lock that ends with this file. Where a file system has no locks there is none.
fn locked(directory: &Path) -> Option<File> {
    let file = File::open(directory).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// Removes the directories of servers that were killed: named as ours are, of our user, old enough, not locked, with
/// nothing but sockets in them that nobody listens at.
fn sweep(place: &Path, ours: &Path) {
    const OLD: Duration = Duration::from_secs(60);
    let (Ok(entries), Ok(our)) = (fs::read_dir(place), fs::symlink_metadata(ours)) else { return };
    for entry in entries.flatten() {
        if !is_name_of_ours(&entry.file_name().to_string_lossy()) {
            continue;
        }
        // Not of what a symbolic link leads to: the place may be open to everyone.
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        let is_old = age.is_some_and(|age| age > OLD);
        if metadata.is_dir() && metadata.uid() == our.uid() && is_old && is_abandoned(&entry.path())
        {
            for socket in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                let _ = fs::remove_file(socket.path());
            }
            // Fails, as it should, when something has appeared in it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// `s3imageserver-{process id}-{16 hexadecimal digits}`
fn is_name_of_ours(name: &str) -> bool {
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(id, random)| {
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        is_id && random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_abandoned(directory: &Path) -> bool {
    if locked(directory).is_none() {
        return false;
    }
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().all(|entry| {
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        is_socket && UnixStream::connect(entry.path()).is_err()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_directory_is_private_and_goes_away() {
        let directory = SocketDirectory::create().unwrap();
        let path = directory.path.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(directory.socket(u64::MAX).as_os_str().len() <= 107);
        assert_ne!(SocketDirectory::create().unwrap().path, path);
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn only_old_directories_in_which_nobody_listens_are_swept() {
        let place = SocketDirectory::create().unwrap();
        let directory = |name: &str| {
            let path = place.path.join(format!("{PREFIX}{name}"));
            fs::create_dir(&path).unwrap();
            path
        };
        let aged = |path: &Path| {
            let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
            fs::File::open(path).unwrap().set_modified(hour_ago).unwrap();
        };
        let random = "0123456789abcdef";
        let new = directory(&format!("1-{random}"));
        let old = directory(&format!("2-{random}"));
        let alive = directory(&format!("3-{random}"));
        let strange = directory(&format!("4-{random}"));
        let source = directory("0.1.0");
        drop(UnixListener::bind(old.join("renderer-1.sock")).unwrap());
        let _listener = UnixListener::bind(alive.join("renderer-1.sock")).unwrap();
        fs::write(strange.join("image.jpg"), b"").unwrap();
        [&old, &alive, &strange, &source].into_iter().for_each(|path| aged(path));
        sweep(&place.path, &place.path);
        let left = [&new, &old, &alive, &strange, &source].map(|path| path.exists());
        assert_eq!(left, [true, false, true, true, true]);
    }

    #[test]
    fn a_directory_in_use_is_not_swept_while_nobody_listens_in_it() {
        let place = tempfile::tempdir().unwrap();
        let directory = SocketDirectory::create_in(place.path()).unwrap();
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        let age = || fs::File::open(&directory.path).unwrap().set_modified(hour_ago).unwrap();
        age();
        sweep(place.path(), place.path());
        assert!(directory.path.exists());
        directory.remove();
        directory.ensure().unwrap();
        age();
        sweep(place.path(), place.path());
        assert!(directory.path.exists(), "also not when it was made again");
    }

    #[test]
    fn a_directory_that_was_taken_away_is_made_again() {
        let directory = SocketDirectory::create().unwrap();
        directory.ensure().unwrap();
        directory.remove();
        directory.ensure().unwrap();
        assert!(directory.path.is_dir());
    }

    #[test]
    fn the_first_place_that_can_be_written_is_taken_and_all_are_named_when_none_can() {
        let place = tempfile::tempdir().unwrap();
        let absent = PathBuf::from("/no-such-place");
        let directory =
            SocketDirectory::create_among(&[absent.clone(), place.path().to_owned()]).unwrap();
        assert_eq!(directory.path.parent(), Some(place.path()));
        let sentence =
            SocketDirectory::create_among(&[absent, "/nor-this".into()]).unwrap_err().to_string();
        assert!(
            sentence.contains("/no-such-place: ") && sentence.contains("; /nor-this: "),
            "{sentence}"
        );
    }

    #[test]
    fn places_that_do_not_exist_or_are_too_long_are_errors() {
        assert!(SocketDirectory::create_in(Path::new("/no-such-place")).is_err());
        assert!(SocketDirectory::create_in(Path::new(&format!("/{}", "x".repeat(100)))).is_err());
    }
}
