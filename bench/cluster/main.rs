//! Used by bench/cluster.sh: originals, and the clients of a cluster.
//!
//! ```text
//! cluster originals DIRECTORY FIRST COUNT SIZE FILE…        writes COUNT different JPEGs of SIZE, such as 400x300
//! cluster zipf   ADDRESS CLIENTS REQUESTS KEYS EXPONENT     Zipf-distributed requests, as fast as they are answered
//! cluster paced  ADDRESS CLIENTS SECONDS RATE KEYS FIRST    hits and misses at a fixed rate, with a line for each
//! cluster each   ADDRESS FIRST COUNT QUERY                  one request after the other, each for another key
//! cluster change ADDRESSES FIRST COUNT PAUSE WATCH COMMAND… changes keys and asks each node until it has noticed
//! ```
//!
//! The result is one line of numbers on standard output, or one for each request or key, described in each module.

mod change;
mod client;
mod each;
mod originals;
mod paced;
mod paths;
mod zipf;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// A result whose error is printed and ends the run.
type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(lines) => {
            println!("{lines}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Fallible<String> {
    match arguments {
        ["originals", directory, first, count, size, files @ ..] => {
            originals::run(directory, first.parse()?, count.parse()?, size, files)
        }
        ["zipf", address, clients, requests, keys, exponent] => {
            let load = zipf::Load {
                clients: clients.parse()?,
                requests: requests.parse()?,
                keys: keys.parse()?,
                exponent: exponent.parse()?,
            };
            zipf::run(address.parse()?, &load)
        }
        ["paced", address, clients, seconds, rate, keys, first] => {
            let load = paced::Load {
                clients: clients.parse()?,
                time: Duration::from_secs(seconds.parse()?),
                rate: rate.parse()?,
                keys: keys.parse()?,
                first: first.parse()?,
            };
            paced::run(address.parse()?, load)
        }
        ["each", address, first, count, query] => {
            each::run(address.parse()?, first.parse()?, count.parse()?, query)
        }
        ["change", addresses, first, count, pause, watch, command @ ..] => {
            let milliseconds = |text: &str| text.parse().map(Duration::from_millis);
            let addresses: Result<Vec<_>, _> = addresses.split(',').map(str::parse).collect();
            let keys = change::Keys {
                first: first.parse()?,
                count: count.parse()?,
                pause: milliseconds(pause)?,
            };
            change::run(&addresses?, &keys, milliseconds(watch)?, command)
        }
        _ => Err("usage: cluster originals|zipf|paced|each|change …".into()),
    }
}
