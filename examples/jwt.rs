//! A server that requires a JSON Web Token (RFC 7519), signed with RS256, in the parameter `t`.
//!
//! Generate a key pair, start the server with the public key, and send a token signed with the private key:
//!
//! ```sh
//! openssl genrsa -out signing.key 2048
//! openssl rsa -in signing.key -pubout -out verification.key
//! cargo run --example jwt -- -c config.example.json &
//!
//! url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
//! claims=$(printf '{"exp":%d}' $(($(date +%s) + 3600)) | url)
//! unsigned=$(printf '{"alg":"RS256","typ":"JWT"}' | url).$claims
//! token=$unsigned.$(printf %s "$unsigned" | openssl dgst -sha256 -sign signing.key -binary | url)
//! curl -o a.webp "http://127.0.0.1:8080/samples/photo.jpg?w=300&f=webp&t=$token"
//! ```

use std::sync::OnceLock;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};

/// The public key, read once from the working directory.
const KEY_FILE: &str = "verification.key";

fn verify_token(token: &str) -> bool {
    static KEY: OnceLock<Option<DecodingKey>> = OnceLock::new();
    let Some(key) = KEY.get_or_init(read_key) else { return false };
    // `exp` is required and checked by default, `nbf` only on request.
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_nbf = true;
    match decode::<serde_json::Value>(token, key, &rules) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("token refused: {}", reason(error.kind()));
            false
        }
    }
}

fn read_key() -> Option<DecodingKey> {
    let pem = std::fs::read(KEY_FILE).map_err(|error| eprintln!("{KEY_FILE}: {error}")).ok()?;
    DecodingKey::from_rsa_pem(&pem).map_err(|error| eprintln!("{KEY_FILE}: {error}")).ok()
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidSignature => "its signature is invalid",
        ErrorKind::InvalidAlgorithm => "its algorithm is not RS256",
        ErrorKind::MissingRequiredClaim(_) => "it has no exp",
        _ => "it is malformed",
    }
}

fn main() {
    s3imageserver::run(Some(verify_token))
}
