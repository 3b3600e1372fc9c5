//! Resizing an animated GIF, from its bytes to the bytes of the result.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::vips::{Image, cpu};
use crate::{Fallible, median, ssim};

pub fn run(rounds: usize, width: u32, settings: &[&str], images: &[&str]) -> Fallible<String> {
    let mut table = String::from(
        "| image | setting | bytes | × | CPU ms, all of it | × | CPU ms, encoding | SSIM | PSNR dB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for image in images {
        let bytes = fs::read(image).map_err(|error| format!("{image}: {error}"))?;
        let name = Path::new(image).file_name().unwrap_or_default().to_string_lossy();
        let reference = Image::thumbnail(&bytes, width, true)?;
        let pixels = reference.opaque()?.rgb()?;
        let mut first = None;
        for setting in settings {
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
