//! Reads the fields of one JSON object, so that each error names its JSON path and no field goes unread.

use std::time::Duration;

use jsonc_parser::ast::{ObjectProp, Value};

use super::error::{ConfigError, Result};
use super::json::type_name;
use super::schema::{
    Choice, DefaultValue, Field, Kind, MAX_SECONDS, MIN_SECONDS, Optional, Row, Table,
};
use super::secret;
use crate::format::or_list;

/// An object whose fields are read one by one.
pub struct Fields<'v> {
    path: String,
    properties: &'v [ObjectProp<'v>],
    table: Table,
}

/// A type that a field can be read as.
pub trait FromValue<'v>: Sized {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<Self>;
}

impl<'v> Fields<'v> {
    /// The fields of an object. Unknown names are checked first: an error about a misspelt field is better than one
    /// about the required field that it was meant to be.
    pub fn of(value: &'v Value<'v>, path: impl Into<String>, table: Table) -> Result<Fields<'v>> {
        let path = path.into();
        match value {
            Value::Object(object) => {
                let fields = Fields { path, properties: &object.properties, table };
                fields.refuse_unknown()?;
                Ok(fields)
            }
            other if path.is_empty() => {
                let message =
                    format!("the configuration must be an object, not {}", type_name(other));
                Err(ConfigError::new(path, message))
            }
            other => {
                let message = format!("must be an object, not {}", type_name(other));
                Err(ConfigError::new(path, message))
            }
        }
    }

    /// An object without any field.
    pub fn empty(table: Table) -> Fields<'v> {
        Fields { path: String::new(), properties: &[], table }
    }

    fn refuse_unknown(&self) -> Result<()> {
        for property in self.properties {
            let written = property.name.as_str();
            if self.table.iter().any(|row| row.name == written) {
                continue;
            }
            let names = self.table.iter().map(|row| row.name);
            let likeliest = names.map(|name| (edit_distance(written, name), name)).min();
            let message = match likeliest {
                Some((distance, name)) if distance <= 1 + name.len() / 4 => {
                    format!("unknown field, did you mean {name}?")
                }
                _ => "unknown field".to_owned(),
            };
            return Err(self.error(written, message));
        }
        Ok(())
    }

    /// The JSON path of this object.
    pub fn own_path(&self) -> &str {
        &self.path
    }

    /// The JSON path of a field of this object.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub fn error(&self, name: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.path(name), message)
    }

    pub fn wrong_type(&self, name: &str, expected: &str, value: &Value) -> ConfigError {
        self.error(name, format!("must be {expected}, not {}", type_name(value)))
    }

    fn find(&self, name: &str) -> Option<&'v Value<'v>> {
        debug_assert!(self.table.iter().any(|row| row.name == name), "{name} is not in the table");
        let found = self.properties.iter().find(|property| property.name.as_str() == name);
        found.map(|property| &property.value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub fn optional<T: FromValue<'v>>(&self, field: &Optional<T>) -> Result<Option<T>> {
        let value = self.find(field.name());
        value.map(|value| T::from_value(self, &field.row, value)).transpose()
    }

    /// The field's value or its default.
    pub fn get<T, D>(&self, field: &Field<T, D>) -> Result<T>
    where
        T: FromValue<'v>,
        D: DefaultValue<T>,
    {
        match self.find(field.row.name) {
            Some(value) => T::from_value(self, &field.row, value),
            None => Ok(field.default.value()),
        }
    }

    pub fn required<T: FromValue<'v>>(&self, field: &Optional<T>) -> Result<T> {
        self.optional(field)?.ok_or_else(|| self.error(field.name(), "required"))
    }

    fn secret(&self, name: &str, written: &str) -> Result<String> {
        match secret::problem(written) {
            None => Ok(written.to_owned()),
            Some(problem) => Err(self.error(name, problem)),
        }
    }
}

impl<'v> FromValue<'v> for bool {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<bool> {
        match value {
            Value::BooleanLit(literal) => Ok(literal.value),
            other => Err(fields.wrong_type(row.name, "true or false", other)),
        }
    }
}

/// A whole number in the row's range.
fn whole(fields: &Fields, row: &Row, value: &Value) -> Result<i64> {
    let (min, max) = match row.kind {
        Kind::Integer { min, max } => (min, max),
        _ => (i64::MIN, i64::MAX),
    };
    let Some(number) = number(value) else {
        return Err(fields.wrong_type(row.name, "a whole number", value));
    };
    if number.fract() != 0.0 {
        return Err(fields.error(row.name, format!("must be a whole number, not {number}")));
    }
    // 2^53 bounds every range, so the comparison is exact.
    if number < min as f64 || number > max as f64 {
        return Err(out_of_range(fields, row, min, max, number));
    }
    Ok(number as i64)
}

fn out_of_range(fields: &Fields, row: &Row, min: i64, max: i64, number: f64) -> ConfigError {
    fields.error(row.name, format!("must be from {min} to {max}, not {number}"))
}

pub fn number(value: &Value) -> Option<f64> {
    value.as_number_lit().and_then(|literal| literal.value.parse().ok())
}

macro_rules! from_integer {
    ($($integer:ty),*) => {
        $(impl<'v> FromValue<'v> for $integer {
            fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<Self> {
                let number = whole(fields, row, value)?;
                <$integer>::try_from(number).map_err(|_| {
                    let max = i64::try_from(<$integer>::MAX).unwrap_or(i64::MAX);
                    out_of_range(fields, row, 0, max, number as f64)
                })
            }
        })*
    };
}

from_integer!(i64, u16, u32, u64, usize);

impl<'v> FromValue<'v> for f64 {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<f64> {
        let Some(written) = number(value) else {
            return Err(fields.wrong_type(row.name, "a number", value));
        };
        match row.kind {
            Kind::Number { min, max } if !(min..=max).contains(&written) => {
                let message = format!("must be from {min} to {max}, not {written}");
                Err(fields.error(row.name, message))
            }
            _ => Ok(written),
        }
    }
}

impl<'v> FromValue<'v> for Duration {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<Duration> {
        let Kind::Seconds { zero } = row.kind else {
            return u64::from_value(fields, row, value).map(Duration::from_secs);
        };
        match number(value) {
            Some(0.0) if zero => Ok(Duration::ZERO),
            Some(number) if (MIN_SECONDS..=MAX_SECONDS).contains(&number) => {
                Ok(Duration::from_secs_f64(number))
            }
            Some(number) => {
                let message =
                    format!("must be from {MIN_SECONDS} to {MAX_SECONDS} seconds, not {number}");
                Err(fields.error(row.name, message))
            }
            None => Err(fields.wrong_type(row.name, "a number of seconds", value)),
        }
    }
}

impl<'v> FromValue<'v> for &'v str {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<&'v str> {
        match (value, row.kind) {
            (Value::StringLit(literal), Kind::Text) if literal.value.is_empty() => {
                Err(fields.error(row.name, "must not be empty"))
            }
            (Value::StringLit(literal), _) => Ok(&literal.value),
            (other, _) => Err(fields.wrong_type(row.name, "a string", other)),
        }
    }
}

/// A secret.
impl<'v> FromValue<'v> for String {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<String> {
        let written = <&str>::from_value(fields, row, value)?;
        fields.secret(row.name, written)
    }
}

/// A list of secrets.
impl<'v> FromValue<'v> for Vec<String> {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<Vec<String>> {
        let items = <&[Value]>::from_value(fields, row, value)?;
        let read = |(index, item): (usize, &Value)| {
            let name = format!("{}[{index}]", row.name);
            match item {
                Value::StringLit(written) => fields.secret(&name, &written.value),
                other => Err(fields.wrong_type(&name, "a string", other)),
            }
        };
        items.iter().enumerate().map(read).collect()
    }
}

impl<'v> FromValue<'v> for &'v [Value<'v>] {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<Self> {
        match value {
            Value::Array(array) => Ok(&array.elements),
            other => Err(fields.wrong_type(row.name, "an array", other)),
        }
    }
}

/// The properties of an object whose names the operator chooses.
impl<'v> FromValue<'v> for &'v [ObjectProp<'v>] {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(&object.properties),
            other => Err(fields.wrong_type(row.name, "an object", other)),
        }
    }
}

impl<'v> FromValue<'v> for Fields<'v> {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<Self> {
        let table = match row.kind {
            Kind::Object(table) => table,
            _ => &[],
        };
        Fields::of(value, fields.path(row.name), table)
    }
}

/// A string, or an object in its place.
pub enum TextOrFields<'v> {
    Text(&'v str),
    Fields(Fields<'v>),
}

impl<'v> FromValue<'v> for TextOrFields<'v> {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<Self> {
        let table = match row.kind {
            Kind::TextOrObject(table) => table,
            _ => &[],
        };
        match value {
            Value::StringLit(literal) if literal.value.is_empty() => {
                Err(fields.error(row.name, "must not be empty"))
            }
            Value::StringLit(literal) => Ok(TextOrFields::Text(&literal.value)),
            Value::Object(_) => {
                Fields::of(value, fields.path(row.name), table).map(TextOrFields::Fields)
            }
            other => Err(fields.wrong_type(row.name, "a string or an object", other)),
        }
    }
}

/// Any JSON.
impl<'v> FromValue<'v> for &'v Value<'v> {
    fn from_value(_: &Fields<'v>, _: &Row, value: &'v Value<'v>) -> Result<Self> {
        Ok(value)
    }
}

impl<'v, T: Choice> FromValue<'v> for T {
    fn from_value(fields: &Fields<'v>, row: &Row, value: &'v Value<'v>) -> Result<T> {
        let written = <&str>::from_value(fields, row, value)?;
        let chosen = T::CHOICES.iter().find(|(name, _)| *name == written);
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let names = or_list(T::CHOICES.iter().map(|(name, _)| *name));
            fields.error(row.name, format!("must be {names}, not {written:?}"))
        })
    }
}

/// The Levenshtein distance. Its cost is bounded: a name in the file may have any length.
fn edit_distance(written: &str, known: &str) -> usize {
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
    use super::super::json;
    use super::super::schema::*;
    use super::*;

    table! { TABLE;
        /// A.
        BOOLEAN: Optional<bool> = boolean("boolean").absent("none");
        /// A.
        INTEGER: Defaulted<u32> = integer::<u32>("integer", 0, 9).default(7);
        /// A.
        SECONDS: Optional<Duration> = seconds("seconds").absent("none");
        /// A.
        BUCKET_NAME: Optional<&'static str> = text("bucket_name");
    }

    fn with<T>(
        text: &str,
        read: impl FnOnce(&Fields) -> Result<T>,
    ) -> std::result::Result<T, String> {
        let value = json::parse(text).unwrap();
        Fields::of(&value, "top", TABLE)
            .and_then(|fields| read(&fields))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn values_of_the_right_type_are_read() {
        assert_eq!(with(r#"{"boolean": true}"#, |f| f.optional(&BOOLEAN)), Ok(Some(true)));
        assert_eq!(with("{}", |f| f.optional(&BOOLEAN)), Ok(None));
        assert_eq!(with(r#"{"integer": 9.0}"#, |f| f.get(&INTEGER)), Ok(9));
        assert_eq!(with("{}", |f| f.get(&INTEGER)), Ok(7));
        let half = Duration::from_millis(500);
        assert_eq!(with(r#"{"seconds": 0.5}"#, |f| f.optional(&SECONDS)), Ok(Some(half)));
    }

    #[test]
    fn errors_have_path_and_reason() {
        let error = |text, read: fn(&Fields) -> Result<()>| with(text, read).unwrap_err();
        assert_eq!(
            error(r#"{"boolean": 1}"#, |f| f.optional(&BOOLEAN).map(drop)),
            "top.boolean: must be true or false, not a number"
        );
        assert_eq!(
            error(r#"{"integer": 10}"#, |f| f.get(&INTEGER).map(drop)),
            "top.integer: must be from 0 to 9, not 10"
        );
        assert_eq!(
            error(r#"{"integer": 1.5}"#, |f| f.get(&INTEGER).map(drop)),
            "top.integer: must be a whole number, not 1.5"
        );
        assert_eq!(
            error(r#"{"bucket_name": ""}"#, |f| f.required(&BUCKET_NAME).map(drop)),
            "top.bucket_name: must not be empty"
        );
        assert_eq!(
            error("{}", |f| f.required(&BUCKET_NAME).map(drop)),
            "top.bucket_name: required"
        );
        assert_eq!(
            error(r#"{"bucket_nam": ""}"#, |f| f.required(&BUCKET_NAME).map(drop)),
            "top.bucket_nam: unknown field, did you mean bucket_name?"
        );
        assert_eq!(error(r#"{"zzz": ""}"#, |_| Ok(())), "top.zzz: unknown field");
    }
}
