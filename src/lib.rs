//! One static binary that serves resized images out of S3.
//!
//! Run the binary with `-c config.json`, or build your own with a token check of your own:
//!
//! ```no_run
//! fn verify_token(token: &str) -> bool {
//!     token == "letmein"
//! }
//!
//! fn main() {
//!     s3imageserver::run(Some(verify_token))
//! }
//! ```
//!
//! Two processes of one binary: the *edge* owns the sockets, the limits and the cache's hits; the *renderer*,
//! which the edge starts from the same executable, fetches originals and decodes images. `edge` and `render`
//! never use each other; both stand on the modules of the ground floor.

// The ground floor.
mod accept;
mod cache;
mod cache_cli;
mod check_interval;
mod cli;
mod config;
mod error;
mod format;
mod health;
mod key;
mod log;
mod network;
mod options;
mod singleflight;
mod sync;
#[cfg(test)]
mod testing;
mod token;
mod wire;

mod edge;
mod render;

/// For bench/encoders alone, and not part of the interface.
#[doc(hidden)]
pub use render::bench;

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::exit;
use std::time::SystemTime;

use cli::Command;
use config::ConfigError;

use crate::log::{print_error, sink};

/// Decides whether the bearer of a token may have the image. It is called with the decoded value of the
/// query parameter `t`, or with the empty string where there is none, on the thread of the connection, before
/// anything is looked up. A panic counts as a refusal.
pub type TokenValidator = fn(&str) -> bool;

/// The exit status for a command line or a configuration that can't be used.
const EXIT_USAGE: i32 = 2;
/// The exit status of `health` for a server that is not healthy.
const EXIT_UNHEALTHY: i32 = 1;

/// Runs the server with the process's command line until it is told to stop, and exits.
///
/// `validator` is asked for every image on every handler, before the handler's own `token`; with `None` that one alone
/// decides.
///
/// Call it first thing in `main`, before any thread is started: the process may have been started as the
/// renderer, which `run` recognises by its environment and becomes. The exit status is 0 after SIGTERM or
/// SIGINT, 2 when the command line or the configuration can't be used (a sentence on standard error names the
/// field), 1 when the renderer can't be started, `cache` finds something wrong or `health` finds no healthy server.
pub fn run(validator: Option<TokenValidator>) -> ! {
    if let Some(socket) = std::env::var_os(wire::SOCKET_VARIABLE) {
        exit(render::run(Path::new(&socket)));
    }
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print(&cli::help()),
        Ok(Command::Version) => print(&cli::version()),
        Ok(Command::Check(path)) => match load(&path) {
            Ok(_) => print(&format!("{}: ok", path.display())),
            Err(error) => refuse(&error),
        },
        Ok(Command::Cache(subcommand, path)) => {
            // A disk that is full or can't be written is no reason not to look at it.
            let done = read(&path).map_err(|error| error.to_string()).and_then(|(config, _)| {
                cache_cli::run(&subcommand, &config, &mut BufWriter::new(std::io::stdout()))
            });
            match done {
                Ok(is_well) => exit(i32::from(!is_well)),
                Err(sentence) => misused(&sentence),
            }
        }
        Ok(Command::Sign(target, lifetime, path)) => {
            let now = cache::unix_seconds(SystemTime::now());
            // No more of the configuration than that: who signs need not be who serves.
            let config = config::read_file(&path)
                .and_then(|text| config::parse(&text, &path.display().to_string()));
            match config.map(|config| token::sign(&config, &target, lifetime, now)) {
                Ok(Ok(signed)) => print(&signed),
                Ok(Err(sentence)) => misused(&sentence),
                Err(error) => refuse(&error),
            }
        }
        Ok(Command::Health(url, path)) => {
            let target = match url {
                Some(url) => health::Target::of_url(&url),
                None => config::read_file(&path)
                    .and_then(|text| config::parse(&text, &path.display().to_string()))
                    .map_err(|error| error.to_string())
                    .and_then(|config| health::Target::of_config(&config)),
            };
            match target.map(health::check) {
                Ok(Ok(())) => exit(0),
                Ok(Err(sentence)) => {
                    print_error!("s3imageserver: {sentence}");
                    exit(EXIT_UNHEALTHY)
                }
                Err(sentence) => misused(&sentence),
            }
        }
        Ok(Command::Serve(path)) => {
            render::warn_if_not_sandboxed();
            match edge::run(&|| load(&path), validator) {
                Ok(status) => {
                    sink::flush();
                    exit(status)
                }
                Err(error) => refuse(&error),
            }
        }
        Err(sentence) => {
            print_error!("s3imageserver: {sentence}");
            print_error!("Try s3imageserver --help");
            exit(EXIT_USAGE)
        }
    }
}

fn read(path: &Path) -> Result<(config::Config, String), ConfigError> {
    let text = config::read_file(path)?;
    let config = config::parse(&text, &path.display().to_string())?;
    Ok((config, text))
}

/// Reads the configuration and checks everything in it that can be checked before a port is opened.
fn load(path: &Path) -> Result<(config::Config, String), ConfigError> {
    let (config, text) = read(path)?;
    config::check_directories(&config)?;
    edge::check(&config)?;
    render::check(&config)?;
    Ok((config, text))
}

/// What was asked for, on standard output. A reader that went away has read enough.
fn print(text: &str) -> ! {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    exit(0)
}

fn refuse(error: &ConfigError) -> ! {
    misused(&error.to_string())
}

fn misused(sentence: &str) -> ! {
    print_error!("s3imageserver: {sentence}");
    exit(EXIT_USAGE)
}
