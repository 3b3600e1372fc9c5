//! `"token"` of a handler: who may have its images.

use std::fmt;

use super::fields::{Fields, Known, Result};

pub(super) const KNOWN: Known = Known {
    fields: &["type", "secrets", "required", "issuer", "audience", "leeway", "require_exp"],
};
/// What only a JSON Web Token has.
const OF_JWT: [&str; 4] = ["issuer", "audience", "leeway", "require_exp"];

/// The shortest secret, in bytes: what can't be guessed.
const SHORTEST_SECRET: usize = 16;
/// `leeway` when it is missing.
const DEFAULT_LEEWAY: u64 = 60;
/// The largest `leeway`: clocks that differ by more than this are wrong.
const LARGEST_LEEWAY: i64 = 3600;

/// Who may have a handler's images.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// `type`
    pub kind: TokenKind,
    /// `secrets`: each of them verifies, the first one signs.
    pub secrets: Vec<String>,
    /// `required`: whether a request without a token is refused.
    pub required: bool,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// `hmac`: the signature of the URL.
    Hmac,
    /// `jwt`: a JSON Web Token.
    Jwt(Rules),
}

/// What a JSON Web Token must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `issuer`: its `iss`.
    pub issuer: Option<String>,
    /// `audience`: its `aud`, or one of them.
    pub audience: Option<String>,
    /// `leeway`: by how many seconds clocks may differ.
    pub leeway: u64,
    /// `require_exp`: whether it must say when it expires.
    pub require_exp: bool,
}

// Secrets must not reach a log by way of `{:?}`.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token { kind, secrets, required } = self;
        write!(f, "Token({kind:?}, {} secrets, required: {required})", secrets.len())
    }
}

impl Token {
    /// Whether every request needs one that is for its URL and no other.
    pub fn binds_url(&self) -> bool {
        self.required && self.kind == TokenKind::Hmac
    }

    pub(super) fn read(fields: &Fields) -> Result<Token> {
        let kind = match fields.text("type")? {
            Some("hmac") => {
                if let Some(field) = OF_JWT.into_iter().find(|field| fields.get(field).is_some()) {
                    return Err(fields.error(field, "is for the type jwt"));
                }
                TokenKind::Hmac
            }
            Some("jwt") => TokenKind::Jwt(Rules {
                issuer: fields.text("issuer")?.map(str::to_owned),
                audience: fields.text("audience")?.map(str::to_owned),
                leeway: fields
                    .integer("leeway", 0..=LARGEST_LEEWAY)?
                    .map_or(DEFAULT_LEEWAY, i64::unsigned_abs),
                require_exp: fields.bool("require_exp")?.unwrap_or(true),
            }),
            Some(other) => {
                return Err(fields.error("type", format!("must be hmac or jwt, not {other:?}")));
            }
            None => return Err(fields.error("type", "required: hmac or jwt")),
        };
        let secrets =
            fields.secrets("secrets")?.ok_or_else(|| fields.error("secrets", "required"))?;
        if secrets.is_empty() {
            return Err(fields.error("secrets", "must list at least one secret"));
        }
        if let Some(index) = secrets.iter().position(|secret| secret.len() < SHORTEST_SECRET) {
            let message = format!("must have at least {SHORTEST_SECRET} bytes");
            return Err(fields.error(&format!("secrets[{index}]"), message));
        }
        Ok(Token { kind, secrets, required: fields.bool("required")?.unwrap_or(true) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::relaxed_json::parse;
    use super::*;

    const SECRETS: &str = r#""secrets": ["0123456789abcdef"]"#;

    fn read(fields: &str) -> std::result::Result<Token, String> {
        let value = parse(&format!("{{{fields}}}")).unwrap();
        let fields =
            Fields::of(&value, "handlers[0].token", KNOWN).map_err(|error| error.to_string())?;
        Token::read(&fields).map_err(|error| error.to_string())
    }

    #[test]
    fn both_types_are_read_with_their_defaults() {
        let hmac = read(&format!(r#""type": "hmac", {SECRETS}"#)).unwrap();
        assert_eq!((hmac.kind, hmac.required, hmac.secrets.len()), (TokenKind::Hmac, true, 1));
        let open = read(&format!(r#""type": "hmac", "required": false, {SECRETS}"#)).unwrap();
        assert!(!open.required);
        let rules = |fields: &str| match read(&format!(r#""type": "jwt", {SECRETS}{fields}"#))
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
    fn errors_name_their_field_and_no_secret() {
        for (fields, expected) in [
            (SECRETS.to_owned(), "type: required"),
            (format!(r#""type": "rsa", {SECRETS}"#), "type: must be hmac or jwt, not \"rsa\""),
            (format!(r#""type": "HMAC", {SECRETS}"#), "type: must be hmac or jwt"),
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
                r#""type": "hmac", "secrets": ["0123456789abcdef", "$S3IS_NOT_SET"]"#.to_owned(),
                "secrets[1]: the environment variable S3IS_NOT_SET is not set",
            ),
            (format!(r#""type": "hmac", "issuer": "x", {SECRETS}"#), "issuer: is for the type jwt"),
            (format!(r#""type": "hmac", "leeway": 1, {SECRETS}"#), "leeway: is for the type jwt"),
            (
                format!(r#""type": "hmac", "required": 1, {SECRETS}"#),
                "required: must be true or false",
            ),
            (
                format!(r#""type": "jwt", "leeway": -1, {SECRETS}"#),
                "leeway: must be from 0 to 3600",
            ),
            (
                format!(r#""type": "jwt", "audience": ["a"], {SECRETS}"#),
                "audience: must be a string",
            ),
            (format!(r#""type": "jwt", "issuer": "", {SECRETS}"#), "issuer: must not be empty"),
            (
                format!(r#""type": "jwt", "require_exp": "yes", {SECRETS}"#),
                "require_exp: must be true or false",
            ),
            (
                format!(r#""type": "jwt", "secret": "0123456789abcdef", {SECRETS}"#),
                "secret: unknown field, did you mean secrets?",
            ),
        ] {
            let got = read(&fields).expect_err(&fields);
            let expected = format!("handlers[0].token.{expected}");
            assert!(got.starts_with(&expected) && !got.contains("0123"), "{fields}: {got}");
        }
    }

    #[test]
    fn the_secrets_are_not_shown() {
        let shown = format!("{:?}", read(&format!(r#""type": "hmac", {SECRETS}"#)).unwrap());
        assert!(!shown.contains("0123"), "{shown}");
    }
}
