//! `--check --online`: asks the origins of a configuration, as the renderer would.
//!
//! The request is a GET, because nothing else is needed to serve images: credentials that may do only that
//! (`s3:GetObject`) pass, and a HEAD response has no error code. Its key need not exist. In a results bucket, an object is
//! written and removed.

use std::io::Write;

use super::origin::OriginClient;
use super::results;
use crate::config::{Config, ConfigError, Handler};
use crate::error::Failure;
use crate::key;

/// Asks each handler's origin and results bucket, or the origin for these `/HANDLER/KEY`. Writes a line for each that works to `out`, and gives
/// the errors of the others to `report`. Returns whether all of them work.
///
/// # Errors
///
/// If a target is not valid: a sentence.
pub fn check_online(
    config: &Config,
    targets: &[String],
    out: &mut impl Write,
    report: impl Fn(&ConfigError),
) -> Result<bool, String> {
    let mut asked: Vec<(usize, &Handler, Option<String>)> = Vec::new();
    for target in targets {
        let (index, handler, key) = parse(target, config)?;
        asked.push((index, handler, Some(key)));
    }
    if targets.is_empty() {
        asked.extend(
            config.handlers.iter().enumerate().map(|(index, handler)| (index, handler, None)),
        );
    }
    let mut is_ok = true;
    let mut answered = |index: usize, field: &str, answer: Result<String, Failure>| match answer {
        // An error of standard output is ignored.
        Ok(sentence) => drop(writeln!(out, "handlers[{index}]: {sentence}: ok")),
        Err(failure) => {
            is_ok = false;
            let path = format!("handlers[{index}].{field}");
            report(&config.locate(ConfigError::new(path, failure.detail)));
        }
    };
    for (index, handler, key) in asked {
        let answer = OriginClient::open(&handler.origin, &config.limits)
            .and_then(|client| client.probe(key.as_deref()));
        answered(index, handler.origin.field(), answer);
        if let (Some(results), None) = (&handler.results, key) {
            answered(index, "results", results::probe(&results.bucket, &config.limits));
        }
    }
    Ok(is_ok)
}

/// The handler and the key that a target names.
fn parse<'c>(target: &str, config: &'c Config) -> Result<(usize, &'c Handler, String), String> {
    let refuse = |why: &str| Err(format!("{target:?}: {why}"));
    let Some((route, key)) = key::split_path(target) else {
        return refuse("must be /HANDLER/KEY, percent-encoded as in a URL");
    };
    if !key::is_valid(&key) {
        return refuse("is not a valid key");
    }
    let found = config.handlers.iter().enumerate().find(|(_, handler)| handler.route == route);
    match found {
        Some((index, handler)) => Ok((index, handler, key)),
        None => refuse("no handler has this prefix"),
    }
}
