use std::io::Write;
use std::sync::{Barrier, mpsc};
use std::thread;

use super::*;
use crate::config::{self, Config};
use crate::render::origin::testing::{self, Server, response};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nof a kind";

fn png(etag: &str) -> Vec<u8> {
    response("200 OK", &format!("ETag: \"{etag}\"\r\n"), PNG)
}

fn unchanged() -> Vec<u8> {
    response("304 Not Modified", "", b"")
}

/// `fields` are added to the handler, as JSON after a comma.
fn config(server: &Server, fields: &str) -> Config {
    let aws =
        format!(r#"{{"bucket_name": "b", "anonymous": true, "endpoint": "{}"}}"#, server.url());
    config::parse(&format!(r#"{{"handlers": [{{"name": "h", "aws": {aws}{fields}}}]}}"#), "test")
        .unwrap()
}

fn open(config: &Config) -> Originals {
    // Another `fetches_at_once` gets an agent of its own: tests of the origin count the connections of theirs.
    let limits = Limits { fetches_at_once: 9, ..testing::limits() };
    Originals::open(&config.handlers[0], &limits, Arc::default())
}

fn originals(server: &Server) -> Originals {
    open(&config(server, ""))
}

/// With an originals cache in this directory.
fn cached(server: &Server, directory: &testing::TempDirectory, cache_time: u64) -> Originals {
    let path = directory.path().display();
    open(&config(
        server,
        &format!(r#", "cache_time": {cache_time}, "originals_cache": {{"path": "{path}"}}"#),
    ))
}

fn get(originals: &Originals, key: &str, not_before: u64) -> Result<Arc<SharedOriginal>, Failure> {
    originals.get(key, not_before, &mut Phases::default())
}

fn get_if_changed(
    originals: &Originals,
    key: &str,
    etag: &str,
    not_before: u64,
) -> Result<OriginalResponse, Failure> {
    let validator = Validator::from(Some(etag));
    originals.get_if_changed(key, validator, not_before, &mut Phases::default())
}

/// Stores an entry that was validated some seconds ago.
fn store(originals: &Originals, key: &str, bytes: &[u8], etag: Option<&str>, seconds_ago: u64) {
    let validated_at = SystemTime::now() - Duration::from_secs(seconds_ago);
    let image = EncodedImage::new(bytes.to_vec(), Format::Png, None);
    let cache = originals.cache.as_ref().unwrap();
    cache.store(&name(originals, key), &image, etag, validated_at).unwrap();
}

fn name(originals: &Originals, key: &str) -> Name {
    Name {
        handler: originals.identity.clone(),
        key: key.to_owned(),
        options: cache::ORIGINAL.to_owned(),
    }
}

/// When an entry was validated, in milliseconds since 1970.
fn validated_at(originals: &Originals, key: &str) -> Option<u64> {
    let cache = originals.cache.as_ref().unwrap();
    cache.find(&name(originals, key), Need::Header).map(|entry| entry.validated_at())
}

fn now_milliseconds() -> u64 {
    unix_milliseconds(SystemTime::now())
}

/// A server that sends one response for each message on the channel.
fn gated_server(
    response: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
) -> (Server, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    let server = Server::scripted(move |number, stream| {
        let _ = released.lock().recv_timeout(Duration::from_secs(20));
        stream.write_all(&response(number)).is_ok()
    });
    (server, release)
}

/// Calls `get` on several threads at once, and lets the origin respond when all of them wait.
fn get_concurrently<T: Send>(
    originals: &Originals,
    release: &mpsc::Sender<()>,
    get: impl Fn() -> T + Sync,
) -> Vec<T> {
    const THREADS: usize = 8;
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let run = || {
            barrier.wait();
            get()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        let start = Instant::now();
        while originals.singleflight.waiters() < THREADS
            && start.elapsed() < Duration::from_secs(20)
        {
            thread::yield_now();
        }
        release.send(()).unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn concurrent_gets_send_one_origin_request() {
    let (server, release) = gated_server(|_| png("1"));
    let originals = originals(&server);
    let all = get_concurrently(&originals, &release, || get(&originals, "a", 0).unwrap());
    assert!(all.iter().all(|shared| Arc::ptr_eq(shared, &all[0]) && shared.original.bytes == PNG));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn concurrent_conditional_gets_send_one_origin_request() {
    let (server, release) = gated_server(|_| unchanged());
    let originals = originals(&server);
    let before = SystemTime::now();
    for response in
        get_concurrently(&originals, &release, || get_if_changed(&originals, "a", "\"1\"", 0))
    {
        let Ok(OriginalResponse::NotModified { validated_at, entry: OriginalEntry::None }) =
            response
        else {
            panic!("{response:?}")
        };
        assert!(validated_at >= before);
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn concurrent_gets_share_a_failure_that_is_not_cached() {
    let (server, release) =
        gated_server(|_| response("404 Not Found", "", b"<Code>NoSuchKey</Code>"));
    let originals = originals(&server);
    for response in get_concurrently(&originals, &release, || get(&originals, "a", 0)) {
        assert_eq!(response.unwrap_err().code, Code::NotFound);
    }
    assert_eq!(server.requests().len(), 1);
    release.send(()).unwrap();
    get(&originals, "a", 0).unwrap_err();
    assert_eq!(server.requests().len(), 2, "the failure is not cached");
}

#[test]
fn singleflight_waiter_times_out() {
    let (server, release) = gated_server(|_| png("1"));
    let config = config(&server, "");
    let mut originals = open(&config);
    originals.timeout = Duration::from_millis(10);
    thread::scope(|scope| {
        let leader = scope.spawn(|| get(&originals, "a", 0).map(drop));
        while server.requests().is_empty() {
            thread::yield_now();
        }
        let failure = get(&originals, "a", 0).unwrap_err();
        assert_eq!(failure.code, Code::OriginTimeout);
        release.send(()).unwrap();
        assert_eq!(leader.join().unwrap(), Ok(()));
    });
}

#[test]
fn original_is_shared_while_a_request_holds_it() {
    let server = Server::answering(|number| png(&number.to_string()));
    let originals = originals(&server);
    let first = get(&originals, "a", 0).unwrap();
    assert!(Arc::ptr_eq(&first, &get(&originals, "a", 0).unwrap()));
    let Ok(OriginalResponse::NotModified { validated_at, .. }) =
        get_if_changed(&originals, "a", "\"0\"", 0)
    else {
        panic!("the entity tag is the same")
    };
    assert_eq!(validated_at, first.validated_at);
    let Ok(OriginalResponse::Original(other)) = get_if_changed(&originals, "a", "\"old\"", 0)
    else {
        panic!("the entity tag is another")
    };
    assert!(Arc::ptr_eq(&first, &other));
    assert_eq!(server.requests().len(), 1);
    get(&originals, "b", 0).unwrap();
    assert_eq!(server.requests().len(), 2, "a key has an original of its own");
    drop((first, other));
    assert_eq!(get(&originals, "a", 0).unwrap().original.etag.as_deref(), Some("\"2\""));
    assert!(originals.shared.lock().len() <= 2, "originals without a holder are removed");
}

#[test]
fn original_is_not_shared_after_max_shared() {
    let server = Server::answering(|number| png(&number.to_string()));
    let originals = originals(&server);
    let mut old = SharedOriginal::new(
        Original {
            bytes: PNG.to_vec(),
            etag: None,
            last_modified: None,
            cache_control: None,
            origin: None,
        },
        SystemTime::now(),
        OriginalEntry::None,
    );
    old.shared_at = Instant::now().checked_sub(MAX_SHARED).unwrap();
    let old = originals.share(&name(&originals, "a"), old);
    assert!(!Arc::ptr_eq(&old, &get(&originals, "a", 0).unwrap()));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn not_before_excludes_older_originals_in_memory_and_cache() {
    let server = Server::answering(|number| png(&number.to_string()));
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 0);
    let first = get(&originals, "a", 0).unwrap();
    let first_time = unix_milliseconds(first.validated_at);
    assert!(Arc::ptr_eq(&first, &get(&originals, "a", first_time - 1).unwrap()));
    let second = get(&originals, "a", first_time).unwrap();
    assert_eq!(second.original.etag.as_deref(), Some("\"1\""));
    assert!(unix_milliseconds(second.validated_at) > first_time);
    assert_eq!(validated_at(&originals, "a"), Some(unix_milliseconds(second.validated_at)));
    drop((first, second));
    // The origin request has the condition of the client, not that of the entry.
    let later = now_milliseconds() + 5;
    let Ok(OriginalResponse::Original(third)) = get_if_changed(&originals, "a", "\"old\"", later)
    else {
        panic!("the entity tag is another")
    };
    assert!(unix_milliseconds(third.validated_at) > later, "even if the clock is behind");
    let conditions: Vec<bool> = server
        .requests()
        .iter()
        .map(|request| request.to_ascii_lowercase().contains("if-none-match"))
        .collect();
    assert_eq!(conditions, [false, false, true]);
    assert!(get(&originals, "a", u64::MAX).is_ok(), "the largest time is accepted");
}

#[test]
fn not_before_requests_do_not_join_an_older_fetch() {
    let (server, release) = gated_server(|number| png(&number.to_string()));
    let originals = originals(&server);
    let now = now_milliseconds();
    thread::scope(|scope| {
        let old = scope.spawn(|| get(&originals, "a", 0).unwrap());
        while server.requests().is_empty() {
            thread::yield_now();
        }
        let new = scope.spawn(|| get(&originals, "a", now).unwrap());
        while server.requests().len() < 2 {
            thread::yield_now();
        }
        release.send(()).unwrap();
        release.send(()).unwrap();
        assert!(unix_milliseconds(new.join().unwrap().validated_at) > now);
        old.join().unwrap();
    });
}

#[test]
fn originals_cache_serves_a_fresh_original_without_its_origin() {
    let server = Server::answering(|_| png("new"));
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 1000);
    store(&originals, "a", b"stored", Some("\"1\""), 890);
    let stored = validated_at(&originals, "a");
    let shared = get(&originals, "a", 0).unwrap();
    assert_eq!(shared.original.bytes, b"stored");
    assert_eq!(shared.entry, OriginalEntry::Used);
    assert_eq!(Some(unix_milliseconds(shared.validated_at)), stored);
    drop(shared);
    let Ok(OriginalResponse::NotModified { validated_at, entry: OriginalEntry::Used }) =
        get_if_changed(&originals, "a", "\"1\"", 0)
    else {
        panic!("the entity tag is the same")
    };
    assert_eq!(Some(unix_milliseconds(validated_at)), stored);
    assert!(server.requests().is_empty());
    store(&originals, "a", b"stored", Some("\"1\""), 901);
    let shared = get(&originals, "a", 0).unwrap();
    assert_eq!(shared.original.bytes, PNG);
    assert!(
        matches!(shared.entry, OriginalEntry::Stored(bytes) if bytes > 0),
        "{:?}",
        shared.entry
    );
}

#[test]
fn originals_cache_revalidates_a_stale_original() {
    let server = Server::answering(|_| unchanged());
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 1000);
    for (if_none_match, is_not_modified) in
        [(None, false), (Some("\"1\""), true), (Some("\"0\""), false)]
    {
        store(&originals, "a", b"stored", Some("\"1\""), 5000);
        let before = now_milliseconds();
        let request = OriginalRequest {
            key: "a".into(),
            condition: if_none_match.map(|etag| Validator::from(Some(etag))),
            not_before: 0,
        };
        let response = originals.find(request, &mut Phases::default());
        let time = match response.unwrap() {
            OriginalResponse::NotModified { validated_at, entry: OriginalEntry::Stored(_) }
                if is_not_modified =>
            {
                validated_at
            }
            OriginalResponse::Original(shared) if !is_not_modified => {
                assert_eq!(shared.original.bytes, b"stored");
                shared.validated_at
            }
            other => panic!("{if_none_match:?}: {other:?}"),
        };
        assert!(unix_milliseconds(time) >= before);
        assert_eq!(validated_at(&originals, "a"), Some(unix_milliseconds(time)));
        let request = server.requests().pop().unwrap().to_ascii_lowercase();
        assert!(
            request.contains("if-none-match: \"1\"\r\n"),
            "the entity tag of the entry: {request}"
        );
    }
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn originals_cache_fetches_a_damaged_original_unconditionally() {
    let server = Server::answering(|number| if number == 0 { unchanged() } else { png("2") });
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 1000);
    store(&originals, "a", b"stored", Some("\"1\""), 5000);
    let path = EntryId::of(&name(&originals, "a")).path(&directory.path().join(cache::LAYOUT));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(get(&originals, "a", 0).unwrap().original.bytes, PNG);
    assert!(!server.requests()[1].to_ascii_lowercase().contains("if-none-match"));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn originals_cache_does_not_keep_non_images_or_deleted_originals() {
    let server = Server::answering(|number| match number {
        0 => response("200 OK", "ETag: \"1\"\r\n", b"<svg/>"),
        1 => png("1"),
        _ => response("404 Not Found", "", b"<Code>NoSuchKey</Code>"),
    });
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 1000);
    assert_eq!(get(&originals, "a", 0).unwrap().entry, OriginalEntry::None);
    assert_eq!(validated_at(&originals, "a"), None);
    assert!(matches!(get(&originals, "a", 0).unwrap().entry, OriginalEntry::Stored(_)));
    let now = validated_at(&originals, "a").unwrap();
    assert_eq!(get(&originals, "a", now).unwrap_err().code, Code::NotFound);
    assert_eq!(validated_at(&originals, "a"), None);
}

#[test]
fn origin_that_ignores_if_none_match_can_answer_not_modified() {
    let server = Server::answering(|_| png("1"));
    let originals = originals(&server);
    assert!(matches!(
        get_if_changed(&originals, "a", "\"1\"", 0),
        Ok(OriginalResponse::NotModified { .. })
    ));
    assert!(matches!(
        get_if_changed(&originals, "a", "\"2\"", 0),
        Ok(OriginalResponse::Original(_))
    ));
    // A value that is not an entity tag is not sent.
    assert!(matches!(get_if_changed(&originals, "a", "*", 0), Ok(OriginalResponse::Original(_))));
    assert!(!server.requests()[2].to_ascii_lowercase().contains("if-none-match"));
}
