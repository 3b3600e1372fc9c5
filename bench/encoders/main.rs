//! Used by bench/encoders.sh to measure encoders.
//!
//! ```text
//! encoders settings FORMAT ROUNDS SETTING… -- IMAGE…   bytes, CPU time and similarity of each setting of an encoder
//! encoders quality JPEG WEBP AVIF -- IMAGE…            the q of WebP and AVIF that look like each q of JPEG
//! encoders formats Q ROUNDS FORMAT:SETTING… -- IMAGE…  bytes and CPU time of several formats at equal similarity, for each width
//! encoders lossless ROUNDS FORMAT:SETTING… -- IMAGE…   bytes and CPU time of lossless encoders
//! encoders memory SETTING… -- IMAGE…                   the memory of the JPEG XL encoder
//! encoders dump DIRECTORY -- IMAGE…                       writes the references as PPM, for encoders that are not linked here
//! ```
//!
//! Every image is decoded and resized once, to widths of 300, 800 and 1600 pixels up to its own; these pixels are encoded,
//! decoded again and compared with themselves. A setting is a libvips option such as `effort=4`; the first one is the
//! baseline. The result is a Markdown table on standard output.

mod cases;
mod formats;
mod jxl;
// Two modules of the server, so that its own qualities are compared.
#[allow(dead_code, unused_imports)]
#[path = "../../src/format.rs"]
mod format;
// Its unit tests are not compiled without the harness, but their imports are.
#[allow(unused_imports)]
#[path = "../../src/render/pipeline/quality.rs"]
mod mapping;
mod perceptual;
mod quality;
mod settings;
mod ssim;
mod vips;

use std::error::Error;
use std::process::ExitCode;

/// A result whose error is printed and ends the run.
type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (command, images) = match arguments.iter().position(|argument| *argument == "--") {
        Some(end) => (&arguments[..end], &arguments[end + 1..]),
        None => (&arguments[..], &[][..]),
    };
    let result = vips::start().and_then(|()| match command {
        ["settings", format, rounds, settings @ ..] => {
            settings::run(format, rounds.parse()?, settings, images)
        }
        ["quality", jpeg, webp, avif] => {
            quality::run(jpeg, [("webp", webp), ("avif", avif)], images)
        }
        ["formats", q, rounds, encoders @ ..] => {
            formats::lossy(q.parse()?, rounds.parse()?, encoders, images)
        }
        ["lossless", rounds, encoders @ ..] => formats::lossless(rounds.parse()?, encoders, images),
        ["memory", efforts @ ..] => formats::memory(efforts, images),
        ["dump", directory] => cases::dump(directory, images),
        _ => {
            Err("usage: encoders settings|quality|formats|lossless|memory|dump … -- IMAGE…".into())
        }
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

/// The median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
