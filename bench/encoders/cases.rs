//! The images to encode, each at several sizes.

use std::fs;
use std::path::Path;

use s3imageserver::bench;

use crate::vips::{Image, cpu};
use crate::{Fallible, jxl, median, perceptual, ssim};

/// In pixels.
pub const WIDTHS: [u32; 3] = [300, 800, 1600];

/// The pixels to encode.
pub struct Case {
    /// The file and the width.
    pub name: String,
    /// With its transparency.
    pub image: Image,
    /// Flattened on white.
    pub rgb: Vec<[u8; 3]>,
}

/// The result of an encoder.
pub struct Outcome {
    pub bytes: usize,
    /// The median CPU time of the encoder in milliseconds.
    pub cpu: f64,
    /// Against the encoded pixels.
    pub ssim: f64,
    /// Over all three channels, in dB.
    pub psnr: f64,
    pub ssimulacra2: f64,
}

/// Every image at every width up to its own.
pub fn load(images: &[&str]) -> Fallible<Vec<Case>> {
    let mut cases = Vec::new();
    for path in images {
        let bytes = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        for width in WIDTHS {
            let image = Image::thumbnail(&bytes, width)?;
            if image.size().0 != width as usize {
                break;
            }
            let rgb = image.opaque()?.rgb()?;
            let stem = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
            cases.push(Case { name: format!("{stem}-{width}"), image, rgb });
        }
    }
    if cases.is_empty() { Err("no image is 300 pixels wide".into()) } else { Ok(cases) }
}

impl Case {
    /// Encodes `rounds` times and decodes once.
    pub fn encode(&self, suffix: &str, rounds: usize) -> Fallible<Outcome> {
        if let Some(options) =
            suffix.strip_prefix(".jxl[").and_then(|rest| rest.strip_suffix(",keep=none]"))
        {
            return self.encode_jxl(options, rounds);
        }
        let (mut times, mut encoded) = (Vec::with_capacity(rounds), Vec::new());
        for _ in 0..rounds.max(1) {
            let before = cpu();
            encoded = self.encoded(suffix)?;
            times.push(cpu() - before);
        }
        let decoded = if suffix.starts_with(".avif") {
            bench::decode_avif(&encoded)?.samples.as_chunks::<3>().0.to_vec()
        } else {
            Image::decoded(&encoded)?.rgb()?
        };
        self.compared(encoded.len(), median(times), &decoded)
    }

    /// `Q=75,effort=3`; `lossless,effort=3`
    fn encode_jxl(&self, options: &str, rounds: usize) -> Fallible<Outcome> {
        let (quality, setting) = options.split_once(',').ok_or("no quality")?;
        let quality = quality.strip_prefix("Q=").map(str::parse).transpose()?;
        let encode = || jxl::encode(&self.rgb, self.image.size(), quality, setting);
        let first = encode()?;
        let mut times = vec![first.cpu];
        for _ in 1..rounds {
            times.push(encode()?.cpu);
        }
        self.compared(first.bytes, median(times), &first.decoded)
    }

    fn compared(&self, bytes: usize, cpu: f64, decoded: &[[u8; 3]]) -> Fallible<Outcome> {
        Ok(Outcome {
            bytes,
            cpu,
            ssim: ssim::ssim(&self.rgb, decoded, self.image.size()),
            psnr: ssim::psnr(&self.rgb, decoded),
            ssimulacra2: perceptual::ssimulacra2(&self.rgb, decoded, self.image.size())?,
        })
    }
}

impl Case {
    /// Encodes with libvips; for AVIF (`.avif[Q=55,cpu-used=8,keep=none]`) with the server's encoder, flattened on white.
    fn encoded(&self, suffix: &str) -> Fallible<Vec<u8>> {
        let Some(options) =
            suffix.strip_prefix(".avif[Q=").and_then(|rest| rest.strip_suffix("keep=none]"))
        else {
            return self.image.encoded(suffix);
        };
        let (quality, options) = options.split_once(',').ok_or("no quality")?;
        let (width, height) = self.image.size();
        let samples = bench::Samples {
            width: u32::try_from(width)?,
            height: u32::try_from(height)?,
            bands: 3,
            samples: self.rgb.as_flattened().to_vec(),
        };
        Ok(bench::encode_avif(&samples, quality.parse()?, options)?)
    }
}

/// Writes the pixels of every case into a directory.
pub fn dump(directory: &str, images: &[&str]) -> Fallible<String> {
    let mut list = String::new();
    for case in load(images)? {
        let (width, height) = case.image.size();
        let mut file = format!("P6\n{width} {height}\n255\n").into_bytes();
        file.extend_from_slice(case.rgb.as_flattened());
        fs::write(Path::new(directory).join(format!("{}.ppm", case.name)), file)?;
        list.push_str(&case.name);
        list.push('\n');
    }
    Ok(list)
}
