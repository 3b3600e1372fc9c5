//! AV1 still images behind safe types: [`decode`] by dav1d, [`encode`] by libaom, through the C of shim.c.
//!
//! # Why it is sound
//!
//! - **No foreign layouts.** The structs of dav1d and libaom stay in C, which is compiled against their headers. What
//!   crosses are the two structs of shim.h; both sides assert their sizes when they are compiled.
//! - **One owner a frame.** A [`Frame`] holds one reference to dav1d's picture, gives it back in `drop`, is not `Clone`
//!   and, because of its raw pointers, neither `Send` nor `Sync`. It does not refer to the stream.
//! - **Samples are read row by row.** dav1d has written every sample within the frame's size, so a slice covers exactly
//!   the samples of one row and none of the padding between rows. Its lifetime is that of the frame.
//! - **Planes are checked.** Each plane given to libaom is as long as its size and stride say; the size is checked in
//!   64 bits first. libaom copies the planes and keeps no pointer to them: its context lives for one call.
//! - **Results.** A status other than 0 is turned into [`Error`] before any out parameter is used.
//! - **No unwinding.** Neither library calls a function of ours, so no panic can cross into C.
#![allow(unsafe_code)]

mod decoder;
mod encoder;
mod ffi;

use std::ffi::c_int;
use std::fmt;

pub use decoder::{Frame, Plane, decode};
pub use encoder::{MAX_SIDE, Planes, Settings, encode};

/// Why a stream was not decoded or an image not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Memory ran out.
    Memory,
    /// The frame, or the image to be encoded, is larger than allowed.
    TooLarge,
    /// The stream is invalid or shows no frame.
    Stream,
    /// libaom refuses an option.
    Option,
    /// The planes do not fit the size they are said to have.
    Planes,
    /// libaom failed.
    Encoder,
}

impl Error {
    fn of(status: c_int) -> Error {
        match status {
            ffi::MEMORY => Error::Memory,
            ffi::SIZE => Error::TooLarge,
            ffi::STREAM => Error::Stream,
            ffi::OPTION => Error::Option,
            _ => Error::Encoder,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Error::Memory => "AV1: out of memory",
            Error::TooLarge => "AV1: the frame is larger than allowed",
            Error::Stream => "AV1: the stream is invalid or shows no frame",
            Error::Option => "AV1: the encoder refuses an option",
            Error::Planes => "AV1: the planes do not fit the size of the image",
            Error::Encoder => "AV1: the encoder failed",
        })
    }
}

impl std::error::Error for Error {}
