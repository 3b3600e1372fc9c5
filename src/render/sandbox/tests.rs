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

/// A renderer's surroundings: originals, a cache that is still to be made, its socket's directory and what is no
/// business of its.
struct Surroundings {
    temp: tempfile::TempDir,
    config: Config,
}

impl Surroundings {
    /// `over` is put over a handler of a directory.
    fn new(origin: serde_json::Value) -> Surroundings {
        let temp = tempfile::tempdir().unwrap();
        for directory in ["originals", "run", "outside"] {
            fs::create_dir(temp.path().join(directory)).unwrap();
        }
        fs::write(temp.path().join("originals/a.jpg"), b"image").unwrap();
        fs::write(temp.path().join("outside/secret"), b"secret").unwrap();
        let mut handler = json!({"name": "h", "cache_path": temp.path().join("cache")});
        match origin {
            serde_json::Value::Null => handler["directory"] = json!(temp.path().join("originals")),
            aws => handler["aws"] = aws,
        }
        let config = config::parse(&json!({"handlers": [handler]}).to_string(), "test").unwrap();
        Surroundings { temp, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Does something on a thread that is confined as a renderer is; the test's own is not. `None` where this
    /// kernel does not enter.
    fn confined<T: Send>(&self, work: impl FnOnce(Sandbox) -> T + Send) -> Option<T> {
        if !is_possible() {
            eprintln!("skipped: this kernel has no Landlock");
            return None;
        }
        let socket = self.path("run/renderer-1.sock");
        thread::scope(|scope| {
            let thread = scope.spawn(|| work(restrict_paths(&self.config, &socket).unwrap()));
            Some(thread.join().unwrap())
        })
    }
}

/// What needs a newer kernel than the first that has Landlock.
fn can(request: impl FnOnce(Ruleset) -> Result<Ruleset, RulesetError>) -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let can = request(strict).is_ok();
    if !can {
        eprintln!("partly skipped: this kernel is too old for it");
    }
    can
}

#[track_caller]
fn refused<T>(result: std::io::Result<T>) {
    assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::PermissionDenied));
}

#[test]
fn files_outside_of_what_is_needed_are_out_of_reach() {
    let around = Surroundings::new(serde_json::Value::Null);
    assert!(fs::read("/etc/passwd").is_ok(), "or else the test proves nothing");
    // A minimal system has no /etc/hosts.
    let paths = ["/etc/passwd", "/etc/hosts", "/proc/self/environ", "/dev/null"];
    let there: Vec<&str> = paths.into_iter().filter(|path| File::open(path).is_ok()).collect();
    around.confined(|_| {
        assert_eq!(fs::read(around.path("originals/a.jpg")).unwrap(), b"image");
        assert_eq!(fs::read_dir(around.path("originals")).unwrap().count(), 1);
        refused(fs::write(around.path("originals/a.jpg"), b"mine"));
        refused(File::options().append(true).open(around.path("originals/a.jpg")));
        refused(fs::write(around.path("originals/b.jpg"), b"mine"));
        refused(fs::remove_file(around.path("originals/a.jpg")));

        refused(fs::read(around.path("outside/secret")));
        refused(File::options().append(true).open(around.path("outside/secret")));
        refused(fs::write(around.path("outside/new"), b"mine"));
        refused(fs::read_dir(around.path("")));
        for path in &there {
            refused(File::open(path));
        }
    });
}

#[test]
fn a_cache_is_made_and_holds_files_and_directories_and_nothing_else() {
    let around = Surroundings::new(serde_json::Value::Null);
    around.confined(|_| {
        let inside = |name: &str| around.path("cache").join(name);
        fs::create_dir_all(inside("v1/aa")).unwrap();
        fs::create_dir_all(inside("v1/bb")).unwrap();
        fs::write(inside("v1/aa/.tmp"), b"entry").unwrap();
        fs::write(inside("v1/aa/.tmp"), b"again").unwrap();
        fs::rename(inside("v1/aa/.tmp"), inside("v1/aa/entry")).unwrap();
        assert_eq!(fs::read(inside("v1/aa/entry")).unwrap(), b"again");
        assert_eq!(fs::read_dir(inside("v1/aa")).unwrap().count(), 1);
        refused(symlink("/etc/passwd", inside("link")));
        refused(UnixListener::bind(inside("socket")));
        fs::remove_file(inside("v1/aa/entry")).unwrap();
        fs::remove_dir(inside("v1/aa")).unwrap();
        refused(fs::remove_dir_all(around.path("cache")));
    });
}

#[test]
fn no_program_is_executed() {
    let around = Surroundings::new(serde_json::Value::Null);
    let program = std::env::current_exe().unwrap();
    assert!(
        Command::new(&program).arg("--help").output().is_ok(),
        "or else the test proves nothing"
    );
    around.confined(|_| {
        refused(Command::new(&program).arg("--help").output());
        // Nor one that it has written itself.
        let own = around.path("cache/own");
        fs::write(&own, b"#!/bin/sh\n").unwrap();
        fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        refused(Command::new(&own).output());
    });
}

#[test]
fn its_directory_takes_its_socket_and_nothing_else() {
    let around = Surroundings::new(serde_json::Value::Null);
    around.confined(|_| {
        let _listener = UnixListener::bind(around.path("run/renderer-1.sock")).unwrap();
        refused(fs::write(around.path("run/file"), b""));
        refused(fs::remove_file(around.path("run/renderer-1.sock")));
    });
}

#[test]
fn it_listens_on_no_port_and_connects_only_for_a_bucket() {
    if !can(|ruleset| ruleset.handle_access(AccessNet::BindTcp)) {
        return;
    }
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = outside.local_addr().unwrap();
    Surroundings::new(serde_json::Value::Null).confined(|_| {
        refused(TcpListener::bind("127.0.0.1:0"));
        refused(TcpStream::connect(address));
    });
    let of_names = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"];
    let there: Vec<&str> = of_names.into_iter().filter(|path| File::open(path).is_ok()).collect();
    let keys = json!({"bucket_name": "b", "aws_access": "a", "aws_secret": "s"});
    Surroundings::new(keys).confined(|_| {
        refused(TcpListener::bind("127.0.0.1:0"));
        TcpStream::connect(address).unwrap();
        // What finding the bucket's address needs.
        for path in &there {
            fs::read(path).unwrap();
        }
        refused(File::open("/etc/passwd"));
    });
}

#[test]
fn nobody_outside_is_signalled_or_spoken_to() {
    if !can(|ruleset| ruleset.scope(Scope::from_all(ABI::V6))) {
        return;
    }
    let name = format!("s3imageserver-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let _outside = UnixListener::bind_addr(&address).unwrap();
    UnixStream::connect_addr(&address).unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let other = Pid::from_child(&child);
    test_kill_process(other).unwrap();
    Surroundings::new(serde_json::Value::Null).confined(|_| {
        refused(UnixStream::connect_addr(&address));
        refused(test_kill_process(other).map_err(Into::into));
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_comes_to_be_at_a_path_is_noticed() {
    let around = Surroundings::new(serde_json::Value::Null);
    let outdated = |change: &dyn Fn()| {
        around.confined(|sandbox| sandbox).map(|sandbox| {
            let before = sandbox.is_outdated();
            change();
            (before, sandbox.is_outdated())
        })
    };
    let (cache, originals, aside) =
        (around.path("cache"), around.path("originals"), around.path("aside"));
    let changes: [(&str, &dyn Fn(), bool); 7] = [
        ("nothing", &|| {}, false),
        ("a new entry", &|| fs::write(cache.join("entry"), b"").unwrap(), false),
        ("the cache is deleted", &|| fs::remove_dir_all(&cache).unwrap(), true),
        ("the originals are gone", &|| fs::rename(&originals, &aside).unwrap(), false),
        ("the originals are there again", &|| fs::create_dir(&originals).unwrap(), true),
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
        "what can't be helped is no reason"
    );
}
