//! Errors of the decoder.

use std::fmt;

use super::error::Error;
use crate::render::codec::av1;

/// Why an image was not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Stopped by the caller's check.
    Stopped,
    Decoder(av1::Error),
    /// This property of a stream differs from the container.
    Mismatch(&'static str),
    /// Matrix coefficients (H.273 table 4) that are not supported, or not with this subsampling.
    Matrix(u16),
    /// A frame of a sequence is not what its container or the frames before it say.
    Frame(Error),
    /// The file ends before a frame does.
    Truncated,
    /// There is no further frame.
    NoFrame,
    /// The caller's buffer has the wrong size or type.
    Buffer,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Stopped => formatter.write_str("AVIF: stopped"),
            DecodeError::Decoder(error) => error.fmt(formatter),
            DecodeError::Mismatch(what) => {
                write!(formatter, "AVIF: the {what} of a stream differs from its container")
            }
            DecodeError::Matrix(matrix) => {
                write!(
                    formatter,
                    "AVIF: matrix coefficients {matrix} are not supported with this subsampling"
                )
            }
            DecodeError::Frame(error) => write!(formatter, "AVIF: {error}"),
            DecodeError::Truncated => formatter.write_str("AVIF: the file ends before the frame"),
            DecodeError::NoFrame => formatter.write_str("AVIF: there is no further frame"),
            DecodeError::Buffer => formatter.write_str("AVIF: the buffer does not fit the image"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<av1::Error> for DecodeError {
    fn from(error: av1::Error) -> DecodeError {
        DecodeError::Decoder(error)
    }
}
