//! `"token"` of a handler: the token that a request for an image must have.

use std::fmt;

use super::error::Result;
use super::fields::Fields;
use super::schema::{Choice, Defaulted, Optional, boolean, choice, integer, secrets, table, text};

/// The shortest secret, in bytes, that can't be guessed.
const MIN_SECRET: usize = 16;
/// The largest `leeway`, in seconds: clocks that differ by more are wrong.
const MAX_LEEWAY: i64 = 3600;

table! {
    pub TABLE;
    /// Signed URLs (`hmac`) or JSON Web Tokens (`jwt`).
    TYPE: Optional<Type> = choice::<Type>("type");
    /// Secrets of at least 16 bytes: each one verifies, the first one signs.
    SECRETS: Optional<Vec<String>> = secrets("secrets");
    /// Refuse requests without a token. With `false` they are served; an invalid token is refused in any case.
    REQUIRED: Defaulted<bool> = boolean("required").default(true);
    /// The required value of `iss`; only for `jwt`.
    ISSUER: Optional<&'static str> = text("issuer").absent("none");
    /// The required value of `aud`, or of an element of its list; only for `jwt`.
    AUDIENCE: Optional<&'static str> = text("audience").absent("none");
    /// The accepted clock difference for `exp` and `nbf`; only for `jwt`.
    LEEWAY: Defaulted<u64> =
        integer::<u64>("leeway", 0, MAX_LEEWAY).unit("seconds").default(60);
    /// Refuse a token without `exp`; only for `jwt`.
    REQUIRE_EXP: Defaulted<bool> = boolean("require_exp").default(true);
}

/// The fields of the type `jwt` alone.
const JWT_FIELDS: [&str; 4] = [ISSUER.name(), AUDIENCE.name(), LEEWAY.name(), REQUIRE_EXP.name()];

/// Which requests may have a handler's images.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    /// Each of them verifies, the first one signs.
    pub secrets: Vec<String>,
    /// Whether a request without a token is refused.
    pub required: bool,
}

/// The kind of token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The signature of the URL.
    Hmac,
    /// A JSON Web Token.
    Jwt(Rules),
}

/// The rules for the claims of a JSON Web Token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Its `iss`.
    pub issuer: Option<String>,
    /// Its `aud`, or one of them.
    pub audience: Option<String>,
    /// How many seconds clocks may differ.
    pub leeway: u64,
    /// Whether it must have an `exp`.
    pub require_exp: bool,
}

/// `type`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Hmac,
    Jwt,
}

impl Choice for Type {
    const CHOICES: &'static [(&'static str, Type)] = &[("hmac", Type::Hmac), ("jwt", Type::Jwt)];
}

// Secrets must not reach a log by way of `{:?}`.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token { kind, secrets, required } = self;
        write!(f, "Token({kind:?}, {} secrets, required: {required})", secrets.len())
    }
}

impl Token {
    /// Whether every request needs a token that is valid for its URL only.
    pub fn binds_url(&self) -> bool {
        self.required && self.kind == TokenKind::Hmac
    }

    pub(super) fn read(fields: &Fields) -> Result<Token> {
        let kind = match fields.required(&TYPE)? {
            Type::Hmac => {
                if let Some(name) = JWT_FIELDS.into_iter().find(|name| fields.has(name)) {
                    return Err(fields.error(name, "is for the type jwt"));
                }
                TokenKind::Hmac
            }
            Type::Jwt => TokenKind::Jwt(Rules {
                issuer: fields.optional(&ISSUER)?.map(str::to_owned),
                audience: fields.optional(&AUDIENCE)?.map(str::to_owned),
                leeway: fields.get(&LEEWAY)?,
                require_exp: fields.get(&REQUIRE_EXP)?,
            }),
        };
        let secrets = fields.required(&SECRETS)?;
        if secrets.is_empty() {
            return Err(fields.error(SECRETS.name(), "must list at least one secret"));
        }
        if let Some(index) = secrets.iter().position(|secret| secret.len() < MIN_SECRET) {
            let message = format!("must have at least {MIN_SECRET} bytes");
            return Err(fields.error(&format!("{}[{index}]", SECRETS.name()), message));
        }
        Ok(Token { kind, secrets, required: fields.get(&REQUIRED)? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;
    use crate::documents::assert_says;

    const GOOD_SECRETS: &str = r#""secrets": ["0123456789abcdef"]"#;

    fn read(fields: &str) -> std::result::Result<Token, String> {
        let text = format!("{{{fields}}}");
        let value = parse(&text).unwrap();
        let fields =
            Fields::of(&value, "handlers[0].token", TABLE).map_err(|error| error.to_string())?;
        Token::read(&fields).map_err(|error| error.to_string())
    }

    #[test]
    fn both_types_are_read_with_their_defaults() {
        let hmac = read(&format!(r#""type": "hmac", {GOOD_SECRETS}"#)).unwrap();
        assert_eq!((hmac.kind, hmac.required, hmac.secrets.len()), (TokenKind::Hmac, true, 1));
        let open = read(&format!(r#""type": "hmac", "required": false, {GOOD_SECRETS}"#)).unwrap();
        assert!(!open.required);
        let rules = |fields: &str| match read(&format!(r#""type": "jwt", {GOOD_SECRETS}{fields}"#))
            .unwrap()
            .kind
        {
            TokenKind::Jwt(rules) => rules,
            TokenKind::Hmac => panic!("{fields}"),
        };
        assert_eq!(
            rules(""),
            Rules { issuer: None, audience: None, leeway: 60, require_exp: true }
        );
        let said = rules(r#", "issuer": "i", "audience": "a", "leeway": 0, "require_exp": false"#);
        let (issuer, audience) = (Some("i".into()), Some("a".into()));
        assert_eq!(said, Rules { issuer, audience, leeway: 0, require_exp: false });
    }

    #[test]
    fn token_errors_name_their_field_and_no_secret() {
        for (fields, expected) in [
            (GOOD_SECRETS.to_owned(), "type: required"),
            (format!(r#""type": "rsa", {GOOD_SECRETS}"#), "type: must be hmac or jwt, not \"rsa\""),
            (format!(r#""type": "HMAC", {GOOD_SECRETS}"#), "type: must be hmac or jwt"),
            (r#""type": "hmac""#.to_owned(), "secrets: required"),
            (r#""type": "hmac", "secrets": []"#.to_owned(), "secrets: must list at least one"),
            (
                r#""type": "hmac", "secrets": "0123456789abcdef""#.to_owned(),
                "secrets: must be an array",
            ),
            (
                r#""type": "hmac", "secrets": ["0123456789abcdef", 1]"#.to_owned(),
                "secrets[1]: must be a string",
            ),
            (
                r#""type": "jwt", "secrets": ["0123456789abcdef", ""]"#.to_owned(),
                "secrets[1]: must not be empty",
            ),
            (
                r#""type": "jwt", "secrets": ["0123456789abcde"]"#.to_owned(),
                "secrets[0]: must have at least 16 bytes",
            ),
            (
                r#""type": "jwt", "secrets": ["0123456789abcdef", "0123456789abcdef\n"]"#
                    .to_owned(),
                "secrets[1]: begins or ends with white space",
            ),
            (
                format!(r#""type": "hmac", "issuer": "x", {GOOD_SECRETS}"#),
                "issuer: is for the type jwt",
            ),
            (
                format!(r#""type": "hmac", "leeway": 1, {GOOD_SECRETS}"#),
                "leeway: is for the type jwt",
            ),
            (
                format!(r#""type": "hmac", "required": 1, {GOOD_SECRETS}"#),
                "required: must be true or false",
            ),
            (
                format!(r#""type": "jwt", "leeway": -1, {GOOD_SECRETS}"#),
                "leeway: must be from 0 to 3600",
            ),
            (
                format!(r#""type": "jwt", "audience": ["a"], {GOOD_SECRETS}"#),
                "audience: must be a string",
            ),
            (
                format!(r#""type": "jwt", "issuer": "", {GOOD_SECRETS}"#),
                "issuer: must not be empty",
            ),
            (
                format!(r#""type": "jwt", "require_exp": "yes", {GOOD_SECRETS}"#),
                "require_exp: must be true or false",
            ),
            (
                format!(r#""type": "jwt", "secret": "0123456789abcdef", {GOOD_SECRETS}"#),
                "secret: unknown field, did you mean secrets?",
            ),
        ] {
            let got = read(&fields).expect_err(&fields);
            let expected = format!("handlers[0].token.{expected}");
            assert!(got.starts_with(&expected) && !got.contains("0123"), "{fields}: {got}");
        }
    }

    #[test]
    fn token_secrets_are_not_shown_by_debug() {
        let shown = format!("{:?}", read(&format!(r#""type": "hmac", {GOOD_SECRETS}"#)).unwrap());
        assert!(!shown.contains("0123"), "{shown}");
    }

    #[test]
    fn minimum_length_of_a_secret_is_as_documented() {
        assert_says("docs/tokens.md", &format!("Secrets of at least {MIN_SECRET} bytes"));
    }
}
