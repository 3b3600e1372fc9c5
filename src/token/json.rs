//! JSON objects without duplicate names, at any depth: two parsers must not read different claims from one token
//! (RFC 7519 §4, RFC 8725 §2.4).

use serde_json::{Map, Value};

use crate::config::json;

/// Parses an object. `None` for anything else.
pub fn parse_object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let object = serde_json::from_str(text).ok()?;
    // serde_json takes the last of several members with one name; the configuration's parser refuses them.
    json::parse(text).is_ok().then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_parsed() {
        let text = r#" {"a": [null, true, -1, 1.5, {"b": "\u0041"}], "c": 18446744073709551615} "#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse_object(text.as_bytes()).map(Value::Object), Some(expected));
    }

    #[test]
    fn malformed_json_and_duplicate_names_are_rejected() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        for text in [
            "",
            "{",
            "[]",
            "1",
            "null",
            "\"{}\"",
            "{} {}",
            "{}x",
            "{'a': 1}",
            "{\"a\": 1,}",
            "{\"a\": 1e999}",
            "{\"a\": NaN}",
            "{\"a\": \"\\ud800\"}",
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"x": [{"a": 1, "a": 2}]}"#,
            &deep,
        ] {
            assert_eq!(parse_object(text.as_bytes()), None, "{:.40}", text);
        }
        assert_eq!(parse_object(b"{\"a\": \"\xff\"}"), None);
    }
}
