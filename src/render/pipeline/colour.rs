//! Converts the colours of an original to sRGB, or to grayscale if it is grayscale.

use std::ffi::CStr;

use super::profile;
use crate::format::Format;
use crate::render::codec::icc::{Channels, Profile};
use crate::render::codec::icc_curve::{Curve, srgb_encoded};
use crate::render::vips::{Error, Image, Space, Value, Vips};

/// Built-in profiles of libvips: sRGB, and grayscale with sRGB's curve.
const SRGB: &CStr = c"srgb";
const GRAY: &CStr = c"sgrey";

/// The image with the profile that describes its colours: the embedded one, or else the default. As in browsers, an
/// embedded profile that can't be used is ignored, and an image whose profile is for other channels is sRGB.
pub fn with_profile<'b>(
    image: Image<'b>,
    embedded: Option<&[u8]>,
    default: Option<Vec<u8>>,
) -> Result<Image<'b>, Error> {
    let channels = channels(&image);
    let found = embedded.and_then(Profile::parse);
    let chosen = match (found, embedded) {
        (Some(found), _) if !found.fits(channels) => None,
        // Other programs expect a grayscale profile.
        (Some(found), Some(embedded)) if found.channels != channels => {
            Some(profile::gray_of(&found).unwrap_or_else(|| embedded.to_vec()))
        }
        (Some(_), embedded) => embedded.map(<[u8]>::to_vec),
        (None, _) => default,
    };
    match chosen {
        Some(profile) => image.with_profile(&profile),
        None => image.without_profile(),
    }
}

/// The channels of an image, without its transparency.
fn channels(image: &Image) -> Channels {
    match (image.space(), image.bands()) {
        (Space::Cmyk, _) => Channels::Cmyk,
        (_, ..3) => Channels::Gray,
        _ => Channels::Rgb,
    }
}

/// The channels that the profile of an image is for.
fn profile_channels(image: &Image) -> Option<Channels> {
    Some(Profile::parse(&image.profile()?)?.channels)
}

/// Prepares the colours for the resize. A profile is applied after it, to fewer pixels. Without one, the image is
/// converted to 8 bits: since the output has 8 bits, resizing at 16 would gain nothing.
pub fn prepare(image: Image<'_>) -> Result<Image<'_>, Error> {
    match image.space() {
        Space::Other if !image.has_profile() => image.to_srgb_or_gray(),
        _ => Ok(image),
    }
}

/// Converts to sRGB or grayscale after the resize, by the profile, or libvips' profile of CMYK.
pub fn convert_to_srgb(image: Image<'_>) -> Result<Image<'_>, Error> {
    if !image.has_profile() && image.space() != Space::Cmyk {
        return Ok(image);
    }
    let image = expand(image)?;
    transformed(&image).or_else(|_| image.to_srgb_or_gray())?.without_profile()
}

/// Grayscale as RGB, if that is what its profile is for.
fn expand(image: Image<'_>) -> Result<Image<'_>, Error> {
    if channels(&image) == Channels::Gray && profile_channels(&image) == Some(Channels::Rgb) {
        return image.to_srgb();
    }
    Ok(image)
}

fn transformed<'b>(image: &Image<'b>) -> Result<Image<'b>, Error> {
    let output = if image.bands() < 3 { GRAY } else { SRGB };
    // Without a profile, libvips uses a built-in one for CMYK. The intent is colorimetric: with perceptual intent lcms
    // compensates for black points.
    let arguments = [
        (c"output-profile", Value::Text(output)),
        (c"embedded", Value::Bool(true)),
        (c"depth", Value::Int(8)),
    ];
    let bytes = image.profile().unwrap_or_default();
    let Some(profile) = Profile::parse(&bytes) else {
        return image.apply(c"icc_transform", &arguments);
    };
    match (profile.tones(), profile::with_srgb_curve(&profile)) {
        (Some(tones), None) => return map_tones(image, &tones),
        (Some(tones), Some(profile)) if image.space() == Space::Other => {
            let mapped = map_tones(image, &tones)?;
            return mapped.with_profile(&profile)?.apply(c"icc_transform", &arguments);
        }
        _ => {}
    }
    // Browsers prefer the table for perceptual intent.
    match profile.with_perceptual_table() {
        Some(profile) => image.with_profile(&profile)?.apply(c"icc_transform", &arguments),
        None => image.apply(c"icc_transform", &arguments),
    }
}

/// Replaces these curves by sRGB's, with 8 bits. lcms converts 8 bits of RGB precisely; where a curve is steep, it would
/// interpolate gray between 33 tones, and 16 bits of RGB between as many colours in each direction.
fn map_tones<'b>(image: &Image<'b>, tones: &[Curve]) -> Result<Image<'b>, Error> {
    let is_deep = !matches!(image.space(), Space::Gray | Space::Srgb);
    let max: u16 = if is_deep { u16::MAX } else { u8::MAX.into() };
    let bands = image.bands() as usize;
    let encoded = |tone: &Curve, value| srgb_encoded(tone.light(value));
    // As in most profiles.
    let shared = tones.first().filter(|first| tones.iter().all(|tone| tone == *first));
    let mut samples = Vec::new();
    for code in 0..=max {
        let value = f64::from(code) / f64::from(max);
        let once = shared.map(|tone| encoded(tone, value));
        let encoded = tones.iter().map(|tone| once.unwrap_or_else(|| encoded(tone, value)));
        // Transparency has no curve.
        let all = encoded.chain([value]).take(bands);
        samples.extend(all.map(|value| (255.0 * value).round() as u8));
    }
    image.map(&Vips::start()?.table(&samples, u32::from(max) + 1, bands)?)
}

/// Prepares the colours for a result that keeps the profile: colours stay in its space, with 8 bits. They are converted
/// all the same if the format does not have such channels: CMYK is not written, and grayscale not in every format.
pub fn keep_profile(image: Image<'_>, format: Format) -> Result<Image<'_>, Error> {
    let image = expand(image)?;
    let is_written = match channels(&image) {
        Channels::Cmyk => false,
        Channels::Gray => format.keeps_grayscale(),
        Channels::Rgb => true,
    };
    // A browser does not show an AVIF with a damaged profile.
    if !is_written || (image.has_profile() && transformed(&image).is_err()) {
        return convert_to_srgb(image);
    }
    match image.space() {
        Space::Other => image.to_srgb_or_gray(),
        Space::Srgb | Space::Gray | Space::Cmyk => Ok(image),
    }
}

/// A colour of sRGB in the space of a profile: one sample for grayscale, or three.
pub fn in_profile(colour: [u8; 3], profile: &[u8]) -> Result<Vec<u8>, Error> {
    samples_in_profile(&colour, 1, 1, profile)
}

/// The colours of an image of this size, in sRGB, in the space of a profile: one sample for grayscale, or three.
pub fn samples_in_profile(
    colours: &[u8],
    width: u32,
    height: u32,
    profile: &[u8],
) -> Result<Vec<u8>, Error> {
    let pixels = Vips::start()?.image_from_samples(colours, width, height, 3)?.to_xyz()?;
    let exported =
        pixels.with_profile(profile)?.apply(c"icc_export", &[(c"depth", Value::Int(8))])?;
    Ok(exported.samples()?.to_vec())
}
