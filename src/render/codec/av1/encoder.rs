//! Encodes with libaom.

use std::ffi::{CStr, CString, c_char};
use std::{ptr, slice};

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

/// Encodes one still image: a sequence header and a key frame.
pub fn encode(image: &Planes<'_>, settings: &Settings<'_>) -> Result<Vec<u8>, Error> {
    let width = image.width;
    let height = image.height;
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::TooLarge);
    }
    let layout = match image.chroma {
        Chroma::Monochrome => ffi::LAYOUT_400,
        Chroma::Yuv420 => ffi::LAYOUT_420,
        Chroma::Yuv444 => ffi::LAYOUT_444,
        Chroma::Yuv422 => return Err(Error::Planes),
    };
    let chroma = image.chroma.plane_size(width, height);
    let sizes = [(width, height), chroma, chroma];
    let fits = |(plane, (width, height)): (&&[u8], &(u32, u32))| {
        plane.len() as u64 == u64::from(*width) * u64::from(*height)
    };
    let planes = if layout == ffi::LAYOUT_400 { 1 } else { 3 };
    if width == 0 || height == 0 || !image.planes.iter().zip(&sizes).take(planes).all(fits) {
        return Err(Error::Planes);
    }
    let described = ffi::Image {
        plane: image.planes.map(<[u8]>::as_ptr),
        stride: sizes.map(|(width, _)| width as i32),
        width,
        height,
        layout,
        primaries: image.primaries.into(),
        transfer: image.transfer.into(),
        matrix: image.matrix.into(),
    };

    let values = settings.options.iter().map(|(_, value)| CString::new(*value));
    let values = values.collect::<Result<Vec<_>, _>>().map_err(|_| Error::Option)?;
    let names: Vec<*const c_char> =
        settings.options.iter().map(|(name, _)| name.as_ptr()).collect();
    let values: Vec<*const c_char> = values.iter().map(|value| value.as_ptr()).collect();
    let mut bytes = ptr::null_mut();
    let mut length = 0;
    // SAFETY: the planes have the length that size and stride require, are only read, and outlive the call; both lists
    // have `names.len()` NUL-terminated strings, which outlive the call; the out parameters are written.
    let status = unsafe {
        ffi::s3av1_encode(
            &described,
            names.as_ptr(),
            values.as_ptr(),
            names.len(),
            &mut bytes,
            &mut length,
        )
    };
    if status != 0 {
        return Err(Error::from_status(status));
    }
    // SAFETY: on success C has allocated and written `length` bytes, which are copied and then freed once.
    unsafe {
        let encoded = slice::from_raw_parts(bytes, length).to_vec();
        ffi::s3av1_free(bytes);
        Ok(encoded)
    }
}
