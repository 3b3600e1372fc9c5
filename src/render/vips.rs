//! libvips behind safe types: the only module with `unsafe`.
//!
//! # Why it is sound
//!
//! - **Initialised once.** Every function that calls libvips is a method of [`Vips`] or of an [`Image`], which
//!   only a `Vips` makes; the only `Vips` comes out of [`Vips::start`], behind a `OnceLock`.
//! - **One owner a reference.** An `Image` holds exactly one GObject reference to a live `VipsImage`, gives it
//!   back in `drop`, is not `Clone` and, because of its raw pointer, neither `Send` nor `Sync`. Operations take
//!   `&Image`, and libvips takes references of its own on whatever an operation still needs.
//! - **Buffers outlive images.** libvips decodes lazily and keeps the pointer to the encoded bytes, so an
//!   `Image<'b>` carries the lifetime of those bytes, and so does everything made from it.
//! - **C varargs.** Optional arguments are passed as name and value pairs that end with a null pointer. Each
//!   name here is an option of the libvips that `native/` pins, and each value has the C type that libvips reads
//!   for it: `c_int` for int, bool and enum, a pointer for strings and boxed types.
//! - **Results.** A non-zero return or a null pointer is turned into [`Error`] before any out parameter is used.
//! - **No unwinding.** libvips calls no function of ours, so no panic can cross into C.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use libvips::bindings as ffi;
// libvips calls its C functions to make palettes; naming the crate here is what links it.
use quantizr as _;

use crate::config::FailOn;

/// What libvips said when something went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub String);

/// The end of a list of optional arguments.
const END: *const c_char = ptr::null();

/// The initialised library.
#[derive(Clone, Copy, Debug)]
pub struct Vips {
    _started: (),
}

/// How to load and resize in one go.
#[derive(Clone, Copy, Debug)]
pub struct Thumbnail {
    /// Width of the upright result.
    pub width: u32,
    /// Height of the upright result; of one frame, when there are several.
    pub height: u32,
    /// Load every frame, below each other, and not only the first.
    pub all_frames: bool,
    /// How broken the bytes may be.
    pub fail_on: FailOn,
    /// Convert from the embedded profile to sRGB.
    pub colours: Colours,
}

/// What the colours of a picture have to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// No profile: libvips' own conversion to sRGB or gray.
    Untagged,
    /// An embedded RGB or gray profile.
    Profile,
    /// An embedded CMYK profile.
    CmykProfile,
}

/// A picture, decoded as far as was asked for so far.
#[derive(Debug)]
pub struct Image<'b> {
    raw: NonNull<ffi::VipsImage>,
    bytes: PhantomData<&'b [u8]>,
}

impl Vips {
    /// Starts libvips: one thread a worker, no operation cache, and no loader but those of our formats.
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
            for loader in [
                c"VipsForeignLoadJpeg",
                c"VipsForeignLoadPng",
                c"VipsForeignLoadWebp",
                c"VipsForeignLoadNsgif",
                c"VipsForeignLoadHeif",
            ] {
                ffi::vips_operation_block_set(loader.as_ptr(), 0);
            }
        }
        Ok(())
    }

    /// Reads the header of an encoded picture; no pixel is decoded.
    pub fn header(self, bytes: &[u8]) -> Result<Image<'_>, Error> {
        // SAFETY: pointer and length are those of `bytes`, which the image's lifetime keeps borrowed; the option
        // string is static and the list ends with a null pointer.
        let raw = unsafe {
            ffi::vips_image_new_from_buffer(bytes.as_ptr().cast(), length_of(bytes), c"".as_ptr(), END)
        };
        Image::owned(raw)
    }

    /// Loads an encoded picture shrunk as far as its decoder can, upright, in sRGB or gray, and resized to
    /// exactly this size when its pixels are asked for.
    pub fn thumbnail<'b>(self, bytes: &'b [u8], wanted: &Thumbnail) -> Result<Image<'b>, Error> {
        let mut out = ptr::null_mut();
        let option_string = load_options(wanted);
        let (import, export) = match wanted.colours {
            Colours::Untagged => (END, END),
            Colours::Profile => (c"srgb".as_ptr(), c"srgb".as_ptr()),
            Colours::CmykProfile => (c"cmyk".as_ptr(), c"srgb".as_ptr()),
        };
        // SAFETY: as in `header`; libvips does not write to the buffer although the C type is not const. The
        // names are options of vips_thumbnail_buffer with the types given; a null profile means none.
        let status = unsafe {
            ffi::vips_thumbnail_buffer(
                bytes.as_ptr().cast_mut().cast(),
                length_of(bytes),
                &mut out,
                clamped(wanted.width),
                c"height".as_ptr(),
                clamped(wanted.height),
                c"size".as_ptr(),
                ffi::VipsSize_VIPS_SIZE_FORCE as c_int,
                c"option_string".as_ptr(),
                option_string.as_ptr(),
                // A stack of frames can't be turned as one picture.
                c"no_rotate".as_ptr(),
                c_int::from(wanted.all_frames),
                c"import_profile".as_ptr(),
                import,
                c"export_profile".as_ptr(),
                export,
                END,
            )
        };
        Image::checked(status, out)
    }
}

impl<'b> Image<'b> {
    fn owned(raw: *mut ffi::VipsImage) -> Result<Image<'b>, Error> {
        let raw = NonNull::new(raw).ok_or_else(take_error)?;
        Ok(Image { raw, bytes: PhantomData })
    }

    fn checked(status: c_int, out: *mut ffi::VipsImage) -> Result<Image<'b>, Error> {
        if status == 0 { Image::owned(out) } else { Err(take_error()) }
    }

    fn raw(&self) -> *mut ffi::VipsImage {
        self.raw.as_ptr()
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        // SAFETY: `raw` is a live image for as long as `self`.
        unsigned(unsafe { ffi::vips_image_get_width(self.raw()) })
    }

    /// Height in pixels, of all loaded frames together.
    pub fn height(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_height(self.raw()) })
    }

    /// Height of one frame.
    pub fn frame_height(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_page_height(self.raw()) })
    }

    /// How many frames the encoded picture has.
    pub fn frames_in_file(&self) -> u32 {
        // SAFETY: as in `width`.
        unsigned(unsafe { ffi::vips_image_get_n_pages(self.raw()) }).max(1)
    }

    /// Whether the EXIF orientation swaps width and height.
    pub fn lies_on_its_side(&self) -> bool {
        // SAFETY: as in `width`.
        unsafe { ffi::vips_image_get_orientation_swap(self.raw()) != 0 }
    }

    /// Whether the last band is transparency.
    pub fn has_transparency(&self) -> bool {
        // SAFETY: as in `width`.
        unsafe { ffi::vips_image_hasalpha(self.raw()) != 0 }
    }

    /// What the colours need.
    pub fn colours(&self) -> Colours {
        // SAFETY: as in `width`; the name is static and ends with NUL.
        let (profile, interpretation) = unsafe {
            (
                ffi::vips_image_get_typeof(self.raw(), c"icc-profile-data".as_ptr()),
                ffi::vips_image_get_interpretation(self.raw()),
            )
        };
        if profile == 0 {
            Colours::Untagged
        } else if interpretation == ffi::VipsInterpretation_VIPS_INTERPRETATION_CMYK {
            Colours::CmykProfile
        } else {
            Colours::Profile
        }
    }

    /// The window of this picture; it must lie inside.
    pub fn window(&self, left: u32, top: u32, width: u32, height: u32) -> Result<Image<'b>, Error> {
        let mut out = ptr::null_mut();
        // SAFETY: `raw` is live, `out` is valid to write to, the list of options is empty. libvips itself checks
        // that the window lies inside.
        let status = unsafe {
            ffi::vips_extract_area(
                self.raw(),
                &mut out,
                clamped(left),
                clamped(top),
                clamped(width),
                clamped(height),
                END,
            )
        };
        Image::checked(status, out)
    }

    /// The window of this size that libvips finds the most interesting (`attention`).
    pub fn smart_window(&self, width: u32, height: u32) -> Result<Image<'b>, Error> {
        let mut out = ptr::null_mut();
        // SAFETY: as in `window`; `interesting` is an enum of vips_smartcrop.
        let status = unsafe {
            ffi::vips_smartcrop(
                self.raw(),
                &mut out,
                clamped(width),
                clamped(height),
                c"interesting".as_ptr(),
                ffi::VipsInteresting_VIPS_INTERESTING_ATTENTION as c_int,
                END,
            )
        };
        Image::checked(status, out)
    }

    /// The decoded pixels in memory, to be read in any order; a picture straight from its decoder can be read
    /// from top to bottom once.
    pub fn in_memory(&self) -> Result<Image<'b>, Error> {
        // SAFETY: `raw` is live; the result is a new reference or null.
        Image::owned(unsafe { ffi::vips_image_copy_memory(self.raw()) })
    }

    /// This picture without transparency, laid on a colour.
    pub fn flattened(&self, [red, green, blue]: [u8; 3]) -> Result<Image<'b>, Error> {
        let channels = [f64::from(red), f64::from(green), f64::from(blue)];
        // A gray picture has one band and its background the brightness (Rec. 709, as libvips' own b-w).
        let gray = [0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]];
        // SAFETY: as in `width`.
        let bands = unsafe { ffi::vips_image_get_bands(self.raw()) };
        let colour: &[f64] = if bands < 3 { &gray } else { &channels };
        let mut out = ptr::null_mut();
        // SAFETY: the array is copied by vips_array_double_new and released after the operation took its own
        // reference; `background` is a boxed VipsArrayDouble of vips_flatten.
        let status = unsafe {
            let background = ffi::vips_array_double_new(colour.as_ptr(), colour.len() as c_int);
            let status = ffi::vips_flatten(self.raw(), &mut out, c"background".as_ptr(), background, END);
            ffi::vips_area_unref(background.cast());
            status
        };
        Image::checked(status, out)
    }

    /// These frames, all of one size, below each other as one animation, with the first one's delays and loops.
    pub fn animation(frames: &[Image<'b>]) -> Result<Image<'b>, Error> {
        let height = frames.first().map_or(0, Image::height);
        let mut raw: Vec<*mut ffi::VipsImage> = frames.iter().map(Image::raw).collect();
        let mut out = ptr::null_mut();
        // SAFETY: `raw` has as many live images as is said; `across` is an int of vips_arrayjoin.
        let status = unsafe {
            let count = clamped(u32::try_from(raw.len()).unwrap_or(u32::MAX));
            ffi::vips_arrayjoin(raw.as_mut_ptr(), &mut out, count, c"across".as_ptr(), 1 as c_int, END)
        };
        let joined: Image<'b> = Image::checked(status, out)?;
        // SAFETY: metadata may be set on an image that nobody else holds: vips_arrayjoin has just made it and
        // its operation cache is off. The name is static.
        unsafe { ffi::vips_image_set_int(joined.raw(), c"page-height".as_ptr(), clamped(height)) };
        Ok(joined)
    }

    /// Encodes in the format and with the options of a libvips suffix, as `.jpg[Q=75]`. This is where the
    /// pixels are computed and where a broken picture fails.
    pub fn encoded(&self, suffix: &str) -> Result<Vec<u8>, Error> {
        let suffix = CString::new(suffix).map_err(|error| Error(error.to_string()))?;
        let mut buffer: *mut c_void = ptr::null_mut();
        let mut length = 0;
        // SAFETY: `raw` is live, the suffix ends with NUL, both out parameters are valid to write to.
        let status = unsafe {
            ffi::vips_image_write_to_buffer(self.raw(), suffix.as_ptr(), &mut buffer, &mut length, END)
        };
        if status != 0 || buffer.is_null() {
            return Err(take_error());
        }
        // SAFETY: on success libvips hands over a buffer of this length, which is ours to free.
        unsafe {
            let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), length as usize).to_vec();
            ffi::g_free(buffer.cast());
            Ok(bytes)
        }
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // SAFETY: this is the one reference that this value owns.
        unsafe { ffi::g_object_unref(self.raw.as_ptr().cast()) }
    }
}

/// Takes what libvips wrote to its error buffer, which all threads share: under load a sentence may hold
/// another thread's as well, which is why it goes to the log and never decides anything.
fn take_error() -> Error {
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
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.dedup();
    lines.truncate(4);
    Error(if lines.is_empty() { "libvips gave no reason".into() } else { lines.join("; ") })
}

/// The loader's options as libvips writes them behind a file name. `vips_thumbnail_buffer` of 8.16 has a
/// `fail_on` of its own and does not hand it to the loader, so it goes this way.
fn load_options(wanted: &Thumbnail) -> &'static CStr {
    match (wanted.all_frames, wanted.fail_on) {
        (false, FailOn::None) => c"[fail_on=none]",
        (false, FailOn::Truncated) => c"[fail_on=truncated]",
        (false, FailOn::Error) => c"[fail_on=error]",
        (false, FailOn::Warning) => c"[fail_on=warning]",
        (true, FailOn::None) => c"[n=-1,fail_on=none]",
        (true, FailOn::Truncated) => c"[n=-1,fail_on=truncated]",
        (true, FailOn::Error) => c"[n=-1,fail_on=error]",
        (true, FailOn::Warning) => c"[n=-1,fail_on=warning]",
    }
}

fn clamped(pixels: u32) -> c_int {
    c_int::try_from(pixels).unwrap_or(c_int::MAX)
}

fn unsigned(pixels: c_int) -> u32 {
    u32::try_from(pixels).unwrap_or(0)
}

fn length_of(bytes: &[u8]) -> ffi::size_t {
    bytes.len() as ffi::size_t
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 2×1 GIF: one red pixel, one blue.
    const GIF: &[u8] = b"GIF89a\x02\0\x01\0\x80\0\0\xff\0\0\0\0\xff,\0\0\0\0\x02\0\x01\0\0\x02\x02D\n\0;";

    fn thumbnail(width: u32, height: u32) -> Thumbnail {
        Thumbnail { width, height, all_frames: false, fail_on: FailOn::Truncated, colours: Colours::Untagged }
    }

    #[test]
    fn a_picture_goes_in_and_out() {
        let vips = Vips::start().unwrap();
        let header = vips.header(GIF).unwrap();
        assert_eq!((header.width(), header.height(), header.frames_in_file()), (2, 1, 1));
        let image = vips.thumbnail(GIF, &thumbnail(2, 1)).unwrap();
        for (suffix, magic) in [
            (".png", &b"\x89PNG"[..]),
            (".jpg[Q=75]", b"\xff\xd8\xff"),
            (".gif", b"GIF89a"),
            (".webp", b"RIFF"),
        ] {
            let image = image.in_memory().unwrap();
            assert!(image.encoded(suffix).unwrap().starts_with(magic), "{suffix}");
        }
        assert!(
            vips.thumbnail(GIF, &thumbnail(2, 1)).unwrap().encoded(".avif").unwrap()[4..]
                .starts_with(b"ftypavif")
        );
    }

    #[test]
    fn errors_are_values() {
        let vips = Vips::start().unwrap();
        for bytes in
            [&b""[..], b"x", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", &GIF[..9]]
        {
            assert!(vips.header(bytes).is_err(), "{bytes:?}");
        }
        let image = vips.thumbnail(GIF, &thumbnail(2, 1)).unwrap();
        assert!(image.window(1, 0, 2, 1).is_err());
        assert!(image.encoded(".nonsense").is_err());
        assert!(image.encoded("\0").is_err());
        assert!(Image::animation(&[]).is_err());
    }

    #[test]
    fn windows_flattening_and_frames_work_on_pixels() {
        let vips = Vips::start().unwrap();
        let image = vips.thumbnail(GIF, &thumbnail(2, 1)).unwrap().in_memory().unwrap();
        assert!(!image.has_transparency() || image.flattened([1, 2, 3]).is_ok());
        let left = image.window(0, 0, 1, 1).unwrap();
        let right = image.window(1, 0, 1, 1).unwrap();
        let both = Image::animation(&[left, right]).unwrap();
        assert_eq!((both.width(), both.height(), both.frame_height()), (1, 2, 1));
        assert_eq!(image.smart_window(1, 1).unwrap().width(), 1);
    }
}
