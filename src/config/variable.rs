//! How a value names an environment variable.

use std::ffi::OsString;

/// A string that names a variable.
pub struct Reference<'w> {
    pub name: &'w str,
    /// For a variable that is not set or empty (POSIX Shell Command Language, section 2.6.2, `:-`).
    default: Option<&'w str>,
}

impl<'w> Reference<'w> {
    /// `None` for any other string.
    pub fn parse(written: &'w str) -> Option<Reference<'w>> {
        let rest = written.strip_prefix('$')?;
        let reference = match rest.strip_prefix('{') {
            None => Reference { name: rest, default: None },
            Some(inside) => {
                let inside = inside.strip_suffix('}')?;
                match inside.split_once(":-") {
                    Some((name, default)) => Reference { name, default: Some(default) },
                    None => Reference { name: inside, default: None },
                }
            }
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let starts_well = reference.name.starts_with(|c: char| !c.is_ascii_digit());
        (starts_well && reference.name.bytes().all(is_name)).then_some(reference)
    }

    /// The value. An error is the rest of a sentence about the variable.
    pub fn resolve(
        &self,
        variable: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<String, &'static str> {
        match (variable(self.name), self.default) {
            (Some(value), default) if !value.is_empty() || default.is_none() => {
                value.into_string().map_err(|_| "is not UTF-8")
            }
            (_, Some(default)) => Ok(default.to_owned()),
            (_, None) => Err("is not set"),
        }
    }
}
