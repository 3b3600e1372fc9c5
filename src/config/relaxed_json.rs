//! The JSON of the configuration file: RFC 8259 plus what the 2015 sample uses, comments and trailing commas.
//!
//! What is extra is blanked with spaces, so every line and column that an error names is that of the file.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value that keeps its members in order and refuses a member written twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number; JSON knows one kind.
    Number(f64),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object, in the order of the file.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// What this is, for an error message.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

/// Reads a configuration text.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(&without_extras(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

/// Blanks `//` and `/* */` comments and the comma before a closing bracket, outside of strings.
fn without_extras(text: &str) -> Vec<u8> {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    // Where a comma stands that turns out to be trailing if a bracket closes next.
    let mut comma = None;
    let mut after_value = false;
    while at < out.len() {
        match out[at] {
            b'"' => {
                at += 1;
                while at < out.len() && out[at] != b'"' {
                    at += if out[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                comma = None;
                after_value = true;
                continue;
            }
            b'/' if out.get(at + 1) == Some(&b'/') => {
                while at < out.len() && out[at] != b'\n' {
                    out[at] = b' ';
                    at += 1;
                }
                continue;
            }
            b'/' if out.get(at + 1) == Some(&b'*') => {
                // An unclosed comment stays as it is, so that the parser reports where it starts.
                let Some(length) = out[at + 2..].windows(2).position(|pair| pair == b"*/") else {
                    return out;
                };
                for byte in &mut out[at..at + 2 + length + 2] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                continue;
            }
            b',' => {
                comma = after_value.then_some(at);
                after_value = false;
            }
            b']' | b'}' => {
                if let Some(trailing) = comma.take() {
                    out[trailing] = b' ';
                }
                after_value = true;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'[' | b'{' | b':' => {
                comma = None;
                after_value = false;
            }
            _ => {
                comma = None;
                after_value = true;
            }
        }
        at += 1;
    }
    out
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object: Vec<(String, Value)> = Vec::new();
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            if object.iter().any(|(known, _)| *known == name) {
                return Err(serde::de::Error::custom(format_args!(
                    "the field {name:?} is written twice"
                )));
            }
            object.push((name, value));
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(members: &[(&str, Value)]) -> Value {
        Value::Object(
            members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        )
    }

    #[test]
    fn comments_and_trailing_commas_are_allowed() {
        let text = "\u{feff}{ // one\n \"a\": [1, 2, /* in\nside */ ], \"b\": \"// no \\\" , ]\", // last\n}";
        let expected = object(&[
            ("a", Value::Array(vec![Value::Number(1.0), Value::Number(2.0)])),
            ("b", Value::String("// no \" , ]".into())),
        ]);
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_comma_with_nothing_before_it_is_an_error() {
        for text in ["[,]", "{,}", "[1,,]", "[1,,2]", "{\"a\":,}", "{\"a\":1,,}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_name_the_line_of_the_file() {
        let error = parse("{ // comment\n/* two\nlines */ \"a\": x }").unwrap_err();
        assert_eq!((error.line(), error.column()), (3, 15));
    }

    #[test]
    fn hostile_texts_are_errors() {
        for text in ["", "{", "/*", "\"", "\"\\", "{} x", "{\"a\":1,\"a\":2}", "/", "{\"a\" 1}"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
