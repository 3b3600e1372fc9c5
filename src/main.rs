//! The server without a token validator.

fn main() {
    s3imageserver::run(None)
}
