//! Error messages of libvips.

use std::ffi::CStr;

use libvips::bindings as ffi;

/// A message of libvips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub String);

/// Takes and clears the error buffer of libvips. All threads share it: the message may include one of another thread,
/// so it is logged and decides nothing.
pub(super) fn take_error() -> Error {
    // SAFETY: returns a new string, which the caller frees, and clears the buffer; libvips locks.
    let text = unsafe {
        let copy = ffi::vips_error_buffer_copy();
        if copy.is_null() {
            return Error("libvips gave no reason".into());
        }
        let text = CStr::from_ptr(copy).to_string_lossy().into_owned();
        ffi::g_free(copy.cast());
        text
    };
    let mut lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.dedup();
    // Earlier lines may be warnings about another image.
    let lines = lines.split_off(lines.len().saturating_sub(4));
    Error(if lines.is_empty() { "libvips gave no reason".into() } else { lines.join("; ") })
}
