//! The steps of the server as operations of libvips: what somebody who writes a program with libvips would call.

use std::ffi::c_int;
use std::sync::OnceLock;

use libvips::bindings as ffi;

use crate::Fallible;
use crate::image::{END, Image};
use ffi::VipsInterpretation_VIPS_INTERPRETATION_sRGB as SRGB;

/// The luminance of red, green and blue, as in CSS' `grayscale()`.
const LUMINANCE: [f64; 3] = [0.2126, 0.7152, 0.0722];
const BLUE: [f64; 3] = [51.0, 102.0, 153.0];
const WHITE: [f64; 3] = [255.0; 3];
const VIPS_EXTEND_BACKGROUND: c_int = 5;

/// Calls a function of libvips with an image, the place for the output, and arguments, of which the optional ones are
/// pairs of a name and a value of its type.
macro_rules! call {
    ($function:ident, $image:expr $(, $argument:expr)*) => {
        // SAFETY: a live image; the output is stored on success; the arguments are terminated by null.
        unsafe { Image::output(|out| ffi::$function($image.pointer(), out $(, $argument)*, END)) }
    };
}

/// An array of numbers, as an optional argument.
struct Numbers(*mut ffi::VipsArrayDouble);

impl Numbers {
    fn new(values: &[f64]) -> Numbers {
        // SAFETY: the values are copied.
        Numbers(unsafe { ffi::vips_array_double_new(values.as_ptr(), values.len() as c_int) })
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        // SAFETY: it is owned, and not used afterwards.
        unsafe { ffi::vips_area_unref(self.0.cast()) };
    }
}

fn area(image: &Image, left: c_int, top: c_int, width: c_int, height: c_int) -> Fallible<Image> {
    call!(vips_extract_area, image, left, top, width, height)
}

fn bytes(image: &Image) -> Fallible<Image> {
    call!(vips_cast_uchar, image)
}

fn linear(image: &Image, factor: f64, offset: f64) -> Fallible<Image> {
    call!(vips_linear1, image, factor, offset, c"uchar".as_ptr(), 1 as c_int)
}

/// Mixes the channels with a matrix of three columns.
fn mixed(image: &Image, matrix: &[f64]) -> Fallible<Image> {
    let matrix = Image::matrix(3, matrix)?;
    bytes(&call!(vips_recomb, image, matrix.pointer())?)
}

pub fn crop(image: &Image) -> Fallible<Image> {
    area(image, 160, 120, 1344, 1008)
}

pub fn trim(image: &Image) -> Fallible<Image> {
    let (mut left, mut top, mut width, mut height) = (0, 0, 0, 0);
    // SAFETY: a live image; the optional arguments are terminated by null.
    let status = unsafe {
        ffi::vips_find_trim(
            image.pointer(),
            &mut left,
            &mut top,
            &mut width,
            &mut height,
            c"threshold".as_ptr(),
            10.0_f64,
            c"line_art".as_ptr(),
            1 as c_int,
            END,
        )
    };
    if status != 0 {
        return Err("vips_find_trim failed".into());
    }
    area(image, left, top, width, height)
}

pub fn border(image: &Image) -> Fallible<Image> {
    embedded(image, (80, 80), (1824, 1408), &WHITE)
}

fn embedded(
    image: &Image,
    (left, top): (c_int, c_int),
    (width, height): (c_int, c_int),
    colour: &[f64],
) -> Fallible<Image> {
    let colour = Numbers::new(colour);
    call!(
        vips_embed,
        image,
        left,
        top,
        width,
        height,
        c"extend".as_ptr(),
        VIPS_EXTEND_BACKGROUND,
        c"background".as_ptr(),
        colour.0
    )
}

pub fn quarter_turn(image: &Image) -> Fallible<Image> {
    let image = image.in_memory()?;
    call!(vips_rot, image, ffi::VipsAngle_VIPS_ANGLE_D90)
}

/// By 30 degrees about the centre, onto white.
pub fn turn(image: &Image) -> Fallible<Image> {
    const SIZE: (c_int, c_int) = (800, 741);
    let (sin, cos) = 30_f64.to_radians().sin_cos();
    let image = image.in_memory()?;
    let middle = |side: c_int| f64::from(side) / 2.0 - 0.5;
    let white = Numbers::new(&WHITE);
    // SAFETY: the values are copied.
    let area = unsafe { ffi::vips_array_int_new([0, 0, SIZE.0, SIZE.1].as_ptr(), 4) };
    // SAFETY: a new interpolator, released below.
    let bicubic = unsafe { ffi::vips_interpolate_new(c"bicubic".as_ptr()) };
    let turned = call!(
        vips_affine,
        image,
        cos,
        -sin,
        sin,
        cos,
        c"interpolate".as_ptr(),
        bicubic,
        c"oarea".as_ptr(),
        area,
        c"idx".as_ptr(),
        -middle(image.width()),
        c"idy".as_ptr(),
        -middle(image.height()),
        c"odx".as_ptr(),
        middle(SIZE.0),
        c"ody".as_ptr(),
        middle(SIZE.1),
        c"extend".as_ptr(),
        VIPS_EXTEND_BACKGROUND,
        c"background".as_ptr(),
        white.0
    );
    // SAFETY: both are owned, and not used afterwards.
    unsafe {
        ffi::g_object_unref(bicubic.cast());
        ffi::vips_area_unref(area.cast());
    }
    turned
}

pub fn flip(image: &Image) -> Fallible<Image> {
    call!(vips_flip, image, ffi::VipsDirection_VIPS_DIRECTION_HORIZONTAL)
}

/// The part of the image in the height that is 20 pixels below the top.
pub fn window(image: &Image) -> Fallible<Image> {
    area(image, 0, 20, image.width(), 500)
}

pub fn brightness(image: &Image) -> Fallible<Image> {
    linear(image, 1.2, 0.0)
}

pub fn contrast(image: &Image) -> Fallible<Image> {
    linear(image, 1.2, (0.5 - 0.5 * 1.2) * 255.0)
}

pub fn gamma(image: &Image) -> Fallible<Image> {
    call!(vips_gamma, image, c"exponent".as_ptr(), 1.5_f64)
}

/// `saturate(1.4)`
pub fn saturation(image: &Image) -> Fallible<Image> {
    let s = 1.4;
    let (red, green, blue) = (0.213 - 0.213 * s, 0.715 - 0.715 * s, 0.072 - 0.072 * s);
    mixed(image, &[red + s, green, blue, red, green + s, blue, red, green, blue + s])
}

/// `hue-rotate(90deg)`
pub fn hue(image: &Image) -> Fallible<Image> {
    mixed(
        image,
        &[
            0.0,
            0.0,
            0.072 + 0.928,
            0.213 + 0.143,
            0.715 + 0.140,
            0.072 - 0.283,
            0.213 - 0.787,
            0.715 + 0.715,
            0.072 + 0.072,
        ],
    )
}

pub fn gray(image: &Image) -> Fallible<Image> {
    mixed(image, &LUMINANCE)
}

/// Half of the luminance as shades of 336699, half of the image.
pub fn tint(image: &Image) -> Fallible<Image> {
    let row = |n: usize| {
        (0..3).map(move |m| {
            let unchanged = if n == m { 0.5 } else { 0.0 };
            0.5 * BLUE[n] / 255.0 * LUMINANCE[m] + unchanged
        })
    };
    mixed(image, &(0..3).flat_map(row).collect::<Vec<_>>())
}

/// The luminance between 336699 and white.
pub fn duotone(image: &Image) -> Fallible<Image> {
    let row = |n: usize| LUMINANCE.map(|weight| (255.0 - BLUE[n]) / 255.0 * weight);
    let matrix = Image::matrix(3, &(0..3).flat_map(row).collect::<Vec<_>>())?;
    let shades = call!(vips_recomb, image, matrix.pointer())?;
    call!(
        vips_linear,
        shades,
        [1.0_f64; 3].as_ptr(),
        BLUE.as_ptr(),
        3,
        c"uchar".as_ptr(),
        1 as c_int
    )
}

pub fn negative(image: &Image) -> Fallible<Image> {
    call!(vips_invert, image)
}

/// Three effects, one after the other.
pub fn several(image: &Image) -> Fallible<Image> {
    negative(&saturation(&brightness(image)?)?)
}

/// Squares of 10 × 10 pixels: the sides are multiples of that.
pub fn pixelate(image: &Image) -> Fallible<Image> {
    let small = call!(vips_shrink, image, 10.0_f64, 10.0_f64)?;
    call!(vips_zoom, small, 10, 10)
}

pub fn blur(image: &Image) -> Fallible<Image> {
    call!(vips_gaussblur, image, 3.0_f64, c"min_ampl".as_ptr(), 0.05_f64)
}

pub fn sharpen(image: &Image) -> Fallible<Image> {
    call!(vips_sharpen, image, c"sigma".as_ptr(), 1.0_f64)
}

pub fn pad(image: &Image) -> Fallible<Image> {
    embedded(image, (0, (800 - image.height()) / 2), (800, 800), &BLUE)
}

/// Corners with a radius of 40 pixels, on white.
pub fn round(image: &Image) -> Fallible<Image> {
    let (width, height) = (image.width(), image.height());
    let corners = Numbers::new(&[40.0; 4]);
    let start = Numbers::new(&[0.0, 0.0]);
    let end = Numbers::new(&[f64::from(width), f64::from(height)]);
    // SAFETY: the output is stored on success; the arguments are terminated by null.
    let distance = unsafe {
        Image::output(|out| {
            ffi::vips_sdf(
                out,
                width,
                height,
                ffi::VipsSdfShape_VIPS_SDF_SHAPE_ROUNDED_BOX,
                c"a".as_ptr(),
                start.0,
                c"b".as_ptr(),
                end.0,
                c"corners".as_ptr(),
                corners.0,
                END,
            )
        })?
    };
    let mask = linear(&distance, -255.0, 127.5)?;
    // SAFETY: live images; the output is stored on success.
    let image = unsafe {
        Image::output(|out| ffi::vips_bandjoin2(image.pointer(), mask.pointer(), out, END))?
    };
    flattened(&image)
}

fn flattened(image: &Image) -> Fallible<Image> {
    let white = Numbers::new(&WHITE);
    call!(vips_flatten, image, c"background".as_ptr(), white.0)
}

/// A watermark, decoded once.
fn logo() -> Fallible<Image> {
    static LOGO: OnceLock<Vec<u8>> = OnceLock::new();
    const FILE: &str = "examples/images/logo.png";
    let bytes = match LOGO.get() {
        Some(bytes) => bytes,
        None => {
            let file = std::fs::read(FILE).map_err(|error| format!("{FILE}: {error}"))?;
            // SAFETY: the file outlives the image.
            let samples = unsafe { Image::opened(&file, c"")?.samples()? };
            LOGO.get_or_init(|| samples)
        }
    };
    // SAFETY: the samples live until the program ends, and their number is that of the image.
    let logo = unsafe {
        Image::output(|out| {
            *out = ffi::vips_image_new_from_memory(
                bytes.as_ptr().cast(),
                bytes.len() as ffi::size_t,
                360,
                96,
                4,
                ffi::VipsBandFormat_VIPS_FORMAT_UCHAR,
            );
            0
        })?
    };
    call!(vips_copy, logo, c"interpretation".as_ptr(), SRGB as c_int)
}

fn over(image: &Image, overlay: &Image, left: c_int, top: c_int) -> Fallible<Image> {
    // SAFETY: live images; the output is stored on success; the arguments are terminated by null.
    let drawn = unsafe {
        Image::output(|out| {
            ffi::vips_composite2(
                image.pointer(),
                overlay.pointer(),
                out,
                ffi::VipsBlendMode_VIPS_BLEND_MODE_OVER,
                c"x".as_ptr(),
                left,
                c"y".as_ptr(),
                top,
                END,
            )
        })?
    };
    flattened(&bytes(&drawn)?)
}

/// In the corner at the lower right, 3 % from the edges.
pub fn watermark(image: &Image) -> Fallible<Image> {
    let (left, top) = (image.width() - 360 - 24, image.height() - 96 - 18);
    over(image, &logo()?, left, top)
}

/// A quarter as wide as the image, repeated with spaces of 5 % and 10 %, with an opacity of 0.4.
pub fn watermarks(image: &Image) -> Fallible<Image> {
    let logo = logo()?;
    let logo = call!(vips_thumbnail_image, logo, 200)?;
    let (width, height) = (logo.width(), logo.height());
    let faint =
        call!(vips_linear, logo, [1.0, 1.0, 1.0, 0.4_f64].as_ptr(), [0.0_f64; 4].as_ptr(), 4)?;
    let (across, down) = (width + 40, height + 60);
    let cell = embedded(&bytes(&faint)?, (0, 0), (across, down), &[0.0; 4])?;
    let copies = |length: c_int, cell: c_int| length / cell + 2;
    let tiled =
        call!(vips_replicate, cell, copies(image.width(), across), copies(image.height(), down))?;
    // A copy is in the corner at the lower right.
    let skipped = |free: c_int, cell: c_int| (cell - free % cell) % cell;
    let left = skipped(image.width() - width, across);
    let top = skipped(image.height() - height, down);
    over(image, &area(&tiled, left, top, image.width(), image.height())?, 0, 0)
}
