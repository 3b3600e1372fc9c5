//! The private directory of the renderer's sockets.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sync::Mutex;

/// Bytes of the directory's path: `sun_path` has 108 (unix(7)), less a NUL and the longest socket name.
const MAX_DIRECTORY_PATH: usize = 107 - "/renderer-18446744073709551615.sock".len();

/// The start of each directory's name.
const PREFIX: &str = "s3imageserver-";

/// A directory with mode 0700; removed when it is dropped.
#[derive(Debug)]
pub struct SocketDirectory {
    path: PathBuf,
    /// Keeps other servers, and other renderers of this process, from sweeping the directory while no worker listens.
    lock: Mutex<Option<File>>,
}

impl SocketDirectory {
    /// Creates the directory in the first of `$RUNTIME_DIRECTORY`, `$XDG_RUNTIME_DIR`, the temporary directory, `/run`
    /// and the working directory that is writable. Its random name can't collide with a directory that a killed server
    /// left.
    pub fn create() -> io::Result<SocketDirectory> {
        let variables = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"];
        let mut parents: Vec<PathBuf> =
            variables.iter().filter_map(env::var_os).map(PathBuf::from).collect();
        parents.push(env::temp_dir());
        parents.push("/run".into());
        parents.extend(env::current_dir());
        Self::create_in_first(&parents)
    }

    /// The error lists every parent with its own error.
    fn create_in_first(parents: &[PathBuf]) -> io::Result<SocketDirectory> {
        let mut errors = Vec::new();
        for parent in parents {
            match Self::create_in(parent) {
                Ok(directory) => {
                    sweep(parent, &directory.path);
                    return Ok(directory);
                }
                Err(error) => errors.push(format!("{}: {error}", parent.display())),
            }
        }
        Err(io::Error::other(format!(
            "can't create a directory for the renderer's socket: {}",
            errors.join("; ")
        )))
    }

    fn create_in(parent: &Path) -> io::Result<SocketDirectory> {
        let random = RandomState::new().build_hasher().finish();
        let path = parent.join(format!("{PREFIX}{}-{random:016x}", std::process::id()));
        if !path.is_absolute() || path.as_os_str().len() > MAX_DIRECTORY_PATH {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is too long for a socket",
            ));
        }
        builder().create(&path)?;
        Ok(SocketDirectory { lock: Mutex::new(try_lock(&path)), path })
    }

    /// Creates the directory again if a cleaner of temporary files has removed it.
    pub fn ensure(&self) -> io::Result<()> {
        match builder().create(&self.path) {
            Ok(()) => {
                *self.lock.lock() = try_lock(&self.path);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The path of a worker's socket.
    pub fn socket(&self, worker: u64) -> PathBuf {
        self.path.join(format!("renderer-{worker}.sock"))
    }

    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        self.remove();
    }
}

fn builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Locks a directory until the file is closed. `None` if it is locked, or the file system has no locks.
fn try_lock(directory: &Path) -> Option<File> {
    let file = File::open(directory).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// Removes the directories of killed servers in `parent`: named like `own`, of the same user, old enough, not locked,
/// and empty except for sockets that refuse connections.
fn sweep(parent: &Path, own: &Path) {
    const MIN_AGE: Duration = Duration::from_secs(60);
    let Ok(entries) = fs::read_dir(parent) else { return };
    let Ok(own) = fs::symlink_metadata(own) else { return };
    for entry in entries.flatten() {
        if !is_socket_directory_name(&entry.file_name().to_string_lossy()) {
            continue;
        }
        // This does not follow symbolic links: any user may be able to create one in `parent`.
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        let is_old = age.is_some_and(|age| age > MIN_AGE);
        if metadata.is_dir() && metadata.uid() == own.uid() && is_old && is_abandoned(&entry.path())
        {
            for socket in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                let _ = fs::remove_file(socket.path());
            }
            // Fails, as it should, if the directory is not empty any more.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// `s3imageserver-{process id}-{16 hexadecimal digits}`
fn is_socket_directory_name(name: &str) -> bool {
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(id, random)| {
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        is_id && random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_abandoned(directory: &Path) -> bool {
    if try_lock(directory).is_none() {
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
    fn socket_directory_is_private_and_removed_on_drop() {
        let directory = SocketDirectory::create().unwrap();
        let path = directory.path.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(directory.socket(u64::MAX).as_os_str().len() <= 107);
        assert_ne!(SocketDirectory::create().unwrap().path, path);
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn sweep_removes_only_old_directories_without_a_listener() {
        let parent = SocketDirectory::create().unwrap();
        let directory = |name: &str| {
            let path = parent.path.join(format!("{PREFIX}{name}"));
            fs::create_dir(&path).unwrap();
            path
        };
        let make_old = |path: &Path| {
            let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
            fs::File::open(path).unwrap().set_modified(hour_ago).unwrap();
        };
        let random = "0123456789abcdef";
        let new = directory(&format!("1-{random}"));
        let old = directory(&format!("2-{random}"));
        let in_use = directory(&format!("3-{random}"));
        let with_file = directory(&format!("4-{random}"));
        let other_name = directory("0.1.0");
        drop(UnixListener::bind(old.join("renderer-1.sock")).unwrap());
        let _listener = UnixListener::bind(in_use.join("renderer-1.sock")).unwrap();
        fs::write(with_file.join("image.jpg"), b"").unwrap();
        [&old, &in_use, &with_file, &other_name].into_iter().for_each(|path| make_old(path));
        sweep(&parent.path, &parent.path);
        let left = [&new, &old, &in_use, &with_file, &other_name].map(|path| path.exists());
        assert_eq!(left, [true, false, true, true, true]);
    }

    #[test]
    fn sweep_keeps_a_locked_directory_without_a_listener() {
        let parent = tempfile::tempdir().unwrap();
        let directory = SocketDirectory::create_in(parent.path()).unwrap();
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        let make_old = || fs::File::open(&directory.path).unwrap().set_modified(hour_ago).unwrap();
        make_old();
        sweep(parent.path(), parent.path());
        assert!(directory.path.exists());
        directory.remove();
        directory.ensure().unwrap();
        make_old();
        sweep(parent.path(), parent.path());
        assert!(directory.path.exists(), "the new directory is locked as well");
    }

    #[test]
    fn ensure_creates_a_removed_socket_directory_again() {
        let directory = SocketDirectory::create().unwrap();
        directory.ensure().unwrap();
        directory.remove();
        directory.ensure().unwrap();
        assert!(directory.path.is_dir());
    }

    #[test]
    fn socket_directory_is_created_in_the_first_writable_parent() {
        let parent = tempfile::tempdir().unwrap();
        let absent = PathBuf::from("/no-such-place");
        let directory =
            SocketDirectory::create_in_first(&[absent.clone(), parent.path().to_owned()]).unwrap();
        assert_eq!(directory.path.parent(), Some(parent.path()));
        let sentence = SocketDirectory::create_in_first(&[absent, "/nor-this".into()])
            .unwrap_err()
            .to_string();
        assert!(
            sentence.contains("/no-such-place: ") && sentence.contains("; /nor-this: "),
            "{sentence}"
        );
    }

    #[test]
    fn socket_directory_parent_must_exist_and_be_short() {
        assert!(SocketDirectory::create_in(Path::new("/no-such-place")).is_err());
        assert!(SocketDirectory::create_in(Path::new(&format!("/{}", "x".repeat(100)))).is_err());
    }
}
