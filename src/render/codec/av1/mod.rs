//! AV1 images behind safe types: [`decode`] and [`Decoder`] by dav1d, [`encode`] and [`Sequence`] by libaom, through shim.c.
//!
//! # Why it is sound
//!
//! - **No foreign layouts.** The structs of dav1d and libaom stay in C, which is compiled against their headers. Only
//!   the two structs of shim.h cross the boundary; both sides assert their sizes at compile time.
//! - **One owner per frame.** A [`Frame`] holds one reference to dav1d's picture and releases it in `drop`. It is not
//!   `Clone` and, because of its raw pointers, neither `Send` nor `Sync`. It does not refer to the stream.
//! - **A decoder borrows its samples.** A [`Decoder`] may refer to parts of every sample that it was given, which live at
//!   least as long as it does, and it closes dav1d in `drop`. Frames that it has given away keep what they need.
//! - **Samples are read row by row.** dav1d has written every sample within the size of the frame, so a slice covers
//!   exactly the samples of one row and no padding between rows. It borrows the frame.
//! - **Planes are checked.** Each plane given to libaom is as long as its size and stride require; the product is
//!   computed in 64 bits. libaom copies the planes and keeps no pointer to them.
//! - **One owner per encoder.** A [`Sequence`] closes its encoder in `drop`. Its frames have the size and subsampling with
//!   which it was opened.
//! - **Results.** A status other than 0 becomes an [`Error`] before any out parameter is used.
//! - **No unwinding.** Neither library calls back into Rust, so no panic can cross into C.
#![allow(unsafe_code)]

mod decoder;
mod encoder;
mod ffi;

use std::ffi::c_int;
use std::fmt;

pub use decoder::{Decoder, Frame, Plane, decode};
pub use encoder::{Planes, Sequence, Settings, Unit, encode};

/// Subsampling of the chroma planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chroma {
    /// 4:0:0, no chroma planes.
    Monochrome,
    /// 4:2:0, half the width and height.
    Yuv420,
    /// 4:2:2, half the width.
    Yuv422,
    /// 4:4:4.
    Yuv444,
}

/// Code points of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nclx {
    /// Colour primaries (table 2).
    pub primaries: u16,
    /// Transfer characteristics (table 3).
    pub transfer: u16,
    /// Matrix coefficients (table 4).
    pub matrix: u16,
    /// Whether samples use the full range.
    pub is_full_range: bool,
}

/// Why a stream was not decoded or an image not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Out of memory.
    Memory,
    /// The frame, or the image to encode, is larger than allowed.
    TooLarge,
    /// The stream is invalid or shows no frame.
    Stream,
    /// libaom refuses an option.
    Option,
    /// The planes do not match the size of the image.
    Planes,
    /// libaom failed.
    Encoder,
}

impl Chroma {
    /// Width and height of a chroma plane for a luma plane of this size; 0 if there is none.
    pub fn plane_size(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Chroma::Monochrome => (0, 0),
            Chroma::Yuv420 => (width.div_ceil(2), height.div_ceil(2)),
            Chroma::Yuv422 => (width.div_ceil(2), height),
            Chroma::Yuv444 => (width, height),
        }
    }
}

impl Error {
    fn from_status(status: c_int) -> Error {
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
            Error::Planes => "AV1: the planes do not match the size of the image",
            Error::Encoder => "AV1: the encoder failed",
        })
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::encoder::MAX_SIDE;
    use super::*;

    const LOSSLESS: Settings<'static> =
        Settings { options: &[(c"lossless", "1"), (c"cpu-used", "9")] };

    fn noise(length: usize) -> Vec<u8> {
        (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    /// A stream whose planes are noise, and the planes.
    fn stream(width: u32, height: u32, chroma: Chroma) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (cw, ch) = chroma.plane_size(width, height);
        let planes = [(width, height), (cw, ch), (cw, ch)];
        let planes = planes.map(|(width, height)| noise((width * height) as usize)).to_vec();
        let image = Planes {
            width,
            height,
            chroma,
            primaries: 1,
            transfer: 13,
            matrix: 6,
            planes: [&planes[0], &planes[1], &planes[2]],
        };
        (encode(&image, &LOSSLESS).unwrap(), planes)
    }

    #[test]
    fn av1_lossless_encoding_round_trips() {
        for chroma in [Chroma::Monochrome, Chroma::Yuv420, Chroma::Yuv444] {
            for (width, height) in [(1, 1), (2, 3), (65, 33), (300, 1), (1, 300)] {
                let (stream, planes) = stream(width, height, chroma);
                let frame = decode(&stream, width * height).unwrap();
                drop(stream);
                assert_eq!((frame.width(), frame.height(), frame.depth()), (width, height, 8));
                assert_eq!(frame.chroma(), chroma);
                let nclx = Nclx { primaries: 1, transfer: 13, matrix: 6, is_full_range: true };
                assert_eq!(frame.nclx(), nclx);
                for (index, samples) in planes.iter().enumerate() {
                    let Some(plane) = frame.plane_u8(index) else {
                        assert!(samples.is_empty());
                        continue;
                    };
                    let rows: Vec<u8> = (0..plane.height())
                        .flat_map(|row| plane.row(row).iter().copied())
                        .collect();
                    assert_eq!(&rows, samples, "{chroma:?} {width}x{height} plane {index}");
                    assert!(plane.row(plane.height()).is_empty());
                    assert!(plane.row(usize::MAX).is_empty());
                }
                assert!(frame.plane_u16(0).is_none());
                assert!(frame.plane_u8(3).is_none());
            }
        }
    }

    #[test]
    fn av1_decode_refuses_a_frame_above_max_pixels() {
        let (stream, _) = stream(64, 48, Chroma::Yuv420);
        assert!(decode(&stream, 64 * 48).is_ok());
        assert_eq!(decode(&stream, 64 * 48 - 1).err(), Some(Error::TooLarge));
        assert_eq!(decode(&stream, 0).err(), Some(Error::TooLarge));
    }

    #[test]
    fn av1_decode_refuses_or_survives_damaged_streams() {
        let (stream, _) = stream(64, 48, Chroma::Yuv420);
        for length in [0, 1, 2, 10, 20, stream.len() / 2, stream.len() - 1] {
            assert!(decode(&stream[..length], 1 << 20).is_err(), "{length}");
        }
        assert_eq!(decode(&noise(5000), 1 << 20).err(), Some(Error::Stream));
        // Many of these decode to noise, some at another depth.
        for at in 0..stream.len().min(400) {
            let mut damaged = stream.clone();
            damaged[at] ^= 0x55;
            if let Ok(frame) = decode(&damaged, 1 << 20) {
                let last = |height: usize| height - 1;
                let length = match (frame.plane_u8(0), frame.plane_u16(0)) {
                    (Some(plane), _) => plane.row(last(plane.height())).len(),
                    (None, Some(plane)) => plane.row(last(plane.height())).len(),
                    (None, None) => panic!("{at}: no luma"),
                };
                assert_eq!(length, frame.width() as usize);
            }
        }
    }

    #[test]
    fn av1_encode_refuses_planes_of_another_size() {
        let plane = [0; 12];
        let image = |width, height, chroma, planes| {
            let image =
                Planes { width, height, chroma, primaries: 1, transfer: 13, matrix: 6, planes };
            encode(&image, &LOSSLESS).err()
        };
        let gray = Chroma::Monochrome;
        assert_eq!(image(4, 3, gray, [&plane, &[], &[]]), None);
        for (width, height) in [(4, 2), (4, 4), (0, 0), (0, 12), (12, 0)] {
            assert_eq!(image(width, height, gray, [&plane, &[], &[]]), Some(Error::Planes));
        }
        assert_eq!(image(MAX_SIDE, MAX_SIDE, gray, [&plane, &[], &[]]), Some(Error::Planes));
        assert_eq!(image(MAX_SIDE + 1, 1, gray, [&plane, &[], &[]]), Some(Error::TooLarge));
        assert_eq!(image(4, 3, Chroma::Yuv420, [&plane, &plane[..4], &plane[..4]]), None);
        assert_eq!(
            image(4, 3, Chroma::Yuv420, [&plane, &plane[..4], &plane[..5]]),
            Some(Error::Planes)
        );
        assert_eq!(image(4, 3, Chroma::Yuv444, [&plane, &plane[..4], &plane]), Some(Error::Planes));
        assert_eq!(image(4, 3, Chroma::Yuv422, [&plane, &plane, &plane]), Some(Error::Planes));
    }

    #[test]
    fn av1_encode_refuses_unknown_options() {
        let plane = [0; 4];
        let image = Planes {
            width: 2,
            height: 2,
            chroma: Chroma::Monochrome,
            primaries: 1,
            transfer: 13,
            matrix: 6,
            planes: [&plane, &[], &[]],
        };
        for option in
            [(c"nonsense", "1"), (c"cpu-used", "fast"), (c"cq-level", "64"), (c"tune", "a\0b")]
        {
            let settings = Settings { options: &[option] };
            assert_eq!(encode(&image, &settings), Err(Error::Option), "{option:?}");
        }
        assert!(encode(&image, &Settings { options: &[] }).is_ok());
    }
}
