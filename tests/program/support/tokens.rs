//! Tokens, made with another implementation than the program's.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

pub const SECRET: &str = "the secret of these tests";
pub const OTHER_SECRET: &str = "another secret of these tests";

/// The Unix time in seconds, with its fraction.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The Unix time this many seconds from now; may be negative.
pub fn at(seconds: i64) -> i64 {
    now() as i64 + seconds
}

/// `token` of a handler, with one secret.
pub fn hmac() -> Value {
    json!({"type": "hmac", "secrets": [SECRET]})
}

pub fn jwt() -> Value {
    json!({"type": "jwt", "secrets": [SECRET]})
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', "%20")).decode_utf8().unwrap().into_owned()
}

/// The parameter `t` of a target, signed with this secret.
pub fn token(secret: &str, target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut pairs: Vec<_> =
        pairs.map(|(name, value)| format!("{name}={}", decoded(value))).collect();
    pairs.sort();
    let path = percent_decode_str(path).decode_utf8().unwrap();
    let canonical = format!("{path}\n{}", pairs.join("&"));
    crypto::sign(
        canonical.as_bytes(),
        &EncodingKey::from_secret(secret.as_bytes()),
        Algorithm::HS256,
    )
    .unwrap()
}

/// The target with this `t`.
pub fn with_token(target: &str, token: &str) -> String {
    let separator = if target.contains('?') { '&' } else { '?' };
    format!("{target}{separator}t={token}")
}

/// The target, signed with `SECRET`.
pub fn signed(target: &str) -> String {
    with_token(target, &token(SECRET, target))
}

/// A JSON Web Token with these claims, and an `exp` in an hour by default.
pub fn bearer_token(claims: Value) -> String {
    bearer_token_by(SECRET, Algorithm::HS256, claims)
}

pub fn bearer_token_by(secret: &str, algorithm: Algorithm, mut claims: Value) -> String {
    claims.as_object_mut().unwrap().entry("exp").or_insert_with(|| json!(at(3600)));
    jsonwebtoken::encode(
        &Header::new(algorithm),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

/// The `max-age` of a `Cache-Control`.
#[track_caller]
pub fn max_age(members: &[&str]) -> u64 {
    let age = members.iter().find_map(|member| member.strip_prefix("max-age="));
    age.unwrap_or_else(|| panic!("no max-age in {members:?}")).parse().unwrap()
}
