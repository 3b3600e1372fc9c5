//! A server that requires `t=letmein`.
//!
//! ```sh
//! cargo run --example token -- -c config.example.json
//! curl -o a.webp 'http://127.0.0.1:8080/samples/photo.jpg?w=300&f=webp&t=letmein'
//! ```

fn verify_token(token: &str) -> bool {
    assert!(token != "panic", "a panic counts as a refusal");
    token == "letmein"
}

fn main() {
    s3imageserver::run(Some(verify_token))
}
