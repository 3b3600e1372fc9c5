//! Disks that are full, read-only or gone, processes that are killed and servers that share a directory: every answer is the
//! right image, and what lies in the cache afterwards is whole.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cache_command::cache;
use crate::support::client::{Client, request};
use crate::support::directory::Directory;
use crate::support::images;
use crate::support::s3::{IMAGES, S3};
use crate::support::server::{Server, Setup, can_mount};
use crate::support::{eventually, merged};

/// How many images there are.
const TARGETS: u32 = 160;

fn originals() -> Directory {
    Directory::new().with("a.png", &images::png(images::noise(96, 96)))
}

/// From 5 to 30 KB each.
fn target(number: u32) -> String {
    format!("/h/a.png?f=jpg&q=100&w={}&bg={number:06x}", 48 + number % 48)
}

fn handler(originals: &Directory, cache: &Path, fields: Value) -> Value {
    // One key has them all.
    merged(merged(originals.handler(), json!({"cache_path": cache, "max_variants": 0})), fields)
}

/// What the images are, from a server that keeps nothing.
struct Reference(HashMap<String, (String, Vec<u8>)>);

impl Reference {
    fn of(originals: &Directory) -> Reference {
        let server = Server::with_handler(originals.handler());
        let mut client = server.client();
        let ask = |number| {
            let answer = client.get(&target(number)).ok();
            (target(number), (answer.expect("ETag").to_owned(), answer.body))
        };
        Reference((0..TARGETS).map(ask).collect())
    }

    /// Fails unless this server answers with the right image. Whether it was a hit.
    #[track_caller]
    fn check(&self, client: &mut Client, number: u32) -> bool {
        let target = target(number);
        let answer = client.get(&target).ok();
        self.compare(&target, answer.expect("ETag"), &answer.body);
        answer.expect("X-Cache") == "hit"
    }

    #[track_caller]
    fn compare(&self, target: &str, etag: &str, body: &[u8]) {
        let (right, bytes) = &self.0[target];
        assert!(
            etag == right && body == bytes,
            "another image at {target}: {etag}, {} bytes",
            body.len()
        );
    }
}

/// Asks all servers for images on several connections, until it is over.
fn load<'s>(
    scope: &'s thread::Scope<'s, '_>,
    servers: &'s [Server],
    reference: &'s Reference,
    is_over: &'s AtomicBool,
) -> &'s AtomicU64 {
    let asked = Box::leak(Box::default());
    for thread in 0..4_u32 {
        let server = &servers[thread as usize % servers.len()];
        let asked: &AtomicU64 = asked;
        scope.spawn(move || {
            let _over = Over(is_over);
            let mut client = server.client();
            let mut number = thread * 37;
            while !is_over.load(Ordering::Relaxed) {
                // Each goes through all of them, in an order of its own.
                number = (number + 37 + 2 * thread) % TARGETS;
                reference.check(&mut client, number);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    asked
}

/// Ends the load when it is dropped: when one part of it fails, the others need not go on.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What `cache verify` says about a directory that nobody has damaged.
#[track_caller]
fn is_whole(server: &Server) {
    let (said, complaints, status) = cache(server.directory(), &["verify"]);
    assert_eq!(status, Some(0), "{said}{complaints}");
}

fn temporary_files(cache: &Directory) -> usize {
    let is_temporary =
        |file: &PathBuf| file.file_name().unwrap().to_string_lossy().starts_with(".tmp-");
    cache.files().into_iter().filter(is_temporary).count()
}

fn complaints(server: &Server, part: &str) -> usize {
    server.log.lines().iter().filter(|line| line.contains(part)).count()
}

/// A server in whose namespace there is a small disk for its cache.
fn on_small_disk(originals: &Directory, cache: &Directory, fields: Value) -> Server {
    let config = json!({"handlers": [handler(originals, cache.path(), fields)], "memory_cache": 0});
    let mount = format!("mount -t tmpfs -o size=1m,mode=777 none {}", cache.path().display());
    Setup::new(config).mounts(mount).start()
}

/// The directory as the server sees it.
fn seen_by(server: &Server, cache: &Directory) -> PathBuf {
    let inside = cache.path().strip_prefix("/").unwrap();
    Path::new("/proc").join(server.id().to_string()).join("root").join(inside)
}

/// A directory with a configuration for looking at it.
fn looking_at(originals: &Directory, cache: &Path) -> Directory {
    let config = json!({"handlers": [handler(originals, cache, json!({}))], "http_port": 0});
    Directory::new().with("config.json", config.to_string().as_bytes())
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}

#[test]
fn a_full_disk_costs_nobody_an_image() {
    if !can_mount() {
        return;
    }
    let (originals, directory) = (originals(), Directory::new());
    let reference = Reference::of(&originals);
    // Nothing may be left free, so it is filled to the last byte.
    let servers = [on_small_disk(&originals, &directory, json!({"cache_min_free": 0}))];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        let asked = load(scope, &servers, &reference, &is_over);
        eventually("they are asked for again and again", || {
            asked.load(Ordering::Relaxed) > 600 || is_over.load(Ordering::Relaxed)
        });
    });
    servers[0].log.line_with("No space left");
    assert_eq!(complaints(&servers[0], "event=cache_write_failed"), 1, "once a minute");
    let mut client = servers[0].client();
    let hits = (0..TARGETS).filter(|number| reference.check(&mut client, *number)).count();
    assert!(hits > 10 && hits < TARGETS as usize, "{hits} of {TARGETS} are kept");
    let seen = seen_by(&servers[0], &directory);
    let files = files_below(&seen);
    assert!(!files.iter().any(|file| file.to_string_lossy().contains(".tmp-")), "{files:?}");
    let (said, _, status) = cache(&looking_at(&originals, &seen), &["verify"]);
    assert_eq!(status, Some(0), "{said}");
    // Where there is room again, it is used.
    let (said, _, _) = cache(&looking_at(&originals, &seen), &["purge", "--all"]);
    assert!(said.contains("entries removed"), "{said}");
    reference.check(&mut client, 0);
    assert!(reference.check(&mut client, 0), "it is kept again");
}

#[test]
fn a_disk_that_becomes_read_only_serves_what_it_has() {
    if !can_mount() {
        return;
    }
    let (originals, directory) = (originals(), Directory::new());
    let reference = Reference::of(&originals);
    let server = on_small_disk(&originals, &directory, json!({}));
    let mut client = server.client();
    (0..10).for_each(|number| _ = reference.check(&mut client, number));
    let remount = |how: &str| {
        let id = server.id().to_string();
        let option = format!("remount,{how}");
        let mut command = Command::new("nsenter");
        command.args(["-t", &id, "-m"]);
        if !rustix::process::getuid().is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        eventually("it is mounted anew", || {
            command.status().is_ok() && {
                let mut mount = Command::new("nsenter");
                mount.args(command.get_args());
                mount.args(["mount", "-o", &option]).arg(directory.path());
                mount.status().is_ok_and(|status| status.success())
            }
        });
    };
    let damaged = files_below(&seen_by(&server, &directory))
        .into_iter()
        .find(|file| !file.ends_with(".purged"));
    let damaged = damaged.unwrap();
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    remount("ro");
    for _ in 0..2 {
        let hits = (0..10).filter(|number| reference.check(&mut client, *number)).count();
        assert_eq!(hits, 9, "the damaged one is made anew each time");
        assert!(!reference.check(&mut client, 20));
    }
    server.log.line_with("Read-only file system");
    assert!(damaged.exists());
    remount("rw");
    (0..21).for_each(|number| _ = reference.check(&mut client, number));
    let hits = (0..21).filter(|number| reference.check(&mut client, *number)).count();
    assert_eq!(hits, 21);
}

#[test]
fn a_process_without_descriptors_removes_nothing() {
    const FEW: Option<u64> = Some(4);
    let (mut s3, directory) = (S3::start(), Directory::new());
    s3.put(&IMAGES, "a.png", &images::png(images::noise(96, 96)));
    let handler = merged(s3.handler(), json!({"cache_path": directory.path()}));
    let server = Server::start(json!({"handlers": [handler], "memory_cache": 0}));
    let mut client = server.client();
    let images: Vec<_> = (0..5).map(|number| client.get(&target(number)).ok().body).collect();
    // From now on nobody can make what is removed once more.
    s3.stop();
    let id = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    let most = getrlimit(Resource::Nofile).maximum;
    let before =
        prlimit(Some(id), Resource::Nofile, Rlimit { current: FEW, maximum: most }).unwrap();
    for (number, image) in (0..).zip(&images) {
        // The renderer can still read what the edge can't.
        assert_eq!(client.get(&target(number)).ok().body, *image);
    }
    server.log.line_with("Too many open files");
    prlimit(Some(id), Resource::Nofile, before).unwrap();
    for (number, image) in (0..).zip(images) {
        let answer = client.get(&target(number)).ok();
        assert_eq!((answer.expect("X-Cache"), answer.body == image), ("hit", true));
    }
}

#[test]
fn a_directory_that_is_deleted_under_load_comes_back() {
    let (originals, directory) = (originals(), Directory::new());
    let reference = Reference::of(&originals);
    let place = directory.path().join("cache");
    let servers = [Server::with_handler(handler(&originals, &place, json!({})))];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        let asked = load(scope, &servers, &reference, &is_over);
        for round in 0..12 {
            let until = asked.load(Ordering::Relaxed) + 20;
            eventually("they are asked for", || {
                asked.load(Ordering::Relaxed) > until || is_over.load(Ordering::Relaxed)
            });
            // It may fail, because more comes while it is being deleted.
            let _ = match round % 4 {
                3 => fs::remove_dir_all(&place),
                _ => fs::remove_dir_all(place.join("v1")),
            };
        }
    });
    let mut client = servers[0].client();
    eventually("images are kept again", || reference.check(&mut client, 0));
    is_whole(&servers[0]);
    assert_eq!(temporary_files(&directory), 0);
}

#[test]
fn what_is_killed_leaves_nothing_wrong_and_nothing_unfinished() {
    let (originals, directory) = (originals(), Directory::new());
    let reference = Reference::of(&originals);
    let start = || {
        let handler = handler(&originals, directory.path(), json!({}));
        Server::start(json!({"handlers": [handler], "memory_cache": 100_000}))
    };
    for round in 0..5_u32 {
        let server = start();
        let (address, renderer) = (server.http(), server.renderer());
        let asked = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..4 {
                let (reference, asked) = (&reference, &asked);
                scope.spawn(move || {
                    let Ok(mut client) = Client::try_connect(address) else { return };
                    for number in 0.. {
                        let target = target((number * 4 + thread + round * 31) % TARGETS);
                        if client.try_send(&request("GET", &target, &[])).is_err() {
                            return;
                        }
                        // Until it is killed; half an answer is none.
                        let Ok(Some(answer)) = client.try_read(false) else { return };
                        if answer.status == 200 {
                            reference.compare(&target, answer.expect("ETag"), &answer.body);
                        }
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            eventually("they are asked for", || asked.load(Ordering::Relaxed) > 8);
            // Not at a moment that anything of it has a part in.
            let nanoseconds =
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
            thread::sleep(Duration::from_micros(u64::from(nanoseconds % 40_000)));
            renderer.signal(Signal::KILL);
            server.process().signal(Signal::KILL);
        });
        is_whole(&server);
    }
    // As it is left by somebody who is killed between two writes, a moment ago.
    let entry = directory
        .files()
        .into_iter()
        .find(|file| !file.to_string_lossy().contains(".tmp-"))
        .unwrap();
    fs::copy(&entry, entry.with_file_name(".tmp-00000000deadbeef-1")).unwrap();
    let server = start();
    eventually("what was not finished goes", || temporary_files(&directory) == 0);
    let mut client = server.client();
    (0..TARGETS).for_each(|number| _ = reference.check(&mut client, number));
    is_whole(&server);
}

/// An entry's bytes, with another time at which its origin was asked.
fn asked_at(bytes: &[u8], stored: u64) -> Vec<u8> {
    let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let (head, image) = bytes[20..].split_at(length);
    let mut description: Value = serde_json::from_slice(head).unwrap();
    description["stored"] = stored.into();
    let description = serde_json::to_vec(&description).unwrap();
    let length = u32::try_from(description.len()).unwrap().to_le_bytes();
    [&bytes[..8], &length, &Sha256::digest(&description)[..8], &description, image].concat()
}

#[test]
fn what_comes_from_the_future_is_asked_for_anew() {
    let (originals, directory) = (originals(), Directory::new());
    let reference = Reference::of(&originals);
    let handler = handler(&originals, directory.path(), json!({}));
    let server = Server::start(json!({"handlers": [handler], "memory_cache": 0}));
    let mut client = server.client();
    reference.check(&mut client, 0);
    let entry = directory.files().remove(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let bytes = asked_at(&fs::read(&entry).unwrap(), now + 86_400_000);
    fs::write(&entry, &bytes).unwrap();
    is_whole(&server);
    reference.check(&mut client, 0);
    eventually("its origin has been asked", || {
        reference.check(&mut client, 0);
        let (stats, _, _) = cache(server.directory(), &["stats", "--json"]);
        let stats: Value = serde_json::from_str(&stats).unwrap();
        stats["folders"][0]["handlers"][0]["newest"].as_u64().unwrap() < now + 3_600_000
    });
}

/// How long servers share a directory; longer by hand.
fn soak() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

#[test]
fn two_servers_share_a_directory() {
    let (originals, directory) = (originals(), Directory::new());
    let reference = Reference::of(&originals);
    // Less than all images take, so that both evict what the other stores.
    let bounded = json!({"cache_max_bytes": 1_000_000});
    let server = |memory: u64| {
        let handler = handler(&originals, directory.path(), bounded.clone());
        Server::start(json!({"handlers": [handler], "memory_cache": memory}))
    };
    let servers = [server(0), server(1_000_000)];
    let is_over = AtomicBool::new(false);
    let begin = Instant::now();
    let mut removed = 0;
    thread::scope(|scope| {
        let _over = Over(&is_over);
        load(scope, &servers, &reference, &is_over);
        let mut round = 0_u64;
        while begin.elapsed() < soak() && !is_over.load(Ordering::Relaxed) {
            round += 1;
            for (number, entry) in (0_u64..).zip(directory.files()) {
                // Clocks that jump, and somebody who removes entries.
                let day = Duration::from_secs(86_400 * (number % 3));
                let now = SystemTime::now();
                let time = if round.is_multiple_of(2) { now + day } else { now - day };
                match (number + round) % 7 {
                    0 => removed += u32::from(fs::remove_file(entry).is_ok()),
                    1 | 2 => {
                        if let Ok(file) = fs::File::options().append(true).open(entry) {
                            let _ = file.set_modified(time);
                        }
                    }
                    _ => {}
                }
            }
            is_whole(&servers[0]);
            if round.is_multiple_of(4) {
                cache(servers[0].directory(), &["purge", "--all"]);
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    assert!(removed > 0);
    eventually("nothing unfinished is left", || temporary_files(&directory) == 0);
    is_whole(&servers[0]);
    for server in &servers {
        assert_eq!(complaints(server, "event=entry_damaged"), 0, "{:?}", server.log.lines());
    }
}
