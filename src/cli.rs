//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use getopts::{Fail, Options};

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve with this configuration.
    Serve(PathBuf),
    /// `--check`: check this configuration and exit.
    Check(PathBuf),
    /// `--version`
    Version,
    /// `--help`
    Help,
}

const DEFAULT_CONFIG: &str = "config.json";

fn options() -> Options {
    let mut options = Options::new();
    options.optopt("c", "config", "the configuration file (default: config.json)", "FILE");
    options.optflag("", "check", "check the configuration and exit: 0 when it can be used, 2 when not");
    options.optflag("V", "version", "print the versions of this program and of its libraries");
    options.optflag("h", "help", "print this text");
    options
}

/// Reads the arguments after the program's name. An error is a sentence.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let matches = options().parse(arguments.map(short_with_equals)).map_err(|failure| match failure {
        Fail::UnrecognizedOption(name) => format!("unknown option {}", dashed(&name)),
        Fail::ArgumentMissing(name) => format!("the option {} needs a file", dashed(&name)),
        Fail::OptionDuplicated(name) => format!("the option {} is given twice", dashed(&name)),
        other => other.to_string(),
    })?;
    if matches.opt_present("help") {
        return Ok(Command::Help);
    }
    if matches.opt_present("version") {
        return Ok(Command::Version);
    }
    if let Some(extra) = matches.free.first() {
        return Err(format!("unexpected argument {extra:?}; the configuration is given with -c FILE"));
    }
    let config = PathBuf::from(matches.opt_str("config").unwrap_or_else(|| DEFAULT_CONFIG.to_owned()));
    Ok(if matches.opt_present("check") { Command::Check(config) } else { Command::Serve(config) })
}

/// `-c=FILE` means `-c FILE`, as in the program of 2015; getopts would take the `=` for a part of the name.
fn short_with_equals(argument: OsString) -> OsString {
    match argument.to_str().and_then(|text| text.strip_prefix("-c=")) {
        Some(file) => OsString::from(format!("-c{file}")),
        None => argument,
    }
}

fn dashed(name: &str) -> String {
    if name.len() == 1 { format!("-{name}") } else { format!("--{name}") }
}

/// The text of `--help`.
pub fn help() -> String {
    options().usage("Usage: s3imageserver [-c FILE]\n\nServes resized pictures out of S3.")
}

/// The text of `--version`.
pub fn version() -> String {
    format!("s3imageserver {}\n{}", env!("CARGO_PKG_VERSION"), env!("NATIVE_VERSIONS").replace(", ", "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn every_spelling_of_the_configuration_works() {
        for arguments in [
            &["-c", "x.json"][..],
            &["-c=x.json"],
            &["-cx.json"],
            &["--config=x.json"],
            &["--config", "x.json"],
        ] {
            assert_eq!(parsed(arguments), Ok(Command::Serve("x.json".into())), "{arguments:?}");
        }
        assert_eq!(parsed(&[]), Ok(Command::Serve("config.json".into())));
        assert_eq!(parsed(&["--check", "-c=x.json"]), Ok(Command::Check("x.json".into())));
        assert_eq!(parsed(&["--version"]), Ok(Command::Version));
        assert_eq!(parsed(&["--help", "-c", "x"]), Ok(Command::Help));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert_eq!(parsed(&["--chek"]), Err("unknown option --chek".into()));
        assert_eq!(parsed(&["-c"]), Err("the option -c needs a file".into()));
        assert_eq!(parsed(&["-c", "a", "-c", "b"]), Err("the option --config is given twice".into()));
        assert!(parsed(&["x.json"]).unwrap_err().contains("-c FILE"));
    }
}
