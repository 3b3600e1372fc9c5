//! An event about one object: a record of S3 and of the servers that imitate it, or an event of EventBridge.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>

use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::calendar::parse_rfc3339;
use crate::key;
use crate::metrics::EventSource;

/// The longest sequencer that is compared. AWS's has 16 or 18 digits.
const MAX_SEQUENCER: usize = 64;

/// An event of a bucket.
#[derive(Debug, PartialEq)]
pub enum BucketEvent {
    Object(ObjectEvent),
    /// One that changes no object, such as S3's test event.
    Ignored(EventSource),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ObjectEvent {
    /// The sender, or the service whose message it came in.
    pub source: EventSource,
    pub bucket: String,
    /// The key. If the sender may or may not have encoded it, both readings.
    pub keys: Vec<String>,
    pub change: Change,
    pub time: Option<SystemTime>,
    pub version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Created, overwritten or restored.
    Created,
    Removed,
}

/// What tells an event from others about the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// S3's sequencer in upper case without trailing zeros, so that the order of texts is that of events: sequencers are
    /// compared as if the shorter one were padded with zeros on the right.
    Ordered(String),
    /// A text that only events that are sent twice have in common.
    Unordered(String),
    /// Nothing: the event may be a new one.
    Unknown,
}

/// Reads an event. `source` is that of the message around it. `None` if the object is something else; an error is the
/// rest of a sentence about the body.
pub fn read(
    object: &Map<String, Value>,
    source: Option<EventSource>,
) -> Result<Option<BucketEvent>, String> {
    if let Some(Value::Object(s3)) = object.get("s3") {
        return read_record(object, s3, source).map(Some);
    }
    let text = |name| object.get(name).and_then(Value::as_str);
    if text("source") == Some("aws.s3")
        && let (Some(kind), Some(Value::Object(detail))) =
            (text("detail-type"), object.get("detail"))
    {
        let source = source.unwrap_or(EventSource::EventBridge);
        return read_detail(kind, detail, text("time"), source).map(Some);
    }
    // Sent once when a bucket is configured.
    let is_test = text("Event") == Some("s3:TestEvent");
    Ok(is_test.then(|| BucketEvent::Ignored(source.unwrap_or(EventSource::S3))))
}

/// A record of S3, MinIO, Ceph or another server.
fn read_record(
    record: &Map<String, Value>,
    s3: &Map<String, Value>,
    source: Option<EventSource>,
) -> Result<BucketEvent, String> {
    let text = |name| record.get(name).and_then(Value::as_str);
    let sender = match text("eventSource").unwrap_or_default() {
        "aws:s3" => EventSource::S3,
        "minio:s3" => EventSource::Minio,
        ceph if ceph.starts_with("ceph:") => EventSource::Ceph,
        _ => EventSource::Other,
    };
    let name = text("eventName").unwrap_or_default();
    let source = source.unwrap_or(sender);
    let Some(change) = change(name) else { return Ok(BucketEvent::Ignored(source)) };
    let inner = |object: &str, name: &str| {
        let text = s3.get(object)?.get(name)?.as_str()?;
        Some(text.to_owned()).filter(|text| !text.is_empty())
    };
    let missing = |what: &str| format!("has a record without s3.{what}");
    let bucket = inner("bucket", "name").ok_or_else(|| missing("bucket.name"))?;
    let written = inner("object", "key").ok_or_else(|| missing("object.key"))?;
    // Older versions of Ceph write it in lower case.
    let etag = inner("object", "eTag").or_else(|| inner("object", "etag"));
    let sequencer = inner("object", "sequencer");
    let time = text("eventTime");
    Ok(BucketEvent::Object(ObjectEvent {
        source,
        bucket,
        keys: decode(written, sender),
        change,
        time: time.and_then(parse_rfc3339),
        version: Version::of(sender, sequencer, [name, time.unwrap_or_default()], etag),
    }))
}

/// The detail of an event of EventBridge, whose key is not encoded.
fn read_detail(
    kind: &str,
    detail: &Map<String, Value>,
    time: Option<&str>,
    source: EventSource,
) -> Result<BucketEvent, String> {
    let change = match kind {
        "Object Created" | "Object Restore Completed" => Change::Created,
        "Object Deleted" => Change::Removed,
        _ => return Ok(BucketEvent::Ignored(source)),
    };
    let inner = |object: &str, name: &str| {
        let text = detail.get(object)?.get(name)?.as_str()?;
        Some(text.to_owned()).filter(|text| !text.is_empty())
    };
    let missing = |what: &str| format!("has an event without detail.{what}");
    let bucket = inner("bucket", "name").ok_or_else(|| missing("bucket.name"))?;
    let key = inner("object", "key").ok_or_else(|| missing("object.key"))?;
    let sequencer = inner("object", "sequencer");
    let etag = inner("object", "etag");
    Ok(BucketEvent::Object(ObjectEvent {
        source,
        bucket,
        keys: vec![key],
        change,
        time: time.and_then(parse_rfc3339),
        version: Version::of(EventSource::S3, sequencer, [kind, time.unwrap_or_default()], etag),
    }))
}

/// What an event does to its object, by its name with or without `s3:`; `None` if that changes no image.
fn change(name: &str) -> Option<Change> {
    let name = name.strip_prefix("s3:").unwrap_or(name);
    let (kind, detail) = name.split_once(':').unwrap_or((name, ""));
    match kind {
        "ObjectCreated" => Some(Change::Created),
        "ObjectRestore" if detail == "Completed" => Some(Change::Created),
        "ObjectRemoved" | "LifecycleExpiration" => Some(Change::Removed),
        // Ceph: another zone has changed the object here; a lifecycle rule has.
        "ObjectSynced" if detail.starts_with("Create") => Some(Change::Created),
        "ObjectSynced" => Some(Change::Removed),
        "ObjectLifecycle" if detail.starts_with("Expiration") => Some(Change::Removed),
        _ => None,
    }
}

/// The key of a record. S3 and MinIO encode it as a form does: `+` is a space. Ceph does not encode it at all, and what
/// another server does is unknown.
fn decode(written: String, sender: EventSource) -> Vec<String> {
    let decoded = key::decode_query(&written);
    match (sender, decoded) {
        (EventSource::S3 | EventSource::Minio, Some(decoded)) => vec![decoded],
        (_, Some(decoded)) if decoded != written => vec![decoded, written],
        _ => vec![written],
    }
}

impl Version {
    /// AWS's sequencer gives the order of the events of a key. MinIO's is the time of one of its nodes, and Ceph's the
    /// bytes of a time as its processor stores them: of these, only equality says something.
    fn of(
        sender: EventSource,
        sequencer: Option<String>,
        event: [&str; 2],
        etag: Option<String>,
    ) -> Version {
        let is_hexadecimal = |text: &String| {
            text.len() <= MAX_SEQUENCER && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        match sequencer.filter(is_hexadecimal) {
            Some(sequencer) if sender == EventSource::S3 => {
                Version::Ordered(sequencer.to_ascii_uppercase().trim_end_matches('0').to_owned())
            }
            Some(sequencer) => Version::Unordered(sequencer),
            None => {
                let [name, time] = event;
                // Without a time, two uploads of the same bytes look alike.
                if time.is_empty() {
                    return Version::Unknown;
                }
                Version::Unordered([name, time, &etag.unwrap_or_default()].join(" "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(sender: &str, name: &str, object: Value) -> BucketEvent {
        let record = json!({
            "eventSource": sender, "eventName": name, "eventTime": "2026-11-29T12:42:34.123Z",
            "s3": {"bucket": {"name": "b"}, "object": object},
        });
        read(record.as_object().unwrap(), None).unwrap().unwrap()
    }

    fn event(part: BucketEvent) -> ObjectEvent {
        match part {
            BucketEvent::Object(event) => event,
            other => panic!("{other:?}"),
        }
    }

    fn keys(sender: &str, key: &str) -> Vec<String> {
        event(record(sender, "ObjectCreated:Put", json!({"key": key}))).keys
    }

    #[test]
    fn keys_are_decoded_as_their_sender_encodes_them() {
        for sender in ["aws:s3", "minio:s3"] {
            assert_eq!(keys(sender, "a/red+flower%2B.jpg"), ["a/red flower+.jpg"]);
            assert_eq!(keys(sender, "a%2F%C3%BC.jpg"), ["a/\u{fc}.jpg"]);
            // Not encoded after all.
            assert_eq!(keys(sender, "100%.jpg"), ["100%.jpg"]);
        }
        assert_eq!(keys("ceph:s3", "a b.jpg"), ["a b.jpg"]);
        assert_eq!(keys("ceph:s3", "a+b.jpg"), ["a b.jpg", "a+b.jpg"]);
        assert_eq!(keys("", "a%20b.jpg"), ["a b.jpg", "a%20b.jpg"]);
        let detail = json!({
            "source": "aws.s3", "detail-type": "Object Created", "time": "2021-11-12T00:00:00Z",
            "detail": {"bucket": {"name": "b"}, "object": {"key": "a+b%20c"}},
        });
        let part = read(detail.as_object().unwrap(), None).unwrap().unwrap();
        assert_eq!(event(part).keys, ["a+b%20c"]);
    }

    #[test]
    fn names_of_events_say_what_has_changed() {
        for (name, expected) in [
            ("ObjectCreated:Put", Some(Change::Created)),
            ("s3:ObjectCreated:CompleteMultipartUpload", Some(Change::Created)),
            ("ObjectRestore:Completed", Some(Change::Created)),
            ("ObjectRestore:Post", None),
            ("ObjectRemoved:DeleteMarkerCreated", Some(Change::Removed)),
            ("s3:ObjectRemoved:Delete", Some(Change::Removed)),
            ("LifecycleExpiration:Delete", Some(Change::Removed)),
            ("s3:ObjectSynced:Create", Some(Change::Created)),
            ("s3:ObjectSynced:Deletion:Delete", Some(Change::Removed)),
            ("s3:ObjectLifecycle:Expiration:Current", Some(Change::Removed)),
            ("s3:ObjectLifecycle:Transition:Current", None),
            ("s3:ObjectAccessed:Get", None),
            ("ObjectTagging:Put", None),
            ("ObjectCreatedX:Put", None),
            ("", None),
        ] {
            assert_eq!(change(name), expected, "{name}");
            let part = record("aws:s3", name, json!({"key": "k"}));
            assert_eq!(matches!(part, BucketEvent::Object(_)), expected.is_some(), "{name}");
        }
    }

    #[test]
    fn sequencers_of_aws_are_ordered_as_if_padded() {
        let version = |sender, sequencer: &str| {
            event(record(sender, "ObjectCreated:Put", json!({"key": "k", "sequencer": sequencer})))
                .version
        };
        let ordered = |sequencer| match version("aws:s3", sequencer) {
            Version::Ordered(text) => text,
            other => panic!("{other:?}"),
        };
        assert!(ordered("0055AED6DCD90281E5") < ordered("0055AED6DCD90281E6"));
        assert!(ordered("0055AED6DCD90281E5") < ordered("0055aed6dcd90281e501"));
        assert_eq!(ordered("0055AED6"), ordered("0055aed600"));
        assert!(ordered("0055AED7") > ordered("0055AED6FFFFFFFF"));
        assert_eq!(version("minio:s3", "15CF"), Version::Unordered("15CF".into()));
        assert_eq!(version("ceph:s3", "F7E6"), Version::Unordered("F7E6".into()));
        // No sequencer: time and entity tag.
        for text in ["", "xyz", &"0".repeat(65)] {
            let expected = Version::Unordered("ObjectCreated:Put 2026-11-29T12:42:34.123Z ".into());
            assert_eq!(version("aws:s3", text), expected, "{text}");
        }
        let untimed = json!({
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "b"}, "object": {"key": "k", "eTag": "e"}},
        });
        let part = read(untimed.as_object().unwrap(), None).unwrap().unwrap();
        assert_eq!(event(part).version, Version::Unknown);
    }

    #[test]
    fn incomplete_events_are_malformed() {
        let wrong = |value: Value| read(value.as_object().unwrap(), None).unwrap_err();
        let record = |s3: Value| json!({"eventName": "ObjectCreated:Put", "s3": s3});
        for (s3, expected) in [
            (json!({}), "has a record without s3.bucket.name"),
            (json!({"bucket": "b"}), "has a record without s3.bucket.name"),
            (json!({"bucket": {"name": 1}}), "has a record without s3.bucket.name"),
            (json!({"bucket": {"name": "b"}}), "has a record without s3.object.key"),
            (
                json!({"bucket": {"name": "b"}, "object": {"key": ""}}),
                "has a record without s3.object.key",
            ),
        ] {
            assert_eq!(wrong(record(s3.clone())), expected, "{s3}");
        }
        let event = json!({"source": "aws.s3", "detail-type": "Object Created", "detail": {}});
        assert_eq!(wrong(event), "has an event without detail.bucket.name");
        for other in [json!({"s3": 1}), json!({"source": "aws.s3"}), json!({"Event": "x"})] {
            assert_eq!(read(other.as_object().unwrap(), None), Ok(None), "{other}");
        }
    }
}
