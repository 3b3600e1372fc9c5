//! The jobs: the request to the server, and the same operations with libvips alone (the floor).

use std::ffi::CStr;

use crate::Fallible;
use crate::image::Image;
use crate::steps;

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
    /// Fills the box without keeping the aspect ratio.
    pub stretch: bool,
    /// What else is done.
    pub step: Step,
    pub save: &'static CStr,
}

/// Operations in addition to `vips_thumbnail`.
#[derive(Clone, Copy)]
pub enum Step {
    None,
    Before(fn(&Image) -> Fallible<Image>),
    After(fn(&Image) -> Fallible<Image>),
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
    let step = Step::None;
    Job {
        name,
        source,
        query,
        most,
        width: 300,
        height: 200,
        crop: true,
        stretch: false,
        step,
        save,
    }
}

const fn wide(job: Job, width: i32) -> Job {
    Job { width, height: ANY, crop: false, ..job }
}

const fn large(name: &'static str, save: &'static CStr) -> Job {
    wide(job(name, "", "", 1.0, save), 4000)
}

/// A step on the 2 Mpx image, whose result is 800 pixels wide.
const fn step(name: &'static str, query: &'static str, step: Step) -> Job {
    Job { step, ..wide(job(name, "2mpx.jpg", query, 1.05, JPEG), 800) }
}

const STEPS: [Job; 24] = [
    step("crop", "w=800&f=jpg&crop=160:120:1344:1008", Step::Before(steps::crop)),
    Job { source: "border.jpg", ..step("trim", "w=800&f=jpg&trim=10", Step::Before(steps::trim)) },
    Job {
        width: ANY,
        height: 800,
        ..step("rot-90", "w=800&f=jpg&rot=90", Step::After(steps::quarter_turn))
    },
    Job { width: 644, ..step("rot-30", "w=800&f=jpg&rot=30", Step::After(steps::turn)) },
    step("flip", "w=800&f=jpg&flip=h", Step::After(steps::flip)),
    Job {
        height: 400,
        stretch: true,
        ..step("stretch", "w=800&h=400&f=jpg&fit=stretch", Step::None)
    },
    step("g", "w=800&h=500&f=jpg&g=n:0:20", Step::After(steps::window)),
    step("bri", "w=800&f=jpg&bri=1.2", Step::After(steps::brightness)),
    step("con", "w=800&f=jpg&con=1.2", Step::After(steps::contrast)),
    step("gamma", "w=800&f=jpg&gamma=1.5", Step::After(steps::gamma)),
    step("sat", "w=800&f=jpg&sat=1.4", Step::After(steps::saturation)),
    step("hue", "w=800&f=jpg&hue=90", Step::After(steps::hue)),
    step("gray", "w=800&f=jpg&gray=1", Step::After(steps::gray)),
    step("tint", "w=800&f=jpg&tint=336699:0.5", Step::After(steps::tint)),
    step("duo", "w=800&f=jpg&duo=336699:ffffff", Step::After(steps::duotone)),
    step("neg", "w=800&f=jpg&neg=1", Step::After(steps::negative)),
    step("pix", "w=800&f=jpg&pix=10", Step::After(steps::pixelate)),
    step("blur", "w=800&f=jpg&blur=3", Step::After(steps::blur)),
    step("sharp", "w=800&f=jpg&sharp=1", Step::After(steps::sharpen)),
    step("pad", "w=800&h=800&f=jpg&pad=true&bg=336699", Step::After(steps::pad)),
    step("round", "w=800&f=jpg&round=40&bg=ffffff", Step::After(steps::round)),
    step("wm", "w=800&f=jpg&wm=logo", Step::After(steps::watermark)),
    step("wm-tile", "w=800&f=jpg&wm=tile", Step::After(steps::watermarks)),
    step("bri-sat-neg", "w=800&f=jpg&bri=1.2&sat=1.4&neg=1", Step::After(steps::several)),
];

const JOBS: [Job; 12] = [
    job("2mpx-crop-jpg", "2mpx.jpg", "w=300&h=200&f=jpg", 1.05, JPEG),
    job("2mpx-crop-webp", "2mpx.jpg", "w=300&h=200&f=webp", 1.05, WEBP),
    wide(job("2mpx-1200-jpg", "2mpx.jpg", "w=1200&f=jpg", 1.05, JPEG), 1200),
    wide(job("2mpx-800-jpg", "2mpx.jpg", "w=800&f=jpg", 1.05, JPEG), 800),
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
    /// Makes originals: an image in a camera's size, and one with a border. The server can't be used: it writes large
    /// JPEGs progressively.
    pub const LARGE: [Job; 4] = [
        large("baseline", c".jpg[Q=90,keep=none]"),
        large("progressive-420", c".jpg[Q=90,interlace,subsample_mode=on,keep=none]"),
        large("progressive-444", c".jpg[Q=90,interlace,subsample_mode=off,keep=none]"),
        Job {
            step: Step::After(steps::border),
            ..wide(large("border", c".jpg[Q=90,keep=none]"), 1664)
        },
    ];

    pub fn named(name: &str) -> Fallible<&'static Job> {
        JOBS.iter()
            .chain(&STEPS)
            .chain(&Job::LARGE)
            .find(|job| job.name == name)
            .ok_or_else(|| format!("there is no job {name}").into())
    }

    /// Whether it is not only a thumbnail.
    pub fn has_step(&self) -> bool {
        self.stretch || !matches!(self.step, Step::None)
    }

    /// The jobs without a step.
    pub fn thumbnails() -> String {
        lines(&JOBS)
    }

    /// The jobs with one.
    pub fn steps() -> String {
        lines(&STEPS)
    }
}

fn lines(jobs: &[Job]) -> String {
    let line = |job: &Job| format!("{} {} {} {}", job.name, job.source, job.query, job.most);
    jobs.iter().map(line).collect::<Vec<_>>().join("\n")
}
