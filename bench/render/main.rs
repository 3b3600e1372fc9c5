//! The floor of bench/render.sh: the same libvips, called in this process with `vips_thumbnail`, the operations of a step,
//! and nothing else.
//!
//! ```text
//! render large KIND FILE TARGET  writes the image 4000 pixels wide, as a baseline or a progressive JPEG, or with a border
//! render jobs                    a line for each job without a step: name, source, query, largest ratio to the floor
//! render steps                   those with a step
//! render floor JOB FILE COUNT    ms of CPU time per image
//! render bytes JOB FILE          the size of the floor's image in bytes
//! render ssim  JOB FILE ANSWER   SSIM of the response and of the floor's image, against a resize without shrink-on-load;
//!                                of the response against the floor's image if the job has a step
//! ```
//!
//! The result is one line of numbers on standard output, except for `jobs` and `steps`.
//!
//! The bindings are unsafe, and a safe layer would be part of the measurement.
#![allow(unsafe_code)]

mod floor;
mod image;
mod jobs;
mod ssim;
mod steps;

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
            let large = floor::made(Job::named(kind)?, &fs::read(file)?)?;
            fs::write(target, &large)?;
            Ok(large.len().to_string())
        }
        ["jobs"] => Ok(Job::thumbnails()),
        ["steps"] => Ok(Job::steps()),
        ["floor", job, file, count] => {
            floor::run(Job::named(job)?, &fs::read(file)?, count.parse()?)
        }
        ["bytes", job, file] => {
            Ok(floor::made(Job::named(job)?, &fs::read(file)?)?.len().to_string())
        }
        ["ssim", job, file, answer] => {
            ssim::run(Job::named(job)?, &fs::read(file)?, &fs::read(answer)?)
        }
        _ => Err("usage: render large|jobs|steps|floor|bytes|ssim …".into()),
    }
}
