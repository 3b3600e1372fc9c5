//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use getopts::{Fail, Matches, Options};

use crate::cache_cli::{Scope, Subcommand};
use crate::init::Bucket;
use crate::render_cli::Arguments;

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Serves with this configuration.
    Serve(PathBuf),
    /// `--check`: checks this configuration.
    Check(PathBuf),
    /// `--check --online …`: also asks each origin of this configuration, or asks for these `/HANDLER/KEY`.
    CheckOnline(Vec<String>, PathBuf),
    /// `init …`: prints a configuration for a bucket.
    Init(Bucket),
    /// `cache …`: works on the cache directories of this configuration.
    Cache(Subcommand, PathBuf),
    /// `sign …`: prints this path and query with a token that is valid for this time, or without expiry.
    Sign(String, Option<Duration>, PathBuf),
    /// `render …`: renders one image, with a handler of this configuration or without.
    Render(Arguments, Option<PathBuf>),
    /// `health …`: checks the server at this URL, or the one of this configuration.
    Health(Option<String>, PathBuf),
    /// `--version`
    Version,
    /// `--help`
    Help,
}

/// The exit status for an invalid command line or configuration.
pub const EXIT_USAGE: i32 = 2;
/// The exit status of `health` for an unhealthy server, and of `--check --online` for an origin that does not work.
pub const EXIT_UNHEALTHY: i32 = 1;

/// The exit status of `render` without a result.
pub const EXIT_FAILED: i32 = 1;

const DEFAULT_CONFIG: &str = "config.json";
/// The options that belong to one command or a few.
const ONE_COMMAND: [&str; 10] = [
    "check", "online", "bucket", "region", "endpoint", "json", "remove", "all", "expires",
    "handler",
];
/// The options of `init`.
const INIT: [&str; 3] = ["bucket", "region", "endpoint"];
/// Examples of the times that [`duration`] parses.
const DURATION_EXAMPLES: &str = "3600, 30m, 12h or 7d";

fn options() -> Options {
    let mut options = Options::new();
    let config = format!("the configuration file (default: {DEFAULT_CONFIG})");
    options.optopt("c", "config", &config, "FILE");
    let check = format!("check the configuration and exit: 0 if it is valid, {EXIT_USAGE} if not");
    options.optflag("", "check", &check);
    options.optflag("", "online", "with --check: also send a request to each origin");
    options.optopt("", "bucket", "with init: the name of the bucket", "NAME");
    options.optopt(
        "",
        "region",
        "with init: the region of the bucket (default: us-east-1)",
        "NAME",
    );
    options.optopt("", "endpoint", "with init: an S3 server other than AWS", "URL");
    options.optflag("", "json", "with cache stats: print JSON");
    options.optflag("", "remove", "with cache verify: remove damaged entries");
    options.optflag("", "all", "with cache purge: remove every entry");
    let expires = format!("with sign: how long the URL is valid, such as {DURATION_EXAMPLES}");
    options.optopt("", "expires", &expires, "TIME");
    options.optopt(
        "",
        "handler",
        "with render: the handler whose settings and presets apply",
        "NAME",
    );
    options.optflag("V", "version", "print the versions of the program and its libraries");
    options.optflag("h", "help", "print this help");
    options
}

/// Parses the arguments after the program's name. An error is a sentence.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let matches =
        options().parse(arguments.map(short_with_equals)).map_err(|failure| match failure {
            Fail::UnrecognizedOption(name) => format!("unknown option {}", dashed(&name)),
            Fail::ArgumentMissing(name) if name == "expires" => {
                "the option --expires needs a time".to_owned()
            }
            Fail::ArgumentMissing(name) if INIT.contains(&name.as_str()) || name == "handler" => {
                format!("the option --{name} needs a value")
            }
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
    let config =
        PathBuf::from(matches.opt_str("config").unwrap_or_else(|| DEFAULT_CONFIG.to_owned()));
    let free: Vec<&str> = matches.free.iter().map(String::as_str).collect();
    if let ["cache", rest @ ..] = free.as_slice() {
        return Ok(Command::Cache(parse_cache(rest, &matches)?, config));
    }
    if let ["sign", rest @ ..] = free.as_slice() {
        let (target, lifetime) = parse_sign(rest, &matches)?;
        return Ok(Command::Sign(target, lifetime, config));
    }
    if let ["render", rest @ ..] = free.as_slice() {
        let arguments = parse_render(rest, &matches)?;
        let config = arguments.handler.is_some().then_some(config);
        return Ok(Command::Render(arguments, config));
    }
    if let ["health", rest @ ..] = free.as_slice() {
        return Ok(Command::Health(parse_health(rest, &matches)?, config));
    }
    if let ["init", rest @ ..] = free.as_slice() {
        return parse_init(rest, &matches).map(Command::Init);
    }
    if matches.opt_present("online") {
        allow_only(&matches, &["check", "online"], "is not for --check --online")?;
        if !matches.opt_present("check") {
            return Err("the option --online is for --check".to_owned());
        }
        return Ok(Command::CheckOnline(matches.free, config));
    }
    if let Some(extra) = free.first() {
        return Err(format!(
            "unexpected argument {extra:?}; the configuration is given with -c FILE"
        ));
    }
    allow_only(
        &matches,
        &["check"],
        "is for cache stats, cache verify, cache purge, sign, render or init",
    )?;
    Ok(if matches.opt_present("check") { Command::Check(config) } else { Command::Serve(config) })
}

fn parse_cache(arguments: &[&str], matches: &Matches) -> Result<Subcommand, String> {
    let (subcommand, option) = match *arguments {
        ["stats"] => (Subcommand::Stats { json: matches.opt_present("json") }, "json"),
        ["verify"] => (Subcommand::Verify { remove: matches.opt_present("remove") }, "remove"),
        ["purge"] if matches.opt_present("all") => (Subcommand::Purge(Scope::All), "all"),
        // Either a path or --all, not both.
        ["purge", path] => (Subcommand::Purge(Scope::Path(path.to_owned())), ""),
        ["purge", ..] => {
            return Err(
                "cache purge needs --all, one /HANDLER/KEY or one /HANDLER/PREFIX/".to_owned()
            );
        }
        ["stats" | "verify", extra, ..] => return Err(format!("unexpected argument {extra:?}")),
        _ => return Err("cache needs one of stats, verify and purge".to_owned()),
    };
    allow_only(matches, &[option], &format!("is not for cache {}", arguments.join(" ")))?;
    Ok(subcommand)
}

fn parse_sign(arguments: &[&str], matches: &Matches) -> Result<(String, Option<Duration>), String> {
    allow_only(matches, &["expires"], "is not for sign")?;
    let target = match *arguments {
        [target] => target.to_owned(),
        [] => return Err("sign needs one /HANDLER/KEY?PARAMETERS".to_owned()),
        [_, extra, ..] => {
            return Err(format!("unexpected argument {extra:?}; quote a target that contains &"));
        }
    };
    let lifetime = match matches.opt_str("expires") {
        None => None,
        Some(text) => Some(duration(&text).ok_or_else(|| {
            format!("--expires must be a time such as {DURATION_EXAMPLES}, not {text:?}")
        })?),
    };
    Ok((target, lifetime))
}

fn parse_render(arguments: &[&str], matches: &Matches) -> Result<Arguments, String> {
    allow_only(matches, &["handler"], "is not for render")?;
    let (input, output, options) = match *arguments {
        [input, output] => (input, output, ""),
        [input, output, options] => (input, output, options),
        [_, _, _, extra, ..] => {
            return Err(format!("unexpected argument {extra:?}; quote options that contain &"));
        }
        _ => return Err("render needs IN and OUT, each a file or -".to_owned()),
    };
    let handler = matches.opt_str("handler");
    if matches.opt_present("config") && handler.is_none() {
        return Err("render takes -c FILE together with --handler NAME".to_owned());
    }
    let [input, output, options] = [input, output, options].map(str::to_owned);
    Ok(Arguments { input, output, options, handler })
}

fn parse_health(arguments: &[&str], matches: &Matches) -> Result<Option<String>, String> {
    allow_only(matches, &[], "is not for health")?;
    match *arguments {
        [] => Ok(None),
        [url] => Ok(Some(url.to_owned())),
        [_, extra, ..] => Err(format!("unexpected argument {extra:?}; health takes one URL")),
    }
}

fn parse_init(arguments: &[&str], matches: &Matches) -> Result<Bucket, String> {
    allow_only(matches, &INIT, "is not for init")?;
    if let Some(extra) = arguments.first() {
        return Err(format!(
            "unexpected argument {extra:?}; the bucket is given with --bucket NAME"
        ));
    }
    Ok(Bucket {
        name: matches.opt_str("bucket").ok_or("init needs --bucket NAME")?,
        region: matches.opt_str("region"),
        endpoint: matches.opt_str("endpoint"),
    })
}

/// Parses a number of seconds, minutes, hours or days above 0.
fn duration(text: &str) -> Option<Duration> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let unit =
        units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, seconds) = unit.unwrap_or((text, 1));
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Rejects options that belong to another command.
fn allow_only(matches: &Matches, allowed: &[&str], why: &str) -> Result<(), String> {
    let mut others = ONE_COMMAND.into_iter().filter(|name| !allowed.contains(name));
    match others.find(|name| matches.opt_present(name)) {
        Some(name) => Err(format!("the option --{name} {why}")),
        None => Ok(()),
    }
}

/// `-c=FILE` means `-c FILE`, as in the first version of the program; getopts takes the `=` for a part of the name.
fn short_with_equals(argument: OsString) -> OsString {
    match argument.to_str().and_then(|text| text.strip_prefix("-c=")) {
        Some(file) => OsString::from(format!("-c{file}")),
        None => argument,
    }
}

fn dashed(name: &str) -> String {
    if name.len() == 1 { format!("-{name}") } else { format!("--{name}") }
}

/// The output of `--help`.
pub fn help() -> String {
    options().usage(&format!(
        "Usage: s3imageserver [-c FILE]
       s3imageserver init --bucket NAME [--region NAME] [--endpoint URL]
       s3imageserver [-c FILE] --check [--online [/HANDLER/KEY]...]
       s3imageserver [-c FILE] cache stats [--json]
       s3imageserver [-c FILE] cache verify [--remove]
       s3imageserver [-c FILE] cache purge --all | /HANDLER/KEY | /HANDLER/PREFIX/
       s3imageserver [-c FILE] sign [--expires TIME] '/HANDLER/KEY?PARAMETERS'
       s3imageserver render IN OUT ['PARAMETERS'] [-c FILE --handler NAME]
       s3imageserver [-c FILE] health [URL]

Serves resized images out of S3. `init` prints a configuration for a bucket. `--check`
checks the configuration; with `--online` it also finds the credentials and asks each
bucket for a key that need not exist, or for the given ones, and exits with {EXIT_UNHEALTHY} if
something is wrong. `cache` counts, verifies or removes the entries in the cache
directories of the configuration, whether or not a server uses them. `sign` prints a
path and query with a token for a handler whose token is of type hmac. `render`
renders the image in the file IN into the file OUT, as the server would; - is standard
input or output. It exits with {EXIT_FAILED} if there is no result. `health` checks the server of
the configuration, or the one at URL; it exits with 0 if the server is healthy, {EXIT_UNHEALTHY} if
it is not, and {EXIT_USAGE} if the URL or the configuration is invalid.",
    ))
}

/// The output of `--version`.
pub fn version() -> String {
    format!(
        "s3imageserver {}\n{}",
        env!("CARGO_PKG_VERSION"),
        env!("NATIVE_VERSIONS").replace(", ", "\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn config_option_has_several_spellings() {
        for arguments in [
            &["-c", "x.json"][..],
            &["-c=x.json"],
            &["-cx.json"],
            &["--config=x.json"],
            &["--config", "x.json"],
        ] {
            assert_eq!(parse_all(arguments), Ok(Command::Serve("x.json".into())), "{arguments:?}");
        }
        assert_eq!(parse_all(&[]), Ok(Command::Serve("config.json".into())));
        assert_eq!(parse_all(&["--check", "-c=x.json"]), Ok(Command::Check("x.json".into())));
        assert_eq!(parse_all(&["--version"]), Ok(Command::Version));
        assert_eq!(parse_all(&["--help", "-c", "x"]), Ok(Command::Help));
    }

    #[test]
    fn cache_takes_a_subcommand() {
        let cache = |subcommand| Ok(Command::Cache(subcommand, "x.json".into()));
        let purge = |path: &str| Subcommand::Purge(Scope::Path(path.into()));
        for (arguments, subcommand) in [
            (&["cache", "stats", "-c", "x.json"][..], Subcommand::Stats { json: false }),
            (&["-c=x.json", "cache", "stats", "--json"], Subcommand::Stats { json: true }),
            (&["cache", "-c", "x.json", "verify"], Subcommand::Verify { remove: false }),
            (&["cache", "verify", "--remove", "-c", "x.json"], Subcommand::Verify { remove: true }),
            (&["cache", "purge", "--all", "-c", "x.json"], Subcommand::Purge(Scope::All)),
            (&["cache", "purge", "/h/a.png", "-c", "x.json"], purge("/h/a.png")),
        ] {
            assert_eq!(parse_all(arguments), cache(subcommand), "{arguments:?}");
        }
        for (arguments, part) in [
            (&["cache"][..], "one of stats, verify and purge"),
            (&["cache", "state"], "one of stats, verify and purge"),
            (&["cache", "purge"], "needs --all"),
            (&["cache", "purge", "/h/a", "/h/b"], "needs --all"),
            (&["cache", "purge", "/h/a", "--all"], "--all"),
            (&["cache", "stats", "x"], "unexpected argument \"x\""),
            (&["cache", "stats", "--all"], "--all is not for cache stats"),
            (&["cache", "verify", "--json"], "--json is not for cache verify"),
            (&["cache", "stats", "--check"], "--check is not for"),
            (&["--all"], "--all is for cache"),
            (&["--check", "--remove"], "--remove is for cache"),
            (&["stats"], "unexpected argument \"stats\""),
        ] {
            let sentence = parse_all(arguments).unwrap_err();
            assert!(sentence.contains(part), "{arguments:?}: {sentence}");
        }
    }

    #[test]
    fn sign_takes_a_target_and_an_expiry() {
        let sign = |seconds: Option<u64>| {
            Ok(Command::Sign(
                "/h/a?w=1&h=2".into(),
                seconds.map(Duration::from_secs),
                "x.json".into(),
            ))
        };
        for (expires, seconds) in
            [("90", 90), ("1s", 1), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)]
        {
            let arguments = ["sign", "-c", "x.json", "--expires", expires, "/h/a?w=1&h=2"];
            assert_eq!(parse_all(&arguments), sign(Some(seconds)));
        }
        assert_eq!(parse_all(&["-c=x.json", "sign", "/h/a?w=1&h=2"]), sign(None));
        for expires in [
            "",
            "0",
            "0d",
            "d",
            "-1",
            "+1",
            "1.5h",
            "1 h",
            "1h30m",
            "1w",
            "99999999999999999999",
            "999999999999999999d",
        ] {
            let sentence =
                parse_all(&["sign", "/h/a", &format!("--expires={expires}")]).unwrap_err();
            assert!(sentence.contains("--expires"), "{expires}: {sentence}");
        }
        for (arguments, part) in [
            (&["sign"][..], "needs one"),
            (&["sign", "/h/a?w=1", "h=2"], "quote a target that contains &"),
            (&["sign", "/h/a", "--all"], "--all is not for sign"),
            (&["sign", "/h/a", "--check"], "--check is not for sign"),
            (&["--expires", "1h"], "--expires is for"),
            (&["cache", "stats", "--expires", "1h"], "--expires is not for cache stats"),
            (&["sign", "/h/a", "--expires"], "--expires needs a time"),
        ] {
            let sentence = parse_all(arguments).unwrap_err();
            assert!(sentence.contains(part), "{arguments:?}: {sentence}");
        }
    }

    #[test]
    fn health_takes_a_url_or_a_configuration() {
        for (arguments, url, config) in [
            (&["health"][..], None, "config.json"),
            (&["health", "-c", "x.json"], None, "x.json"),
            (&["-c=x.json", "health", "http://[::1]:81"], Some("http://[::1]:81"), "x.json"),
        ] {
            let expected = Command::Health(url.map(str::to_owned), config.into());
            assert_eq!(parse_all(arguments), Ok(expected), "{arguments:?}");
        }
        for (arguments, part) in [
            (&["health", "http://a", "http://b"][..], "unexpected argument \"http://b\""),
            (&["health", "--check"], "--check is not for health"),
            (&["health", "--json"], "--json is not for health"),
        ] {
            let sentence = parse_all(arguments).unwrap_err();
            assert!(sentence.contains(part), "{arguments:?}: {sentence}");
        }
    }

    #[test]
    fn render_takes_two_files_and_options() {
        let render = |input: &str, output: &str, options: &str, handler: Option<&str>| {
            let [input, output, options] = [input, output, options].map(str::to_owned);
            let config = handler.map(|_| PathBuf::from("x.json"));
            let handler = handler.map(str::to_owned);
            Ok(Command::Render(Arguments { input, output, options, handler }, config))
        };
        for (arguments, expected) in [
            (&["render", "a", "b.png"][..], render("a", "b.png", "", None)),
            (&["render", "-", "-", "w=1&h=2"], render("-", "-", "w=1&h=2", None)),
            (
                &["render", "a", "b", "p=c", "--handler", "h", "-c", "x.json"],
                render("a", "b", "p=c", Some("h")),
            ),
        ] {
            assert_eq!(parse_all(arguments), expected, "{arguments:?}");
        }
        let default = parse_all(&["render", "a", "b", "--handler=h"]);
        assert!(
            matches!(&default, Ok(Command::Render(_, Some(path))) if path.ends_with("config.json"))
        );
        for (arguments, part) in [
            (&["render"][..], "needs IN and OUT"),
            (&["render", "a"], "needs IN and OUT"),
            (&["render", "a", "b", "w=1", "h=2"], "quote options that contain &"),
            (&["render", "a", "b", "-c", "x"], "together with --handler"),
            (&["render", "a", "b", "--handler"], "--handler needs a value"),
            (&["render", "a", "b", "--json"], "--json is not for render"),
            (&["sign", "/h/a", "--handler", "h"], "--handler is not for sign"),
            (&["--handler", "h"], "--handler is for"),
        ] {
            let sentence = parse_all(arguments).unwrap_err();
            assert!(sentence.contains(part), "{arguments:?}: {sentence}");
        }
    }

    #[test]
    fn init_takes_a_bucket() {
        let bucket = |region: Option<&str>, endpoint: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Ok(Command::Init(Bucket {
                name: "b".into(),
                region: owned(region),
                endpoint: owned(endpoint),
            }))
        };
        assert_eq!(parse_all(&["init", "--bucket", "b"]), bucket(None, None));
        let all = ["init", "--bucket=b", "--region", "r", "--endpoint", "http://e"];
        assert_eq!(parse_all(&all), bucket(Some("r"), Some("http://e")));
        for (arguments, part) in [
            (&["init"][..], "needs --bucket"),
            (&["init", "b"], "--bucket NAME"),
            (&["init", "--bucket"], "--bucket needs a value"),
            (&["init", "--bucket", "b", "--check"], "--check is not for init"),
            (&["--bucket", "b"], "--bucket is for"),
            (&["sign", "/h/a", "--region", "r"], "--region is not for sign"),
        ] {
            let sentence = parse_all(arguments).unwrap_err();
            assert!(sentence.contains(part), "{arguments:?}: {sentence}");
        }
    }

    #[test]
    fn check_online_takes_keys() {
        let check = |keys: &[&str]| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            Ok(Command::CheckOnline(keys, "config.json".into()))
        };
        assert_eq!(parse_all(&["--check", "--online"]), check(&[]));
        assert_eq!(parse_all(&["--check", "--online", "/h/a", "/h/b"]), check(&["/h/a", "/h/b"]));
        for (arguments, part) in [
            (&["--online"][..], "--online is for --check"),
            (&["--check", "/h/a"], "unexpected argument"),
            (&["--check", "--online", "--json"], "--json is not for --check --online"),
            (&["health", "--online"], "--online is not for health"),
        ] {
            let sentence = parse_all(arguments).unwrap_err();
            assert!(sentence.contains(part), "{arguments:?}: {sentence}");
        }
    }

    #[test]
    fn unknown_options_and_arguments_are_errors() {
        assert_eq!(parse_all(&["--chek"]), Err("unknown option --chek".into()));
        assert_eq!(parse_all(&["-c"]), Err("the option -c needs a file".into()));
        assert_eq!(
            parse_all(&["-c", "a", "-c", "b"]),
            Err("the option --config is given twice".into())
        );
        assert!(parse_all(&["x.json"]).unwrap_err().contains("-c FILE"));
    }
}
