//! The private folder of the renderer's sockets.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The longest path that fits into a socket address (`sun_path` has 108 bytes, one of them NUL), less the name.
const LONGEST_FOLDER: usize = 107 - "/renderer-18446744073709551615.sock".len();

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
        let path = place.join(format!("s3imageserver-{}-{random:016x}", std::process::id()));
        if !path.is_absolute() || path.as_os_str().len() > LONGEST_FOLDER {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket"));
        }
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(PrivateFolder(path))
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
    fn places_that_do_not_exist_or_are_too_long_are_errors() {
        assert!(PrivateFolder::create_in(Path::new("/no-such-place")).is_err());
        assert!(PrivateFolder::create_in(Path::new(&format!("/{}", "x".repeat(100)))).is_err());
    }
}
