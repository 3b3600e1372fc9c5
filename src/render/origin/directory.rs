//! Originals from a local directory. No key leads out of it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Deadline, Fetch, Fetched, Kind, Original, listing};
use crate::config::{self, ConfigError, Limits};
use crate::error::{Code, Failure};
use crate::render::read_path::{ReadPath, Variable};
use crate::render::unsafe_key::refuse_unsafe;

/// Without `NONBLOCK`, opening a FIFO would wait for its writer.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Twice the granularity of file times on Linux: a file that has changed more recently may change again without a
/// change of its time.
const TICK: Duration = Duration::from_millis(20);

/// A directory whose files are originals.
struct Directory {
    path: PathBuf,
    max_bytes: u64,
}

impl Kind for config::Directory {
    fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    fn connects(&self) -> bool {
        false
    }

    fn read_paths(&self, _: Variable) -> Vec<ReadPath> {
        vec![ReadPath::replaceable(&self.path)]
    }

    fn open(&self, limits: &Limits) -> Result<Box<dyn Fetch>, Failure> {
        Ok(Box::new(Directory::new(&self.path, limits)))
    }
}

impl Fetch for Directory {
    fn fetch(
        &self,
        key: &str,
        if_none_match: Option<&str>,
        _deadline: Deadline,
        _retries: &mut u32,
    ) -> Result<Fetched, Failure> {
        refuse_unsafe(key)?;
        // No file has an empty segment in its path: not "", "/etc/passwd", "a//b" or "a/".
        if key.split('/').any(str::is_empty) {
            return Err(self.failure(Code::NotFound, key, "can't be the path of a file"));
        }
        // Opened for each fetch, so that a directory which has been replaced or mounted meanwhile is used.
        let directory =
            rustix::fs::openat(CWD, &self.path, DIRECTORY, Mode::empty()).map_err(|error| {
                let problem = format!("the directory can't be opened: {}", io::Error::from(error));
                self.failure(Code::OriginUnreachable, key, &problem)
            })?;
        let file = self.open(directory, key).map_err(|error| self.not_opened(key, error))?;
        self.read(key, file, if_none_match)
    }

    fn probe(&self, key: Option<&str>, deadline: Deadline) -> Result<String, Failure> {
        if let Some(key) = key {
            self.fetch(key, None, deadline, &mut 0)?;
            return Ok(format!("key {key:?} in {} can be read", self.path.display()));
        }
        Ok(format!("{} is a directory", self.path.display()))
    }

    fn keys(&self, max: usize) -> Vec<String> {
        listing::keys(&self.path, max)
    }
}

impl Directory {
    fn new(path: &Path, limits: &Limits) -> Directory {
        Directory { path: path.to_owned(), max_bytes: limits.origin_max_bytes }
    }

    fn open(&self, directory: OwnedFd, key: &str) -> Result<File, Errno> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&directory, key, FILE, Mode::empty(), beneath) {
            Ok(file) => Ok(File::from(file)),
            // ENOSYS and EPERM: Linux before 5.6, or a seccomp filter that does not know the call. EAGAIN: a rename
            // at the same time. EXDEV: a link that leads out, or an absolute one, which may lead back in.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::XDEV) => self.open_resolved(key),
            Err(error) => Err(error),
        }
    }

    /// Resolves the links first and then follows none, so that the file that was checked is the one that is opened.
    fn open_resolved(&self, key: &str) -> Result<File, Errno> {
        let resolve = |path: &Path| fs::canonicalize(path).map_err(|error| errno(&error));
        let directory = resolve(&self.path)?;
        // Not `self.path`, in which a link may be switched meanwhile.
        let file = resolve(&directory.join(key))?;
        let path = file.strip_prefix(&directory).map_err(|_| Errno::XDEV)?;

        let mut at =
            rustix::fs::openat(CWD, &directory, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        let mut segments = path.components().peekable();
        while let Some(Component::Normal(segment)) = segments.next() {
            if segments.peek().is_none() {
                let file = rustix::fs::openat(
                    at.as_fd(),
                    segment,
                    FILE | OFlags::NOFOLLOW,
                    Mode::empty(),
                )?;
                return Ok(File::from(file));
            }
            at = rustix::fs::openat(
                at.as_fd(),
                segment,
                DIRECTORY | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
        }
        Err(Errno::ISDIR)
    }

    fn read(&self, key: &str, file: File, if_none_match: Option<&str>) -> Result<Fetched, Failure> {
        let failed = |error: io::Error| {
            self.failure(Code::OriginError, key, &format!("can't be read: {error}"))
        };
        let too_large = || {
            let problem =
                format!("is larger than {} bytes (limits.origin_max_bytes)", self.max_bytes);
            self.failure(Code::TooLarge, key, &problem)
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(self.failure(Code::NotFound, key, "is not a regular file"));
        }
        if metadata.len() > self.max_bytes {
            return Err(too_large());
        }
        let etag = etag(&metadata, SystemTime::now());
        if if_none_match.is_some() && if_none_match == etag.as_deref() {
            return Ok(Fetched::Unchanged);
        }
        let mut bytes = Vec::new();
        let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(expected).map_err(|error| failed(error.into()))?;
        (&file).take(self.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > self.max_bytes {
            return Err(too_large());
        }
        if bytes.len() as u64 != metadata.len() {
            return Err(self.failure(
                Code::OriginTruncated,
                key,
                "changed length while it was being read",
            ));
        }
        let last_modified = metadata.modified().ok();
        let cache_control = None;
        Ok(Fetched::Original(Original { bytes, etag, last_modified, cache_control, origin: None }))
    }

    fn not_opened(&self, key: &str, error: Errno) -> Failure {
        let code = match error {
            Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG => Code::NotFound,
            // Links that lead out, that form a loop, or that changed while they were followed.
            Errno::XDEV | Errno::LOOP => Code::NotFound,
            Errno::ACCESS => Code::NotFound,
            // A socket, or a FIFO or device without its other end.
            Errno::NXIO | Errno::NODEV => Code::NotFound,
            _ => Code::OriginError,
        };
        let problem = match error {
            Errno::XDEV => "leads out of the directory".to_owned(),
            error => io::Error::from(error).to_string(),
        };
        self.failure(code, key, &problem)
    }

    fn failure(&self, code: Code, key: &str, problem: &str) -> Failure {
        Failure::new(code, format!("key {key:?} in {}: {problem}", self.path.display()))
    }
}

/// The entity tag of a file; `None` while it may still be changing.
fn etag(metadata: &fs::Metadata, now: SystemTime) -> Option<String> {
    let modified = metadata.modified().ok()?;
    let since = now.duration_since(modified).unwrap_or_else(|error| error.duration());
    if since < TICK {
        return None;
    }
    let (inode, length) = (metadata.ino(), metadata.len());
    Some(format!("\"{inode:x}-{length:x}-{:x}.{:x}\"", metadata.mtime(), metadata.mtime_nsec()))
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::origin::testing::{self, TempDirectory};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;
    use std::thread;

    impl Directory {
        fn get(&self, key: &str, if_none_match: Option<&str>) -> Result<Fetched, Failure> {
            let deadline = super::super::deadline(Duration::from_secs(10));
            self.fetch(key, if_none_match, deadline, &mut 0)
        }

        fn fetch_original(&self, key: &str) -> Result<Original, Failure> {
            match self.get(key, None)? {
                Fetched::Original(original) => Ok(original),
                Fetched::Unchanged => panic!("unchanged without a condition"),
            }
        }
    }

    /// Sets the modification time of a file.
    fn set_modified(path: &Path, seconds_ago: u64) {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
    }

    /// A directory with files and a secret beside it.
    fn directory() -> (TempDirectory, Directory) {
        let temp = TempDirectory::new();
        let inside = temp.path().join("inside");
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::write(inside.join("a.jpg"), b"image").unwrap();
        set_modified(&inside.join("a.jpg"), 60);
        fs::write(inside.join("sub/b c+é%2B.jpg"), b"odd").unwrap();
        fs::write(inside.join("empty"), b"").unwrap();
        fs::write(temp.path().join("secret"), b"secret").unwrap();
        let directory = Directory::new(&inside, &testing::limits());
        (temp, directory)
    }

    fn code(directory: &Directory, key: &str) -> Code {
        directory.fetch_original(key).unwrap_err().code
    }

    #[test]
    fn a_file_is_read_with_its_metadata() {
        let (_temp, directory) = directory();
        let original = directory.fetch_original("a.jpg").unwrap();
        assert_eq!(original.bytes, b"image");
        assert!(original.last_modified.unwrap() <= SystemTime::now());
        assert!(original.etag.unwrap().starts_with('"'));
        assert_eq!(directory.fetch_original("sub/b c+é%2B.jpg").unwrap().bytes, b"odd");
        assert_eq!(directory.fetch_original("empty").unwrap().bytes, b"");
    }

    #[test]
    fn the_etag_changes_with_the_file() {
        let (temp, directory) = directory();
        let before = directory.fetch_original("a.jpg").unwrap().etag;
        assert_eq!(directory.fetch_original("a.jpg").unwrap().etag, before);
        let path = temp.path().join("inside/a.jpg");
        fs::write(&path, b"image, another").unwrap();
        set_modified(&path, 60);
        assert_ne!(directory.fetch_original("a.jpg").unwrap().etag, before);
    }

    #[test]
    fn a_file_with_the_same_etag_is_not_read() {
        let (temp, directory) = directory();
        let etag = directory.fetch_original("a.jpg").unwrap().etag;
        assert_eq!(directory.get("a.jpg", etag.as_deref()), Ok(Fetched::Unchanged));
        let path = temp.path().join("inside/a.jpg");
        fs::write(&path, b"IMAGE").unwrap();
        set_modified(&path, 30);
        let Ok(Fetched::Original(original)) = directory.get("a.jpg", etag.as_deref()) else {
            panic!("it has changed");
        };
        assert_eq!(original.bytes, b"IMAGE");
        fs::remove_file(&path).unwrap();
        let missing = directory.get("a.jpg", original.etag.as_deref()).unwrap_err();
        assert_eq!(missing.code, Code::NotFound);
    }

    #[test]
    fn a_file_that_changed_just_now_has_no_etag() {
        let (temp, _) = directory();
        let metadata = fs::metadata(temp.path().join("inside/a.jpg")).unwrap();
        let modified = metadata.modified().unwrap();
        assert_eq!(etag(&metadata, modified), None);
        assert_eq!(etag(&metadata, modified + TICK / 2), None);
        assert!(etag(&metadata, modified + TICK).is_some());
        assert!(etag(&metadata, modified - TICK).is_some(), "a time in the future");
    }

    #[test]
    fn keys_of_other_things_than_files_are_not_found() {
        let (temp, directory) = directory();
        let _socket = UnixListener::bind(temp.path().join("inside/socket")).unwrap();
        let long = "x".repeat(300);
        for key in [
            "", "/", "missing", "sub", "sub/", "a.jpg/", "a.jpg/x", "sub//x", "/a.jpg", "socket",
            &long,
        ] {
            assert_eq!(code(&directory, key), Code::NotFound, "{key:?}");
        }
    }

    #[test]
    fn a_fifo_does_not_hang() {
        let (temp, directory) = directory();
        let fifo = temp.path().join("inside/fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        let (done, result) = mpsc::channel();
        thread::spawn(move || done.send(code(&directory, "fifo")));
        assert_eq!(result.recv_timeout(Duration::from_secs(10)), Ok(Code::NotFound));
    }

    #[test]
    fn no_key_leads_out_of_the_directory() {
        let (temp, directory) = directory();
        let absolute = temp.path().join("secret").display().to_string();
        let absolute_inside = temp.path().join("inside/a.jpg").display().to_string();
        for key in ["../secret", "sub/../../secret", "..", "sub/..", ".", "./a.jpg", "a.jpg\0"] {
            assert_eq!(code(&directory, key), Code::InvalidKey, "{key:?}");
        }
        for key in [
            "%2e%2e/secret",
            "..%2fsecret",
            "..\\secret",
            "%2e%2e%2fsecret",
            &absolute,
            &absolute_inside,
        ] {
            assert_eq!(code(&directory, key), Code::NotFound, "{key:?}");
        }
    }

    /// The results of `openat2` and of its replacement, which must be the same.
    fn open_both_ways(directory: &Directory, key: &str) -> [Result<Vec<u8>, Code>; 2] {
        let opened = directory
            .fetch_original(key)
            .map(|original| original.bytes)
            .map_err(|failure| failure.code);
        let resolved = directory
            .open_resolved(key)
            .map_err(|error| directory.not_opened(key, error))
            .and_then(|file| directory.read(key, file, None))
            .map(|fetched| match fetched {
                Fetched::Original(original) => original.bytes,
                Fetched::Unchanged => panic!("unchanged without a condition"),
            })
            .map_err(|failure| failure.code);
        [opened, resolved]
    }

    #[test]
    fn links_are_followed_if_they_end_inside_the_directory() {
        let (temp, directory) = directory();
        let inside = temp.path().join("inside");
        symlink("../a.jpg", inside.join("sub/relative")).unwrap();
        symlink(inside.join("a.jpg"), inside.join("absolute")).unwrap();
        symlink("../inside/a.jpg", inside.join("out-and-in")).unwrap();
        symlink(&inside, inside.join("here")).unwrap();
        for key in ["a.jpg", "sub/relative", "absolute", "out-and-in", "here/here/a.jpg"] {
            assert_eq!(
                open_both_ways(&directory, key),
                [Ok(b"image".to_vec()), Ok(b"image".to_vec())],
                "{key}"
            );
        }
        symlink("../secret", inside.join("out")).unwrap();
        symlink(temp.path().join("secret"), inside.join("absolute-out")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("/", inside.join("root")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        for key in [
            "out",
            "absolute-out",
            "up/secret",
            "root/etc/passwd",
            "loop",
            "magic/etc/passwd",
            "sub",
        ] {
            assert_eq!(
                open_both_ways(&directory, key),
                [Err(Code::NotFound), Err(Code::NotFound)],
                "{key}"
            );
        }
    }

    #[test]
    fn a_file_larger_than_the_limit_is_not_read() {
        let (_temp, mut directory) = directory();
        directory.max_bytes = 5;
        assert!(directory.fetch_original("a.jpg").is_ok());
        directory.max_bytes = 4;
        assert_eq!(code(&directory, "a.jpg"), Code::TooLarge);
    }

    #[test]
    fn a_file_with_more_bytes_than_its_length_is_refused() {
        // Files of /proc have length 0 and content.
        let mut directory = Directory::new(Path::new("/proc/self"), &testing::limits());
        assert_eq!(code(&directory, "status"), Code::OriginTruncated);
        directory.max_bytes = 10;
        assert_eq!(code(&directory, "status"), Code::TooLarge);
    }

    #[test]
    fn a_missing_directory_is_unreachable_and_not_a_missing_key() {
        let (temp, directory) = directory();
        fs::rename(temp.path().join("inside"), temp.path().join("elsewhere")).unwrap();
        assert_eq!(code(&directory, "a.jpg"), Code::OriginUnreachable);
    }
}
