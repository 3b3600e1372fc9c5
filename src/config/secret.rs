//! The value of a secret, which may be the name of an environment variable.

use std::env::VarError;

/// What is wrong with a secret that [`has_white_space_around`].
pub const WHITE_SPACE_AROUND: &str = "begins or ends with white space, such as a copied line end";

/// Whether a secret has white space at one of its ends. It is part of the secret then, so nothing that is signed with
/// it would be valid.
pub fn has_white_space_around(secret: &str) -> bool {
    // A byte order mark starts files of some editors, and is not white space in Unicode.
    let is_blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    secret.starts_with(is_blank) || secret.ends_with(is_blank)
}

/// The secret that is `written`, or that is in the variable which `$NAME` names. An error is the rest of a sentence
/// about the field, without the secret.
pub(super) fn resolve(
    written: &str,
    variable: impl Fn(&str) -> Result<String, VarError>,
) -> Result<String, String> {
    if written.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if has_white_space_around(written) {
        return Err(WHITE_SPACE_AROUND.to_owned());
    }
    let Some(name) = written.strip_prefix('$') else { return Ok(written.to_owned()) };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty()
        || name.starts_with(|c: char| c.is_ascii_digit())
        || !name.bytes().all(is_name)
    {
        // It may be the secret itself, so it is not repeated.
        return Err("starts with $ but is not the name of an environment variable".to_owned());
    }
    let problem = match variable(name) {
        Ok(value) if value.is_empty() => "is empty",
        Ok(value) if has_white_space_around(&value) => WHITE_SPACE_AROUND,
        Ok(value) => return Ok(value),
        Err(VarError::NotPresent) => "is not set",
        Err(VarError::NotUnicode(_)) => "is not UTF-8",
    };
    Err(format!("the environment variable {name} {problem}"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn resolved(written: &str, value: &str) -> Result<String, String> {
        resolve(written, |name| match name {
            "NAME" => Ok(value.to_owned()),
            "BYTES" => Err(VarError::NotUnicode(OsString::new())),
            _ => Err(VarError::NotPresent),
        })
    }

    #[test]
    fn a_secret_is_written_or_in_an_environment_variable() {
        for secret in ["s", "a b", "a\nb", "s$", "=s/+"] {
            assert_eq!(resolved(secret, ""), Ok(secret.to_owned()));
            assert_eq!(resolved("$NAME", secret), Ok(secret.to_owned()));
        }
        for (written, value, problem) in [
            ("", "", "must not be empty"),
            ("$NAME", "", "the environment variable NAME is empty"),
            ("$OTHER", "", "the environment variable OTHER is not set"),
            ("$BYTES", "", "the environment variable BYTES is not UTF-8"),
            ("$", "", "starts with $ but is not the name of an environment variable"),
            ("$9a", "", "starts with $ but is not the name of an environment variable"),
            ("$s3cret-/", "", "starts with $ but is not the name of an environment variable"),
        ] {
            assert_eq!(resolved(written, value), Err(problem.to_owned()), "{written} {value}");
        }
    }

    #[test]
    fn white_space_around_a_secret_is_refused_and_the_secret_is_not_repeated() {
        for blank in ["\n", "\r\n", " ", "\t", "\u{b}", "\u{a0}", "\u{2028}", "\u{feff}"] {
            for secret in [format!("s3cret{blank}"), format!("{blank}s3cret"), blank.to_owned()] {
                assert_eq!(resolved(&secret, ""), Err(WHITE_SPACE_AROUND.to_owned()), "{secret:?}");
                let expected = format!("the environment variable NAME {WHITE_SPACE_AROUND}");
                assert_eq!(resolved("$NAME", &secret), Err(expected), "{secret:?}");
            }
            let name = format!("$NAME{blank}");
            assert_eq!(resolved(&name, "s"), Err(WHITE_SPACE_AROUND.to_owned()), "{name:?}");
        }
    }
}
