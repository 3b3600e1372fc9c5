//! What is wrong with the value of a secret.

/// What is wrong with a secret that [`has_white_space_around`].
pub const WHITE_SPACE_AROUND: &str = "begins or ends with white space, such as a copied line end";

/// Whether a secret has white space at one of its ends. It is part of the secret then, so nothing that is signed with
/// it would be valid.
pub fn has_white_space_around(secret: &str) -> bool {
    // A byte order mark starts files of some editors, and is not white space in Unicode.
    let is_blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    secret.starts_with(is_blank) || secret.ends_with(is_blank)
}

/// The rest of a sentence about the field, without the secret.
pub(super) fn problem(secret: &str) -> Option<&'static str> {
    match secret {
        "" => Some("must not be empty"),
        secret => has_white_space_around(secret).then_some(WHITE_SPACE_AROUND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_secret_is_refused() {
        for secret in ["s", "a b", "a\nb", "s$", "=s/+"] {
            assert_eq!(problem(secret), None, "{secret:?}");
        }
        assert_eq!(problem(""), Some("must not be empty"));
        for blank in ["\n", "\r\n", " ", "\t", "\u{b}", "\u{a0}", "\u{2028}", "\u{feff}"] {
            for secret in [format!("s{blank}"), format!("{blank}s"), blank.to_owned()] {
                assert_eq!(problem(&secret), Some(WHITE_SPACE_AROUND), "{secret:?}");
            }
        }
    }
}
