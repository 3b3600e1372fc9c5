//! Names and values of header fields that an operator chooses (RFC 9110 §5.1, §5.5, §5.6.2).

use jsonc_parser::ast::{ObjectProp, Value};

use super::super::error::Result;
use super::super::fields::Fields;
use super::super::json::type_name;
use super::super::secret;

const WRITTEN: &str = "is a field that the server sends itself";
const HOP_BY_HOP: &str = "is about the connection (RFC 9110 §7.6.1) or the length of the message";
const COOKIE: &str = "must not be set: caches share the response among clients";
const LIFETIME: &str = "tells caches how long to keep the response, for which cache_control is: a token's expiry limits it";

/// Fields that no response gets from the configuration, in lower case, and why.
const REFUSED: [(&str, &str); 48] = [
    ("accept-ranges", WRITTEN),
    ("access-control-allow-origin", "has a field of its own, cors_origin"),
    ("age", WRITTEN),
    ("allow", WRITTEN),
    ("cache-control", LIFETIME),
    ("content-disposition", WRITTEN),
    ("content-encoding", "would say that the image is compressed"),
    ("content-length", WRITTEN),
    ("content-range", WRITTEN),
    ("content-security-policy", WRITTEN),
    ("content-type", WRITTEN),
    ("date", WRITTEN),
    ("etag", WRITTEN),
    ("last-modified", WRITTEN),
    ("location", WRITTEN),
    ("referrer-policy", WRITTEN),
    ("retry-after", WRITTEN),
    ("server", WRITTEN),
    ("server-timing", WRITTEN),
    ("strict-transport-security", WRITTEN),
    ("vary", WRITTEN),
    ("www-authenticate", WRITTEN),
    ("x-cache", WRITTEN),
    ("x-content-type-options", WRITTEN),
    ("x-error", WRITTEN),
    ("x-quality", WRITTEN),
    ("x-request-id", WRITTEN),
    ("connection", HOP_BY_HOP),
    ("keep-alive", HOP_BY_HOP),
    ("proxy-authenticate", HOP_BY_HOP),
    ("proxy-authentication-info", HOP_BY_HOP),
    ("proxy-authorization", HOP_BY_HOP),
    ("proxy-connection", HOP_BY_HOP),
    ("te", HOP_BY_HOP),
    ("trailer", HOP_BY_HOP),
    ("transfer-encoding", HOP_BY_HOP),
    ("upgrade", HOP_BY_HOP),
    ("set-cookie", COOKIE),
    ("set-cookie2", COOKIE),
    ("edge-control", LIFETIME),
    ("expires", LIFETIME),
    ("pragma", LIFETIME),
    ("surrogate-control", LIFETIME),
    // nginx's instructions to itself.
    ("x-accel-buffering", LIFETIME),
    ("x-accel-charset", LIFETIME),
    ("x-accel-expires", LIFETIME),
    ("x-accel-limit-rate", LIFETIME),
    ("x-accel-redirect", LIFETIME),
];

/// What is wrong with the name of a fixed response field.
pub fn name_problem(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        return Some("must be a field name: letters, digits and !#$%&'*+-.^_`|~");
    }
    // CDN-Cache-Control (RFC 9213) and those of single CDNs.
    if lower.ends_with("-cache-control") {
        return Some(LIFETIME);
    }
    REFUSED.iter().find(|(refused, _)| *refused == lower).map(|(_, why)| *why)
}

/// What is wrong with the name of a field of a request that the server sends.
pub fn request_name_problem(name: &str) -> Option<&'static str> {
    const OWN: [&str; 4] = ["host", "content-length", "expect", "accept-encoding"];
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        return name_problem(name);
    }
    if OWN.contains(&lower.as_str()) {
        return Some(WRITTEN);
    }
    REFUSED
        .iter()
        .find(|(refused, why)| *refused == lower && *why == HOP_BY_HOP)
        .map(|(_, why)| *why)
}

/// The names and values of an object, in its order. An error never repeats a value, which may be a secret.
pub fn read_all(
    fields: &Fields,
    name: &str,
    written: &[ObjectProp],
    problem: impl Fn(&str) -> Option<&'static str>,
) -> Result<Vec<(String, String)>> {
    let mut read: Vec<(String, String)> = Vec::new();
    for property in written {
        let field = property.name.as_str();
        let error = |problem: &str| Err(fields.error(&format!("{name}.{field}"), problem));
        if let Some(problem) = problem(field) {
            return error(problem);
        }
        if read.iter().any(|(known, _)| known.eq_ignore_ascii_case(field)) {
            return error("occurs twice: names differ in case only");
        }
        match &property.value {
            Value::StringLit(value) => match value_problem(&value.value) {
                Some(problem) => return error(problem),
                None => read.push((field.to_owned(), value.value.to_string())),
            },
            other => return error(&format!("must be a string, not {}", type_name(other))),
        }
    }
    Ok(read)
}

fn value_problem(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        Some("must not be empty")
    } else if secret::has_white_space_around(value) {
        Some(secret::WHITE_SPACE_AROUND)
    } else if !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        Some("must be ASCII without line breaks and other control characters")
    } else {
        None
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
