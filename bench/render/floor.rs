//! `vips_thumbnail_buffer`, the operations of a step, and a saver, in a loop.

use std::ffi::{c_int, c_void};
use std::fs;

use libvips::bindings as ffi;

use crate::Fallible;
use crate::image::{END, Image, start};
use crate::jobs::{Job, Step};

/// CPU time in `/proc` is in hundredths of a second (`USER_HZ`).
const MS_PER_TICK: f64 = 10.0;

/// Milliseconds of CPU time per image.
pub fn run(job: &Job, original: &[u8], count: u32) -> Fallible<String> {
    // The first image is not counted: it pays for what is done once.
    made(job, original)?;
    let before = ticks()?;
    for _ in 0..count {
        made(job, original)?;
    }
    Ok(format!("{:.3}", (ticks()? - before) * MS_PER_TICK / f64::from(count)))
}

/// The floor's image.
pub fn made(job: &Job, original: &[u8]) -> Fallible<Vec<u8>> {
    start()?;
    let image = match job.step {
        Step::None => thumbnail(job, original)?,
        Step::After(operations) => operations(&thumbnail(job, original)?)?,
        Step::Before(operations) => {
            // SAFETY: the bytes outlive the images.
            let image = unsafe { Image::opened(original, c"[fail_on=truncated]")? };
            let image = operations(&image)?;
            // SAFETY: the output is stored on success; the optional arguments are pairs terminated by null.
            unsafe {
                Image::output(|out| {
                    ffi::vips_thumbnail_image(
                        image.pointer(),
                        out,
                        job.width,
                        c"height".as_ptr(),
                        job.height,
                        END,
                    )
                })?
            }
        }
    };
    image.written(job.save)
}

fn thumbnail(job: &Job, original: &[u8]) -> Fallible<Image> {
    let crop = if job.crop {
        ffi::VipsInteresting_VIPS_INTERESTING_CENTRE
    } else {
        ffi::VipsInteresting_VIPS_INTERESTING_NONE
    };
    let size =
        if job.stretch { ffi::VipsSize_VIPS_SIZE_FORCE } else { ffi::VipsSize_VIPS_SIZE_BOTH };
    // SAFETY: the buffer outlives the image; the optional arguments are pairs of a name and a value of its type,
    // terminated by null.
    unsafe {
        Image::output(|out| {
            ffi::vips_thumbnail_buffer(
                original.as_ptr().cast_mut().cast::<c_void>(),
                original.len() as ffi::size_t,
                out,
                job.width,
                c"height".as_ptr(),
                job.height,
                c"crop".as_ptr(),
                crop as c_int,
                c"size".as_ptr(),
                size as c_int,
                c"option_string".as_ptr(),
                c"[fail_on=truncated]".as_ptr(),
                END,
            )
        })
    }
}

fn ticks() -> Fallible<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // After the name, which may contain anything; `utime` and `stime` are fields 14 and 15 of the line.
    let behind = stat.rsplit_once(')').ok_or("/proc/self/stat is not as it was")?.1;
    behind.split_whitespace().skip(11).take(2).map(|field| Ok(field.parse::<f64>()?)).sum()
}
