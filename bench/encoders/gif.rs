//! A moving GIF made smaller: the whole job, from its bytes to the bytes of the result.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::vips::{Image, cpu};
use crate::{Fallible, median, ssim};

/// The first is what libvips does when nothing is said.
const SETTINGS: [&str; 16] = [
    "effort=7",
    "effort=1",
    "effort=2",
    "effort=3",
    "effort=4",
    "effort=5",
    "effort=3,dither=0",
    "effort=3,dither=0.5",
    "effort=3,reuse",
    "effort=3,interframe_maxerror=4",
    "effort=3,interframe_maxerror=8",
    "effort=3,interpalette_maxerror=8",
    "effort=3,interpalette_maxerror=40",
    "effort=1,interpalette_maxerror=40",
    "effort=1,dither=0.5",
    "effort=1,reuse",
];

/// The table.
pub fn run(rounds: usize, width: u32, pictures: &[&str]) -> Fallible<String> {
    let mut table = String::from(
        "| picture | setting | bytes | × | CPU ms, all of it | × | CPU ms, encoding | SSIM | PSNR dB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for picture in pictures {
        let bytes = fs::read(picture).map_err(|error| format!("{picture}: {error}"))?;
        let name = Path::new(picture).file_name().unwrap_or_default().to_string_lossy();
        let reference = Image::thumbnail(&bytes, width, true)?;
        let pixels = reference.opaque()?.rgb()?;
        let mut first = None;
        for setting in SETTINGS {
            let suffix = format!(".gif[{setting},keep=none]");
            let (mut whole, mut encoding) = (Vec::new(), Vec::new());
            let mut encoded = Vec::new();
            for _ in 0..rounds.max(1) {
                let before = cpu();
                let image = Image::thumbnail(&bytes, width, true)?;
                let decoded = cpu();
                encoded = image.encoded(&suffix)?;
                let after = cpu();
                whole.push(after - before);
                encoding.push(after - decoded);
            }
            let (whole, size) = (median(whole), encoded.len() as f64);
            let (first_size, first_whole) = *first.get_or_insert((size, whole));
            let decoded = Image::decoded(&encoded, true)?.rgb()?;
            writeln!(
                table,
                "| {name} | `{setting}` | {size} | {:.2} | {whole:.1} | {:.2} | {:.1} | {:.4} | {:.2} |",
                size / first_size,
                whole / first_whole,
                median(encoding),
                ssim::ssim(&pixels, &decoded, reference.size()),
                ssim::psnr(&pixels, &decoded),
            )?;
        }
    }
    Ok(table)
}
