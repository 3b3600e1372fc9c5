//! The AVIF encoder and decoder for bench/encoders, and the JPEG decoder for fuzz.

use std::ffi::{CStr, CString};

use super::codec::avif::{self, Encoding, Metadata};
use super::codec::jpeg::{self, eighth, transcode};
use super::vips;

/// Interleaved samples of 8 bits.
#[derive(Debug)]
pub struct Samples {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Samples per pixel.
    pub bands: usize,
    /// Row by row, without padding.
    pub samples: Vec<u8>,
}

/// Encodes as the server does. `options` are options of libaom, `name=value,name=value`, set after those of the server.
pub fn encode_avif(image: &Samples, quality: u8, options: &str) -> Result<Vec<u8>, String> {
    let options = options.split(',').filter(|option| !option.is_empty()).map(|option| {
        let (name, value) = option.split_once('=').ok_or(format!("{option}: not name=value"))?;
        Ok((CString::new(name).map_err(|error| error.to_string())?, value))
    });
    let options = options.collect::<Result<Vec<_>, String>>()?;
    let options: Vec<(&CStr, &str)> =
        options.iter().map(|(name, value)| (name.as_c_str(), *value)).collect();
    let encoding =
        Encoding { quality, is_lossless: false, is_full_chroma: quality >= 86, options: &options };
    avif::encode(
        &image.samples,
        image.width,
        image.height,
        image.bands,
        &encoding,
        Metadata::default(),
    )
    .map_err(|error| error.to_string())
}

/// Decodes to 8 bits per sample.
pub fn decode_avif(file: &[u8]) -> Result<Samples, String> {
    let avif = avif::parse(file).map_err(|error| error.to_string())?;
    let (width, height, bands) = (avif.colour.width, avif.colour.height, avif.bands());
    let mut samples = vec![0_u8; width as usize * height as usize * bands];
    avif::decode(&avif, &mut samples, || Ok(())).map_err(|error| error.to_string())?;
    Ok(Samples { width, height, bands, samples })
}

/// Decodes a JPEG at scale 1/8, where libjpeg need not. `must_examine`: all of it.
pub fn decode_jpeg_eighth(file: &[u8], must_examine: bool) -> Option<Samples> {
    let pixels = eighth::decode(file, must_examine, &|| false).ok()?;
    let (width, height) = (pixels.width.try_into().ok()?, pixels.height.try_into().ok()?);
    Some(Samples { width, height, bands: pixels.bands, samples: pixels.samples })
}

/// Decodes a JPEG at scale 1/`shrink` with libjpeg, which refuses any damage if `must_examine`.
pub fn decode_jpeg_with_libjpeg(file: &[u8], shrink: u32, must_examine: bool) -> Option<Samples> {
    // `VIPS_FAIL_ON_WARNING`
    let fail_on = vips::Value::Int(if must_examine { 3 } else { 0 });
    let arguments = [(c"shrink", vips::pixels(shrink)), (c"fail_on", fail_on)];
    let image = vips::Vips::start().ok()?.load(file, c"jpegload_buffer", &arguments).ok()?;
    let image = image.copy_memory().ok()?;
    let (width, height, bands) = (image.width(), image.height(), image.bands() as usize);
    Some(Samples { width, height, bands, samples: image.samples().ok()?.to_vec() })
}

/// Adds the EOI marker that a JPEG lacks, if all of its data is there.
pub fn complete_jpeg(file: &[u8]) -> Option<Vec<u8>> {
    jpeg::complete(file, &|| false)
}

/// Transcodes a JPEG of several scans into one of a single scan, where libjpeg need not buffer it.
pub fn transcode_jpeg(file: &[u8]) -> Option<Vec<u8>> {
    transcode::transcode(file, &|| false).ok()
}
