//! `"http"`: originals from a web server.

use std::fmt;
use std::path::PathBuf;

use jsonc_parser::ast::{ObjectProp, Value};

use super::super::error::Result;
use super::super::fields::{Fields, TextOrFields};
use super::super::json::type_name;
use super::super::schema::{Defaulted, Optional, boolean, map, table, text, text_or_object};
use super::super::secret;
use super::super::url;
use super::{Found, OriginConfig, ca_file};
use crate::key;

pub const FIELD: Optional<TextOrFields<'static>> = text_or_object("http", TABLE)
    .absent("one of `aws`, `directory`, `http` and `origins` is required")
    .doc("The address of a directory of a web server, or an object with it ([a web server](s3.md#a-web-server)).");

/// The bytes that names and values of `headers` may have together: a fraction of the buffer for a request's head.
const MAX_HEADERS: usize = 4096;

/// The longest `url`, in bytes: a key may follow it.
const MAX_URL: usize = 2048;

/// Fields of a request that its framing, its connection or the cache of originals depends on.
const OURS: [&str; 17] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

table! {
    pub TABLE;
    /// `http://` or `https://`, a host, an optional port and the path of a directory, without a query. A key is appended
    /// to it, percent-encoded.
    URL: Optional<&'static str> = text("url");
    /// Also connect to addresses that are not public: private, loopback, link-local and other reserved ones.
    ALLOW_PRIVATE: Defaulted<bool> = boolean("allow_private").default(false);
    /// Fields of each request, such as `{"Authorization": "$TOKEN"}`.
    HEADERS: Optional<&'static [ObjectProp<'static>]> = map("headers", "strings", &[]).absent("none");
    /// A PEM file of certificates to trust in addition to Mozilla's, which are compiled in.
    CA_FILE: Optional<&'static str> = text("ca_file").absent("none");
}

/// A directory of a web server and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct Http {
    /// Scheme, host and port, in lower case and without the scheme's default port.
    pub server: String,
    /// The path of the directory, with a slash at both ends.
    pub path: String,
    pub allow_private: bool,
    /// Names and values of the fields that each request gets.
    pub headers: Vec<(String, String)>,
    /// PEM certificates to trust besides the compiled-in roots.
    pub ca_file: Option<PathBuf>,
    /// The JSON path of the `http` field.
    pub json_path: String,
}

// The values of `headers` are secrets.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.base())
    }
}

impl Http {
    /// The address of the directory, which ends in a slash.
    pub fn base(&self) -> String {
        format!("{}{}", self.server, self.path)
    }
}

pub fn read(parent: &Fields, value: TextOrFields, _found: Found, is_checked: bool) -> Result<Http> {
    let json_path = parent.path(FIELD.name());
    let fields = match value {
        TextOrFields::Text(written) => {
            let (server, path) =
                split_url(written).map_err(|problem| parent.error(FIELD.name(), problem))?;
            let (allow_private, headers, ca_file) = (ALLOW_PRIVATE.default.0, Vec::new(), None);
            return Ok(Http { server, path, allow_private, headers, ca_file, json_path });
        }
        TextOrFields::Fields(fields) => fields,
    };
    let (server, path) =
        split_url(fields.required(&URL)?).map_err(|problem| fields.error(URL.name(), problem))?;
    Ok(Http {
        server,
        path,
        ca_file: ca_file::read(&fields, &CA_FILE, is_checked)?,
        allow_private: fields.get(&ALLOW_PRIVATE)?,
        headers: headers(&fields)?,
        json_path,
    })
}

/// Splits the address of a directory into server and path. An error is the rest of a sentence about the field; it does
/// not repeat a URL with a password.
fn split_url(written: &str) -> std::result::Result<(String, String), String> {
    if written.len() > MAX_URL {
        return Err(format!("must have at most {MAX_URL} bytes"));
    }
    let lower = written.to_ascii_lowercase();
    let scheme = ["http://", "https://"].into_iter().find(|scheme| lower.starts_with(scheme));
    let rest = scheme.and_then(|scheme| written.get(scheme.len()..));
    let (Some(scheme), Some(rest)) = (scheme, rest) else {
        return Err("must begin with http:// or https://".to_owned());
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("must not have a user or a password; set headers.Authorization".to_owned());
    }
    let server = format!("{scheme}{}", authority.to_ascii_lowercase());
    if !url::is_origin(&server) {
        return Err(format!("has no valid host and port: {authority:?}"));
    }
    if path.contains(['?', '#']) {
        return Err("must not have a query or a fragment: it is a directory".to_owned());
    }
    if !path.bytes().all(is_path_byte) || !has_valid_escapes(path) {
        let message = format!("the path {path:?} has characters that must be percent-encoded");
        return Err(message);
    }
    if !key::is_below(path) {
        return Err("must not have . or .. as a segment".to_owned());
    }
    let path = match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => format!("{path}/"),
    };
    Ok((url::without_default_port(&server).to_owned(), path))
}

/// RFC 3986 §3.3: `pchar`, the slash, and the percent sign of an escape.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

fn has_valid_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn headers(fields: &Fields) -> Result<Vec<(String, String)>> {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut length = 0;
    for property in fields.optional(&HEADERS)?.unwrap_or_default() {
        let name = property.name.as_str();
        let refuse =
            |problem: &str| Err(fields.error(&format!("{}.{name}", HEADERS.name()), problem));
        let value = match &property.value {
            Value::StringLit(literal) => &literal.value,
            other => return refuse(&format!("must be a string, not {}", type_name(other))),
        };
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return refuse("is not the name of a header field");
        }
        let lower = name.to_ascii_lowercase();
        if OURS.contains(&lower.as_str()) {
            return refuse("is set by the server itself");
        }
        if headers.iter().any(|(known, _)| *known == lower) {
            return refuse("occurs twice, in another case");
        }
        if let Some(problem) = secret::problem(value) {
            return refuse(problem);
        }
        if !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
            return refuse("has a character that a header field can't have");
        }
        length += name.len() + value.len();
        headers.push((lower, value.to_string()));
    }
    if length > MAX_HEADERS {
        let message = format!("has more than {MAX_HEADERS} bytes of names and values");
        return Err(fields.error(HEADERS.name(), message));
    }
    Ok(headers)
}

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl OriginConfig for Http {
    fn identity(&self) -> String {
        format!("http\0{}", self.base())
    }

    fn json_path(&self) -> &str {
        &self.json_path
    }

    fn check_access(&self, user: &str) -> Result<()> {
        ca_file::check_access(self.ca_file.as_deref(), &self.json_path, &CA_FILE, user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;
    use crate::config::tests::{error_of, parse};

    fn with(http: &str) -> String {
        format!(r#"{{"handlers": [{{"name": "h", "http": {http}}}]}}"#)
    }

    fn http(written: &str) -> Http {
        match parse(&with(written)).handlers.remove(0).origins.first() {
            Some(Origin::Http(http)) => http.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_base_is_a_directory_of_a_server() {
        for (written, base) in [
            ("http://h", "http://h/"),
            ("HTTPS://H.Example.COM:443", "https://h.example.com/"),
            ("http://h:80/a", "http://h/a/"),
            ("http://h:443/a/", "http://h:443/a/"),
            ("http://h/A%20b//", "http://h/A%20b/"),
            ("http://[::1]:8080/x/y", "http://[::1]:8080/x/y/"),
            ("https://192.0.2.1/~u/a:b@c;d", "https://192.0.2.1/~u/a:b@c;d/"),
        ] {
            assert_eq!(http(&format!("{written:?}")).base(), base, "{written}");
            assert_eq!(http(&format!(r#"{{"url": {written:?}}}"#)).base(), base, "{written}");
        }
        assert!(!http(r#""http://h/""#).allow_private);
    }

    #[test]
    fn urls_that_are_no_directory_are_refused() {
        for (written, expected) in [
            ("", "must not be empty"),
            ("h/images", "must begin with http:// or https://"),
            ("ftp://h/", "must begin with http:// or https://"),
            ("http:/h", "must begin with http:// or https://"),
            ("http://", "has no valid host and port"),
            ("http:///a", "has no valid host and port"),
            ("http://h:0/", "has no valid host and port"),
            ("http://h:x/", "has no valid host and port"),
            ("http://h h/", "has no valid host and port"),
            ("http://é/", "has no valid host and port"),
            ("http://u:hidden@h/", "must not have a user or a password"),
            ("http://h?a", "must not have a query or a fragment"),
            ("http://h/a#b", "must not have a query or a fragment"),
            ("http://h/a b", "the path \"/a b\" has characters"),
            ("http://h/a\\b", "the path \"/a\\\\b\" has characters"),
            ("http://h/%4", "the path \"/%4\" has characters"),
            ("http://h/%zz", "the path \"/%zz\" has characters"),
            ("http://h/a/../b", "must not have . or .. as a segment"),
            ("http://h/a/%2E%2e", "must not have . or .. as a segment"),
            ("http://h/./", "must not have . or .. as a segment"),
        ] {
            let got = error_of(&with(&serde_json::json!(written).to_string()));
            let expected = format!("handlers[0].http: {expected}");
            assert!(got.starts_with(&expected), "{written:?}: {got}");
            assert!(!got.contains("hidden"), "{got}");
        }
        for (fields, expected) in [
            ("1", "http: must be a string or an object, not a number"),
            ("{}", "http.url: required"),
            (r#"{"ulr": "http://h/"}"#, "http.ulr: unknown field"),
            (r#"{"url": "http://h/?x"}"#, "http.url: must not have a query"),
            (r#"{"url": "http://h/", "allow_private": 1}"#, "http.allow_private: must be true"),
            (r#"{"url": "http://h/", "ca_file": "/no/such"}"#, "http.ca_file: /no/such: can't"),
        ] {
            let got = error_of(&with(fields));
            assert!(got.starts_with(&format!("handlers[0].{expected}")), "{fields}: {got}");
        }
    }

    #[test]
    fn a_url_has_a_maximum_length() {
        let long = format!("\"http://h/{}\"", "a".repeat(MAX_URL - 9));
        assert_eq!(http(&long).base().len(), MAX_URL + 1, "with its slash");
        let longer = error_of(&with(&long.replace("//h", "//hh")));
        assert!(longer.ends_with("http: must have at most 2048 bytes"), "{longer}");
    }

    #[test]
    fn header_fields_are_checked() {
        let with_headers =
            |headers: &str| with(&format!(r#"{{"url": "http://h/", "headers": {headers}}}"#));
        let long = format!(r#"{{"X": "{}"}}"#, "x".repeat(MAX_HEADERS));
        for (headers, expected) in [
            (r#"{"Host": "x"}"#, "headers.Host: is set by the server itself"),
            (r#"{"IF-none-match": "x"}"#, "headers.IF-none-match: is set by the server itself"),
            (
                r#"{"Transfer-Encoding": "x"}"#,
                "headers.Transfer-Encoding: is set by the server itself",
            ),
            (r#"{"a b": "x"}"#, "headers.a b: is not the name"),
            (r#"{"": "x"}"#, "headers.: is not the name"),
            (r#"{"X": "a\r\nY: b"}"#, "headers.X: has a character"),
            (r#"{"X": "é"}"#, "headers.X: has a character"),
            (r#"{"X": "a\n"}"#, "headers.X: begins or ends with white space"),
            (r#"{"X": ""}"#, "headers.X: must not be empty"),
            (r#"{"X": 1}"#, "headers.X: must be a string, not a number"),
            (r#"{"X": "a", "x": "b"}"#, "headers.x: occurs twice"),
            (&long, "headers: has more than 4096 bytes"),
            (r#"["X"]"#, "headers: must be an object"),
        ] {
            let got = error_of(&with_headers(headers));
            assert!(got.starts_with(&format!("handlers[0].http.{expected}")), "{headers}: {got}");
        }
        let config = parse(&with_headers(r#"{"Authorization": "Bearer hush", "X-A": "a b"}"#));
        let Some(Origin::Http(http)) = config.handlers[0].origins.first() else { panic!() };
        let expected = [("authorization", "Bearer hush"), ("x-a", "a b")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(http.headers, expected);
        assert!(!format!("{config:?}").contains("hush"));
    }
}
