//! The jobs: what the server is asked for, and how the floor makes the same.

use std::ffi::CStr;

use crate::Fallible;

/// One job. The floor's options are those that the server writes with (src/render/pipeline/encode.rs).
pub struct Job {
    /// Its name.
    name: &'static str,
    /// The original's name.
    source: &'static str,
    /// What the server is asked for.
    query: &'static str,
    /// The most CPU of the server, of the floor's.
    most: f64,
    /// Width of the result.
    pub width: i32,
    /// Height of the result's box.
    pub height: i32,
    /// Fill the box and cut the rest off.
    pub crop: bool,
    /// The loader's options.
    pub load: &'static CStr,
    /// The saver's options.
    pub save: &'static CStr,
}

// WebP is asked for what looks like JPEG's 75 (src/render/pipeline/quality.rs).
const JPEG: &CStr = c".jpg[Q=75,optimize_coding,keep=none]";
const WEBP: &CStr = c".webp[Q=73,effort=4,keep=none]";
const PNG: &CStr = c".png[compression=3,filter=all,keep=none]";
/// libvips' own effort: what the server does instead is part of the row.
const GIF: &CStr = c".gif[keep=none]";

const STRICT: &CStr = c"[fail_on=truncated]";
/// Any height: only the width decides.
const ANY: i32 = 1_000_000;

const fn job(
    name: &'static str,
    source: &'static str,
    query: &'static str,
    most: f64,
    save: &'static CStr,
) -> Job {
    Job { name, source, query, most, width: 300, height: 200, crop: true, load: STRICT, save }
}

const fn wide(job: Job, width: i32) -> Job {
    Job { width, height: ANY, crop: false, ..job }
}

const JOBS: [Job; 9] = [
    job("2mpx-crop-jpg", "2mpx.jpg", "w=300&h=200&f=jpg", 1.05, JPEG),
    job("2mpx-crop-webp", "2mpx.jpg", "w=300&h=200&f=webp", 1.05, WEBP),
    wide(job("2mpx-1200-jpg", "2mpx.jpg", "w=1200&f=jpg", 1.05, JPEG), 1200),
    job("12mpx-crop-jpg", "12mpx.jpg", "w=300&h=200&f=jpg", 1.0, JPEG),
    job("12mpx-crop-webp", "12mpx.jpg", "w=300&h=200&f=webp", 1.0, WEBP),
    wide(job("12mpx-1200-jpg", "12mpx.jpg", "w=1200&f=jpg", 1.0, JPEG), 1200),
    wide(job("alpha-300-png", "alpha.png", "w=300&f=png", 1.05, PNG), 300),
    job("webp-crop-webp", "photo.webp", "w=300&h=200&f=webp", 1.05, WEBP),
    Job {
        load: c"[n=-1,fail_on=truncated]",
        ..wide(job("gif-100-gif", "anim.gif", "w=100&f=gif", 0.35, GIF), 100)
    },
];

impl Job {
    /// How a camera's image is made of a small one. Not by the server, which writes large ones progressively.
    pub const LARGE: Job = wide(job("large", "", "", 1.0, c".jpg[Q=90,keep=none]"), 4000);

    /// The job of this name.
    pub fn named(name: &str) -> Fallible<&'static Job> {
        JOBS.iter()
            .find(|job| job.name == name)
            .ok_or_else(|| format!("there is no job {name}").into())
    }

    /// A line for each.
    pub fn lines() -> String {
        let line = |job: &Job| format!("{} {} {} {}", job.name, job.source, job.query, job.most);
        JOBS.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
