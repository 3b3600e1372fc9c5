//! One static binary that serves resized images out of S3.
//!
//! Run the binary with `-c config.json`, or build your own program with a token check:
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
//! Two processes of one binary: the *edge* owns the client sockets and serves cached variants; the *renderer*, which
//! the edge starts from the same executable, fetches originals and decodes images. The modules `edge` and `render`
//! never import each other; both use the modules below.

// Shared modules.
mod accept;
mod cache;
mod cache_cli;
mod cache_control;
mod cache_tag;
mod calendar;
mod certificate_expiry;
mod check_interval;
mod cli;
mod config;
#[cfg(test)]
mod documents;
mod error;
mod error_image_timeout;
mod file_stamp;
mod file_type;
mod format;
mod health;
mod init;
mod key;
mod log;
mod machine;
mod media_type;
mod metrics;
mod network;
mod options;
mod phases;
mod purge_table;
mod quality;
mod render_call;
mod render_cli;
mod renderer_command;
mod renderer_status;
mod shared_journal;
mod singleflight;
mod sync;
#[cfg(test)]
mod testing;
mod time;
mod token;
mod wire;

mod edge;
mod render;

/// For bench/encoders and fuzz alone, and not part of the interface.
#[doc(hidden)]
pub use render::bench;

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::exit;
use std::time::SystemTime;

use cli::{Command, EXIT_FAILED, EXIT_UNHEALTHY, EXIT_USAGE};
use config::ConfigError;

use crate::log::{print_error, sink};

/// Returns whether a request with this token may have the image. It is called with the decoded value of the query
/// parameter `t`, or with the empty string if there is none, on the thread of the connection, before anything is looked
/// up. A panic counts as `false`.
pub type TokenValidator = fn(&str) -> bool;

/// Runs the server with the process's command line until a signal stops it, and exits.
///
/// `validator` is called for every image request of every handler, before the handler's own `token` is checked; with
/// `None` only the latter is.
///
/// Call it at the start of `main`, before any thread is started: the edge starts the renderer from the same executable,
/// and `run` recognises that by its environment. The exit status is 0 after SIGTERM or SIGINT, 2 if the command line or
/// the configuration is invalid (an error on standard error names the field), and 1 if the renderer can't be started,
/// `cache` finds damage or an error, `render` has no result, `health` finds an unhealthy server, or `--check --online` an
/// origin that does not work.
pub fn run(validator: Option<TokenValidator>) -> ! {
    if let Some(socket) = std::env::var_os(wire::SOCKET_VARIABLE) {
        exit(render::run(Path::new(&socket)));
    }
    if std::env::var_os(render_call::VARIABLE).is_some() {
        exit(render::run_once());
    }
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print_and_exit(&cli::help()),
        Ok(Command::Version) => print_and_exit(&cli::version()),
        Ok(Command::Check(path)) => match load(&path) {
            Ok(_) => print_and_exit(&format!("{}: ok", path.display())),
            Err(error) => exit_with_usage_error(&error.to_string()),
        },
        Ok(Command::CheckOnline(targets, path)) => {
            let outcome = load(&path).map_err(|error| error.to_string()).and_then(|config| {
                render::check_online(&config, &targets, &mut std::io::stdout(), |error| {
                    print_error!("s3imageserver: {error}");
                })
            });
            match outcome {
                Ok(is_ok) => exit(if is_ok { 0 } else { EXIT_UNHEALTHY }),
                Err(sentence) => exit_with_usage_error(&sentence),
            }
        }
        Ok(Command::Init(bucket)) => match init::configuration(&bucket) {
            Ok(text) => print_and_exit(&text),
            Err(sentence) => exit_with_usage_error(&sentence),
        },
        Ok(Command::Cache(subcommand, path)) => {
            // Without `load`, which fails if a cache directory can't be written or its disk is full.
            let outcome = read(&path).map_err(|error| error.to_string()).and_then(|config| {
                cache_cli::run(&subcommand, &config, &mut BufWriter::new(std::io::stdout()))
            });
            match outcome {
                Ok(is_ok) => exit(i32::from(!is_ok)),
                Err(sentence) => exit_with_usage_error(&sentence),
            }
        }
        Ok(Command::Sign(target, lifetime, path)) => {
            let now = time::unix_seconds(SystemTime::now());
            match read(&path).map(|config| token::sign(&config.handlers, &target, lifetime, now)) {
                Ok(Ok(signed)) => print_and_exit(&signed),
                Ok(Err(sentence)) => exit_with_usage_error(&sentence),
                Err(error) => exit_with_usage_error(&error.to_string()),
            }
        }
        Ok(Command::Render(arguments, path)) => {
            let config = match &path {
                Some(path) => read(path).map_err(|error| error.to_string()),
                None => render_cli::default_config(),
            };
            let outcome = config.map_err(render_cli::Problem::Usage).and_then(|config| {
                render::warn_if_not_sandboxed();
                render_cli::run(&arguments, &config)
            });
            match outcome {
                Ok(()) => exit(0),
                Err(render_cli::Problem::Usage(sentence)) => exit_with_usage_error(&sentence),
                Err(render_cli::Problem::Failed(sentence)) => {
                    print_error!("s3imageserver: {sentence}");
                    exit(EXIT_FAILED)
                }
            }
        }
        Ok(Command::Health(url, path)) => {
            let target = match url {
                Some(url) => health::Target::from_url(&url),
                None => read(&path)
                    .map_err(|error| error.to_string())
                    .and_then(|config| health::Target::from_config(&config)),
            };
            match target.map(health::check) {
                Ok(Ok(())) => exit(0),
                Ok(Err(sentence)) => {
                    print_error!("s3imageserver: {sentence}");
                    exit(EXIT_UNHEALTHY)
                }
                Err(sentence) => exit_with_usage_error(&sentence),
            }
        }
        Ok(Command::Serve(path)) => {
            let served = load(&path).and_then(|config| {
                log::configure(config.log_level, config.log_format);
                log::log_panics();
                render::warn_if_not_sandboxed();
                edge::run(config, &|| load(&path), validator)
            });
            match served {
                Ok(status) => {
                    sink::flush();
                    exit(status)
                }
                // The configuration is valid, and an address can't be served, for example.
                Err(error) if log::format() == log::Format::Json => {
                    log::error!("start_failed", "{error}");
                    exit(EXIT_USAGE)
                }
                Err(error) => exit_with_usage_error(&error.to_string()),
            }
        }
        Err(sentence) => {
            print_error!("s3imageserver: {sentence}");
            print_error!("Try s3imageserver --help");
            exit(EXIT_USAGE)
        }
    }
}

/// Reads the configuration without touching the directories in it.
fn read(path: &Path) -> Result<config::Config, ConfigError> {
    config::parse(&config::read_file(path)?, &path.display().to_string())
}

/// Reads the configuration and checks everything that can be checked before a port is opened.
fn load(path: &Path) -> Result<config::Config, ConfigError> {
    let config = read(path)?;
    config::check_directories(&config)
        .and_then(|()| edge::check(&config))
        .and_then(|()| render::check(&config))
        .map_err(|error| config.locate(error))?;
    Ok(config)
}

/// Prints the output of a command and exits. Errors of standard output are ignored.
fn print_and_exit(text: &str) -> ! {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    exit(0)
}

fn exit_with_usage_error(sentence: &str) -> ! {
    print_error!("s3imageserver: {sentence}");
    exit(EXIT_USAGE)
}
