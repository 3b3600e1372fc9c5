//! The bodies that senders of events post, as a list of what they tell.
//!
//! S3's records come as they are, in a notification of SNS, or in a message of SQS; EventBridge has a form of its own.
//! What wraps another message is unwrapped here, except for a notification of SNS, whose signature must be checked
//! first.

use serde_json::{Map, Value};

use super::object_event::{self, BucketEvent, ObjectEvent};
use super::sns::SnsMessage;
use crate::metrics::EventSource;

/// Maximum depth of the JSON. S3's records have 6 levels; serde_json's own limit is too high for a thread's stack.
const MAX_DEPTH: usize = 32;
/// How often a message may be wrapped: S3's records, in a notification of SNS, in a message of SQS, in a response of SQS.
const MAX_WRAPPED: usize = 3;

/// One thing that a body tells.
#[derive(Debug, PartialEq)]
pub enum Part {
    Object(ObjectEvent),
    /// An event that changes no object.
    Ignored(EventSource),
    Sns(Box<SnsMessage>),
}

/// Why a body is refused: the rest of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// What a body tells, in its order.
pub fn read(body: &[u8]) -> Result<Vec<Part>, Malformed> {
    let mut parts = Vec::new();
    add_json(body, None, 0, &mut parts)?;
    Ok(parts)
}

/// What a verified notification of SNS tells. It has no other one inside.
pub fn read_notification(message: &str) -> Result<Vec<Part>, Malformed> {
    let mut parts = Vec::new();
    add_json(message.as_bytes(), Some(EventSource::Sns), 1, &mut parts)?;
    if parts.iter().any(|part| matches!(part, Part::Sns(_))) {
        return Err(malformed("wraps messages too often"));
    }
    Ok(parts)
}

/// Adds what a JSON text tells. `source` is that of the message around it.
fn add_json(
    text: &[u8],
    source: Option<EventSource>,
    wrapped: usize,
    parts: &mut Vec<Part>,
) -> Result<(), Malformed> {
    if wrapped > MAX_WRAPPED {
        return Err(malformed("wraps messages too often"));
    }
    if depth(text) > MAX_DEPTH {
        return Err(malformed("is nested too deeply"));
    }
    let value: Value =
        serde_json::from_slice(text).map_err(|error| Malformed(format!("is not JSON: {error}")))?;
    add(value, source, wrapped, parts)
}

fn add(
    value: Value,
    source: Option<EventSource>,
    wrapped: usize,
    parts: &mut Vec<Part>,
) -> Result<(), Malformed> {
    match value {
        Value::Object(object) => add_object(object, source, wrapped, parts),
        // As EventBridge Pipes send a batch.
        Value::Array(items) => {
            items.into_iter().try_for_each(|item| add(item, source, wrapped, parts))
        }
        _ => Err(malformed("is neither an object nor an array")),
    }
}

fn add_object(
    mut object: Map<String, Value>,
    source: Option<EventSource>,
    wrapped: usize,
    parts: &mut Vec<Part>,
) -> Result<(), Malformed> {
    if object.contains_key("TopicArn") && object.contains_key("Type") {
        let message = SnsMessage::read(&object).map_err(Malformed)?;
        parts.push(Part::Sns(Box::new(message)));
        return Ok(());
    }
    // A list of S3's records, as they are or in an event of Lambda; a response of SQS to ReceiveMessage.
    for name in ["Records", "Messages"] {
        if let Some(items) = object.remove(name) {
            let Value::Array(items) = items else {
                return Err(Malformed(format!("{name} is not an array")));
            };
            return items.into_iter().try_for_each(|item| match item {
                Value::Object(item) => add_object(item, source, wrapped, parts),
                _ => Err(Malformed(format!("{name} has an element that is not an object"))),
            });
        }
    }
    // A message of SQS, by its API and in an event of Lambda.
    for name in ["Body", "body"] {
        if let Some(body) = object.get(name).and_then(Value::as_str) {
            let source = source.or(Some(EventSource::Sqs));
            return add_json(body.as_bytes(), source, wrapped + 1, parts);
        }
    }
    let event = object_event::read(&object, source).map_err(Malformed)?;
    parts.push(match event {
        Some(BucketEvent::Object(event)) => Part::Object(event),
        Some(BucketEvent::Ignored(source)) => Part::Ignored(source),
        None => return Err(malformed("is not an event of a bucket that is known here")),
    });
    Ok(())
}

fn malformed(what: &str) -> Malformed {
    Malformed(what.to_owned())
}

/// The depth of the objects and arrays in a JSON text, which may be invalid.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next()
                    && *byte != b'"'
                {
                    if *byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RECORD: &str = r#"{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}}"#;

    fn sources(body: &str) -> Result<Vec<EventSource>, String> {
        let parts = read(body.as_bytes()).map_err(|Malformed(what)| what)?;
        Ok(parts
            .into_iter()
            .map(|part| match part {
                Part::Object(event) => event.source,
                Part::Ignored(source) => source,
                Part::Sns(_) => EventSource::Sns,
            })
            .collect())
    }

    #[test]
    fn records_are_found_in_every_wrapping() {
        let records = format!(r#"{{"Records": [{RECORD}, {RECORD}]}}"#);
        assert_eq!(sources(&records), Ok(vec![EventSource::S3; 2]));
        let response = json!({"Messages": [{"MessageId": "1", "Body": records}]}).to_string();
        assert_eq!(sources(&response), Ok(vec![EventSource::Sqs; 2]));
        let lambda = json!({"Records": [{"eventSource": "aws:sqs", "body": records}]}).to_string();
        assert_eq!(sources(&lambda), Ok(vec![EventSource::Sqs; 2]));
        assert_eq!(sources(&format!("[{records}, {RECORD}]")), Ok(vec![EventSource::S3; 3]));
        assert_eq!(sources(r#"{"Records": []}"#), Ok(Vec::new()));
        assert_eq!(sources("[]"), Ok(Vec::new()));
        let notification = read_notification(&records).unwrap();
        assert_eq!(notification.len(), 2);
        assert!(
            matches!(&notification[0], Part::Object(event) if event.source == EventSource::Sns)
        );
    }

    #[test]
    fn other_bodies_are_malformed() {
        let mut wrapped = format!(r#"{{"Records": [{RECORD}]}}"#);
        for _ in 0..=MAX_WRAPPED {
            wrapped = json!({"Body": wrapped}).to_string();
        }
        for (body, expected) in [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("\u{fc}", "is not JSON"),
            ("1", "is neither an object nor an array"),
            ("\"x\"", "is neither an object nor an array"),
            ("null", "is neither an object nor an array"),
            ("[1]", "is neither an object nor an array"),
            ("{}", "is not an event of a bucket"),
            (r#"{"Records": {}}"#, "Records is not an array"),
            (r#"{"Records": null}"#, "Records is not an array"),
            (r#"{"Records": [1]}"#, "Records has an element that is not an object"),
            (r#"{"Records": [{}]}"#, "is not an event of a bucket"),
            (r#"{"Messages": "x"}"#, "Messages is not an array"),
            (r#"{"Body": "x"}"#, "is not JSON"),
            (r#"{"Body": 1}"#, "is not an event of a bucket"),
            (&wrapped, "wraps messages too often"),
            (&"[".repeat(100_000), "is nested too deeply"),
            (&"{\"a\":".repeat(33), "is nested too deeply"),
        ] {
            let what = sources(body).expect_err(body);
            assert!(what.starts_with(expected), "{body:.60}: {what}");
        }
    }

    #[test]
    fn damaged_bodies_are_no_panic() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/events");
        for name in ["minio-put.json", "eventbridge-deleted.json", "sqs-receive-message.json"] {
            let body = std::fs::read(format!("{directory}/{name}")).unwrap();
            assert_eq!(read(&body).unwrap().len(), 1, "{name}");
            for end in 0..body.len() {
                let _ = read(&body[..end]);
                for byte in *b"\"\\{}[]:,0\n\0\xff" {
                    let mut damaged = body.clone();
                    damaged[end] = byte;
                    let _ = read(&damaged);
                }
            }
        }
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        for (text, expected) in [
            ("", 0),
            ("[[]]", 2),
            (r#"{"a": "[[[[", "b\"[[": [1]}"#, 2),
            (r#"["\\", [[]]]"#, 3),
            (r#"["\"#, 1),
            ("]]]][", 1),
        ] {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }
}
