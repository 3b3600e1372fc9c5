//! A safe interface to libvips.
//!
//! # Soundness
//!
//! - **Initialised once.** Every function that calls libvips is a method of [`Vips`] or of an [`Image`], which only a
//!   `Vips` creates; the only `Vips` comes from [`Vips::start`], behind a `OnceLock`.
//! - **One owner per reference.** An `Image` holds exactly one GObject reference to a live `VipsImage`, releases it
//!   in `drop`, is not `Clone` and, because of its raw pointer, neither `Send` nor `Sync`. Operations take `&Image`,
//!   and libvips takes its own references to the images that an operation still needs.
//! - **Buffers outlive images.** libvips decodes lazily and keeps the pointer to the encoded bytes, so an
//!   `Image<'b>`, and every image derived from it, carries the lifetime of those bytes.
//! - **Arguments are checked.** Operations are called through [`operation::call`], which asks libvips for the name,
//!   type and range of each argument. The two C functions with varargs are called with an empty list.
//! - **Results.** A non-zero return or a null pointer becomes an [`Error`] before any out parameter is used.
//! - **Stopping.** Another thread only sets the kill flag of an image, through its own reference ([`kill`]).
//! - **No unwinding.** libvips calls no Rust function, so no panic can cross into C.
#![allow(unsafe_code)]

mod copy;
mod encode;
mod error;
mod image;
mod kill;
mod memory;
mod metadata;
mod operation;
mod transform;

use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::OnceLock;

use libvips::bindings as ffi;

use error::take_error;

pub use error::Error;
pub use image::{Image, Space};
pub use kill::{Stop, Work};
pub use memory::Sample;
pub use operation::{SEQUENTIAL, Value, call, pixels};

/// The initialised library.
#[derive(Clone, Copy, Debug)]
pub struct Vips {
    _started: (),
}

impl Vips {
    /// Initialises libvips: one thread per pipeline, no operation cache, and only the loaders of supported formats.
    pub fn start() -> Result<Vips, Error> {
        static STARTED: OnceLock<Result<(), Error>> = OnceLock::new();
        STARTED.get_or_init(Self::start_once).clone().map(|()| Vips { _started: () })
    }

    fn start_once() -> Result<(), Error> {
        // SAFETY: called once, before any other function of libvips; the strings are static and end with NUL.
        unsafe {
            if ffi::vips_init(c"s3imageserver".as_ptr()) != 0 {
                return Err(take_error());
            }
            ffi::vips_concurrency_set(1);
            ffi::vips_cache_set_max(0);
            ffi::vips_block_untrusted_set(1);
            ffi::vips_operation_block_set(c"VipsForeignLoad".as_ptr(), 1);
            for loader in [c"VipsForeignLoadJpeg", c"VipsForeignLoadPng", c"VipsForeignLoadWebp"] {
                ffi::vips_operation_block_set(loader.as_ptr(), 0);
            }
        }
        Ok(())
    }

    /// Reads the header of an encoded image. No pixel is decoded.
    pub fn read_header(self, bytes: &[u8]) -> Result<Image<'_>, Error> {
        let length = bytes.len() as ffi::size_t;
        // SAFETY: pointer and length are those of `bytes`, which the lifetime of the image keeps borrowed; the option
        // string is static and the list is empty.
        let raw = unsafe {
            let end: *const c_char = ptr::null();
            ffi::vips_image_new_from_buffer(bytes.as_ptr().cast(), length, c"".as_ptr(), end)
        };
        Image::from_raw(raw)
    }

    /// Wraps samples, which are not copied: row by row, with 1 (gray) or 3 (sRGB) bands, and one more for transparency.
    pub fn image_from_samples<'b, S: Sample>(
        self,
        samples: &'b [S],
        width: u32,
        height: u32,
        bands: usize,
    ) -> Result<Image<'b>, Error> {
        Image::from_samples(samples, width, height, bands)
    }

    /// The same with a copy of samples of 8 bits.
    pub fn image_from_copied_samples(
        self,
        samples: &[u8],
        width: u32,
        height: u32,
        bands: usize,
    ) -> Result<Image<'static>, Error> {
        Image::from_copied_pixels(samples, width, height, bands)
    }

    /// A row of pixels with a copy of these samples: a table for [`Image::map`].
    pub fn table(self, samples: &[u8], width: u32, bands: usize) -> Result<Image<'static>, Error> {
        Image::from_copied_samples(samples, width, 1, bands)
    }

    /// An image with a copy of these samples, row by row, without a colour space.
    pub fn copied(
        self,
        samples: &[u8],
        width: u32,
        height: u32,
        bands: usize,
    ) -> Result<Image<'static>, Error> {
        Image::from_copied_samples(samples, width, height, bands)
    }

    /// Calls a loader: an operation whose input is `buffer` and whose output is `out`.
    pub fn load<'b>(
        self,
        bytes: &'b [u8],
        operation: &CStr,
        arguments: &[(&CStr, Value<'_, 'b>)],
    ) -> Result<Image<'b>, Error> {
        let mut all = vec![(c"buffer", Value::Bytes(bytes))];
        all.extend_from_slice(arguments);
        call(operation, &all)?.image(c"out")
    }
}

#[cfg(test)]
mod testing {
    use super::{Image, Vips};

    /// A 2×1 PNG: one red pixel, one blue.
    pub const PNG: &[u8] =
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x01\x08\x02\0\0\0\x7b\x40\xe8\xdd\
          \0\0\0\x12IDATx\x01\x01\x07\0\xf8\xff\0\xff\0\0\0\0\xff\x07\0\x01\xff\x55\x36\xba\xc7\
          \0\0\0\0IEND\xae\x42\x60\x82";

    /// Its pixels, which are not decoded yet.
    pub fn two_pixels<'b>() -> Image<'b> {
        Vips::start().unwrap().load(PNG, c"pngload_buffer", &[]).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{PNG, two_pixels};
    use super::*;

    #[test]
    fn images_are_loaded_and_encoded() {
        let vips = Vips::start().unwrap();
        let header = vips.read_header(PNG).unwrap();
        assert_eq!((header.width(), header.height(), header.frames_in_file()), (2, 1, 1));
        let image = two_pixels();
        for (suffix, magic) in
            [(".png", &b"\x89PNG"[..]), (".jpg[Q=75]", b"\xff\xd8\xff"), (".webp", b"RIFF")]
        {
            let image = image.copy_memory().unwrap();
            assert!(image.encode(suffix).unwrap().starts_with(magic), "{suffix}");
        }
    }

    #[test]
    fn only_loaders_of_supported_formats_are_linked() {
        Vips::start().unwrap();
        let is_linked = |name: &str| {
            let name = std::ffi::CString::new(name).unwrap();
            // SAFETY: both names end with NUL; the result is a number.
            unsafe { ffi::vips_type_find(c"VipsForeignLoad".as_ptr(), name.as_ptr()) != 0 }
        };
        for name in ["jpegload", "pngload", "webpload"] {
            assert!(is_linked(&format!("{name}_buffer")), "{name}");
        }
        for name in [
            "gifload",
            "heifload",
            "svgload",
            "pdfload",
            "magickload",
            "tiffload",
            "jp2kload",
            "jxlload",
            "openexrload",
            "openslideload",
            "fitsload",
            "niftiload",
            "matload",
            "dcrawload",
        ] {
            for ending in ["", "_buffer", "_source"] {
                assert!(!is_linked(&format!("{name}{ending}")), "{name}{ending}");
            }
        }
    }

    #[test]
    fn files_with_unsupported_first_bytes_are_refused_by_libvips_too() {
        let vips = Vips::start().unwrap();
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hostile/");
        let list = std::fs::read_to_string(format!("{directory}MANIFEST.tsv")).unwrap();
        let refused: Vec<&str> = list
            .lines()
            .filter_map(|line| line.split_once("\tunsupported_format\t"))
            .map(|(name, _)| name)
            .collect();
        assert!(refused.len() > 20);
        for name in refused {
            let bytes = std::fs::read(format!("{directory}{name}")).unwrap();
            // An AVIF whose contents are not supported.
            if crate::format::Format::of_bytes(&bytes).is_some() {
                continue;
            }
            assert!(vips.read_header(&bytes).is_err(), "{name}");
        }
    }

    #[test]
    fn errors_are_values() {
        let vips = Vips::start().unwrap();
        for bytes in [
            &b""[..],
            b"x",
            b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
            &PNG[..9],
        ] {
            assert!(vips.read_header(bytes).is_err(), "{bytes:?}");
        }
        let image = two_pixels();
        assert!(image.crop(1, 0, 2, 1).is_err());
        assert!(image.encode(".gif").is_err());
        assert!(image.encode("\0").is_err());
        assert!(Image::join_frames(&[]).is_err());
    }

    #[test]
    fn flatten_replaces_transparency_by_a_colour() {
        let image = two_pixels().copy_memory().unwrap();
        assert!(!image.has_transparency());
        // A third pixel, white and transparent.
        let with_transparent_pixel = |image: Image<'static>, white: &[f64]| {
            let channels = [white, &[0.0]].concat();
            let arguments = [
                (c"x", Value::Int(0)),
                (c"y", Value::Int(0)),
                (c"width", Value::Int(3)),
                (c"height", Value::Int(1)),
                (c"extend", Value::Int(5)),
                (c"background", Value::Doubles(&channels)),
            ];
            image.apply(c"addalpha", &[]).unwrap().apply(c"embed", &arguments).unwrap()
        };
        let colours = with_transparent_pixel(two_pixels(), &[255.0; 3]);
        assert!(colours.has_transparency());
        let flat = colours.flatten([1, 2, 3]).unwrap();
        assert!(!flat.has_transparency());
        assert_eq!(flat.samples().unwrap(), [255, 0, 0, 0, 0, 255, 1, 2, 3]);

        // 1 is `VIPS_INTERPRETATION_B_W`.
        let gray = || {
            with_transparent_pixel(
                two_pixels().apply(c"colourspace", &[(c"space", Value::Int(1))]).unwrap(),
                &[255.0],
            )
        };
        let flat = gray().flatten([9, 9, 9]).unwrap();
        assert_eq!((flat.bands(), flat.samples().unwrap().last()), (1, Some(&9)));
        let flat = gray().flatten([1, 2, 3]).unwrap();
        assert_eq!((flat.bands(), flat.samples().unwrap().get(6..)), (3, Some(&[1, 2, 3][..])));
    }

    #[test]
    fn samples_are_read_and_replaced_by_whole_lines() {
        let image = two_pixels().copy_memory().unwrap();
        let samples = image.samples().unwrap();
        assert_eq!(samples.len(), 2 * image.bands() as usize);
        let upright = image.with_samples(1, samples).unwrap();
        assert_eq!((upright.width(), upright.height(), upright.bands()), (1, 2, image.bands()));
        assert_eq!(upright.samples().unwrap(), samples);
        for (width, samples) in
            [(3, samples), (2, &samples[1..]), (0, samples), (u32::MAX, samples), (1, &[])]
        {
            assert!(image.with_samples(width, samples).is_err(), "{width}");
        }
        let wide = image.apply(c"premultiply", &[]).unwrap();
        assert!(wide.samples().is_err(), "fractions");
    }

    #[test]
    fn lines_are_mapped_to_other_bands() {
        let image = two_pixels().copy_memory().unwrap();
        for (bands, has_transparency, space) in [
            (1, false, Space::Gray),
            (2, true, Space::Gray),
            (3, false, Space::Srgb),
            (4, true, Space::Srgb),
        ] {
            let mapped = image
                .map_lines(bands, |from, to| {
                    assert_eq!((from, to.len()), (&[255, 0, 0, 0, 0, 255][..], 2 * bands as usize));
                    to.fill(9);
                })
                .unwrap();
            assert_eq!((mapped.width(), mapped.height(), mapped.bands()), (2, 1, bands));
            assert_eq!((mapped.has_transparency(), mapped.space()), (has_transparency, space));
            assert!(mapped.samples().unwrap().iter().all(|sample| *sample == 9));
        }
        assert!(image.map_lines(0, |_, _| {}).is_err());
        let wide = image.apply(c"premultiply", &[]).unwrap();
        assert!(wide.map_lines(3, |_, _| {}).is_err(), "fractions");
        let work = Work::begin();
        work.stop_handle().stop();
        assert!(image.map_lines(1, |_, _| {}).is_err(), "stopped");
    }

    #[test]
    fn frames_are_cropped_and_joined() {
        let image = two_pixels().copy_memory().unwrap();
        let left = image.crop(0, 0, 1, 1).unwrap();
        let right = image.crop(1, 0, 1, 1).unwrap();
        let both = Image::join_frames(&[left, right]).unwrap();
        assert_eq!((both.width(), both.height(), both.frame_height()), (1, 2, 1));
        let (x, y) = image.find_attention(1, 1).unwrap();
        assert!(x <= 2 && y <= 1);
    }
}
