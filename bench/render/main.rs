//! The floor of bench/render.sh: the same libvips, called in this process with `vips_thumbnail` and nothing else.
//!
//! ```text
//! render large KIND FILE TARGET  writes the image 4000 pixels wide, as a baseline or a progressive JPEG
//! render jobs                    a line for each job: name, source, query, largest ratio to the floor
//! render floor JOB FILE COUNT    ms of CPU time per image
//! render bytes JOB FILE          the size of the floor's image in bytes
//! render ssim  JOB FILE ANSWER   SSIM of the response and of the floor's image, against a resize without shrink-on-load
//! ```
//!
//! The result is one line of numbers on standard output, except for `jobs`.
//!
//! The bindings are unsafe, and a safe layer would be part of the measurement.
#![allow(unsafe_code)]

mod floor;
mod jobs;
mod ssim;

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use jobs::Job;
// Links the static libraries.
use s3imageserver as _;

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
            eprintln!("render: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Fallible<String> {
    match *arguments {
        ["large", kind, file, target] => {
            let large = floor::thumbnail(Job::named(kind)?, &fs::read(file)?)?;
            fs::write(target, &large)?;
            Ok(large.len().to_string())
        }
        ["jobs"] => Ok(Job::lines()),
        ["floor", job, file, count] => {
            floor::run(Job::named(job)?, &fs::read(file)?, count.parse()?)
        }
        ["bytes", job, file] => {
            Ok(floor::thumbnail(Job::named(job)?, &fs::read(file)?)?.len().to_string())
        }
        ["ssim", job, file, answer] => {
            ssim::run(Job::named(job)?, &fs::read(file)?, &fs::read(answer)?)
        }
        _ => Err("usage: render large|jobs|floor|bytes|ssim …".into()),
    }
}
