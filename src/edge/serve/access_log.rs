//! The access log: one line per request on standard error.
//!
//! `time client method target status bytes duration cache|- error|-`, where `cache` and `error` are the values of
//! `X-Cache` and `X-Error`; or an object with more fields, in JSON.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::answer::Answer;
use crate::key::decode_query;
use crate::log::context::RequestIds;
use crate::log::json::Object;
use crate::log::{self, Format, Level, escape, fields, sink, timestamp};
use crate::phases::{Phases, Side};

pub fn add(line: &Line, now: SystemTime) {
    thread_local! {
        /// One buffer per thread, so that lines are formatted without a lock.
        static BUFFER: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        match log::format() {
            Format::Text => line.format(now, buffer),
            Format::Json => line.format_json(now, buffer),
        }
        sink::line(buffer.as_bytes());
    });
}

#[derive(Debug)]
pub struct Line<'r> {
    pub ids: &'r RequestIds,
    pub client: Option<IpAddr>,
    /// Empty for a request that could not be parsed.
    pub method: &'r str,
    /// Path and query as sent; empty for a request that could not be parsed.
    pub target: &'r str,
    /// Number of bytes of the body that were sent.
    pub bytes: usize,
    /// From the end of the head to the end of the response.
    pub took: Duration,
    /// The part of it for sending the response.
    pub write_took: Duration,
    /// The value of `X-Error`, or the reason why the response was not sent.
    pub error: Option<&'r str>,
    pub answer: &'r Answer,
}

impl Line<'_> {
    fn format(&self, now: SystemTime, line: &mut String) {
        timestamp::push(line, now);
        // Writing to a String can't fail.
        let _ = match self.client {
            Some(address) => write!(line, " {address} "),
            None => write!(line, " - "),
        };
        escape::push_column(line, if self.method.is_empty() { "-" } else { self.method });
        line.push(' ');
        let target = if self.target.is_empty() { "-" } else { self.target };
        redact(target, &mut |piece| escape::push_column(line, piece));
        let micros = self.took.as_micros();
        let _ = write!(
            line,
            " {} {} {}.{:03}ms ",
            self.answer.response.status,
            self.bytes,
            micros / 1000,
            micros % 1000
        );
        line.push_str(self.answer.cache.unwrap_or("-"));
        line.push(' ');
        line.push_str(self.error.unwrap_or("-"));
        line.push('\n');
    }

    fn format_json(&self, now: SystemTime, line: &mut String) {
        let Line { answer, .. } = self;
        let mut object = Object::start(line, now, Level::Info, "request");
        object.ids(self.ids);
        if let Some(address) = self.client {
            object.text(&fields::CLIENT_IP, &address.to_string());
        }
        if !self.method.is_empty() {
            object.text(&fields::METHOD, self.method);
            object.pieces(&fields::TARGET, |put| redact(self.target, put));
        }
        object.number(&fields::STATUS, answer.response.status.into());
        object.number(&fields::BODY_BYTES, self.bytes as u64);
        object.duration(&fields::DURATION, self.took);
        object.duration(&fields::WRITE_DURATION, self.write_took);
        for (field, value) in [
            (&fields::ERROR, self.error),
            (&fields::CACHE, answer.cache),
            (&fields::HANDLER, answer.handler.as_ref().map(|handler| handler.name.as_str())),
            (&fields::KEY, answer.name.as_ref().map(|name| name.key.as_str())),
            (&fields::OPTIONS, answer.name.as_ref().map(|name| name.options.as_str())),
        ] {
            if let Some(value) = value {
                object.text(field, value);
            }
        }
        if let (Some((media_type, bytes)), None) = (answer.response.body.variant(), answer.error) {
            object.text(&fields::OUTPUT_FORMAT, media_type.name());
            object.number(&fields::OUTPUT_BYTES, bytes);
        }
        if let Some(phases) = &answer.phases {
            add_phases(&mut object, phases);
        }
        object.end();
    }
}

fn add_phases(object: &mut Object, phases: &Phases) {
    let Phases { queue, shared, fetch, permit, decode, encode, input, output } = phases;
    if let Some(lookup) = shared {
        object.text(&fields::SHARED_OUTCOME, lookup.outcome.name());
    }
    if let Some(fetch) = fetch {
        object.text(&fields::FETCH_OUTCOME, fetch.outcome.name());
        object.number(&fields::FETCH_BYTES, fetch.bytes);
        object.number(&fields::FETCH_RETRIES, fetch.retries.into());
    }
    for (field, took) in [
        (&fields::QUEUE_DURATION, *queue),
        (&fields::SHARED_DURATION, shared.map_or(Duration::ZERO, |lookup| lookup.took)),
        (&fields::FETCH_DURATION, fetch.map_or(Duration::ZERO, |fetch| fetch.took)),
        (&fields::PERMIT_DURATION, *permit),
        (&fields::DECODE_DURATION, *decode),
        (&fields::ENCODE_DURATION, *encode),
    ] {
        if !took.is_zero() {
            object.duration(field, took);
        }
    }
    if let Some(Side { media_type, pixels }) = input {
        object.text(&fields::INPUT_FORMAT, media_type.name());
        object.number(&fields::INPUT_PIXELS, *pixels);
    }
    if let Some(Side { pixels, .. }) = output {
        object.number(&fields::OUTPUT_PIXELS, *pixels);
    }
}

/// Passes on a target without the value of any `t`, however the name is encoded: a token is a secret.
fn redact(target: &str, put: &mut dyn FnMut(&str)) {
    let Some((path, query)) = target.split_once('?') else { return put(target) };
    put(path);
    for (number, pair) in query.split('&').enumerate() {
        put(if number == 0 { "?" } else { "&" });
        match pair.split_once('=') {
            Some((name, _)) if is_token(name) => {
                put(name);
                put("=[redacted]");
            }
            _ => put(pair),
        }
    }
}

/// Whether a parameter is `t`, or is meant to be: in upper case, or after an `&amp;` from HTML.
fn is_token(name: &str) -> bool {
    let decoded =
        if name.contains('%') { decode_query(name).unwrap_or_default() } else { name.to_owned() };
    decoded.rsplit(';').next().is_some_and(|name| name.eq_ignore_ascii_case("t"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use serde_json::{Value, json};

    use super::*;
    use crate::cache::{EncodedImage, Name};
    use crate::edge::http::response::{Body, Response};
    use crate::edge::variants::CacheStatus;
    use crate::format;
    use crate::log::request_id::RequestId;
    use crate::log::trace_context::TraceContext;
    use crate::metrics::HandlerMetrics;

    const NOW: Duration = Duration::from_millis(1_795_361_381_123);

    fn line_of<'r>(target: &'r str, ids: &'r RequestIds, answer: &'r Answer) -> Line<'r> {
        Line {
            ids,
            client: Some([127, 0, 0, 1].into()),
            method: "GET",
            target,
            bytes: 12,
            took: Duration::from_micros(1234),
            write_took: Duration::from_nanos(34_567),
            error: answer.error,
            answer,
        }
    }

    fn line(target: &str) -> String {
        let answer = Answer::plain(Response::new(200, Body::None)).with_cache(CacheStatus::Hit);
        let mut text = String::new();
        line_of(target, &RequestIds::random(), &answer).format(UNIX_EPOCH + NOW, &mut text);
        text
    }

    /// The fields of a line in JSON.
    fn fields_of(line: &Line) -> Value {
        let mut text = String::new();
        line.format_json(UNIX_EPOCH + NOW, &mut text);
        assert_eq!(text.find('\n'), Some(text.len() - 1), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn access_log_line_has_nine_columns() {
        assert_eq!(
            line("/h/a?w=1"),
            "2026-11-22T15:29:41.123Z 127.0.0.1 GET /h/a?w=1 200 12 1.234ms hit -\n"
        );
    }

    #[test]
    fn access_log_redacts_tokens_in_every_spelling() {
        let redacted = |target| line(target).split(' ').nth(3).unwrap().to_owned();
        assert_eq!(
            redacted("/h/a?t=x&w=1&%74=y&tt=z&t="),
            "/h/a?t=[redacted]&w=1&%74=[redacted]&tt=z&t=[redacted]"
        );
        // Copied from HTML, and in upper case.
        assert_eq!(
            redacted("/h/a?w=1&amp;t=x&T=y&%54=z&at=v"),
            "/h/a?w=1&amp;t=[redacted]&T=[redacted]&%54=[redacted]&at=v"
        );
        assert_eq!(redacted("/h/t=x"), "/h/t=x");
    }

    #[test]
    fn access_log_escapes_control_characters() {
        assert!(line("/h/\u{1b}[0m\u{85} x").contains("/h/\\u{1b}[0m\\u{85}\\u{20}x "));
    }

    #[test]
    fn access_log_in_json_has_every_documented_field() {
        let image = EncodedImage::new(vec![0; 99], format::Format::Webp, None);
        let body = Body::EncodedImage(Arc::new(image), 0..12);
        let phases = "shared=1200:0:miss fetch=48213:2345678:fetched:1 permit=7 decode=1290 encode=90313 \
                      in=jpg:12000000 out=webp:90000";
        let phases = Phases { queue: Duration::from_nanos(5), ..Phases::parse(phases).unwrap() };
        let key = "a \"b\"\\\n\u{2028}.jpg".to_owned();
        let name = Name { handler: "h\0identity".into(), key: key.clone(), options: "w=1".into() };
        let answer = Answer {
            handler: Some(Arc::new(HandlerMetrics::new("h"))),
            phases: phases.boxed(),
            ..Answer::plain(Response::new(206, body)).with_cache(CacheStatus::Miss).about(name)
        };
        let traceparent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let ids = RequestIds {
            id: RequestId::parse(b"one").unwrap(),
            trace: TraceContext::parse(traceparent),
        };
        let target = "/h/a%20%22b%22%5C%0A?w=1&t=secret";
        let sent = line_of(target, &ids, &answer);
        let line = fields_of(&sent);
        let expected = json!({
            "@timestamp": "2026-11-22T15:29:41.123Z",
            "log.level": "info",
            "event.action": "request",
            "http.request.id": "one",
            "trace.id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "span.id": "00f067aa0ba902b7",
            "client.ip": "127.0.0.1",
            "http.request.method": "GET",
            "url.original": "/h/a%20%22b%22%5C%0A?w=1&t=[redacted]",
            "http.response.status_code": 206,
            "http.response.body.bytes": 12,
            "event.duration": 1_234_000,
            "image.write.duration": 34_567,
            "image.cache": "miss",
            "image.handler": "h",
            "image.key": key,
            "image.options": "w=1",
            "image.output.format": "webp",
            "image.output.bytes": 99,
            "image.output.pixels": 90_000,
            "image.input.format": "jpg",
            "image.input.pixels": 12_000_000,
            "image.shared.outcome": "miss",
            "image.shared.duration": 1_200_000,
            "image.fetch.bytes": 2_345_678,
            "image.fetch.outcome": "fetched",
            "image.fetch.retries": 1,
            "image.fetch.duration": 48_213_000,
            "image.queue.duration": 5,
            "image.permit.duration": 7_000,
            "image.decode.duration": 1_290_000,
            "image.encode.duration": 90_313_000,
        });
        assert_eq!(line, expected);
        let error = fields_of(&Line { error: Some("client_gone"), ..sent });
        let written = [line, error]
            .into_iter()
            .flat_map(|line| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>());
        // Events alone have a sentence.
        let written = written.chain(["message".to_owned()]).collect::<BTreeSet<_>>();
        assert_eq!(written, fields::names().map(str::to_owned).collect());
    }

    #[test]
    fn access_log_in_json_leaves_out_what_is_unknown() {
        let answer = Answer::plain(Response::text(400, "no"));
        let ids = RequestIds::random();
        let line = line_of("", &ids, &answer);
        let value = fields_of(&Line { client: None, method: "", ..line });
        let names: Vec<&String> = value.as_object().unwrap().keys().collect();
        let expected = [
            "@timestamp",
            "event.action",
            "event.duration",
            "http.request.id",
            "http.response.body.bytes",
            "http.response.status_code",
            "image.write.duration",
            "log.level",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn tokens_are_redacted_in_json_too() {
        let answer = Answer::plain(Response::new(200, Body::None));
        let ids = RequestIds::random();
        let target = "/h/a?w=1&amp;t=secret&T=secret&%54=secret&t=";
        let value = fields_of(&line_of(target, &ids, &answer));
        let expected = "/h/a?w=1&amp;t=[redacted]&T=[redacted]&%54=[redacted]&t=[redacted]";
        assert_eq!(value["url.original"], expected);
    }
}
