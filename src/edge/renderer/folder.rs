//! The private folder of the renderer's sockets.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest path that fits into a socket address (`sun_path` has 108 bytes, one of them NUL), less the name.
const LONGEST_FOLDER: usize = 107 - "/renderer-18446744073709551615.sock".len();

/// What our folders' names start with.
const PREFIX: &str = "s3imageserver-";

/// A folder that only we can enter; removed when it is dropped.
#[derive(Debug)]
pub struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Makes the folder where the system keeps sockets, or, on a system that has no such place, where we are.
    /// Its name is new each time, so what a killed server left behind is never in the way.
    pub fn create() -> io::Result<PrivateFolder> {
        let variables = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"];
        let mut places: Vec<PathBuf> = variables.iter().filter_map(env::var_os).map(PathBuf::from).collect();
        places.push(env::temp_dir());
        places.push("/run".into());
        places.extend(env::current_dir());
        let mut last = io::Error::other("there is no folder for the renderer's socket");
        for place in places {
            match Self::create_in(&place) {
                Ok(folder) => return Ok(folder),
                Err(error) => last = io::Error::new(error.kind(), format!("{}: {error}", place.display())),
            }
        }
        Err(last)
    }

    fn create_in(place: &Path) -> io::Result<PrivateFolder> {
        let random = RandomState::new().build_hasher().finish();
        let path = place.join(format!("{PREFIX}{}-{random:016x}", std::process::id()));
        if !path.is_absolute() || path.as_os_str().len() > LONGEST_FOLDER {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket"));
        }
        private().create(&path)?;
        sweep(place);
        Ok(PrivateFolder(path))
    }

    /// Makes the folder again if something that cleans temporary files has taken it away.
    pub fn ensure(&self) -> io::Result<()> {
        match private().create(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Where a generation of the renderer listens.
    pub fn socket(&self, generation: u64) -> PathBuf {
        self.0.join(format!("renderer-{generation}.sock"))
    }

    /// Removes the folder with its sockets.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        self.remove();
    }
}

fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Removes the folders of servers that were killed: old enough, and nobody listens in them. What can't be
/// removed is not ours.
fn sweep(place: &Path) {
    const OLD: Duration = Duration::from_secs(60);
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // Not of what a symbolic link leads to: the place may be open to everyone.
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
        if metadata.is_dir() && age.is_some_and(|age| age > OLD) && !is_lived_in(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_lived_in(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            entries.any(|entry| entry.is_ok_and(|entry| UnixStream::connect(entry.path()).is_ok()))
        }
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_folder_is_private_and_goes_away() {
        let folder = PrivateFolder::create().unwrap();
        let path = folder.0.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(folder.socket(u64::MAX).as_os_str().len() <= 107);
        assert_ne!(PrivateFolder::create().unwrap().0, path);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn only_old_folders_in_which_nobody_listens_are_swept() {
        let place = PrivateFolder::create().unwrap();
        let folder = |name: &str| {
            let path = place.0.join(format!("{PREFIX}{name}"));
            fs::create_dir(&path).unwrap();
            path
        };
        let aged = |path: &Path| {
            let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
            fs::File::open(path).unwrap().set_modified(hour_ago).unwrap();
        };
        let (new, old, alive) = (folder("new"), folder("old"), folder("alive"));
        fs::write(old.join("renderer-1.sock"), b"").unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(alive.join("renderer-1.sock")).unwrap();
        let other = place.0.join("other");
        fs::create_dir(&other).unwrap();
        [&old, &alive, &other].into_iter().for_each(|path| aged(path));
        sweep(&place.0);
        assert_eq!([&new, &old, &alive, &other].map(|path| path.exists()), [true, false, true, true]);
    }

    #[test]
    fn a_folder_that_was_taken_away_is_made_again() {
        let folder = PrivateFolder::create().unwrap();
        folder.ensure().unwrap();
        folder.remove();
        folder.ensure().unwrap();
        assert!(folder.0.is_dir());
    }

    #[test]
    fn places_that_do_not_exist_or_are_too_long_are_errors() {
        assert!(PrivateFolder::create_in(Path::new("/no-such-place")).is_err());
        assert!(PrivateFolder::create_in(Path::new(&format!("/{}", "x".repeat(100)))).is_err());
    }
}
