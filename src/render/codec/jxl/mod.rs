//! JPEG XL (ISO/IEC 18181), which is written and not read: [`encode`] by libjxl, and boxes of metadata.

mod container;
mod encoder;
mod ffi;
#[cfg(test)]
mod tests;

use std::ffi::c_int;
use std::fmt;

pub use container::{insert_exif, insert_xmp};
pub use encoder::{Encoding, encode};

/// Why an image was not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Out of memory.
    Memory,
    /// The image has more pixels than [`Format::Jxl`](crate::format::Format::Jxl) may have.
    TooLarge,
    /// The samples do not match the size of the image.
    Samples,
    /// The colour profile is invalid, or not one of such samples.
    Profile,
    /// The encoder was stopped.
    Stopped,
    /// libjxl failed.
    Encoder,
}

impl Error {
    fn from_status(status: c_int) -> Error {
        match status {
            ffi::MEMORY => Error::Memory,
            ffi::PROFILE => Error::Profile,
            ffi::STOPPED => Error::Stopped,
            _ => Error::Encoder,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Error::Memory => "JPEG XL: out of memory",
            Error::TooLarge => "JPEG XL: the image is larger than allowed",
            Error::Samples => "JPEG XL: the samples do not match the size of the image",
            Error::Profile => "JPEG XL: the colour profile can't be used",
            Error::Stopped => "the encoder was stopped",
            Error::Encoder => "JPEG XL: the encoder failed",
        })
    }
}

impl std::error::Error for Error {}
