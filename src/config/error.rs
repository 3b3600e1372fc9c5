//! Configuration errors.

use std::borrow::Cow;
use std::fmt;

use super::json;
use super::variable::Reference;

/// How many characters of a long path or message are shown at each end: it may repeat a value of any length.
const MAX_END: usize = 150;

/// An error in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the field is in the file, once [`ConfigError::locate`] has found it.
    pub location: Option<Location>,
    /// The JSON path, such as `handlers[1].aws.bucket_name`, or the file's name for an error that concerns no field.
    pub path: String,
    /// The environment variable that the field refers to, once [`ConfigError::locate`] has found it.
    pub variable: Option<String>,
    /// The rest of the sentence.
    pub message: String,
}

/// A position in the file, in the form that editors and terminals turn into a link: `config.json:12:7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    file: String,
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
}

pub type Result<T> = std::result::Result<T, ConfigError>;

impl ConfigError {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError { location: None, path: path.into(), variable: None, message: message.into() }
    }

    /// Adds the position of the field that the path names, or of the object that lacks it, and the field's variable.
    pub(super) fn locate(self, file: &str, text: &str) -> ConfigError {
        if self.location.is_some() || self.path == file {
            return self;
        }
        match json::parse(text) {
            Ok(value) => {
                let (offset, found) = json::find(&value, &self.path);
                let written = found.as_string_lit().and_then(|text| Reference::parse(&text.value));
                let variable = written.map(|reference| reference.name.to_owned());
                ConfigError { variable, ..self }.at(file, text, offset)
            }
            Err(_) => self,
        }
    }

    pub(super) fn at(self, file: &str, text: &str, offset: usize) -> ConfigError {
        let (line, column) = json::position(text, offset);
        ConfigError { location: Some(Location { file: file.to_owned(), line, column }), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Location { file, line, column }) = &self.location {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", shortened(&self.path))?;
        }
        if let Some(variable) = &self.variable {
            write!(f, "environment variable {}: ", shortened(variable))?;
        }
        f.write_str(&shortened(&self.message))
    }
}

/// The text, with `…` in place of its middle if it is long.
fn shortened(text: &str) -> Cow<'_, str> {
    let start = text.char_indices().nth(MAX_END);
    let end = text.char_indices().nth_back(MAX_END);
    match (start, end) {
        (Some((start, _)), Some((end, _))) if start < end => {
            format!("{}…{}", &text[..start], &text[end..]).into()
        }
        _ => text.into(),
    }
}

impl std::error::Error for ConfigError {}
