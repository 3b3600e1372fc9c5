//! Used by bench/cache.sh: fills a cache directory, serves as a counting origin, sends concurrent requests.
//!
//! ```text
//! cache fill   TEMPLATE DIRECTORY KEYS EACH     copies a cache entry: KEYS keys with EACH options each
//! cache origin ADDRESS FILE MILLISECONDS     answers every GET with the file after a delay; `/count` is their number
//! cache storm  ADDRESS CLIENTS KEYS          concurrent clients, each for one of the keys
//! cache start  ADDRESS PATH                  waits for the first hit
//! ```
//!
//! The result is one line of numbers on standard output, described in each module.

mod fill;
mod origin;
mod start;
mod storm;

use std::error::Error;
use std::process::ExitCode;

/// A result whose error is printed and ends the run.
type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["fill", template, directory, keys, each] => fill::run(template, directory, keys, each),
        ["origin", address, file, milliseconds] => origin::run(address, file, milliseconds),
        ["storm", address, clients, keys] => storm::run(address, clients, keys),
        ["start", address, path] => start::run(address, path),
        _ => Err("usage: cache fill|origin|storm|start …".into()),
    };
    match result {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cache: {error}");
            ExitCode::FAILURE
        }
    }
}
