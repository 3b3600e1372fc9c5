//! Encodes with libaom.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::slice;

use super::{Chroma, Error, ffi};

/// Largest width and height (AV1 §5.5.1: 16 bits).
pub const MAX_SIDE: u32 = 65_536;

/// An image of 8 bits per sample in full range.
#[derive(Debug)]
pub struct Planes<'p> {
    pub width: u32,
    pub height: u32,
    /// 4:0:0, 4:2:0 or 4:4:4.
    pub chroma: Chroma,
    /// Colour primaries (H.273 table 2).
    pub primaries: u8,
    /// Transfer characteristics (H.273 table 3).
    pub transfer: u8,
    /// Matrix coefficients (H.273 table 4).
    pub matrix: u8,
    /// Luma and two chroma planes without padding between rows. For 4:0:0 the chroma planes are ignored.
    pub planes: [&'p [u8]; 3],
}

/// Encoder settings.
#[derive(Debug)]
pub struct Settings<'s> {
    /// libaom options by name, in the order in which they are set.
    pub options: &'s [(&'s CStr, &'s str)],
}

impl Planes<'_> {
    /// Checks the length of the planes, and describes them to C. The pointers are those of the planes.
    fn described(&self) -> Result<ffi::Image, Error> {
        let width = self.width;
        let height = self.height;
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::TooLarge);
        }
        let layout = match self.chroma {
            Chroma::Monochrome => ffi::LAYOUT_400,
            Chroma::Yuv420 => ffi::LAYOUT_420,
            Chroma::Yuv444 => ffi::LAYOUT_444,
            Chroma::Yuv422 => return Err(Error::Planes),
        };
        let chroma = self.chroma.plane_size(width, height);
        let sizes = [(width, height), chroma, chroma];
        let fits = |(plane, (width, height)): (&&[u8], &(u32, u32))| {
            plane.len() as u64 == u64::from(*width) * u64::from(*height)
        };
        let planes = if layout == ffi::LAYOUT_400 { 1 } else { 3 };
        if width == 0 || height == 0 || !self.planes.iter().zip(&sizes).take(planes).all(fits) {
            return Err(Error::Planes);
        }
        Ok(ffi::Image {
            plane: self.planes.map(<[u8]>::as_ptr),
            stride: sizes.map(|(width, _)| width as i32),
            width,
            height,
            layout,
            primaries: self.primaries.into(),
            transfer: self.transfer.into(),
            matrix: self.matrix.into(),
        })
    }
}

/// Calls C with the names and the values of the options, and their number.
fn with_options<T>(
    settings: &Settings<'_>,
    call: impl FnOnce(*const *const c_char, *const *const c_char, usize) -> T,
) -> Result<T, Error> {
    let values = settings.options.iter().map(|(_, value)| CString::new(*value));
    let values = values.collect::<Result<Vec<_>, _>>().map_err(|_| Error::Option)?;
    let names: Vec<*const c_char> =
        settings.options.iter().map(|(name, _)| name.as_ptr()).collect();
    let values: Vec<*const c_char> = values.iter().map(|value| value.as_ptr()).collect();
    Ok(call(names.as_ptr(), values.as_ptr(), names.len()))
}

/// Encodes one still image: a sequence header and a key frame.
pub fn encode(image: &Planes<'_>, settings: &Settings<'_>) -> Result<Vec<u8>, Error> {
    let described = image.described()?;
    let mut bytes = ptr::null_mut();
    let mut length = 0;
    let status = with_options(settings, |names, values, count| {
        // SAFETY: the planes have the length that size and stride require, are only read, and outlive the call; both
        // lists have `count` NUL-terminated strings, which outlive the call; the out parameters are written.
        unsafe { ffi::s3av1_encode(&described, names, values, count, &mut bytes, &mut length) }
    })?;
    if status != 0 {
        return Err(Error::from_status(status));
    }
    // SAFETY: on success C has allocated and written `length` bytes.
    Ok(unsafe { take(bytes, length) })
}

/// Copies the output of C and frees it.
///
/// # Safety
///
/// C has allocated and written `length` bytes, which nobody else frees.
unsafe fn take(bytes: *mut u8, length: usize) -> Vec<u8> {
    // SAFETY: see above.
    unsafe {
        let encoded = slice::from_raw_parts(bytes, length).to_vec();
        ffi::s3av1_free(bytes);
        encoded
    }
}

/// Encodes frames that are predicted from those before them.
#[derive(Debug)]
pub struct Sequence {
    encoder: NonNull<c_void>,
    width: u32,
    height: u32,
    chroma: Chroma,
}

/// A frame of a sequence: the data of one temporal unit (AV1 §7.5).
#[derive(Debug)]
pub struct Unit {
    pub data: Vec<u8>,
    /// Whether decoding can start here. The first frame is one.
    pub is_key: bool,
}

impl Sequence {
    /// For frames of the size, subsampling and colours of this one, which is not encoded yet.
    pub fn open(image: &Planes<'_>, settings: &Settings<'_>) -> Result<Sequence, Error> {
        let described = image.described()?;
        let mut encoder = ptr::null_mut();
        let status = with_options(settings, |names, values, count| {
            // SAFETY: as in `encode`; the samples are not read.
            unsafe { ffi::s3av1_open(&described, names, values, count, &mut encoder) }
        })?;
        match NonNull::new(encoder) {
            Some(encoder) if status == 0 => Ok(Sequence {
                encoder,
                width: image.width,
                height: image.height,
                chroma: image.chroma,
            }),
            _ => Err(Error::from_status(status)),
        }
    }

    /// Encodes the next frame.
    pub fn encode(&mut self, image: &Planes<'_>) -> Result<Unit, Error> {
        if (image.width, image.height, image.chroma) != (self.width, self.height, self.chroma) {
            return Err(Error::Planes);
        }
        let described = image.described()?;
        let mut bytes = ptr::null_mut();
        let mut length = 0;
        let mut is_key = 0;
        // SAFETY: the encoder is open and this is its one owner; the planes are as in `encode`, and have the size of the
        // encoder; libaom copies them; the out parameters are written.
        let status = unsafe {
            ffi::s3av1_next(self.encoder.as_ptr(), &described, &mut bytes, &mut length, &mut is_key)
        };
        if status != 0 {
            return Err(Error::from_status(status));
        }
        // SAFETY: on success C has allocated and written `length` bytes.
        Ok(Unit { data: unsafe { take(bytes, length) }, is_key: is_key != 0 })
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        // SAFETY: this is the one owner, and `open` succeeded.
        unsafe { ffi::s3av1_close(self.encoder.as_ptr()) }
    }
}
