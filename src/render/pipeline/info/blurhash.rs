//! BlurHash (Wolt, <https://github.com/woltapp/blurhash>): an image as [`COLUMNS`] × [`ROWS`] coefficients of a cosine
//! transform of its linear light, in base 83. It has no transparency.

use super::transform::{Cosines, transform};

/// Components, across and down. Mastodon uses the same numbers.
pub const COLUMNS: usize = 4;
pub const ROWS: usize = 3;

const DIGITS: &[u8; 83] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";

/// The hash of an image of this width and height; transparent pixels show the background.
pub fn encode(pixels: &[[u8; 4]], (width, height): (usize, usize), background: [u8; 3]) -> String {
    let light: Vec<f64> = (0..=u8::MAX).map(linear).collect();
    let (across, down) = (Cosines::new(width, COLUMNS, 0.0), Cosines::new(height, ROWS, 0.0));
    let channels: [Vec<f64>; 3] = [0, 1, 2].map(|channel| {
        let sample = |pixel: &[u8; 4]| {
            let byte = over(pixel[channel], background[channel], pixel[3]);
            light.get(usize::from(byte)).copied().unwrap_or_default()
        };
        let samples: Vec<f64> = pixels.iter().map(sample).collect();
        transform(&samples, &across, &down).concat()
    });
    let coefficient = |index: usize| {
        let normalisation = if index == 0 { 1.0 } else { 2.0 };
        [0, 1, 2].map(|channel: usize| {
            let found = channels.get(channel).and_then(|channel| channel.get(index));
            normalisation * found.copied().unwrap_or_default()
        })
    };
    let rest: Vec<[f64; 3]> = (1..COLUMNS * ROWS).map(coefficient).collect();
    let largest = rest.as_flattened().iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let quantised = (largest * 166.0 - 0.5).floor().clamp(0.0, 82.0);
    let scale = (quantised + 1.0) / 166.0;

    let mut hash = String::with_capacity(6 + 2 * rest.len());
    push(&mut hash, (COLUMNS - 1 + (ROWS - 1) * 9) as u32, 1);
    push(&mut hash, quantised as u32, 1);
    push(
        &mut hash,
        coefficient(0).into_iter().fold(0, |code, light| code << 8 | encoded(light)),
        4,
    );
    for colour in rest {
        let level = |value: f64| {
            let root = (value.abs() / scale).sqrt().copysign(value);
            (root * 9.0 + 9.5).floor().clamp(0.0, 18.0) as u32
        };
        push(&mut hash, colour.into_iter().fold(0, |code, value| code * 19 + level(value)), 2);
    }
    hash
}

/// A sample over a background.
fn over(sample: u8, background: u8, alpha: u8) -> u8 {
    let [sample, background, alpha] = [sample, background, alpha].map(u32::from);
    u8::try_from((sample * alpha + background * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
}

/// The light of a sample of sRGB (IEC 61966-2-1).
fn linear(sample: u8) -> f64 {
    let value = f64::from(sample) / 255.0;
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// The sample of sRGB for a light.
fn encoded(light: f64) -> u32 {
    let light = light.clamp(0.0, 1.0);
    let value =
        if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
    (value * 255.0 + 0.5) as u32
}

/// Appends a number in base 83, the highest digit first.
fn push(hash: &mut String, number: u32, digits: u32) {
    for power in (0..digits).rev() {
        let digit = number / 83_u32.pow(power) % 83;
        hash.push(DIGITS.get(digit as usize).copied().map_or('0', char::from));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{noise, smooth};
    use super::*;

    /// The hashes of the reference implementation in C, by the Python package blurhash-python 1.2.2.
    #[test]
    fn hashes_are_those_of_the_reference_implementation() {
        for (image, width, height, expected) in [
            ("noise", 7, 5, "L?HIe+AMOF$nx4NzoLfTS7oMa}f9"),
            ("noise", 100, 75, "L1HV9w-.S1-y=~Z@ZkiWTWVrNaZ{"),
            ("noise", 30, 100, "L3HV9x^-RC^-w@ioV%m[N4Z=Q]Vf"),
            ("noise", 100, 100, "L1HV9w-?WD-@.QZ*VtZ$Q[WaRnew"),
            ("noise", 64, 3, "LvHC1iVzVmXR?cS7amk7WFX9j]f4"),
            ("smooth", 7, 5, "LzFi4AB@WwxwzhRqb0nUeXf7fQf7"),
            ("smooth", 100, 75, "L%HLh^2g$ASjhpa#juf7gcfQfQfQ"),
            ("smooth", 30, 100, "L%G]2H2zw%XAhpahfRe;gcfjfQfj"),
            ("smooth", 100, 100, "L%HLl12g$ASjhpa#fRf7gcfQfQfQ"),
            ("smooth", 64, 3, "L%HAuO2g$ASj+SJXsXWYd_f7fQf7"),
        ] {
            let pixels = match image {
                "noise" => noise(width, height, false),
                _ => smooth(width, height, false),
            };
            let hash = encode(&pixels, (width, height), [0; 3]);
            assert_eq!(hash, expected, "{image} {width} x {height}");
        }
    }

    #[test]
    fn transparent_pixels_show_the_background() {
        let over_red = encode(&[[0, 0, 0, 0]; 4], (2, 2), [255, 0, 0]);
        assert_eq!(over_red, encode(&[[255, 0, 0, 255]; 4], (2, 2), [0; 3]));
        let half = encode(&[[255, 255, 255, 128]; 4], (2, 2), [0; 3]);
        assert_eq!(half, encode(&[[128, 128, 128, 255]; 4], (2, 2), [9; 3]));
        assert_eq!(encode(&[], (0, 0), [0; 3]).len(), 28);
    }
}
