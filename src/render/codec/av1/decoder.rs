//! Decodes with dav1d.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;

#[cfg(test)]
use super::Nclx;
use super::{Chroma, Error, ffi};

/// A decoded frame.
pub struct Frame(ffi::Frame);

/// One plane of a frame.
#[derive(Clone, Copy)]
pub struct Plane<'f, T> {
    start: *const u8,
    /// Bytes from one row to the next.
    stride: usize,
    width: usize,
    height: usize,
    lifetime: PhantomData<&'f [T]>,
}

/// Decodes the first frame that a stream shows: the highest layer of a layered stream, with film grain applied. The
/// stream must start with a sequence header. A frame of more than `max_pixels` is refused before it is allocated.
pub fn decode(stream: &[u8], max_pixels: u32) -> Result<Frame, Error> {
    if stream.is_empty() {
        return Err(Error::Stream);
    }
    if max_pixels == 0 {
        return Err(Error::TooLarge); // 0 means unlimited to dav1d
    }
    let mut frame = Frame::none();
    // SAFETY: pointer and length come from a slice that outlives the call, after which nothing refers to it; all fields
    // of the frame are written, and it has no owner on failure.
    let status =
        unsafe { ffi::s3av1_decode(stream.as_ptr(), stream.len(), max_pixels, &mut frame.0) };
    match status {
        0 => Ok(frame),
        status => Err(Error::from_status(status)),
    }
}

/// Decodes frames that are predicted from those before them.
pub struct Decoder<'s> {
    raw: NonNull<c_void>,
    /// It may keep a reference to a part of a sample.
    samples: PhantomData<&'s [u8]>,
}

impl<'s> Decoder<'s> {
    /// A frame of more than `max_pixels` will be refused before it is allocated.
    pub fn open(max_pixels: u32) -> Result<Decoder<'s>, Error> {
        if max_pixels == 0 {
            return Err(Error::TooLarge);
        }
        let mut raw = std::ptr::null_mut();
        // SAFETY: the out parameter is valid to write to; it is set on success, and null on failure.
        match (unsafe { ffi::s3av1_start(max_pixels, &mut raw) }, NonNull::new(raw)) {
            (0, Some(raw)) => Ok(Decoder { raw, samples: PhantomData }),
            (0, None) => Err(Error::Memory),
            (status, _) => Err(Error::from_status(status)),
        }
    }

    /// Decodes the frame that the next sample shows, with film grain applied. The first sample must start with a sequence
    /// header. After an error, more samples may follow.
    pub fn next(&mut self, sample: &'s [u8]) -> Result<Frame, Error> {
        if sample.is_empty() {
            return Err(Error::Stream);
        }
        let mut frame = Frame::none();
        // SAFETY: the decoder is live. Pointer and length come from a slice that outlives it. All fields of the frame are
        // written, and it has no owner on failure.
        let status = unsafe {
            ffi::s3av1_decode_next(self.raw.as_ptr(), sample.as_ptr(), sample.len(), &mut frame.0)
        };
        match status {
            0 => Ok(frame),
            status => Err(Error::from_status(status)),
        }
    }
}

impl Drop for Decoder<'_> {
    fn drop(&mut self) {
        // SAFETY: this value owns the decoder. Frames have their own references to what they point to.
        unsafe { ffi::s3av1_stop(self.raw.as_ptr()) }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: this value owns the only reference, or none.
        unsafe { ffi::s3av1_release(&mut self.0) }
    }
}

impl Frame {
    /// What a decoder writes to.
    fn none() -> Frame {
        Frame(ffi::Frame {
            owner: std::ptr::null_mut(),
            plane: [std::ptr::null(); 3],
            stride: [0; 3],
            width: 0,
            height: 0,
            depth: 0,
            layout: 0,
            primaries: 0,
            transfer: 0,
            matrix: 0,
            full_range: 0,
        })
    }

    pub fn width(&self) -> u32 {
        self.0.width
    }

    pub fn height(&self) -> u32 {
        self.0.height
    }

    /// Bits per sample: 8, 10 or 12.
    pub fn depth(&self) -> u8 {
        self.0.depth as u8
    }

    pub fn chroma(&self) -> Chroma {
        match self.0.layout {
            ffi::LAYOUT_400 => Chroma::Monochrome,
            ffi::LAYOUT_420 => Chroma::Yuv420,
            ffi::LAYOUT_422 => Chroma::Yuv422,
            _ => Chroma::Yuv444,
        }
    }

    /// Colour description of the stream. Only for tests: the container parser reads it as well.
    #[cfg(test)]
    pub fn nclx(&self) -> Nclx {
        Nclx {
            primaries: self.0.primaries as u16,
            transfer: self.0.transfer as u16,
            matrix: self.0.matrix as u16,
            is_full_range: self.0.full_range != 0,
        }
    }

    /// Plane `index` (0 luma, 1 and 2 chroma) of a frame with 8 bits per sample; `None` for other depths or if it is
    /// missing.
    pub fn plane_u8(&self, index: usize) -> Option<Plane<'_, u8>> {
        (self.0.depth == 8).then(|| self.plane(index)).flatten()
    }

    /// Plane `index` of a frame with more than 8 bits per sample, in the low bits of a `u16`.
    pub fn plane_u16(&self, index: usize) -> Option<Plane<'_, u16>> {
        (self.0.depth > 8).then(|| self.plane(index)).flatten()
    }

    fn plane<T>(&self, index: usize) -> Option<Plane<'_, T>> {
        let start = self.0.plane.get(index).filter(|start| !start.is_null())?.cast();
        let (width, height) = if index == 0 {
            (self.0.width, self.0.height)
        } else {
            self.chroma().plane_size(self.0.width, self.0.height)
        };
        let plane = Plane {
            start,
            stride: self.0.stride[index],
            width: width as usize,
            height: height as usize,
            lifetime: PhantomData,
        };
        (plane.stride >= plane.width * size_of::<T>()).then_some(plane)
    }
}

impl<'f, T> Plane<'f, T> {
    /// Samples per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The samples of a row; empty below the last row.
    pub fn row(&self, row: usize) -> &'f [T] {
        if row >= self.height {
            return &[];
        }
        // SAFETY: dav1d's planes are aligned to 64 bytes and have `height` rows, `stride` bytes apart, whose first
        // `width` samples the decoder has written. The frame, which 'f borrows, keeps them alive.
        unsafe { slice::from_raw_parts(self.start.add(row * self.stride).cast(), self.width) }
    }
}
