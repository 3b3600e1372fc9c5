//! What bench/encoders.sh measures every encoder with.
//!
//! ```text
//! encoders settings FORMAT ROUNDS PICTURE…   bytes, CPU and likeness of each setting of a format's encoder
//! encoders quality PICTURE…                  which q of WebP and AVIF looks like which q of JPEG
//! encoders gif ROUNDS WIDTH PICTURE…         a moving GIF made smaller, decoding included
//! encoders dump FOLDER PICTURE…              the references, as PPM, for encoders that are not linked here
//! ```
//!
//! Every picture is decoded and resized once, to 300, 800 and 1600 pixels of width where it has as many; these pixels
//! are encoded, decoded again and compared with themselves. The result is a Markdown table on standard output.

mod cases;
mod gif;
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
    let result = vips::start().and_then(|()| match arguments.as_slice() {
        ["settings", format, rounds, pictures @ ..] => settings::run(format, rounds.parse()?, pictures),
        ["quality", pictures @ ..] => quality::run(pictures),
        ["gif", rounds, width, pictures @ ..] => gif::run(rounds.parse()?, width.parse()?, pictures),
        ["dump", folder, pictures @ ..] => cases::dump(folder, pictures),
        _ => Err("usage: encoders settings|quality|gif|dump …".into()),
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
