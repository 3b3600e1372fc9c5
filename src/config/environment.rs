//! Values that are written as `"$NAME"` or `"${NAME:-default}"` and read from the environment.
//!
//! References are replaced in the parsed text before a field is read, by a value of the field's type, so that no reader
//! of a field knows of them. Their values are kept with the text: a renderer gets both, and so has the configuration of
//! the edge whatever its own environment is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use jsonc_parser::ast::{Array, BooleanLit, StringLit, Value};
use jsonc_parser::common::Range;

use super::error::{ConfigError, Result};
use super::json;
use super::schema::Kind;
use super::variable::Reference;

const MALFORMED: &str =
    "starts with $ but is not $NAME or ${NAME:-default}; a $ at the start of a value is written $$";

/// The value of each reference in a configuration, by the reference as it is written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, std::result::Result<String, &'static str>>);

// The values may be secrets, which must not reach a log by way of `{:?}`.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// Reads the variables that a configuration refers to.
    pub fn read(value: &Value, variable: &impl Fn(&str) -> Option<OsString>) -> Environment {
        let mut found = Environment::default();
        found.collect(value, variable);
        found
    }

    fn collect(&mut self, value: &Value, variable: &impl Fn(&str) -> Option<OsString>) {
        match value {
            Value::StringLit(written) => {
                if let Some(reference) = Reference::parse(&written.value) {
                    self.0
                        .entry(written.value.to_string())
                        .or_insert_with(|| reference.resolve(variable));
                }
            }
            Value::Array(array) => {
                array.elements.iter().for_each(|element| self.collect(element, variable));
            }
            Value::Object(object) => {
                let properties = object.properties.iter();
                properties.for_each(|property| self.collect(&property.value, variable));
            }
            _ => {}
        }
    }

    /// Each reference with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(written, value)| Some((written.as_str(), value.as_deref().ok()?)))
    }

    /// Adds the value of a reference.
    pub fn insert(&mut self, written: String, value: String) {
        self.0.insert(written, Ok(value));
    }

    fn value(&self, written: &str) -> std::result::Result<&str, &'static str> {
        match self.0.get(written) {
            Some(value) => value.as_deref().map_err(|problem| *problem),
            None => Err(MALFORMED),
        }
    }
}

/// Replaces the references in a value of this kind. The values of variables are taken as they are: a `$` in them has no
/// meaning.
pub fn expand<'t>(
    value: &mut Value<'t>,
    path: &str,
    kind: &Kind,
    environment: &'t Environment,
) -> Result<()> {
    let item_kind = match kind {
        Kind::Array { kind, .. } => *kind,
        Kind::Secrets => &Kind::Secret,
        _ => kind,
    };
    match (value, kind) {
        (Value::Object(object), Kind::Object(table) | Kind::TextOrObject(table)) => {
            for property in &mut object.properties {
                let name = property.name.as_str();
                if let Some(row) = table.iter().find(|row| row.name == name) {
                    let path =
                        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                    expand(&mut property.value, &path, &row.kind, environment)?;
                }
            }
        }
        (Value::Object(object), Kind::Map(..) | Kind::Json) => {
            for property in &mut object.properties {
                let path = format!("{path}.{}", property.name.as_str());
                let kind = match (&property.value, kind) {
                    (_, Kind::Json) => Kind::Json,
                    (Value::Object(_), Kind::Map(_, table)) => Kind::Object(table),
                    _ => Kind::String,
                };
                expand(&mut property.value, &path, &kind, environment)?;
            }
        }
        (Value::Array(array), Kind::Array { .. } | Kind::Secrets | Kind::Json) => {
            for (index, element) in array.elements.iter_mut().enumerate() {
                expand(element, &format!("{path}[{index}]"), item_kind, environment)?;
            }
        }
        (value, kind) if !matches!(kind, Kind::Object(_) | Kind::Map(..)) => {
            if let Value::StringLit(literal) = value
                && literal.value.starts_with('$')
            {
                *value = replacement(literal, kind, environment)
                    .map_err(|problem| ConfigError::new(path, problem))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The value of a string that starts with `$`. An error is the rest of a sentence about the field or its variable.
fn replacement<'t>(
    literal: &StringLit,
    kind: &Kind,
    environment: &'t Environment,
) -> std::result::Result<Value<'t>, String> {
    let range = literal.range;
    match literal.value.strip_prefix("$$") {
        Some(rest) => {
            Ok(Value::StringLit(StringLit { range, value: Cow::Owned(format!("${rest}")) }))
        }
        None => convert(environment.value(&literal.value)?, kind, range),
    }
}

/// A text as a value of this kind.
fn convert<'t>(text: &'t str, kind: &Kind, range: Range) -> std::result::Result<Value<'t>, String> {
    match kind {
        Kind::Boolean => match text.trim() {
            "true" => Ok(Value::BooleanLit(BooleanLit { range, value: true })),
            "false" => Ok(Value::BooleanLit(BooleanLit { range, value: false })),
            _ => Err(format!("must be true or false, not {text:?}")),
        },
        Kind::Integer { .. } | Kind::Number { .. } | Kind::Seconds { .. } => {
            match json::parse(text) {
                Ok(number @ Value::NumberLit(_)) => Ok(number),
                _ => Err(format!("must be a number, not {text:?}")),
            }
        }
        Kind::Array { kind, .. } => list(text, kind, range),
        Kind::Secrets => list(text, &Kind::Secret, range),
        _ => Ok(Value::StringLit(StringLit { range, value: Cow::Borrowed(text) })),
    }
}

/// A JSON array, or elements between commas.
fn list<'t>(text: &'t str, kind: &Kind, range: Range) -> std::result::Result<Value<'t>, String> {
    let text = text.trim();
    if text.starts_with('[') {
        return match json::parse(text) {
            Ok(array @ Value::Array(_)) => Ok(array),
            // It may contain secrets, so it is not repeated.
            _ => Err("starts with [ but is not a JSON array".to_owned()),
        };
    }
    let elements = text.split(',').filter(|_| !text.is_empty());
    let elements = elements.map(|element| convert(element.trim(), kind, range));
    let elements = elements.collect::<std::result::Result<_, _>>()?;
    Ok(Value::Array(Array { range, elements }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::super::{Config, read};
    use super::*;

    const VARIABLES: [(&str, &str); 15] = [
        ("PORT", "8081"),
        ("TRUE", "true\n"),
        ("SECONDS", " 2.5"),
        ("ADDRESS", "127.0.0.1"),
        ("LEVEL", "debug"),
        ("NETWORKS", "10.0.0.0/8, unix:"),
        ("JSON_NETWORKS", "[\"10.0.0.0/8\", // comment\n \"::/0\"]"),
        ("SIZES", "[[100, 200], [1, 0]]"),
        ("WIDTH", "300"),
        ("PRESET", "w=30"),
        ("SECRET", "hush-hush-hush-hush"),
        ("SECRETS", "hush-hush-hush-hush,$PORT-hush-hush-hush"),
        ("EMPTY", ""),
        ("HANDLERS", r#"[{"name": "i", "directory": "/"}]"#),
        ("ODD", "a \"b\" ] }"),
    ];

    fn variable(name: &str) -> Option<OsString> {
        if name == "BYTES" {
            return Some(OsString::from_vec(vec![0xff]));
        }
        VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    }

    fn parse(text: &str) -> std::result::Result<Config, String> {
        read(text, "c", None, |value| Environment::read(value, &variable))
            .map_err(|error| error.to_string())
    }

    fn config(handler: &str, top: &str) -> String {
        let aws = r#""aws": {"bucket_name": "b", "anonymous": true}"#;
        format!("{{\"handlers\": [{{\"name\": \"h\", {aws},\n{handler}}}],\n{top}}}")
    }

    #[test]
    fn fields_of_every_type_are_read_from_the_environment() {
        let text = config(
            r#""max_dimension": "${NONE:-1000}", "allowed_sizes": "$SIZES", "output_format": "$EMPTY",
               "allowed_formats": "${NONE:-jpg,png}", "presets": {"p": "$PRESET"}, "cors_origin": "${CORS:-*}",
               "token": {"type": "hmac", "secrets": "$SECRETS", "required": "${EMPTY:-false}"}"#,
            r#""http_port": "$PORT", "address": "${ADDRESS}", "access_log": "$TRUE", "log_level": "$LEVEL",
               "limits": {"head_timeout": "$SECONDS", "stop_delay": "${NONE:-0}"},
               "trusted_proxies": "$NETWORKS", "admin": {"secret": "$SECRET"}"#,
        );
        let config = parse(&text).unwrap();
        assert_eq!((config.http_port, config.access_log), (Some(8081), true));
        assert_eq!(config.address, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(config.log_level.name(), "debug");
        assert_eq!(config.limits.head_timeout.as_millis(), 2500);
        assert!(config.limits.stop_delay.is_zero());
        assert!(config.trusted_proxies.contains(None));
        assert_eq!(config.admin.unwrap().secret, "hush-hush-hush-hush");
        let handler = &config.handlers[0];
        assert_eq!((handler.max_dimension, handler.output_format), (1000, None));
        assert_eq!(handler.allowed_formats, Some(vec!["jpg".to_owned(), "png".to_owned()]));
        assert_eq!(handler.cors_origin.as_deref(), Some("*"));
        let token = handler.token.as_ref().unwrap();
        // The value of a variable is not expanded again.
        assert_eq!(token.secrets, ["hush-hush-hush-hush", "$PORT-hush-hush-hush"]);
        assert!(!token.required);
    }

    #[test]
    fn lists_are_json_or_separated_by_commas() {
        for (written, expected) in [
            (r#""$JSON_NETWORKS""#, Ok(true)),
            (r#""$NETWORKS""#, Ok(false)),
            (r#"["$ADDRESS", "::/0"]"#, Ok(true)),
            (r#""$EMPTY""#, Ok(false)),
            (r#""${NONE:-[1}""#, Err("starts with [ but is not a JSON array")),
            (r#""${NONE:-::/0,,}""#, Err("trusted_proxies[1]: environment variable NONE: ")),
        ] {
            let got = parse(&config("", &format!(r#""trusted_proxies": {written}"#)));
            match (got, expected) {
                (Ok(config), Ok(has_ipv6)) => {
                    let ipv6 = "2001:db8::1".parse().unwrap();
                    assert_eq!(config.trusted_proxies.contains(Some(ipv6)), has_ipv6, "{written}");
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{written}: {error}"),
                (got, _) => panic!("{written}: {got:?}"),
            }
        }
        let sizes = parse(&config(r#""allowed_sizes": [["$WIDTH", 0], "${NONE:-20,30}"]"#, ""));
        assert!(sizes.is_ok(), "{sizes:?}");
        let handlers = parse(r#"{"handlers": "$HANDLERS"}"#).unwrap();
        assert_eq!(handlers.handlers[0].route, "i");
    }

    #[test]
    fn a_dollar_at_the_start_of_a_value_is_doubled() {
        let config = parse(&config(
            r#""allowed_formats": ["$$jpg", "a$b", "$$$PORT"], "presets": {"p": "bg=$NOT"}"#,
            "",
        ));
        assert!(config.unwrap_err().contains("presets.p: bg"), "only a whole value is replaced");
        let config =
            parse(&self::config(r#""allowed_formats": ["$$jpg", "a$b", "$$$PORT"]"#, "")).unwrap();
        let formats = config.handlers[0].allowed_formats.clone().unwrap();
        assert_eq!(formats, ["$jpg", "a$b", "$$port"]);
    }

    #[test]
    fn environment_errors_name_position_field_and_variable() {
        for (top, expected) in [
            (r#""http_port": "$NONE""#, "c:3:1: http_port: environment variable NONE: is not set"),
            (
                r#""http_port": "$BYTES""#,
                "c:3:1: http_port: environment variable BYTES: is not UTF-8",
            ),
            (
                r#""http_port": "$EMPTY""#,
                "c:3:1: http_port: environment variable EMPTY: must be a number, not \"\"",
            ),
            (
                r#""http_port": "${NONE:-65536}""#,
                "c:3:1: http_port: environment variable NONE: must be from 0 to 65535, not 65536",
            ),
            (
                r#""http_port": "$ODD""#,
                "c:3:1: http_port: environment variable ODD: must be a number, not \"a \\\"b\\\" ] }\"",
            ),
            (
                r#""access_log": "$PORT""#,
                "c:3:1: access_log: environment variable PORT: must be true or false, not \"8081\"",
            ),
            (
                r#""address": "$LEVEL""#,
                "c:3:1: address: environment variable LEVEL: must be an IPv4 or IPv6 address without a port, \
                 not \"debug\"",
            ),
            (
                r#""http_socket": "$EMPTY""#,
                "c:3:1: http_socket: environment variable EMPTY: must not be empty",
            ),
            (
                r#""limits": "$PORT""#,
                "c:3:1: limits: environment variable PORT: must be an object, not a string",
            ),
            (
                r#""admin": {"secret": "$NONE"}"#,
                "c:3:11: admin.secret: environment variable NONE: is not set",
            ),
            (
                r#""trusted_proxies": ["unix:", "$NONE"]"#,
                "c:3:30: trusted_proxies[1]: environment variable NONE: is not set",
            ),
        ] {
            assert_eq!(parse(&config("", top)).unwrap_err(), expected, "{top}");
        }
        for written in ["$", "$9a", "$s3cret-/", "${", "${}", "${PORT", "${PORT-1}", "${PORT}0"] {
            let error = parse(&config("", &format!(r#""address": "{written}""#))).unwrap_err();
            assert_eq!(error, format!("c:3:1: address: {MALFORMED}"));
        }
    }

    #[test]
    fn environment_errors_do_not_repeat_a_secret() {
        for (name, value) in [("S", "hush\n"), ("S", " hush"), ("S", "[hush"), ("S", "hush")] {
            let variable = |asked: &str| (asked == name).then(|| OsString::from(value));
            let text = config(
                r#""token": {"type": "hmac", "secrets": "$S"}"#,
                r#""admin": {"secret": "$S"}"#,
            );
            let error = read(&text, "c", None, |parsed| Environment::read(parsed, &variable));
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("environment variable S: ") && !error.contains("hush"),
                "{error}"
            );
        }
        let parsed = json::parse(r#"["$SECRET"]"#).unwrap();
        let shown = format!("{:?}", Environment::read(&parsed, &variable));
        assert_eq!(shown, r#"{"$SECRET"}"#);
    }

    #[test]
    fn a_sent_environment_replaces_that_of_the_process() {
        let text = config("", r#""http_port": "$PORT", "address": "${ADDRESS:-::1}""#);
        let config = read(&text, "c", None, |value| Environment::read(value, &variable)).unwrap();
        let mut sent = Environment::default();
        for (written, value) in config.environment().iter() {
            sent.insert(written.to_owned(), value.to_owned());
        }
        let resolved: Vec<_> =
            config.handlers.iter().map(super::super::Handler::resolved).collect();
        let other = super::super::parse_resolved(&text, &sent, &resolved).unwrap();
        assert_eq!((other.http_port, other.address), (config.http_port, config.address));
    }
}
