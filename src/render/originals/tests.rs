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

/// `fields` stand in the handler.
fn config(server: &Server, fields: &str) -> Config {
    let aws =
        format!(r#"{{"bucket_name": "b", "anonymous": true, "endpoint": "{}"}}"#, server.url());
    config::parse(&format!(r#"{{"handlers": [{{"name": "h", "aws": {aws}{fields}}}]}}"#), "test")
        .unwrap()
}

fn open(config: &Config) -> Originals {
    // An agent of their own: the tests of sources count its connections.
    let limits = Limits { fetches_at_once: 9, ..testing::limits() };
    Originals::open(&config.handlers[0], &limits, Arc::default())
}

fn originals(server: &Server) -> Originals {
    open(&config(server, ""))
}

/// With a cache in this directory, for so many seconds.
fn cached(server: &Server, directory: &testing::TempDirectory, seconds: u64) -> Originals {
    let path = directory.path().display();
    open(&config(
        server,
        &format!(r#", "cache_time": {seconds}, "originals_cache": {{"path": "{path}"}}"#),
    ))
}

/// An entry as if its origin had been asked so many seconds ago.
fn store(originals: &Originals, key: &str, bytes: &[u8], etag: Option<&str>, seconds_ago: u64) {
    let asked = SystemTime::now() - Duration::from_secs(seconds_ago);
    let image = EncodedImage::new(bytes.to_vec(), Format::Png, None);
    originals.cache.as_ref().unwrap().store(&name(originals, key), &image, etag, asked).unwrap();
}

fn name(originals: &Originals, key: &str) -> Name {
    Name {
        handler: originals.identity.clone(),
        key: key.to_owned(),
        options: cache::ORIGINAL.to_owned(),
    }
}

/// The time of an entry, in milliseconds since 1970.
fn stored(originals: &Originals, key: &str) -> Option<u64> {
    let cache = originals.cache.as_ref().unwrap();
    cache.find(&name(originals, key), Need::Header).map(|entry| entry.validated_at())
}

fn milliseconds() -> u64 {
    unix_milliseconds(SystemTime::now())
}

/// A server that holds its answers back until each has been let go.
fn held_back(
    answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
) -> (Server, mpsc::Sender<()>) {
    let (let_go, waiting) = mpsc::channel();
    let waiting = Mutex::new(waiting);
    let server = Server::scripted(move |number, stream| {
        let _ = waiting.lock().unwrap().recv_timeout(Duration::from_secs(20));
        stream.write_all(&answer(number)).is_ok()
    });
    (server, let_go)
}

/// Lets so many threads ask at the same moment, and the origin answer when all of them wait for one flight.
fn together<T: Send>(
    originals: &Originals,
    let_go: &mpsc::Sender<()>,
    ask: impl Fn() -> T + Sync,
) -> Vec<T> {
    const THREADS: usize = 8;
    let everyone = Barrier::new(THREADS);
    thread::scope(|scope| {
        let wanting = || {
            everyone.wait();
            ask()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(wanting)).collect();
        let start = Instant::now();
        while originals.singleflight.waiters() < THREADS
            && start.elapsed() < Duration::from_secs(20)
        {
            thread::yield_now();
        }
        let_go.send(()).unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn simultaneous_wishes_are_one_request() {
    let (server, let_go) = held_back(|_| png("1"));
    let originals = originals(&server);
    let all = together(&originals, &let_go, || originals.get("a", 0).unwrap());
    assert!(all.iter().all(|held| Arc::ptr_eq(held, &all[0]) && held.original.bytes == PNG));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn simultaneous_conditional_wishes_are_one_request() {
    let (server, let_go) = held_back(|_| unchanged());
    let originals = originals(&server);
    let before = SystemTime::now();
    for answer in together(&originals, &let_go, || originals.get_unless("a", "\"1\"", 0)) {
        let Ok(Answer::Unchanged { asked, entry: OriginalEntry::None }) = answer else {
            panic!("{answer:?}")
        };
        assert!(asked >= before);
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_failure_is_everyones_who_waited_for_it() {
    let (server, let_go) = held_back(|_| response("404 Not Found", "", b"<Code>NoSuchKey</Code>"));
    let originals = originals(&server);
    for answer in together(&originals, &let_go, || originals.get("a", 0)) {
        assert_eq!(answer.unwrap_err().code, Code::NotFound);
    }
    assert_eq!(server.requests().len(), 1);
    let_go.send(()).unwrap();
    originals.get("a", 0).unwrap_err();
    assert_eq!(server.requests().len(), 2, "it is not remembered");
}

#[test]
fn nobody_waits_for_ever() {
    let (server, let_go) = held_back(|_| png("1"));
    let config = config(&server, "");
    let mut originals = open(&config);
    originals.timeout = Duration::from_millis(10);
    thread::scope(|scope| {
        let leader = scope.spawn(|| originals.get("a", 0).map(drop));
        while server.requests().is_empty() {
            thread::yield_now();
        }
        let failure = originals.get("a", 0).unwrap_err();
        assert_eq!(failure.code, Code::OriginTimeout);
        let_go.send(()).unwrap();
        assert_eq!(leader.join().unwrap(), Ok(()));
    });
}

#[test]
fn what_a_worker_holds_is_shared_until_nobody_holds_it() {
    let server = Server::answering(|number| png(&number.to_string()));
    let originals = originals(&server);
    let first = originals.get("a", 0).unwrap();
    assert!(Arc::ptr_eq(&first, &originals.get("a", 0).unwrap()));
    let Ok(Answer::Unchanged { asked, .. }) = originals.get_unless("a", "\"0\"", 0) else {
        panic!("it is the one that is had")
    };
    assert_eq!(asked, first.asked);
    let Ok(Answer::Changed(other)) = originals.get_unless("a", "\"old\"", 0) else {
        panic!("it is another")
    };
    assert!(Arc::ptr_eq(&first, &other));
    assert_eq!(server.requests().len(), 1);
    originals.get("b", 0).unwrap();
    assert_eq!(server.requests().len(), 2, "another key is another original");
    drop((first, other));
    assert_eq!(originals.get("a", 0).unwrap().original.etag.as_deref(), Some("\"2\""));
    assert!(originals.held().len() <= 2, "what nobody holds is forgotten");
}

#[test]
fn what_is_held_for_long_is_not_shared_any_more() {
    let server = Server::answering(|number| png(&number.to_string()));
    let originals = originals(&server);
    let mut old = Held::new(
        Original { bytes: PNG.to_vec(), etag: None, last_modified: None },
        SystemTime::now(),
        OriginalEntry::None,
    );
    old.came = Instant::now().checked_sub(LONGEST_SHARED).unwrap();
    let old = originals.share(&name(&originals, "a"), old);
    assert!(!Arc::ptr_eq(&old, &originals.get("a", 0).unwrap()));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn nothing_from_before_is_good_enough() {
    let server = Server::answering(|number| png(&number.to_string()));
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 0);
    let first = originals.get("a", 0).unwrap();
    let asked = unix_milliseconds(first.asked);
    // Neither what is held nor what is stored, and each answer is from after the time that was wanted.
    assert!(Arc::ptr_eq(&first, &originals.get("a", asked - 1).unwrap()));
    let second = originals.get("a", asked).unwrap();
    assert_eq!(second.original.etag.as_deref(), Some("\"1\""));
    assert!(unix_milliseconds(second.asked) > asked);
    assert_eq!(stored(&originals, "a"), Some(unix_milliseconds(second.asked)));
    drop((first, second));
    // The condition is the client's of this wish and not the entry's.
    let later = milliseconds() + 5;
    let Ok(Answer::Changed(third)) = originals.get_unless("a", "\"old\"", later) else {
        panic!("another")
    };
    assert!(unix_milliseconds(third.asked) > later, "also where the clock is behind");
    let conditions: Vec<bool> = server
        .requests()
        .iter()
        .map(|request| request.to_ascii_lowercase().contains("if-none-match"))
        .collect();
    assert_eq!(conditions, [false, false, true]);
    assert!(originals.get("a", u64::MAX).is_ok(), "no time is too far away to be asked");
}

#[test]
fn those_who_want_it_newer_do_not_wait_for_an_older_one() {
    let (server, let_go) = held_back(|number| png(&number.to_string()));
    let originals = originals(&server);
    let now = milliseconds();
    thread::scope(|scope| {
        let old = scope.spawn(|| originals.get("a", 0).unwrap());
        while server.requests().is_empty() {
            thread::yield_now();
        }
        let new = scope.spawn(|| originals.get("a", now).unwrap());
        while server.requests().len() < 2 {
            thread::yield_now();
        }
        let_go.send(()).unwrap();
        let_go.send(()).unwrap();
        assert!(unix_milliseconds(new.join().unwrap().asked) > now);
        old.join().unwrap();
    });
}

#[test]
fn a_stored_original_needs_no_origin_until_it_is_too_old_for_some_result() {
    let server = Server::answering(|_| png("new"));
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 1000);
    store(&originals, "a", b"stored", Some("\"1\""), 890);
    let held = originals.get("a", 0).unwrap();
    assert_eq!((held.original.bytes.as_slice(), held.entry), (&b"stored"[..], OriginalEntry::Used));
    assert_eq!(
        Some(unix_milliseconds(held.asked)),
        stored(&originals, "a"),
        "it is as old as it is"
    );
    drop(held);
    let Ok(Answer::Unchanged { asked, entry: OriginalEntry::Used }) =
        originals.get_unless("a", "\"1\"", 0)
    else {
        panic!("it is the one that is had")
    };
    assert_eq!(Some(unix_milliseconds(asked)), stored(&originals, "a"));
    assert!(server.requests().is_empty());
    store(&originals, "a", b"stored", Some("\"1\""), 901);
    let held = originals.get("a", 0).unwrap();
    assert_eq!(held.original.bytes, PNG);
    assert!(matches!(held.entry, OriginalEntry::Stored(bytes) if bytes > 0), "{:?}", held.entry);
}

#[test]
fn an_old_original_is_revalidated_by_its_origins_word() {
    let server = Server::answering(|_| unchanged());
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 1000);
    for (have, is_had) in [(None, false), (Some("\"1\""), true), (Some("\"0\""), false)] {
        store(&originals, "a", b"stored", Some("\"1\""), 5000);
        let before = milliseconds();
        let answer = originals.find(Wanted {
            key: "a".into(),
            have: have.map(str::to_owned),
            not_before: 0,
        });
        let asked = match answer.unwrap() {
            Answer::Unchanged { asked, entry: OriginalEntry::Stored(_) } if is_had => asked,
            Answer::Changed(held) if !is_had => {
                assert_eq!(held.original.bytes, b"stored");
                held.asked
            }
            other => panic!("{have:?}: {other:?}"),
        };
        assert!(unix_milliseconds(asked) >= before);
        assert_eq!(stored(&originals, "a"), Some(unix_milliseconds(asked)));
        let request = server.requests().pop().unwrap().to_ascii_lowercase();
        assert!(request.contains("if-none-match: \"1\"\r\n"), "the entry's own: {request}");
    }
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_damaged_original_is_fetched_without_its_condition() {
    let server = Server::answering(|number| if number == 0 { unchanged() } else { png("2") });
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 1000);
    store(&originals, "a", b"stored", Some("\"1\""), 5000);
    let path = EntryId::of(&name(&originals, "a")).path(&directory.path().join(cache::LAYOUT));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(originals.get("a", 0).unwrap().original.bytes, PNG);
    assert!(!server.requests()[1].to_ascii_lowercase().contains("if-none-match"));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn what_is_no_image_or_gone_is_not_kept() {
    let server = Server::answering(|number| match number {
        0 => response("200 OK", "ETag: \"1\"\r\n", b"<svg/>"),
        1 => png("1"),
        _ => response("404 Not Found", "", b"<Code>NoSuchKey</Code>"),
    });
    let directory = testing::TempDirectory::new();
    let originals = cached(&server, &directory, 1000);
    assert_eq!(originals.get("a", 0).unwrap().entry, OriginalEntry::None);
    assert_eq!(stored(&originals, "a"), None);
    assert!(matches!(originals.get("a", 0).unwrap().entry, OriginalEntry::Stored(_)));
    let now = stored(&originals, "a").unwrap();
    assert_eq!(originals.get("a", now).unwrap_err().code, Code::NotFound);
    assert_eq!(stored(&originals, "a"), None);
}

#[test]
fn an_origin_that_knows_no_conditions_says_the_same_in_more_words() {
    let server = Server::answering(|_| png("1"));
    let originals = originals(&server);
    assert!(matches!(originals.get_unless("a", "\"1\"", 0), Ok(Answer::Unchanged { .. })));
    assert!(matches!(originals.get_unless("a", "\"2\"", 0), Ok(Answer::Changed(_))));
    // What is not an entity tag is not sent, and the answer to it is no surprise.
    assert!(matches!(originals.get_unless("a", "*", 0), Ok(Answer::Changed(_))));
    assert!(!server.requests()[2].to_ascii_lowercase().contains("if-none-match"));
}
