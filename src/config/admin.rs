//! `"admin"`: a listener for operators.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use jsonc_parser::ast::Value;

use super::error::Result;
use super::fields::Fields;
use super::schema::{Kind, Optional, array, object, secret, table, text};
use super::topic::Topic;

/// The shortest `secret`, in bytes, that can't be guessed.
const MIN_SECRET: usize = 16;
/// The port when `address` has none.
const DEFAULT_PORT: u16 = 9090;

table! {
    pub TABLE;
    /// The address and port of the listener; the port is optional, and 0 takes a free one. The listener speaks plain
    /// HTTP, so keep it private.
    ADDRESS: Optional<&'static str> = text("address").absent("`127.0.0.1:9090`");
    /// The secret that requests must carry in `Authorization: Bearer`: at least 16 visible ASCII characters.
    SECRET: Optional<String> = secret("secret");
    /// What `POST /-/events` accepts beyond the messages that the secret allows ([events](events.md)).
    EVENTS: Optional<Fields<'static>> = object("events", EVENTS_TABLE).absent("none");
}

table! {
    pub EVENTS_TABLE;
    /// The ARNs of the SNS topics whose messages are accepted and whose subscriptions are confirmed; they need a handler
    /// with `aws`.
    TOPIC_ARNS: Optional<&'static [Value<'static>]> =
        array("topic_arns", "strings", &Kind::Text).absent("none");
}

/// The admin listener.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    /// Port 0 lets the system choose a free one.
    pub address: SocketAddr,
    /// The token that `Authorization: Bearer` must have.
    pub secret: String,
    /// The SNS topics whose messages are accepted.
    pub topics: Vec<Topic>,
}

// Secrets must not reach a log by way of `{:?}`.
impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admin({})", self.address)
    }
}

impl Admin {
    /// `has_bucket` tells whether a handler has a bucket.
    pub(super) fn read(fields: &Fields, has_bucket: bool) -> Result<Admin> {
        let address = match fields.optional(&ADDRESS)? {
            None => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DEFAULT_PORT),
            Some(written) => parse_address(written).ok_or_else(|| {
                let message = format!(
                    "must be an address and a port, such as 127.0.0.1:9090, not {written:?}"
                );
                fields.error(ADDRESS.name(), message)
            })?,
        };
        let secret = fields.required(&SECRET)?;
        if secret.len() < MIN_SECRET {
            let message = format!("must have at least {MIN_SECRET} bytes");
            return Err(fields.error(SECRET.name(), message));
        }
        // It is compared with the bytes of a header field.
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = "must be visible ASCII characters without spaces";
            return Err(fields.error(SECRET.name(), message));
        }
        let events = fields.optional(&EVENTS)?;
        let topics = events.map_or(Ok(Vec::new()), |events| topics(&events, has_bucket))?;
        Ok(Admin { address, secret, topics })
    }
}

fn topics(fields: &Fields, has_bucket: bool) -> Result<Vec<Topic>> {
    let items = fields.optional(&TOPIC_ARNS)?.unwrap_or_default();
    if !items.is_empty() && !has_bucket {
        let message = "needs a handler with aws: SNS tells of changes in a bucket";
        return Err(fields.error(TOPIC_ARNS.name(), message));
    }
    let read = |(index, item): (usize, &Value)| {
        let name = format!("{}[{index}]", TOPIC_ARNS.name());
        let Value::StringLit(written) = item else {
            return Err(fields.wrong_type(&name, "a string", item));
        };
        Topic::parse(&written.value).ok_or_else(|| {
            let message = format!(
                "must be the ARN of a standard topic, such as \
                 arn:aws:sns:eu-central-1:123456789012:images, not {:?}",
                written.value
            );
            fields.error(&name, message)
        })
    };
    items.iter().enumerate().map(read).collect()
}

fn parse_address(written: &str) -> Option<SocketAddr> {
    let alone = || Some(SocketAddr::new(written.parse::<IpAddr>().ok()?, DEFAULT_PORT));
    written.parse().ok().or_else(alone)
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;
    use crate::documents::assert_says;

    const GOOD_SECRET: &str = r#""secret": "0123456789abcdef""#;

    fn read(fields: &str) -> std::result::Result<Admin, String> {
        let text = format!("{{{fields}}}");
        let value = parse(&text).unwrap();
        let fields = Fields::of(&value, "admin", TABLE).map_err(|error| error.to_string())?;
        Admin::read(&fields, true).map_err(|error| error.to_string())
    }

    #[test]
    fn an_admin_address_is_ipv4_or_ipv6_and_its_port_is_optional() {
        for (written, expected) in [
            ("127.0.0.1:81", "127.0.0.1:81"),
            ("127.0.0.1", "127.0.0.1:9090"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:81", "[::1]:81"),
            ("::1", "[::1]:9090"),
        ] {
            let admin = read(&format!(r#""address": "{written}", {GOOD_SECRET}"#)).unwrap();
            assert_eq!(admin.address.to_string(), expected);
        }
        assert_eq!(read(GOOD_SECRET).unwrap().address.to_string(), "127.0.0.1:9090");
    }

    #[test]
    fn admin_errors_name_their_field_and_no_secret() {
        for (fields, expected) in [
            (r#""address": "localhost:81""#, "admin.address: must be an address and a port"),
            (r#""address": ":81""#, "admin.address: must be an address and a port"),
            (r#""address": "127.0.0.1:65536""#, "admin.address: must be an address and a port"),
            (r#""address": "::1:81:""#, "admin.address: must be an address and a port"),
            (r#""address": """#, "admin.address: must not be empty"),
            (r#""address": 9090"#, "admin.address: must be a string, not a number"),
            (r#""secret": 1"#, "admin.secret: must be a string, not a number"),
            (r#""secret": """#, "admin.secret: must not be empty"),
            (r#""secret": "0123456789abcde""#, "admin.secret: must have at least 16 bytes"),
            (r#""secret": "0123456789 abcdef""#, "admin.secret: must be visible ASCII"),
            (r#""secret": "0123456789abcdef\n""#, "admin.secret: begins or ends with white space"),
            (r#""secret": "0123456789abcdefü""#, "admin.secret: must be visible ASCII"),
            ("", "admin.secret: required"),
            (r#""secrt": "x""#, "admin.secrt: unknown field, did you mean secret?"),
            (
                r#""secret": "0123456789abcdef", "events": {"topic_arn": []}"#,
                "admin.events.topic_arn: unknown field, did you mean topic_arns?",
            ),
            (
                r#""secret": "0123456789abcdef", "events": {"topic_arns": [1]}"#,
                "admin.events.topic_arns[0]: must be a string, not a number",
            ),
            (
                r#""secret": "0123456789abcdef", "events": {"topic_arns": ["images"]}"#,
                "admin.events.topic_arns[0]: must be the ARN of a standard topic",
            ),
        ] {
            let got = read(fields).expect_err(fields);
            assert!(got.starts_with(expected) && !got.contains("0123"), "{fields}: {got}");
        }
    }

    #[test]
    fn topics_need_a_bucket() {
        let arn = "arn:aws:sns:eu-central-1:123456789012:images";
        let text = format!(r#"{{{GOOD_SECRET}, "events": {{"topic_arns": ["{arn}"]}}}}"#);
        let value = parse(&text).unwrap();
        let fields = Fields::of(&value, "admin", TABLE).unwrap();
        assert_eq!(Admin::read(&fields, true).unwrap().topics, [Topic::parse(arn).unwrap()]);
        let error = Admin::read(&fields, false).unwrap_err().to_string();
        assert!(error.starts_with("admin.events.topic_arns: needs a handler with aws"), "{error}");
        assert!(read(GOOD_SECRET).unwrap().topics.is_empty());
    }

    #[test]
    fn the_admin_secret_is_not_shown_by_debug() {
        let shown = format!("{:?}", read(GOOD_SECRET).unwrap());
        assert!(!shown.contains("0123"), "{shown}");
    }

    #[test]
    fn admin_defaults_are_as_documented() {
        let default = read(GOOD_SECRET).unwrap().address;
        for text in
            [format!("`{default}`"), format!("at least {MIN_SECRET} visible ASCII characters")]
        {
            assert_says("docs/configuration.md", &text);
        }
    }
}
