//! `--check --online`: asks the origins of a configuration, as the renderer would.
//!
//! The request is a GET, because nothing else is needed to serve images: credentials that may do only that
//! (`s3:GetObject`) pass, and a HEAD response has no error code. Its key need not exist. In a results bucket, an object is
//! written and removed.

use std::io::Write;

use super::{origin, results};
use crate::config::{Config, ConfigError, Handler, Limits};
use crate::error::Failure;
use crate::key;

/// Asks each origin of each handler and its results bucket, or for these `/HANDLER/KEY` the origins until one has it.
/// Writes a line for each that works to `out`, and gives the errors of the others to `report`. Returns whether all of
/// them work.
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
    for (index, handler, key) in asked {
        let answers = ask(index, handler, key.as_deref(), &config.limits);
        for Answer { name, path, answer } in answers {
            match (answer, path) {
                // An error of standard output is ignored.
                (Ok(sentence), _) => drop(writeln!(out, "{name}: {sentence}: ok")),
                (Err(failure), None) => {
                    drop(writeln!(out, "{name}: {}; asking the next origin", failure.detail));
                }
                (Err(failure), Some(path)) => {
                    is_ok = false;
                    report(&config.locate(ConfigError::new(path, failure.detail)));
                }
            }
        }
    }
    Ok(is_ok)
}

/// What one origin or results bucket answered.
struct Answer {
    name: String,
    /// The JSON path of its field, for errors; `None` if another origin may have the key.
    path: Option<String>,
    answer: Result<String, Failure>,
}

/// Asks each origin and the results bucket of a handler, or the origins until one has the key.
fn ask(index: usize, handler: &Handler, key: Option<&str>, limits: &Limits) -> Vec<Answer> {
    let mut answers = Vec::new();
    let last = handler.origins.len().saturating_sub(1);
    for (place, origin) in handler.origins.iter().enumerate() {
        let name = match last {
            0 => format!("handlers[{index}]"),
            _ => format!("handlers[{index}].origins[{place}]"),
        };
        let answer = origin::probe(origin, limits, key);
        let is_missing = answer.as_ref().is_err_and(origin::is_not_there);
        let is_last = !(key.is_some() && place < last && is_missing);
        let path = is_last.then(|| origin.json_path().to_owned());
        answers.push(Answer { name, path, answer });
        // With a key, the server stops here, too.
        if key.is_some() && is_last {
            break;
        }
    }
    if let (Some(results), None) = (&handler.results, key) {
        answers.push(Answer {
            name: format!("handlers[{index}]"),
            path: Some(format!("handlers[{index}].results")),
            answer: results::probe(&results.bucket, limits),
        });
    }
    answers
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
