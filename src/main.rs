//! The server as it comes, without a token check.

fn main() {
    s3imageserver::run(None)
}
