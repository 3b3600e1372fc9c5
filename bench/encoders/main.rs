//! What bench/encoders.sh measures every encoder with.
//!
//! ```text
//! encoders settings FORMAT ROUNDS SETTING… -- IMAGE…   bytes, CPU and likeness of each setting of a format's encoder
//! encoders quality JPEG WEBP AVIF -- IMAGE…            which q of WebP and AVIF looks like which q of JPEG
//! encoders gif ROUNDS WIDTH SETTING… -- IMAGE…         a moving GIF made smaller, decoding included
//! encoders dump DIRECTORY -- IMAGE…                       the references, as PPM, for encoders that are not linked here
//! ```
//!
//! Every image is decoded and resized once, to 300, 800 and 1600 pixels of width where it has as many; these pixels
//! are encoded, decoded again and compared with themselves. A setting is written as libvips writes it, as `effort=4`; the
//! first one is what the others are compared with. The result is a Markdown table on standard output.

mod cases;
// Both stand alone: what is compared are the qualities that the server itself asks for.
#[allow(dead_code, unused_imports)]
#[path = "../../src/format.rs"]
mod format;
mod gif;
// Its unit tests are not compiled without the harness, but their imports are.
#[allow(unused_imports)]
#[path = "../../src/render/pipeline/quality.rs"]
mod mapping;
mod quality;
mod settings;
mod ssim;
mod vips;

use std::error::Error;
use std::process::ExitCode;

/// A result whose error ends the run with a sentence.
type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (asked, images) = match arguments.iter().position(|argument| *argument == "--") {
        Some(end) => (&arguments[..end], &arguments[end + 1..]),
        None => (&arguments[..], &[][..]),
    };
    let result = vips::start().and_then(|()| match asked {
        ["settings", format, rounds, settings @ ..] => {
            settings::run(format, rounds.parse()?, settings, images)
        }
        ["quality", jpeg, webp, avif] => {
            quality::run(jpeg, [("webp", webp), ("avif", avif)], images)
        }
        ["gif", rounds, width, settings @ ..] => {
            gif::run(rounds.parse()?, width.parse()?, settings, images)
        }
        ["dump", directory] => cases::dump(directory, images),
        _ => Err("usage: encoders settings|quality|gif|dump … -- IMAGE…".into()),
    });
    match result {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("encoders: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
