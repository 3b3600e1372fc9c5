//! Sentences for the operator, one line each on standard error.

use std::fmt::Arguments;
use std::io::Write;

/// Writes one line whole. A standard error that can't be written (a closed pipe, a full disk) must not cost a
/// request, which is why this is not `eprintln!`: that would panic.
pub fn line(sentence: Arguments) {
    let line = format!("{sentence}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// `eprintln!` that never panics.
macro_rules! say {
    ($($argument:tt)*) => { $crate::report::line(format_args!($($argument)*)) };
}
pub(crate) use say;
