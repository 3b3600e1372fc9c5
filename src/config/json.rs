//! The JSON of the configuration file: RFC 8259 plus comments and trailing commas, with positions.

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::tokens::{Token, TokenAndRange};
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

/// A syntax error, and the byte at which it is.
#[derive(Debug, PartialEq, Eq)]
pub struct JsonError {
    pub offset: usize,
    pub message: String,
}

impl JsonError {
    fn new(offset: usize, message: impl Into<String>) -> JsonError {
        JsonError { offset, message: message.into() }
    }
}

/// Parses a configuration text. No name occurs twice in an object of the result, and every number is finite.
pub fn parse(text: &str) -> Result<Value<'_>, JsonError> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let collect = CollectOptions { comments: CommentCollectionStrategy::AsTokens, tokens: true };
    let parsed = parse_to_ast(text, &collect, &options).map_err(|error| {
        JsonError::new(error.range().start, lower_first(&error.kind().to_string()))
    })?;
    let tokens = parsed.tokens.unwrap_or_default();
    let value = parsed.value.ok_or_else(|| JsonError::new(text.len(), "the text has no value"))?;
    check_tokens(text, &tokens)?;
    check_value(&value)?;
    Ok(value)
}

fn lower_first(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// Checks two rules that jsonc-parser does not check: that only the white space of RFC 8259 §2 is between tokens, and
/// that strings escape control characters (§7).
fn check_tokens(text: &str, tokens: &[TokenAndRange]) -> Result<(), JsonError> {
    let mut end = 0;
    let last = Range { start: text.len(), end: text.len() };
    let ranges = tokens.iter().map(|token| token.range).chain([last]);
    for range in ranges {
        let gap = &text.as_bytes()[end..range.start];
        if let Some(at) = gap.iter().position(|byte| !b" \t\r\n".contains(byte)) {
            return Err(JsonError::new(end + at, "a character that is not JSON white space"));
        }
        end = range.end;
    }
    for TokenAndRange { range, token } in tokens {
        let written = &text.as_bytes()[range.start..range.end];
        if let (Token::String(_), Some(at)) = (token, written.iter().position(|byte| *byte < 0x20))
        {
            let message = "a control character in a string must be escaped";
            return Err(JsonError::new(range.start + at, message));
        }
    }
    Ok(())
}

/// The parser bounds the depth.
fn check_value(value: &Value) -> Result<(), JsonError> {
    match value {
        Value::Object(object) => check_object(object),
        Value::Array(array) => array.elements.iter().try_for_each(check_value),
        Value::NumberLit(number) if !number.value.parse().is_ok_and(f64::is_finite) => {
            Err(JsonError::new(number.range.start, "the number is out of range"))
        }
        _ => Ok(()),
    }
}

fn check_object(object: &Object) -> Result<(), JsonError> {
    let mut names = std::collections::HashSet::new();
    for property in &object.properties {
        let name = property.name.as_str();
        if !names.insert(name) {
            let message = format!("the field {name:?} occurs twice");
            return Err(JsonError::new(property.range.start, message));
        }
        check_value(&property.value)?;
    }
    Ok(())
}

/// The type of a value with its article, for errors.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::NullKeyword(_) => "null",
        Value::BooleanLit(_) => "a boolean",
        Value::NumberLit(_) => "a number",
        Value::StringLit(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The value at a JSON path, and the byte at which it starts: a field at its name. Where the path leads nowhere, its
/// longest part that exists counts, so that a missing field is reported at its object.
pub fn find<'v, 't>(root: &'v Value<'t>, path: &str) -> (usize, &'v Value<'t>) {
    let mut value = root;
    let mut rest = path;
    let mut offset = root.range().start;
    while !rest.is_empty() {
        let next = match value {
            Value::Object(object) => {
                property(object, rest).map(|(found, rest)| (&found.value, found.range.start, rest))
            }
            Value::Array(array) => element(rest).and_then(|(index, rest)| {
                array.elements.get(index).map(|found| (found, found.range().start, rest))
            }),
            _ => None,
        };
        match next {
            Some(found) => (value, offset, rest) = found,
            None => break,
        }
    }
    (offset, value)
}

/// The property that a path starts with, and the rest of the path. A name may contain dots and brackets, so the longest
/// one that fits is taken.
fn property<'v, 't, 'p>(
    object: &'v Object<'t>,
    path: &'p str,
) -> Option<(&'v ObjectProp<'t>, &'p str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    let fits = |property: &'v ObjectProp<'t>| {
        let rest = path.strip_prefix(property.name.as_str())?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some((property, rest))
    };
    object.properties.iter().filter_map(fits).min_by_key(|(_, rest)| rest.len())
}

fn element(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

/// Line and column of a byte, each from 1. Columns count characters.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_trailing_commas_are_allowed() {
        let text =
            "{ // one\n \"a\": [1, 2, /* in\nside */ ], \"b\": \"// no \\\" , ]\", // last\n}";
        let Ok(Value::Object(object)) = parse(text) else { panic!("not an object") };
        let [a, b] = &object.properties[..] else { panic!("{object:?}") };
        assert_eq!((a.name.as_str(), b.name.as_str()), ("a", "b"));
        assert_eq!(a.value.as_array().unwrap().elements.len(), 2);
        assert_eq!(b.value.as_string_lit().unwrap().value, "// no \" , ]");
    }

    #[test]
    fn everything_else_is_strict_json() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            " ",
            "{",
            "/*",
            "\"",
            "\"\\",
            "{} x",
            "/",
            "{\"a\" 1}",
            "[,]",
            "{,}",
            "[1,,]",
            "[1,,2]",
            "{\"a\":,}",
            "{\"a\":1,,}",
            "{\"a\":1 \"b\":2}",
            "[1 2]",
            "[[] []]",
            "[{} {}]",
            "{a: 1}",
            "{'a': 1}",
            "['a']",
            "[01]",
            "[+1]",
            "[.5]",
            "[5.]",
            "[0x1]",
            "[1e]",
            "[-]",
            "[NaN]",
            "[Infinity]",
            "[-Infinity]",
            "[1e999]",
            "[True]",
            "[nul]",
            "[truefalse]",
            "[true_]",
            "[\"\\x41\"]",
            "[\"\\v\"]",
            "[\"a\\\nb\"]",
            "[\"\\ud800\"]",
            "[\"\\'\"]",
            "[\"a\nb\"]",
            "[\"a\tb\"]",
            "{\"a\nb\": 1}",
            "[\u{a0}1]",
            "[\u{b}1]",
            "[1]\u{c}",
            "[1]\0",
            "\u{feff}[]",
            "[1}",
            "{\"a\": 1]",
            "[undefined]",
            &deep,
        ] {
            assert!(parse(text).is_err(), "{text:.40}");
        }
        for text in ["[0, -0, 0.5, -1e+2, 1E3, \"\\u00e9\\ud83d\\ude00\\/\"]", "null", "\t\r\n[]\n"]
        {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused_at_every_depth() {
        for (text, offset) in [
            (r#"{"a": 1, "a": 1}"#, 9),
            (r#"{"a": 1, "\u0061": 2}"#, 9),
            (r#"{"x": [1, {"a": 1, "b": {}, "a": 2}]}"#, 28),
        ] {
            let error = parse(text).unwrap_err();
            let expected = "the field \"a\" occurs twice".to_owned();
            assert_eq!(error, JsonError { offset, message: expected });
        }
    }

    #[test]
    fn damaged_texts_are_no_panic() {
        let text =
            "{\"é\": [1.5e3, true, null], // ü\n \"b\\n\\u00e9\": {\"c\": \"\\\\\"}, /* ß */ }";
        for (at, _) in text.char_indices() {
            let _ = parse(&text[..at]);
            let _ = parse(&text[at..]);
            for inserted in ["\"", "\\", "\\u", "/", "*", "[", "}", "ß", "\u{2028}", "0", "\0"] {
                let _ = parse(&format!("{}{inserted}{}", &text[..at], &text[at..]));
            }
        }
    }

    #[test]
    fn a_json_path_leads_to_its_field() {
        let text = "{\n  \"a\": [\n    {\"ü\": 1, \"b.c\": {\"d\": 2, \"\": 3}},\n    3\n  ]\n}";
        let value = parse(text).unwrap();
        for (path, expected) in [
            ("", (1, 1)),
            ("missing", (1, 1)),
            ("a", (2, 3)),
            ("a[0]", (3, 5)),
            ("a[0].ü", (3, 6)),
            ("a[0].missing", (3, 5)),
            ("a[0].b.c", (3, 14)),
            ("a[0].b.c.d", (3, 22)),
            ("a[0].b.c.", (3, 30)),
            ("a[1]", (4, 5)),
            ("a[1].x", (4, 5)),
            ("a[2]", (2, 3)),
        ] {
            assert_eq!(position(text, find(&value, path).0), expected, "{path}");
        }
    }
}
