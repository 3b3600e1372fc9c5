//! Used by bench/encoders: compares images by SSIMULACRA2 (100 for equal ones, 70 for high quality, 50 for medium).
//!
//! Reads pairs from standard input, each `WIDTH HEIGHT\n` and two images of red, green and blue bytes, and prints a line
//! with the score of each.

use std::error::Error;
use std::io::{self, BufRead, Read, Write};

use yuvxyb::{ColorPrimaries, Rgb, TransferCharacteristic};

fn main() -> Result<(), Box<dyn Error>> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (width, height) = line.trim_end().split_once(' ').ok_or("not WIDTH HEIGHT")?;
        let (width, height) = (width.parse()?, height.parse()?);
        let one = read(&mut input, width, height)?;
        let other = read(&mut input, width, height)?;
        let score = ssimulacra2::compute_frame_ssimulacra2(one, other)?;
        writeln!(output, "{score}")?;
        output.flush()?;
    }
}

fn read(input: &mut impl Read, width: usize, height: usize) -> Result<Rgb, Box<dyn Error>> {
    let mut bytes = vec![0; width * height * 3];
    input.read_exact(&mut bytes)?;
    let pixels = bytes.as_chunks().0.iter();
    let pixels = pixels.map(|pixel: &[u8; 3]| pixel.map(|code| f32::from(code) / 255.0)).collect();
    Ok(Rgb::new(pixels, width, height, TransferCharacteristic::SRGB, ColorPrimaries::BT709)?)
}
