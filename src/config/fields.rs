//! Reads the fields of one JSON object, so that each error names its JSON path and no field goes unread.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::relaxed_json::Value;

/// What is wrong with the configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The JSON path, as `handlers[1].aws.bucket_name`; or the file's name for an error of the whole file.
    pub path: String,
    /// The rest of the sentence.
    pub message: String,
}

impl ConfigError {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for ConfigError {}

pub(super) type Result<T> = std::result::Result<T, ConfigError>;

/// An object whose fields are asked for one by one.
pub(super) struct Fields<'v> {
    path: String,
    members: &'v [(String, Value)],
    known: Known,
}

/// The names that an object's fields may have.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// What this version acts on.
    pub fields: &'static [&'static str],
}

impl<'v> Fields<'v> {
    /// The fields of an object, which must all be known. That is looked at first of all: a misspelt field is
    /// worth telling before the required one that it was meant to be.
    pub fn of(value: &'v Value, path: impl Into<String>, known: Known) -> Result<Fields<'v>> {
        let path = path.into();
        match value {
            Value::Object(members) => {
                let fields = Fields { path, members, known };
                fields.refuse_unknown()?;
                Ok(fields)
            }
            other => {
                let path = if path.is_empty() { "the configuration".to_owned() } else { path };
                Err(ConfigError::new(path, format!("must be an object, not {}", other.kind())))
            }
        }
    }

    fn refuse_unknown(&self) -> Result<()> {
        for (member, _) in self.members {
            if self.known.fields.iter().any(|name| name == member) {
                continue;
            }
            let likeliest = self.known.fields.iter().map(|name| (edits(member, name), name)).min();
            let message = match likeliest {
                Some((distance, name)) if distance <= 1 + name.len() / 4 => {
                    format!("unknown field, did you mean {name}?")
                }
                _ => "unknown field".to_owned(),
            };
            return Err(self.error(member, message));
        }
        Ok(())
    }

    /// The JSON path of a field of this object.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub fn error(&self, name: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.path(name), message)
    }

    fn wrong_type(&self, name: &str, wanted: &str, value: &Value) -> ConfigError {
        self.error(name, format!("must be {wanted}, not {}", value.kind()))
    }

    pub fn get(&self, name: &'static str) -> Option<&'v Value> {
        debug_assert!(self.known.fields.contains(&name), "{name} is read but not known");
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    pub fn bool(&self, name: &'static str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_type(name, "true or false", other)),
        }
    }

    pub fn integer(&self, name: &'static str, range: RangeInclusive<i64>) -> Result<Option<i64>> {
        let (low, high) = (*range.start(), *range.end());
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(value)) if value.fract() == 0.0 => {
                // 2^53 bounds every range here, so the comparison in f64 is exact.
                if *value >= low as f64 && *value <= high as f64 {
                    Ok(Some(*value as i64))
                } else {
                    Err(self.error(name, format!("must be from {low} to {high}, not {value}")))
                }
            }
            Some(Value::Number(value)) => {
                Err(self.error(name, format!("must be a whole number, not {value}")))
            }
            Some(other) => Err(self.wrong_type(name, "a whole number", other)),
        }
    }

    /// Seconds, fractions and 0 allowed.
    pub fn seconds_or_none(&self, name: &'static str) -> Result<Option<Duration>> {
        match self.get(name) {
            Some(Value::Number(0.0)) => Ok(Some(Duration::ZERO)),
            _ => self.seconds(name),
        }
    }

    /// Seconds, a millisecond at least; fractions allowed.
    pub fn seconds(&self, name: &'static str) -> Result<Option<Duration>> {
        const SHORTEST: f64 = 0.001;
        const LONGEST: f64 = 86_400.0;
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(value)) if (SHORTEST..=LONGEST).contains(value) => {
                Ok(Some(Duration::from_secs_f64(*value)))
            }
            Some(Value::Number(value)) => Err(self
                .error(name, format!("must be from {SHORTEST} to {LONGEST} seconds, not {value}"))),
            Some(other) => Err(self.wrong_type(name, "a number of seconds", other)),
        }
    }

    pub fn string(&self, name: &'static str) -> Result<Option<&'v str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_type(name, "a string", other)),
        }
    }

    /// A string that must say something if it is there.
    pub fn text(&self, name: &'static str) -> Result<Option<&'v str>> {
        match self.string(name)? {
            Some("") => Err(self.error(name, "must not be empty")),
            other => Ok(other),
        }
    }

    /// A string that may be written as `"$NAME"` and is then read from the environment.
    pub fn secret(&self, name: &'static str) -> Result<Option<String>> {
        match self.text(name)? {
            None => Ok(None),
            Some(written) => self.resolved_secret(name, written).map(Some),
        }
    }

    /// A list of strings, each of which may be written as `"$NAME"`.
    pub fn secrets(&self, name: &'static str) -> Result<Option<Vec<String>>> {
        let Some(items) = self.array(name)? else { return Ok(None) };
        let read = |(index, item): (usize, &Value)| {
            let name = format!("{name}[{index}]");
            match item {
                Value::String(written) if written.is_empty() => {
                    Err(self.error(&name, "must not be empty"))
                }
                Value::String(written) => self.resolved_secret(&name, written),
                other => Err(self.wrong_type(&name, "a string", other)),
            }
        };
        items.iter().enumerate().map(read).collect::<Result<_>>().map(Some)
    }

    fn resolved_secret(&self, name: &str, written: &str) -> Result<String> {
        let Some(variable) = written.strip_prefix('$') else { return Ok(written.to_owned()) };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if variable.is_empty()
            || variable.starts_with(|c: char| c.is_ascii_digit())
            || !variable.bytes().all(is_name)
        {
            // It may be the secret itself, so it is not repeated.
            return Err(self.error(name, "starts with $ and is no name of an environment variable"));
        }
        match std::env::var(variable) {
            Ok(value) if !value.is_empty() => Ok(value),
            Ok(_) => Err(self.error(name, format!("the environment variable {variable} is empty"))),
            Err(_) => {
                Err(self.error(name, format!("the environment variable {variable} is not set")))
            }
        }
    }

    pub fn array(&self, name: &'static str) -> Result<Option<&'v [Value]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong_type(name, "an array", other)),
        }
    }

    pub fn object(&self, name: &'static str, known: Known) -> Result<Option<Fields<'v>>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => Fields::of(value, self.path(name), known).map(Some),
        }
    }
}

/// The Levenshtein distance, bounded in cost: a name of the file may be as long as it likes.
fn edits(written: &str, known: &str) -> usize {
    let written: Vec<char> = written.chars().take(64).collect();
    let known: Vec<char> = known.chars().collect();
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (i, a) in written.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in known.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[known.len()]
}

#[cfg(test)]
mod tests {
    use super::super::relaxed_json::parse;
    use super::*;

    const KNOWN: Known = Known { fields: &["a", "bucket_name"] };

    fn with<T>(
        text: &str,
        read: impl FnOnce(&Fields) -> Result<T>,
    ) -> std::result::Result<T, String> {
        let value = parse(text).unwrap();
        let fields = Fields::of(&value, "top", KNOWN).map_err(|error| error.to_string())?;
        read(&fields).map_err(|error| error.to_string())
    }

    #[test]
    fn values_of_the_right_type_are_read() {
        assert_eq!(with(r#"{"a": true}"#, |f| f.bool("a")), Ok(Some(true)));
        assert_eq!(with(r#"{"a": -1}"#, |f| f.integer("a", -1..=9)), Ok(Some(-1)));
        assert_eq!(with(r#"{"a": 0.5}"#, |f| f.seconds("a")), Ok(Some(Duration::from_millis(500))));
        assert_eq!(with(r#"{}"#, |f| f.text("a").map(|t| t.is_none())), Ok(true));
    }

    #[test]
    fn errors_say_path_and_reason() {
        let error = |text, read: fn(&Fields) -> Result<()>| with(text, read).unwrap_err();
        assert_eq!(
            error(r#"{"a": 1}"#, |f| f.bool("a").map(drop)),
            "top.a: must be true or false, not a number"
        );
        assert_eq!(
            error(r#"{"a": 10}"#, |f| f.integer("a", 0..=9).map(drop)),
            "top.a: must be from 0 to 9, not 10"
        );
        assert_eq!(
            error(r#"{"a": 1.5}"#, |f| f.integer("a", 0..=9).map(drop)),
            "top.a: must be a whole number, not 1.5"
        );
        assert_eq!(error(r#"{"a": ""}"#, |f| f.text("a").map(drop)), "top.a: must not be empty");
        assert_eq!(
            error(r#"{"bucket_nam": ""}"#, |f| f.text("bucket_name").map(drop)),
            "top.bucket_nam: unknown field, did you mean bucket_name?"
        );
        assert_eq!(
            error(r#"{"zzz": ""}"#, |f| f.text("bucket_name").map(drop)),
            "top.zzz: unknown field"
        );
        assert_eq!(
            error(r#"{"a": "$S3IS_SURELY_NOT_SET"}"#, |f| f.secret("a").map(drop)),
            "top.a: the environment variable S3IS_SURELY_NOT_SET is not set"
        );
        // What may be the secret itself is not repeated.
        for written in [r#"{"a": "$"}"#, r#"{"a": "$9a"}"#, r#"{"a": "$s3cret-with/signs"}"#] {
            let said = error(written, |f| f.secret("a").map(drop));
            assert_eq!(said, "top.a: starts with $ and is no name of an environment variable");
        }
    }
}
