//! Originals from a local directory, out of which no key leads.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Fetched;
use super::Original;
use super::refuse_unsafe;
use crate::config::Limits;
use crate::error::{Code, Failure};

/// Without `NONBLOCK`, opening a FIFO would wait for its writer.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Linux' file systems write times that are up to a hundredth of a second old: a file that was changed that short a
/// time ago may be changed again and look the same.
const TICK: Duration = Duration::from_millis(20);

/// A directory whose files are originals.
pub(super) struct Directory {
    directory: PathBuf,
    max_bytes: u64,
}

impl Directory {
    pub(super) fn new(directory: &Path, limits: &Limits) -> Directory {
        Directory { directory: directory.to_owned(), max_bytes: limits.origin_max_bytes }
    }

    pub(super) fn fetch_unless(&self, key: &str, etag: Option<&str>) -> Result<Fetched, Failure> {
        refuse_unsafe(key)?;
        // No file has an empty segment in its path: not "", "/etc/passwd", "a//b" or "a/".
        if key.split('/').any(str::is_empty) {
            return Err(self.failure(Code::NotFound, key, "can't be a file's path"));
        }
        // Opened each time, so that a directory that was replaced or mounted meanwhile is seen.
        let directory = rustix::fs::openat(CWD, &self.directory, DIRECTORY, Mode::empty())
            .map_err(|error| {
                let problem = format!("the directory can't be opened: {}", io::Error::from(error));
                self.failure(Code::OriginUnreachable, key, &problem)
            })?;
        let file = self.open(directory, key).map_err(|error| self.not_opened(key, error))?;
        self.read(key, file, etag)
    }

    fn open(&self, directory: OwnedFd, key: &str) -> Result<File, Errno> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&directory, key, FILE, Mode::empty(), beneath) {
            Ok(file) => Ok(File::from(file)),
            // ENOSYS and EPERM: Linux before 5.6, or a seccomp filter that does not know the call.
            // EAGAIN: something was renamed meanwhile. EXDEV: a link that leads out, or one written as an
            // absolute path, which may well lead back in.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::XDEV) => self.open_resolved(key),
            Err(error) => Err(error),
        }
    }

    /// Resolves the links first and then follows none, so that what was checked is what is opened.
    fn open_resolved(&self, key: &str) -> Result<File, Errno> {
        let resolved = |path: &Path| fs::canonicalize(path).map_err(|error| errno(&error));
        let directory = resolved(&self.directory)?;
        let file = resolved(&self.directory.join(key))?;
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

    fn read(&self, key: &str, file: File, known: Option<&str>) -> Result<Fetched, Failure> {
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
        if known.is_some() && known == etag.as_deref() {
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
                "changed its length while it was read",
            ));
        }
        Ok(Fetched::Original(Original { bytes, etag, last_modified: metadata.modified().ok() }))
    }

    fn not_opened(&self, key: &str, error: Errno) -> Failure {
        let code = match error {
            Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG => Code::NotFound,
            // Links that lead out, lead in circles, or that changed while they were followed.
            Errno::XDEV | Errno::LOOP => Code::NotFound,
            Errno::ACCESS => Code::NotFound,
            // What opening a socket, or a FIFO or device without its other end, says.
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
        Failure::new(code, format!("key {key:?} in {}: {problem}", self.directory.display()))
    }
}

/// What stands for a file's contents, unless they may be changing at this moment.
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
        /// Without a condition.
        fn fetch(&self, key: &str) -> Result<Original, Failure> {
            match self.fetch_unless(key, None)? {
                Fetched::Original(original) => Ok(original),
                Fetched::Unchanged => panic!("unchanged since when?"),
            }
        }
    }

    /// Gives a file a time that is long enough ago.
    fn set_modified(path: &Path, seconds_ago: u64) {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
    }

    /// A directory with files inside and a secret beside it.
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
        directory.fetch(key).unwrap_err().code
    }

    #[test]
    fn files_are_read_whole() {
        let (_temp, directory) = directory();
        let original = directory.fetch("a.jpg").unwrap();
        assert_eq!(original.bytes, b"image");
        assert!(original.last_modified.unwrap() <= SystemTime::now());
        assert!(original.etag.unwrap().starts_with('"'));
        assert_eq!(directory.fetch("sub/b c+é%2B.jpg").unwrap().bytes, b"odd");
        assert_eq!(directory.fetch("empty").unwrap().bytes, b"");
    }

    #[test]
    fn the_etag_changes_with_the_file() {
        let (temp, directory) = directory();
        let before = directory.fetch("a.jpg").unwrap().etag;
        assert_eq!(directory.fetch("a.jpg").unwrap().etag, before);
        let path = temp.path().join("inside/a.jpg");
        fs::write(&path, b"image, another").unwrap();
        set_modified(&path, 60);
        assert_ne!(directory.fetch("a.jpg").unwrap().etag, before);
    }

    #[test]
    fn an_unchanged_file_is_not_read() {
        let (temp, directory) = directory();
        let etag = directory.fetch("a.jpg").unwrap().etag;
        assert_eq!(directory.fetch_unless("a.jpg", etag.as_deref()), Ok(Fetched::Unchanged));
        let path = temp.path().join("inside/a.jpg");
        fs::write(&path, b"EncodedImage").unwrap();
        set_modified(&path, 30);
        let Ok(Fetched::Original(original)) = directory.fetch_unless("a.jpg", etag.as_deref())
        else {
            panic!("it has changed");
        };
        assert_eq!(original.bytes, b"EncodedImage");
        fs::remove_file(&path).unwrap();
        let missing = directory.fetch_unless("a.jpg", original.etag.as_deref()).unwrap_err();
        assert_eq!(missing.code, Code::NotFound);
    }

    #[test]
    fn a_file_that_may_be_changing_has_no_etag_yet() {
        let (temp, _) = directory();
        let metadata = fs::metadata(temp.path().join("inside/a.jpg")).unwrap();
        let modified = metadata.modified().unwrap();
        assert_eq!(etag(&metadata, modified), None);
        assert_eq!(etag(&metadata, modified + TICK / 2), None);
        assert!(etag(&metadata, modified + TICK).is_some());
        assert!(etag(&metadata, modified - TICK).is_some(), "a time that somebody has set");
    }

    #[test]
    fn what_is_not_a_file_is_not_there() {
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
    fn no_key_leads_out() {
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

    /// Each way to open must give the same answers.
    fn both(directory: &Directory, key: &str) -> [Result<Vec<u8>, Code>; 2] {
        let whole =
            directory.fetch(key).map(|original| original.bytes).map_err(|failure| failure.code);
        let resolved = directory
            .open_resolved(key)
            .map_err(|error| directory.not_opened(key, error))
            .and_then(|file| directory.read(key, file, None))
            .map(|fetched| match fetched {
                Fetched::Original(original) => original.bytes,
                Fetched::Unchanged => panic!("unchanged since when?"),
            })
            .map_err(|failure| failure.code);
        [whole, resolved]
    }

    #[test]
    fn links_are_followed_as_long_as_they_end_inside() {
        let (temp, directory) = directory();
        let inside = temp.path().join("inside");
        symlink("../a.jpg", inside.join("sub/relative")).unwrap();
        symlink(inside.join("a.jpg"), inside.join("absolute")).unwrap();
        symlink("../inside/a.jpg", inside.join("out-and-in")).unwrap();
        symlink(&inside, inside.join("here")).unwrap();
        for key in ["a.jpg", "sub/relative", "absolute", "out-and-in", "here/here/a.jpg"] {
            assert_eq!(
                both(&directory, key),
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
            assert_eq!(both(&directory, key), [Err(Code::NotFound), Err(Code::NotFound)], "{key}");
        }
    }

    #[test]
    fn a_file_larger_than_the_limit_is_not_read() {
        let (_temp, mut directory) = directory();
        directory.max_bytes = 5;
        assert!(directory.fetch("a.jpg").is_ok());
        directory.max_bytes = 4;
        assert_eq!(code(&directory, "a.jpg"), Code::TooLarge);
    }

    #[test]
    fn a_file_that_says_less_than_it_holds_is_not_read_without_end() {
        // Files of /proc have length 0 and content.
        let mut directory = Directory::new(Path::new("/proc/self"), &testing::limits());
        assert_eq!(code(&directory, "status"), Code::OriginTruncated);
        directory.max_bytes = 10;
        assert_eq!(code(&directory, "status"), Code::TooLarge);
    }

    #[test]
    fn a_directory_that_went_away_is_not_a_missing_key() {
        let (temp, directory) = directory();
        fs::rename(temp.path().join("inside"), temp.path().join("elsewhere")).unwrap();
        assert_eq!(code(&directory, "a.jpg"), Code::OriginUnreachable);
    }
}
