//! `vips_thumbnail_buffer` and a saver, in a loop.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs;
use std::ptr;

use libvips::bindings as ffi;

use crate::Fallible;
use crate::jobs::Job;

/// CPU time in `/proc` is in hundredths of a second (`USER_HZ`).
const MS_PER_TICK: f64 = 10.0;

/// Milliseconds of CPU time per image.
pub fn run(job: &Job, original: &[u8], count: u32) -> Fallible<String> {
    // The first image is not counted: it pays for what is done once.
    thumbnail(job, original)?;
    let before = ticks()?;
    for _ in 0..count {
        thumbnail(job, original)?;
    }
    Ok(format!("{:.3}", (ticks()? - before) * MS_PER_TICK / f64::from(count)))
}

/// The floor's image.
pub fn thumbnail(job: &Job, original: &[u8]) -> Fallible<Vec<u8>> {
    start()?;
    let crop = if job.crop {
        ffi::VipsInteresting_VIPS_INTERESTING_CENTRE
    } else {
        ffi::VipsInteresting_VIPS_INTERESTING_NONE
    };
    let end: *const c_char = ptr::null();
    let mut image = ptr::null_mut();
    // SAFETY: the buffer outlives the image, which is released below; the optional arguments are pairs of a name and a
    // value of its type, terminated by null.
    let status = unsafe {
        ffi::vips_thumbnail_buffer(
            original.as_ptr().cast_mut().cast::<c_void>(),
            original.len() as ffi::size_t,
            &mut image,
            job.width,
            c"height".as_ptr(),
            job.height,
            c"crop".as_ptr(),
            crop as c_int,
            c"option_string".as_ptr(),
            c"[fail_on=truncated]".as_ptr(),
            end,
        )
    };
    if status != 0 {
        return Err(complaint());
    }
    let written = written(image, job.save);
    // SAFETY: owned here, and not used afterwards.
    unsafe { ffi::g_object_unref(image.cast()) };
    written
}

/// An image in a format.
fn written(image: *mut ffi::VipsImage, options: &CStr) -> Fallible<Vec<u8>> {
    let end: *const c_char = ptr::null();
    let (mut bytes, mut length) = (ptr::null_mut(), 0);
    // SAFETY: a live image; on success the buffer has that length and is owned by the caller.
    unsafe {
        if ffi::vips_image_write_to_buffer(image, options.as_ptr(), &mut bytes, &mut length, end)
            != 0
        {
            return Err(complaint());
        }
        let copy = std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize).to_vec();
        ffi::g_free(bytes);
        Ok(copy)
    }
}

/// Starts libvips as the server does.
pub fn start() -> Fallible<()> {
    static STARTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    // SAFETY: before any other function of libvips.
    let started = *STARTED.get_or_init(|| unsafe {
        let started = ffi::vips_init(c"render".as_ptr()) == 0;
        ffi::vips_concurrency_set(1);
        ffi::vips_cache_set_max(0);
        started
    });
    if started { Ok(()) } else { Err(complaint()) }
}

/// The error buffer of libvips.
pub fn complaint() -> Box<dyn std::error::Error + Send + Sync> {
    // SAFETY: a NUL-terminated string of libvips; there is only one thread.
    unsafe { CStr::from_ptr(ffi::vips_error_buffer()) }.to_string_lossy().trim().into()
}

fn ticks() -> Fallible<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // After the name, which may contain anything; `utime` and `stime` are fields 14 and 15 of the line.
    let behind = stat.rsplit_once(')').ok_or("/proc/self/stat is not as it was")?.1;
    behind.split_whitespace().skip(11).take(2).map(|field| Ok(field.parse::<f64>()?)).sum()
}
