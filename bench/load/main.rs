//! Used by bench/edge.sh for load that wrk can't produce: handshakes, paced requests, overload, idle connections.
//!
//! ```text
//! load full    ADDRESS PATH THREADS SECONDS       connections a second, each with a full TLS handshake
//! load resumed ADDRESS PATH THREADS SECONDS       the same, each resuming the one before it
//! load paced   ADDRESS PATH THREADS SECONDS RATE  latency at RATE requests a second in total
//! load busy    ADDRESS PATH CLIENTS FIRST         requests uncached images until standard input ends
//! load idle    ADDRESS PATH CONNECTIONS plain|tls holds connections until standard input ends
//! ```
//!
//! The result is one line of numbers on standard output, described in each module.

mod busy;
mod client;
mod handshakes;
mod idle;
mod paced;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use client::Target;

/// A result whose error is printed and ends the run.
type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Fallible<String> {
    let [mode, address, path, count, rest @ ..] = arguments else {
        return Err("usage: load full|resumed|paced|busy|idle ADDRESS PATH COUNT …".into());
    };
    let target = Target { address: address.parse()?, path: (*path).to_owned() };
    let count = count.parse()?;
    let seconds = |text: &str| text.parse().map(Duration::from_secs);
    match (*mode, rest) {
        ("full", [time]) => handshakes::run(&target, count, seconds(time)?, false),
        ("resumed", [time]) => handshakes::run(&target, count, seconds(time)?, true),
        ("paced", [time, rate]) => paced::run(&target, count, seconds(time)?, rate.parse()?),
        ("busy", [first]) => busy::run(&target, count, first.parse()?),
        ("idle", [kind @ ("plain" | "tls")]) => idle::run(&target, count, *kind == "tls"),
        _ => Err(format!("no such load: {}", arguments.join(" ")).into()),
    }
}
