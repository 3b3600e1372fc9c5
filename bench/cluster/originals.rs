//! Writes different JPEGs of one size: a part of a picture, at a place and with a brightness that depend on the number.
//! Prints `count bytes`.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{RgbImage, imageops};

use super::Fallible;
use super::paths::name;

const QUALITY: u8 = 85;
/// Steps between the places of two numbers: odd, so that places repeat late.
const ACROSS: u64 = 37;
const DOWN: u64 = 53;
/// The number of brightnesses, and the largest loss.
const DARKER: u64 = 61;

pub fn run(
    directory: &str,
    first: u64,
    count: u64,
    size: &str,
    files: &[&str],
) -> Fallible<String> {
    let (width, height) = size.split_once('x').ok_or("the size is not like 400x300")?;
    let (width, height): (u32, u32) = (width.parse()?, height.parse()?);
    let mut pictures = Vec::new();
    for file in files {
        let picture = image::open(file)?.into_rgb8();
        if picture.width() < width || picture.height() < height {
            return Err(format!("{file} is smaller than {size}").into());
        }
        pictures.push(picture);
    }
    fs::create_dir_all(directory)?;
    let mut bytes = 0;
    for number in first..first + count {
        let picture = pictures.get(number as usize % files.len().max(1)).ok_or("no pictures")?;
        let path = Path::new(directory).join(name(number));
        let part = part(picture, number, width, height);
        let writer = BufWriter::new(File::create(&path)?);
        JpegEncoder::new_with_quality(writer, QUALITY).encode_image(&part)?;
        bytes += fs::metadata(&path)?.len();
    }
    Ok(format!("{count} {bytes}"))
}

fn part(picture: &RgbImage, number: u64, width: u32, height: u32) -> RgbImage {
    let place = |room: u32, step: u64| (number * step % (u64::from(room) + 1)) as u32;
    let x = place(picture.width() - width, ACROSS);
    let y = place(picture.height() - height, DOWN);
    let mut part = imageops::crop_imm(picture, x, y, width, height).to_image();
    let darker = (number % DARKER) as u8;
    for sample in part.iter_mut() {
        *sample = sample.saturating_sub(darker);
    }
    part
}
