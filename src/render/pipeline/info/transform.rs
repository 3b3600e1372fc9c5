//! The cosine transform that both hashes are made of.

use std::f64::consts::PI;

/// The values of some cosines along one side of an image.
pub struct Cosines {
    /// For each frequency, one value per pixel.
    values: Vec<Vec<f64>>,
    side: usize,
}

impl Cosines {
    /// The first `count` frequencies along a side. `shift` is where a pixel is: 0.5 for its centre.
    pub fn new(side: usize, count: usize, shift: f64) -> Cosines {
        let step = PI / side.max(1) as f64;
        let wave = |frequency: usize| {
            let value = |at: usize| (step * frequency as f64 * (at as f64 + shift)).cos();
            (0..side).map(value).collect()
        };
        Cosines { values: (0..count).map(wave).collect(), side }
    }
}

/// The coefficients of an image, row by row: for each pair of frequencies the mean of the products. First across, since
/// the transform is separable: the cost of a coefficient is that of one column.
pub fn transform(samples: &[f64], across: &Cosines, down: &Cosines) -> Vec<Vec<f64>> {
    let count = (across.side * down.side).max(1) as f64;
    let columns: Vec<Vec<f64>> = across
        .values
        .iter()
        .map(|wave| samples.chunks(across.side.max(1)).map(|line| product(line, wave)).collect())
        .collect();
    let row = |wave: &Vec<f64>| columns.iter().map(|sums| product(sums, wave) / count).collect();
    down.values.iter().map(row).collect()
}

fn product(samples: &[f64], wave: &[f64]) -> f64 {
    samples.iter().zip(wave).map(|(sample, cosine)| sample * cosine).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_are_the_means_of_all_products() {
        let (width, height) = (5, 3);
        let samples: Vec<f64> = (0..15).map(|number| f64::from(number * number % 7)).collect();
        for shift in [0.0, 0.5] {
            let (across, down) = (Cosines::new(width, 4, shift), Cosines::new(height, 2, shift));
            let found = transform(&samples, &across, &down);
            for (v, row) in found.iter().enumerate() {
                for (u, coefficient) in row.iter().enumerate() {
                    let mut sum = 0.0;
                    for y in 0..height {
                        for x in 0..width {
                            let cosine = |frequency: usize, at: usize, side: usize| {
                                (PI * frequency as f64 * (at as f64 + shift) / side as f64).cos()
                            };
                            sum +=
                                samples[y * width + x] * cosine(u, x, width) * cosine(v, y, height);
                        }
                    }
                    assert!((coefficient - sum / 15.0).abs() < 1e-12, "{u} {v}");
                }
            }
            assert_eq!((found.len(), found[0].len()), (2, 4));
        }
    }
}
