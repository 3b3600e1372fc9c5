//! What libvips says when something went wrong.

use std::ffi::CStr;

use libvips::bindings as ffi;

/// What libvips said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub String);

/// Takes what libvips wrote to its error buffer, which all threads share: under load a sentence may hold
/// another thread's as well, which is why it goes to the log and never decides anything.
pub(super) fn take_error() -> Error {
    // SAFETY: returns a new string that is ours to free, and clears the buffer; both lock inside libvips.
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
    // What came first may be a warning about another image, from work that went well.
    let lines = lines.split_off(lines.len().saturating_sub(4));
    Error(if lines.is_empty() { "libvips gave no reason".into() } else { lines.join("; ") })
}
