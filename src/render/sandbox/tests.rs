use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use rustix::process::{Pid, test_kill_process};
use serde_json::json;

use super::*;
use crate::config;

/// A temporary directory with originals, the directory of the socket and a directory outside of the sandbox; the cache
/// does not exist yet.
struct Environment {
    temp: tempfile::TempDir,
    config: Config,
}

impl Environment {
    /// The origin is the directory of originals, or the bucket in `aws`.
    fn new(aws: Option<serde_json::Value>) -> Environment {
        let temp = tempfile::tempdir().unwrap();
        for directory in ["originals", "run", "outside"] {
            fs::create_dir(temp.path().join(directory)).unwrap();
        }
        fs::write(temp.path().join("originals/a.jpg"), b"image").unwrap();
        fs::write(temp.path().join("outside/secret"), b"secret").unwrap();
        let mut handler = json!({"name": "h", "cache_path": temp.path().join("cache")});
        match aws {
            None => handler["directory"] = json!(temp.path().join("originals")),
            Some(aws) => handler["aws"] = aws,
        }
        let config = config::parse(&json!({"handlers": [handler]}).to_string(), "test").unwrap();
        Environment { temp, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Runs `work` in the sandbox, on a thread of its own. `None` if the kernel has no Landlock.
    fn run_sandboxed<T: Send>(&self, work: impl FnOnce(Sandbox) -> T + Send) -> Option<T> {
        if !is_supported() {
            crate::testing::skip("the kernel has no Landlock");
            return None;
        }
        let socket = self.path("run/renderer-1.sock");
        thread::scope(|scope| {
            let thread = scope.spawn(|| work(restrict_paths(&self.config, &socket).unwrap()));
            Some(thread.join().unwrap())
        })
    }
}

/// Whether the kernel supports a restriction that came after the first version of Landlock.
fn supports(request: impl FnOnce(Ruleset) -> Result<Ruleset, RulesetError>) -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let is_supported = request(strict).is_ok();
    if !is_supported {
        crate::testing::skip("the kernel is too old for a restriction");
    }
    is_supported
}

#[track_caller]
fn assert_denied<T>(result: std::io::Result<T>) {
    assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::PermissionDenied));
}

#[test]
fn sandbox_denies_files_outside_the_allowed_paths() {
    let environment = Environment::new(None);
    assert!(fs::read("/etc/passwd").is_ok(), "readable without a sandbox");
    // A minimal system has no /etc/hosts.
    let paths = ["/etc/passwd", "/etc/hosts", "/proc/self/environ", "/dev/null"];
    let existing: Vec<&str> = paths.into_iter().filter(|path| File::open(path).is_ok()).collect();
    environment.run_sandboxed(|_| {
        assert_eq!(fs::read(environment.path("originals/a.jpg")).unwrap(), b"image");
        assert_eq!(fs::read_dir(environment.path("originals")).unwrap().count(), 1);
        assert_denied(fs::write(environment.path("originals/a.jpg"), b"new"));
        assert_denied(File::options().append(true).open(environment.path("originals/a.jpg")));
        assert_denied(fs::write(environment.path("originals/b.jpg"), b"new"));
        assert_denied(fs::remove_file(environment.path("originals/a.jpg")));

        assert_denied(fs::read(environment.path("outside/secret")));
        assert_denied(File::options().append(true).open(environment.path("outside/secret")));
        assert_denied(fs::write(environment.path("outside/new"), b"new"));
        assert_denied(fs::read_dir(environment.path("")));
        for path in &existing {
            assert_denied(File::open(path));
        }
    });
}

#[test]
fn sandbox_without_handlers_allows_no_file() {
    let mut environment = Environment::new(None);
    environment.config.handlers.clear();
    // As for `s3imageserver render`, which has no socket either.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    if !is_supported() || !supports(|ruleset| ruleset.handle_access(AccessNet::ConnectTcp)) {
        return;
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            restrict_paths(&environment.config, Path::new("")).unwrap();
            for path in ["originals/a.jpg", "outside/secret"] {
                assert_denied(fs::read(environment.path(path)));
            }
            assert_denied(fs::read("/etc/passwd"));
            assert_denied(fs::read_dir("/"));
            assert_denied(fs::write(environment.path("outside/new"), b"new"));
            assert_denied(fs::write("new", b"new"));
            assert_denied(UnixListener::bind(environment.path("run/renderer-1.sock")));
            assert_denied(TcpStream::connect(address));
        });
    });
}

#[test]
fn sandbox_allows_only_files_and_directories_in_a_cache() {
    let environment = Environment::new(None);
    environment.run_sandboxed(|_| {
        let inside = |name: &str| environment.path("cache").join(name);
        fs::create_dir_all(inside("v1/aa")).unwrap();
        fs::create_dir_all(inside("v1/bb")).unwrap();
        fs::write(inside("v1/aa/.tmp"), b"entry").unwrap();
        fs::write(inside("v1/aa/.tmp"), b"again").unwrap();
        fs::rename(inside("v1/aa/.tmp"), inside("v1/aa/entry")).unwrap();
        assert_eq!(fs::read(inside("v1/aa/entry")).unwrap(), b"again");
        assert_eq!(fs::read_dir(inside("v1/aa")).unwrap().count(), 1);
        assert_denied(symlink("/etc/passwd", inside("link")));
        assert_denied(UnixListener::bind(inside("socket")));
        fs::remove_file(inside("v1/aa/entry")).unwrap();
        fs::remove_dir(inside("v1/aa")).unwrap();
        assert_denied(fs::remove_dir_all(environment.path("cache")));
    });
}

#[test]
fn sandbox_denies_executing_programs() {
    let environment = Environment::new(None);
    let program = std::env::current_exe().unwrap();
    assert!(Command::new(&program).arg("--help").output().is_ok(), "runs without a sandbox");
    environment.run_sandboxed(|_| {
        assert_denied(Command::new(&program).arg("--help").output());
        // Also one that it has written itself.
        let own = environment.path("cache/own");
        fs::write(&own, b"#!/bin/sh\n").unwrap();
        fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert_denied(Command::new(&own).output());
    });
}

#[test]
fn sandbox_allows_only_the_socket_in_the_socket_directory() {
    let environment = Environment::new(None);
    environment.run_sandboxed(|_| {
        let _listener = UnixListener::bind(environment.path("run/renderer-1.sock")).unwrap();
        assert_denied(fs::write(environment.path("run/file"), b""));
        assert_denied(fs::remove_file(environment.path("run/renderer-1.sock")));
    });
}

#[test]
fn sandbox_denies_listening_and_allows_connecting_only_for_a_bucket() {
    if !supports(|ruleset| ruleset.handle_access(AccessNet::BindTcp)) {
        return;
    }
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = outside.local_addr().unwrap();
    Environment::new(None).run_sandboxed(|_| {
        assert_denied(TcpListener::bind("127.0.0.1:0"));
        assert_denied(TcpStream::connect(address));
    });
    let resolver = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"];
    let existing: Vec<&str> =
        resolver.into_iter().filter(|path| File::open(path).is_ok()).collect();
    let keys = json!({"bucket_name": "b", "aws_access": "a", "aws_secret": "s"});
    Environment::new(Some(keys)).run_sandboxed(|_| {
        assert_denied(TcpListener::bind("127.0.0.1:0"));
        TcpStream::connect(address).unwrap();
        // Needed to resolve the bucket's address.
        for path in &existing {
            fs::read(path).unwrap();
        }
        assert_denied(File::open("/etc/passwd"));
    });
}

#[test]
fn sandbox_denies_signals_and_abstract_sockets() {
    if !supports(|ruleset| ruleset.scope(Scope::from_all(ABI::V6))) {
        return;
    }
    let name = format!("s3imageserver-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let _outside = UnixListener::bind_addr(&address).unwrap();
    UnixStream::connect_addr(&address).unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let other = Pid::from_child(&child);
    test_kill_process(other).unwrap();
    Environment::new(None).run_sandboxed(|_| {
        assert_denied(UnixStream::connect_addr(&address));
        assert_denied(test_kill_process(other).map_err(Into::into));
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn sandbox_is_outdated_when_an_allowed_path_is_replaced() {
    let environment = Environment::new(None);
    let outdated = |change: &dyn Fn()| {
        environment.run_sandboxed(|sandbox| sandbox).map(|sandbox| {
            let before = sandbox.is_outdated();
            change();
            (before, sandbox.is_outdated())
        })
    };
    let cache = environment.path("cache");
    let originals = environment.path("originals");
    let aside = environment.path("aside");
    let changes: [(&str, &dyn Fn(), bool); 7] = [
        ("nothing", &|| {}, false),
        ("a new entry", &|| fs::write(cache.join("entry"), b"").unwrap(), false),
        ("the cache is deleted", &|| fs::remove_dir_all(&cache).unwrap(), true),
        ("the originals are missing", &|| fs::rename(&originals, &aside).unwrap(), false),
        ("the originals are created again", &|| fs::create_dir(&originals).unwrap(), true),
        (
            "other originals",
            &|| {
                fs::remove_dir(&originals).unwrap();
                fs::rename(&aside, &originals).unwrap();
            },
            true,
        ),
        (
            "a file where the cache was",
            &|| {
                fs::remove_dir_all(&cache).unwrap();
                fs::write(&cache, b"").unwrap();
            },
            true,
        ),
    ];
    for (what, change, expected) in changes {
        assert!(outdated(change).is_none_or(|found| found == (false, expected)), "{what}");
    }
    assert!(
        outdated(&|| {}).is_none_or(|found| found == (false, false)),
        "a file in place of the cache directory from the start"
    );
}

#[test]
fn a_cache_is_created_although_a_file_in_its_place_is_removed_meanwhile() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("cache");
    fs::write(&path, b"").unwrap();
    // The file is removed by somebody else after it has prevented the creation, and before the directory is opened.
    let create = |path: &Path| {
        let created = fs::create_dir_all(path);
        if path.is_file() {
            fs::remove_file(path)?;
        }
        created
    };
    let (_, stat) = open_cache(&path, &create).unwrap();
    assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::Directory);
    let impossible = temp.path().join("cache/file/cache");
    fs::write(temp.path().join("cache/file"), b"").unwrap();
    let create = |path: &Path| fs::create_dir_all(path);
    assert_eq!(open_cache(&impossible, &create).unwrap_err(), Errno::NOTDIR);
    let refused = |_: &Path| Err(ErrorKind::PermissionDenied.into());
    let missing = temp.path().join("missing");
    assert_eq!(open_cache(&missing, &refused).unwrap_err(), Errno::NOENT);
}
