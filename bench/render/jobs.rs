//! The jobs: the request to the server, and the same operations with libvips alone (the floor).

use std::ffi::CStr;

use crate::Fallible;

/// One job. The floor's saver options are those of the server (src/render/pipeline/encode.rs).
pub struct Job {
    name: &'static str,
    source: &'static str,
    /// The query of the request.
    query: &'static str,
    /// The largest accepted ratio of CPU time to the floor's.
    most: f64,
    /// The width of the result.
    pub width: i32,
    /// The height of the box.
    pub height: i32,
    /// Fills the box and crops the rest.
    pub crop: bool,
    pub save: &'static CStr,
}

// The WebP quality that looks like JPEG's 75 (src/render/pipeline/quality.rs).
const JPEG: &CStr = c".jpg[Q=75,optimize_coding,keep=none]";
const WEBP: &CStr = c".webp[Q=73,effort=4,keep=none]";
const PNG: &CStr = c".png[compression=3,filter=all,keep=none]";

/// Any height: only the width limits the size.
const ANY: i32 = 1_000_000;

const fn job(
    name: &'static str,
    source: &'static str,
    query: &'static str,
    most: f64,
    save: &'static CStr,
) -> Job {
    Job { name, source, query, most, width: 300, height: 200, crop: true, save }
}

const fn wide(job: Job, width: i32) -> Job {
    Job { width, height: ANY, crop: false, ..job }
}

const fn large(name: &'static str, save: &'static CStr) -> Job {
    wide(job(name, "", "", 1.0, save), 4000)
}

const JOBS: [Job; 11] = [
    job("2mpx-crop-jpg", "2mpx.jpg", "w=300&h=200&f=jpg", 1.05, JPEG),
    job("2mpx-crop-webp", "2mpx.jpg", "w=300&h=200&f=webp", 1.05, WEBP),
    wide(job("2mpx-1200-jpg", "2mpx.jpg", "w=1200&f=jpg", 1.05, JPEG), 1200),
    wide(job("2mpx-200-jpg", "2mpx.jpg", "w=200&f=jpg", 0.65, JPEG), 200),
    job("12mpx-crop-jpg", "12mpx.jpg", "w=300&h=200&f=jpg", 0.5, JPEG),
    job("12mpx-crop-webp", "12mpx.jpg", "w=300&h=200&f=webp", 0.55, WEBP),
    job("progressive-444-jpg", "progressive-444.jpg", "w=300&h=200&f=jpg", 0.12, JPEG),
    job("progressive-420-jpg", "progressive-420.jpg", "w=300&h=200&f=jpg", 0.25, JPEG),
    wide(job("12mpx-1200-jpg", "12mpx.jpg", "w=1200&f=jpg", 1.0, JPEG), 1200),
    wide(job("alpha-300-png", "alpha.png", "w=300&f=png", 1.05, PNG), 300),
    job("webp-crop-webp", "photo.webp", "w=300&h=200&f=webp", 1.05, WEBP),
];

impl Job {
    /// Enlarges a small image to a camera's size. The server can't be used: it writes large JPEGs progressively.
    pub const LARGE: [Job; 3] = [
        large("baseline", c".jpg[Q=90,keep=none]"),
        large("progressive-420", c".jpg[Q=90,interlace,subsample_mode=on,keep=none]"),
        large("progressive-444", c".jpg[Q=90,interlace,subsample_mode=off,keep=none]"),
    ];

    pub fn named(name: &str) -> Fallible<&'static Job> {
        JOBS.iter()
            .chain(&Job::LARGE)
            .find(|job| job.name == name)
            .ok_or_else(|| format!("there is no job {name}").into())
    }

    pub fn lines() -> String {
        let line = |job: &Job| format!("{} {} {} {}", job.name, job.source, job.query, job.most);
        JOBS.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
