//! The fields of lines in JSON: a line has no field that is not here. docs/http.md has them as a table.
//!
//! Names are those of the Elastic Common Schema where it has one; `image.…` are the server's own.

/// A field, named by a dotted key at the top level.
#[cfg_attr(not(test), expect(dead_code, reason = "the documents are written by a test"))]
pub struct Field {
    pub name: &'static str,
    /// The comma, the name and the colon before its value.
    pub(super) prefix: &'static str,
    kind: &'static str,
    /// The lines that can have it.
    lines: &'static str,
    /// Sentences in Markdown.
    doc: &'static str,
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $constant:ident: $name:literal, $kind:literal, $lines:literal;)*) => {
        $(pub const $constant: Field = Field {
            name: $name,
            prefix: concat!(",\"", $name, "\":"),
            kind: $kind,
            lines: $lines,
            doc: concat!($($doc),+),
        };)*
        #[cfg(test)]
        const FIELDS: &[Field] = &[$($constant),*];
    };
}

fields! {
    /// The time, RFC 3339 in UTC with milliseconds: of an event, or of the head of a response.
    TIMESTAMP: "@timestamp", "string", "all";
    /// `error`, `warn`, `info` or `debug`; `info` for every request.
    LEVEL: "log.level", "string", "all";
    /// The name of the [event](#events), or `request`.
    EVENT: "event.action", "string", "all";
    /// The sentence of the event.
    MESSAGE: "message", "string", "events";
    /// The [request id](#request-ids). An event has it if it is about a request.
    REQUEST_ID: "http.request.id", "string", "all";
    /// The trace id of a trusted proxy's `traceparent`.
    TRACE_ID: "trace.id", "string", "all";
    /// The parent id of a trusted proxy's `traceparent`: the proxy's span.
    SPAN_ID: "span.id", "string", "all";
    /// The client's address; absent for a client of `http_socket` that no proxy names.
    CLIENT_IP: "client.ip", "string", "requests";
    /// The method; absent if the request could not be parsed, as the target.
    METHOD: "http.request.method", "string", "requests";
    /// The target as sent, with `[redacted]` as the value of `t`.
    TARGET: "url.original", "string", "requests";
    /// The status.
    STATUS: "http.response.status_code", "integer", "requests";
    /// The bytes of the body that were sent.
    BODY_BYTES: "http.response.body.bytes", "integer", "requests";
    /// From the end of the request head to the end of the response.
    DURATION: "event.duration", "nanoseconds", "requests";
    /// The value of `X-Error`, or one of the words that the access log has in its place.
    ERROR: "error.code", "string", "requests";
    /// The value of `X-Cache`.
    CACHE: "image.cache", "string", "requests";
    /// The handler: the first segment of the path, decoded.
    HANDLER: "image.handler", "string", "requests";
    /// The key, decoded.
    KEY: "image.key", "string", "requests";
    /// The canonical query, which has no token. Absent if the request was refused before its options were known.
    OPTIONS: "image.options", "string", "requests";
    /// The time to write the response, a part of `event.duration`.
    WRITE_DURATION: "image.write.duration", "nanoseconds", "requests";
    /// The format of the image in the response, unless it is an error image.
    OUTPUT_FORMAT: "image.output.format", "string", "requests";
    /// Its bytes, also if only a range of them or none is sent.
    OUTPUT_BYTES: "image.output.bytes", "integer", "requests";
    /// The pixels of all frames of the result. This field and those below are of the work of the renderer, if there was
    /// any for this request; a time of 0 is left out.
    OUTPUT_PIXELS: "image.output.pixels", "integer", "requests";
    /// The format of the original.
    INPUT_FORMAT: "image.input.format", "string", "requests";
    /// The pixels of all frames of the original that are read.
    INPUT_PIXELS: "image.input.pixels", "integer", "requests";
    /// The result of the lookup in the results bucket: `hit`, `miss`, `damaged` or `failed`. Absent if there was none.
    SHARED_OUTCOME: "image.shared.outcome", "string", "requests";
    /// The lookup in the results bucket.
    SHARED_DURATION: "image.shared.duration", "nanoseconds", "requests";
    /// The bytes of the original, without its `Content-Encoding`; 0 if it has not changed.
    FETCH_BYTES: "image.fetch.bytes", "integer", "requests";
    /// The result of the fetch: `fetched`, `not_modified`, `not_found` or `failed`.
    FETCH_OUTCOME: "image.fetch.outcome", "string", "requests";
    /// The requests to the origin that were sent again, after a closed connection or a 5xx.
    FETCH_RETRIES: "image.fetch.retries", "integer", "requests";
    /// The fetch of the original from its origin, with its retries.
    FETCH_DURATION: "image.fetch.duration", "nanoseconds", "requests";
    /// The wait for a connection to the renderer.
    QUEUE_DURATION: "image.queue.duration", "nanoseconds", "requests";
    /// The wait for the right to decode, within `memory_budget`.
    PERMIT_DURATION: "image.permit.duration", "nanoseconds", "requests";
    /// Decoding, up to the start of the encoder.
    DECODE_DURATION: "image.decode.duration", "nanoseconds", "requests";
    /// Encoding, with the decoding that is done while the encoder asks for pixels.
    ENCODE_DURATION: "image.encode.duration", "nanoseconds", "requests";
}

/// The names of all fields.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.name)
}

/// The table of docs/http.md.
#[cfg(test)]
pub fn markdown() -> String {
    let mut text = "| field | type | lines | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for Field { name, kind, lines, doc, .. } in FIELDS {
        text += &format!("| `{name}` | {kind} | {lines} | {} |\n", doc.trim());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_need_no_escapes_and_are_unique() {
        for (index, field) in FIELDS.iter().enumerate() {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || b"@._".contains(&byte);
            assert!(field.name.bytes().all(is_plain), "{}", field.name);
            assert!(FIELDS[..index].iter().all(|other| other.name != field.name), "{}", field.name);
        }
    }
}
