//! ThumbHash (Evan Wallace, <https://evanw.github.io/thumbhash/>): an image in about 25 bytes, with its shape and its
//! transparency.
//!
//! The channels are luminance, yellow against blue, red against green, and alpha. Of the cosine transform of each (DCT-II)
//! the coefficients in the upper left triangle are kept, with 4 bits.

use super::transform::{Cosines, transform};

/// In the unit of a sample from 0 to 1: a smaller coefficient is 0 with an error of rounding, which would decide the bits.
const NOISE: f64 = 1e-6;

/// A cosine transform.
struct Channel {
    /// The mean.
    constant: f64,
    /// The other coefficients, in quarters of a byte.
    rest: Vec<u8>,
    /// The largest magnitude of them.
    scale: f64,
}

/// The hash of an image of this size, whose colours are not premultiplied.
pub fn encode(pixels: &[[u8; 4]], (width, height): (usize, usize)) -> Vec<u8> {
    let longest = width.max(height).max(1);
    let (mut mean, mut opacity) = ([0.0; 3], 0.0);
    for [red, green, blue, alpha] in pixels {
        let alpha = f64::from(*alpha) / 255.0;
        for (sum, sample) in mean.iter_mut().zip([red, green, blue]) {
            *sum += alpha * f64::from(*sample) / 255.0;
        }
        opacity += alpha;
    }
    if opacity > 0.0 {
        mean = mean.map(|sum| sum / opacity);
    }
    let has_alpha = pixels.iter().any(|[.., alpha]| *alpha < u8::MAX);
    // Transparent pixels have the mean colour.
    let channel = |of: fn([f64; 4]) -> f64, (columns, rows)| {
        let samples: Vec<f64> = pixels
            .iter()
            .map(|[red, green, blue, alpha]| {
                let alpha = f64::from(*alpha) / 255.0;
                let over = |mean: f64, sample: u8| {
                    mean * (1.0 - alpha) + alpha * f64::from(sample) / 255.0
                };
                of([over(mean[0], *red), over(mean[1], *green), over(mean[2], *blue), alpha])
            })
            .collect();
        Channel::new(&samples, (width, height), (columns, rows))
    };
    // Fewer bits of luminance leave room for alpha.
    let most = if has_alpha { 5.0 } else { 7.0 };
    let count = |side: usize| ((most * side as f64 / longest as f64).round() as usize).max(1);
    let (columns, rows) = (count(width), count(height));
    let luminance =
        channel(|[red, green, blue, _]| (red + green + blue) / 3.0, (columns.max(3), rows.max(3)));
    let yellow = channel(|[red, green, blue, _]| (red + green) / 2.0 - blue, (3, 3));
    let red = channel(|[red, green, ..]| red - green, (3, 3));
    let alpha = has_alpha.then(|| channel(|[.., alpha]| alpha, (5, 5)));

    let is_landscape = width > height;
    let start = bits(luminance.constant, 63.0)
        | bits((1.0 + yellow.constant) / 2.0, 63.0) << 6
        | bits((1.0 + red.constant) / 2.0, 63.0) << 12
        | bits(luminance.scale, 31.0) << 18
        | u32::from(has_alpha) << 23;
    let next = if is_landscape { rows } else { columns } as u32
        | bits(yellow.scale, 63.0) << 3
        | bits(red.scale, 63.0) << 9
        | u32::from(is_landscape) << 15;
    let mut hash = start.to_le_bytes()[..3].to_vec();
    hash.extend(&next.to_le_bytes()[..2]);
    if let Some(alpha) = &alpha {
        hash.push((bits(alpha.constant, 15.0) | bits(alpha.scale, 15.0) << 4) as u8);
    }
    let channels = [Some(luminance), Some(yellow), Some(red), alpha];
    let rest: Vec<u8> = channels.into_iter().flatten().flat_map(|channel| channel.rest).collect();
    hash.extend(
        rest.chunks(2).map(|pair| pair.iter().rev().fold(0, |byte, four| byte << 4 | four)),
    );
    hash
}

impl Channel {
    fn new(samples: &[f64], size: (usize, usize), (columns, rows): (usize, usize)) -> Channel {
        let across = Cosines::new(size.0, columns, 0.5);
        let down = Cosines::new(size.1, rows, 0.5);
        let all = transform(samples, &across, &down);
        let is_kept = |row: usize, column: usize| column * rows < columns * (rows - row);
        let kept = all.iter().enumerate().flat_map(|(row, line)| {
            let line = line.iter().enumerate();
            line.filter(move |(column, _)| is_kept(row, *column))
                .map(|(_, coefficient)| *coefficient)
        });
        let kept: Vec<f64> =
            kept.map(|value| if value.abs() < NOISE { 0.0 } else { value }).collect();
        let (constant, rest) =
            kept.split_first().map_or((0.0, &[][..]), |(first, rest)| (*first, rest));
        let scale = rest.iter().fold(0.0_f64, |scale, coefficient| scale.max(coefficient.abs()));
        let four_bits = |coefficient: &f64| match scale {
            0.0 => 0,
            scale => bits(0.5 + 0.5 * coefficient / scale, 15.0) as u8,
        };
        Channel { constant, rest: rest.iter().map(four_bits).collect(), scale }
    }
}

/// A fraction as a whole number up to `max`.
fn bits(fraction: f64, max: f64) -> u32 {
    (fraction.clamp(0.0, 1.0) * max).round() as u32
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::super::testing::{noise, smooth};
    use super::*;

    /// The hashes of the reference implementation, by `rgba_to_thumb_hash` of the crate thumbhash 0.1.0.
    #[test]
    fn hashes_are_those_of_the_reference_implementation() {
        let mut exact = 0;
        for (image, width, height, has_alpha, expected) in [
            ("noise", 7, 5, false, "IIQOVYqAd3h4eHiHh4eHh4B0B5JV"),
            ("noise", 7, 5, true, "opSGLIQXgHh4aJaGB0h4ADoDeSh6mIeHCA=="),
            ("noise", 100, 75, false, "H/gBBYB3pXmVtklnVjtpD3kEifY5"),
            ("noise", 100, 75, true, "4AeCBIAIqfCl9kpGyZnAKo1gT4GIhXZ4CA=="),
            ("noise", 30, 100, false, "4AcCCgBnlXhnlXegZgjE2m8="),
            ("noise", 30, 100, true, "4AeCAgAIa8F3CW1HCWS6TyBBeWlpSHw="),
            ("noise", 100, 100, false, "3wcCBwB4eXZ3dnyGl4ZmN3k6T6YCdrcP"),
            ("noise", 100, 100, true, "3weCBQAIn4lJZ6THI3lKj4C79hKIeIh4hg=="),
            ("noise", 64, 3, false, "YAcGYYT3QjmXaHmIBXfnj2M="),
            ("noise", 64, 3, true, "ofeFMYII+EKZZmcFePiPRFQ1VoUfeAg="),
            ("smooth", 7, 5, false, "2gcKnZqHh3iAiIiIiHeIiHCFCPh4"),
            ("smooth", 7, 5, true, "m3qGHIgkeHjAhoh3CE+Ls08HeniHeId3CA=="),
            ("smooth", 100, 75, false, "3wcKnZqHh4eAh4eHiHiIiICFB/iI"),
            ("smooth", 100, 75, true, "33qGJIg1eHjAhoh3KD+KxD8HeXiHeId3CA=="),
            ("smooth", 30, 100, false, "H/gJmhqHgIiIh4eHgIUI+Hc="),
            ("smooth", 30, 100, true, "n1qGIgg1eMCGd4jgtDj7dJCHh4iIeHg="),
            ("smooth", 100, 100, false, "HwgKnxqHh4eAiId4iHiIeIiHCFh4gH8H"),
            ("smooth", 100, 100, true, "33qGJQg1eHjAhnh3iPKjSPxzkIeHeId4eA=="),
            ("smooth", 64, 3, false, "XEcKmZqHh4eAiHeIcIUI+Ic="),
            ("smooth", 64, 3, true, "XMqGGYg1iIfAhojyo0j8c5CHd4h3d4g="),
        ] {
            let pixels = match image {
                "noise" => noise(width, height, has_alpha),
                _ => smooth(width, height, has_alpha),
            };
            let hash = encode(&pixels, (width, height));
            let expected = STANDARD.decode(expected).unwrap();
            assert_eq!(hash.len(), expected.len());
            let fours = |byte: &u8| [byte & 15, byte >> 4];
            let pairs = hash.iter().flat_map(fours).zip(expected.iter().flat_map(fours));
            for (index, (four, expected)) in pairs.enumerate() {
                // A coefficient of 0 is at 7.5; there, errors of rounding decide.
                let is_zero = index >= 10 && four == 8 && expected == 7;
                assert!(
                    four == expected || is_zero,
                    "{image} {width} x {height} {has_alpha}: {index}"
                );
            }
            exact += usize::from(hash == expected);
        }
        assert!(exact >= 10, "{exact}");
    }

    #[test]
    fn an_image_of_one_colour_has_no_coefficients() {
        // Luminance 63, yellow and red in the middle, scales of 0.
        for size in [10, 99] {
            let hash = encode(&vec![[255; 4]; size * size], (size, size));
            assert_eq!(hash[..5], [0x3f, 0x08, 0x02, 0x07, 0x00], "{size}");
            assert!(hash[5..].iter().all(|byte| *byte == 0), "{hash:?}");
        }
        let hash = encode(&[[9, 9, 9, 0]; 4], (2, 2));
        assert_eq!((hash[2] >> 7, hash[5]), (1, 0), "transparent: {hash:?}");
        assert!(!encode(&[], (0, 0)).is_empty());
    }
}
