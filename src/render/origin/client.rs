//! The origins of one handler, asked in turn.

use std::time::{Duration, SystemTime};

use super::absences::Absences;
use super::{Fetch, Fetched, Original, deadline, is_entity_tag, is_not_there, kind};
use crate::cache::Validator;
use crate::config::{Handler, Limits, Origin};
use crate::error::{Code, Failure};
use crate::renderer_status::CredentialsStatus;
use crate::time::unix_milliseconds;

/// The originals of one handler.
pub struct OriginClient {
    origins: Vec<Opened>,
    /// Which origins did not have a key a moment ago, while another one had it.
    absences: Absences,
    timeout: Duration,
}

struct Opened {
    /// Its identity in entries; `None` for the first one, whose identity is part of their names.
    identity: Option<String>,
    fetch: Box<dyn Fetch>,
    /// Asking it costs no request.
    is_local: bool,
}

impl OriginClient {
    /// Prepares to fetch. Nothing is sent: names are resolved, connections opened and credentials looked up by the
    /// first requests and by a thread of its own.
    ///
    /// Clients share a connection pool for each `ca_file`, and one lookup of credentials.
    ///
    /// # Errors
    ///
    /// When the `ca_file` of an origin is not usable, see [`super::check`], or no thread can be started.
    pub fn open(handler: &Handler, limits: &Limits) -> Result<OriginClient, Failure> {
        let open = |(index, origin): (usize, &Origin)| -> Result<Opened, Failure> {
            Ok(Opened {
                identity: (index > 0).then(|| origin.identity()),
                fetch: kind(origin).open(limits)?,
                is_local: origin.local_directory().is_some(),
            })
        };
        Ok(OriginClient {
            origins: handler.origins.iter().enumerate().map(open).collect::<Result<_, _>>()?,
            absences: Absences::new(handler.negative_cache_time),
            timeout: limits.origin_timeout,
        })
    }

    /// Fetches the original of a decoded key from the first origin that has it. The key is used byte for byte: `a//b`,
    /// `/a` and `a` are three keys.
    ///
    /// With the validator of an earlier answer, the original is not fetched if the origin of that answer is still the
    /// first one that has the key, and has not changed it (RFC 9110 §13.1.2). Anything but an entity tag is ignored.
    ///
    /// An origin that did not have the key a moment ago, but after `not_before` in milliseconds since 1970, is asked
    /// after the others.
    ///
    /// `retries` counts the requests that are sent again.
    ///
    /// Blocks, at most as long as the limits allow: `origin_timeout` for all origins together.
    ///
    /// # Errors
    ///
    /// That of the first origin whose failure does not say that it has no such key. The failure's code is for the
    /// client. Its sentence names origin and key, never a secret.
    pub fn fetch(
        &self,
        key: &str,
        validator: Option<&Validator>,
        not_before: u64,
        retries: &mut u32,
    ) -> Result<Fetched, Failure> {
        let deadline = deadline(self.timeout);
        let asked_at = unix_milliseconds(SystemTime::now()).max(not_before.saturating_add(1));
        let absent = self.absences.find(key, not_before);
        let (last, first): (Vec<usize>, Vec<usize>) =
            (0..self.origins.len()).partition(|index| absent.contains(*index));
        let mut missing = absent;
        let mut failures = Vec::new();
        for (index, origin) in first
            .into_iter()
            .chain(last)
            .filter_map(|index| self.origins.get(index).map(|origin| (index, origin)))
        {
            let etag = validator
                .filter(|validator| validator.origin == origin.identity)
                .and_then(|validator| validator.etag.as_deref())
                .filter(|etag| is_entity_tag(etag));
            let fetched = match origin.fetch.fetch(key, etag, deadline, retries) {
                Err(failure) if is_not_there(&failure) => {
                    if !origin.is_local {
                        missing.insert(index);
                    }
                    failures.push(failure);
                    continue;
                }
                fetched => fetched?,
            };
            missing.remove(index);
            if missing != absent {
                self.absences.insert(key, missing, asked_at);
            }
            return Ok(origin.name(fetched));
        }
        Err(not_there(key, failures))
    }

    /// The state of the credentials of the origins that need any: the worst one. Does not wait for their lookup.
    pub fn credentials(&self) -> Option<CredentialsStatus> {
        let states = self.origins.iter().filter_map(|origin| origin.fetch.credentials());
        states.reduce(CredentialsStatus::worse)
    }

    /// The first keys of the directories, for a playground; none of a bucket, whose credentials may not list it, or of a
    /// web server.
    pub fn keys(&self, max: usize) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for origin in &self.origins {
            for key in origin.fetch.keys(max) {
                if keys.len() < max && !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        keys
    }
}

impl Opened {
    /// Adds which origin an original is from.
    fn name(&self, fetched: Fetched) -> Fetched {
        match fetched {
            Fetched::Original(original) => {
                let original = original.not_in_the_future(SystemTime::now());
                Fetched::Original(Original { origin: self.identity.clone(), ..original })
            }
            Fetched::Unchanged => Fetched::Unchanged,
        }
    }
}

/// The failure for a key that no origin has. It is certain only if each of them is.
fn not_there(key: &str, failures: Vec<Failure>) -> Failure {
    let has = |code| failures.iter().any(|failure| failure.code == code);
    let codes = [Code::NotShown, Code::NotFound];
    let code = codes.into_iter().find(|code| has(*code)).unwrap_or(Code::InvalidKey);
    let details: Vec<String> = failures.into_iter().map(|failure| failure.detail).collect();
    if details.is_empty() {
        return Failure::new(Code::OriginError, format!("key {key:?}: the handler has no origin"));
    }
    Failure::new(code, details.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::origin::testing::{self, Server, TempDirectory, response};

    fn open(origins: &str, fields: &str) -> OriginClient {
        let text = format!(r#"{{"handlers": [{{"name": "x", "origins": [{origins}]{fields}}}]}}"#);
        let config = crate::config::parse(&text, "test").unwrap_or_else(|error| panic!("{error}"));
        OriginClient::open(&config.handlers[0], &testing::limits())
            .unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn bucket(server: &Server, name: &str) -> String {
        let url = server.url();
        format!(r#"{{"aws": {{"bucket_name": "{name}", "anonymous": true, "endpoint": "{url}"}}}}"#)
    }

    fn ok(etag: &str) -> Vec<u8> {
        response("200 OK", &format!("ETag: \"{etag}\"\r\n"), b"image")
    }

    fn missing() -> Vec<u8> {
        response("404 Not Found", "", b"<Error><Code>NoSuchKey</Code></Error>")
    }

    fn forbidden() -> Vec<u8> {
        response("403 Forbidden", "", b"<Error><Code>AccessDenied</Code></Error>")
    }

    fn fetch(client: &OriginClient, validator: Option<&Validator>) -> Result<Fetched, Failure> {
        client.fetch("a", validator, 0, &mut 0)
    }

    fn original(client: &OriginClient) -> Original {
        match fetch(client, None) {
            Ok(Fetched::Original(original)) => original,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_origin_that_has_a_key_answers_and_is_named() {
        let [absent, denied, has] = [
            Server::answering(|_| missing()),
            Server::answering(|_| forbidden()),
            Server::answering(|_| ok("e")),
        ];
        let names = [bucket(&absent, "a"), bucket(&denied, "b"), bucket(&has, "c")];
        let client = open(&names.join(","), "");
        let found = original(&client);
        let identity = format!("s3\0{}\0c\0", has.url());
        assert_eq!(found.origin.as_deref(), Some(identity.as_str()));
        assert_eq!(found.etag.as_deref(), Some("\"e\""));
        assert_eq!([&absent, &denied, &has].map(|server| server.requests().len()), [1, 1, 1]);

        let first = open(&[names[2].clone(), names[0].clone()].join(","), "");
        assert_eq!(original(&first).origin, None);
        assert_eq!(absent.requests().len(), 1, "the second origin is not asked");
    }

    #[test]
    fn an_error_of_an_origin_is_not_hidden_by_the_next_one() {
        let has = Server::answering(|_| ok("e"));
        for (answer, code) in [
            (response("500 Oh", "", b""), Code::OriginError),
            (response("403 No", "", b"<Code>SignatureDoesNotMatch</Code>"), Code::OriginError),
            (response("301 Go", "Location: /\r\n", b""), Code::OriginError),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(), Code::OriginTruncated),
        ] {
            let is_whole = code == Code::OriginError;
            let failing = Server::scripted(move |_, stream| {
                std::io::Write::write_all(stream, &answer).is_ok() && is_whole
            });
            let client = open(&[bucket(&failing, "a"), bucket(&has, "b")].join(","), "");
            assert_eq!(fetch(&client, None).unwrap_err().code, code);
        }
        assert_eq!(has.requests().len(), 0);
    }

    #[test]
    fn a_key_that_no_origin_has_is_missing_for_certain_only_if_all_say_so() {
        let [absent, denied] =
            [Server::answering(|_| missing()), Server::answering(|_| forbidden())];
        for (origins, code) in [
            ([bucket(&absent, "a"), bucket(&absent, "b")], Code::NotFound),
            ([bucket(&absent, "a"), bucket(&denied, "b")], Code::NotShown),
            ([bucket(&denied, "a"), bucket(&absent, "b")], Code::NotShown),
        ] {
            let failure = fetch(&open(&origins.join(","), ""), None).unwrap_err();
            assert_eq!(failure.code, code);
            for part in ["in bucket a: the origin answered", "in bucket b: the origin answered"] {
                assert!(failure.detail.contains(part), "{}", failure.detail);
            }
        }
        let client = open(&bucket(&absent, "a"), "");
        let long = "x".repeat(1025);
        assert_eq!(client.fetch(&long, None, 0, &mut 0).unwrap_err().code, Code::InvalidKey);
    }

    #[test]
    fn the_condition_is_for_the_origin_that_answered() {
        let [first, second] = [Server::answering(|_| missing()), Server::answering(|_| ok("e"))];
        let origins = [bucket(&first, "a"), bucket(&second, "b")].join(",");
        let validator = original(&open(&origins, "")).validator();
        // Another server behind the same identity answers the condition.
        let fetched = fetch(&open(&origins, ""), Some(&validator));
        assert!(matches!(fetched, Ok(Fetched::Original(_))), "it ignores conditions: {fetched:?}");
        let has_condition = |server: &Server| {
            let request = server.requests().pop().unwrap().to_ascii_lowercase();
            request.contains("if-none-match: \"e\"\r\n")
        };
        assert!(!has_condition(&first) && has_condition(&second));
        // An origin that is not in the list any more.
        let _ = fetch(&open(&bucket(&second, "b"), ""), Some(&validator));
        assert!(!has_condition(&second));
    }

    #[test]
    fn an_origin_without_a_key_is_not_asked_again_while_another_has_it() {
        let [first, second] = [Server::answering(|_| missing()), Server::answering(|_| ok("e"))];
        let origins = [bucket(&first, "a"), bucket(&second, "b")].join(",");
        let counts = || (first.requests().len(), second.requests().len());
        let client = open(&origins, r#", "negative_cache_time": 600"#);
        for _ in 0..3 {
            original(&client);
        }
        assert_eq!(counts(), (1, 3));
        // After a purge.
        let later = unix_milliseconds(SystemTime::now()) + 1;
        client.fetch("a", None, later, &mut 0).unwrap();
        client.fetch("other", None, 0, &mut 0).unwrap();
        assert_eq!(counts(), (3, 5));

        let client = open(&origins, r#", "negative_cache_time": 0"#);
        (0..2).for_each(|_| drop(original(&client)));
        assert_eq!(counts(), (5, 7));
    }

    #[test]
    fn a_key_that_moved_to_an_origin_that_did_not_have_it_is_found() {
        let first = Server::answering(|number| if number == 0 { missing() } else { ok("new") });
        let second = Server::answering(|number| if number == 0 { ok("old") } else { missing() });
        let origins = [bucket(&first, "a"), bucket(&second, "b")].join(",");
        let client = open(&origins, r#", "negative_cache_time": 600"#);
        assert_eq!(original(&client).etag.as_deref(), Some("\"old\""));
        assert_eq!(original(&client).etag.as_deref(), Some("\"new\""));
        assert_eq!((first.requests().len(), second.requests().len()), (2, 2));
        // From now on the second one is known not to have it.
        assert_eq!(original(&client).origin, None);
        assert_eq!((first.requests().len(), second.requests().len()), (3, 2));
    }

    #[test]
    fn directories_are_always_asked_and_list_their_keys_together() {
        let temp = TempDirectory::new();
        for (file, bytes) in [("a/x.png", "1"), ("b/x.png", "2"), ("b/y.png", "3")] {
            let path = temp.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let directory =
            |name: &str| format!(r#"{{"directory": "{}"}}"#, temp.path().join(name).display());
        let client =
            open(&[directory("a"), directory("b")].join(","), r#", "negative_cache_time": 600"#);
        assert_eq!(client.keys(9), ["x.png", "y.png"]);
        assert_eq!(client.keys(1), ["x.png"]);
        let get = |key: &str| match client.fetch(key, None, 0, &mut 0) {
            Ok(Fetched::Original(original)) => original.bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!((get("x.png"), get("y.png")), (b"1".to_vec(), b"3".to_vec()));
        std::fs::write(temp.path().join("a/y.png"), "4").unwrap();
        assert_eq!(get("y.png"), b"4");
    }

    #[test]
    fn all_origins_share_one_deadline() {
        let slow = Server::scripted(|_, stream| {
            std::thread::sleep(Duration::from_millis(300));
            std::io::Write::write_all(stream, &missing()).is_ok()
        });
        let names: Vec<String> =
            (0..8).map(|number| bucket(&slow, &format!("b{number}"))).collect();
        let text =
            format!(r#"{{"handlers": [{{"name": "x", "origins": [{}]}}]}}"#, names.join(","));
        let config = crate::config::parse(&text, "test").unwrap();
        let limits = Limits { origin_timeout: Duration::from_millis(700), ..testing::limits() };
        let client = OriginClient::open(&config.handlers[0], &limits).ok().unwrap();
        let started = std::time::Instant::now();
        let failure = fetch(&client, None).unwrap_err();
        assert_eq!(failure.code, Code::OriginTimeout, "{failure}");
        assert!(failure.detail.contains("limits.origin_timeout"), "{failure}");
        assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
    }

    #[test]
    fn credentials_of_several_origins_are_as_good_as_the_worst() {
        let keys = r#"{"aws": {"bucket_name": "b", "aws_access": "a", "aws_secret": "s"}}"#;
        let none = r#"{"aws": {"bucket_name": "p", "anonymous": true}}"#;
        assert_eq!(open(none, "").credentials(), None);
        let found = Some(CredentialsStatus::Found { expires: None });
        assert_eq!(open(&format!("{none},{keys}"), "").credentials(), found);
    }

    #[test]
    fn an_origin_client_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<OriginClient>();
    }
}
