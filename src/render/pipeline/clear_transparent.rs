//! Fills transparent pixels with the mean colour of the others. A lossy encoder that codes colour and transparency
//! separately blurs the colour of transparent pixels, often black, into their neighbours, which makes dark fringes.

use crate::render::vips::{Error, Image, Value, call};

/// About how many pixels along a side are sampled for the mean.
const SAMPLED_SIDE: u32 = 128;

/// Fills the transparent pixels of an image.
pub fn fill<'b>(image: &Image<'b>) -> Result<Image<'b>, Error> {
    let image = image.copy_memory()?;
    let step = |side: u32| side / SAMPLED_SIDE;
    let step = step(image.width()).min(step(image.frame_height())).max(1);
    let bands = image.bands();
    let mut colour = mean(image.subsample(step)?.samples()?, bands as usize);
    colour.push(0.0);
    let nothing = vec![0.0; colour.len()];
    let fill = image.apply(
        c"linear",
        &[
            (c"a", Value::Doubles(&nothing)),
            (c"b", Value::Doubles(&colour)),
            (c"uchar", Value::Bool(true)),
        ],
    )?;
    let is_visible =
        image.apply(c"extract_band", &[(c"band", Value::Int(bands.saturating_sub(1) as i32))])?;
    let arguments = [
        (c"cond", Value::Image(&is_visible)),
        (c"in1", Value::Image(&image)),
        (c"in2", Value::Image(&fill)),
    ];
    call(c"ifthenelse", &arguments)?.image(c"out")
}

/// The mean of all channels but the last, weighted by the last, which is the opacity.
fn mean(samples: &[u8], bands: usize) -> Vec<f64> {
    let mut sums = vec![0.0; bands.saturating_sub(1)];
    let mut weight = 0.0;
    for pixel in samples.chunks_exact(bands.max(1)) {
        if let Some((alpha, colour)) = pixel.split_last() {
            let alpha = f64::from(*alpha);
            weight += alpha;
            sums.iter_mut().zip(colour).for_each(|(sum, value)| *sum += alpha * f64::from(*value));
        }
    }
    sums.iter().map(|sum| if weight > 0.0 { (sum / weight).round() } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_is_weighted_by_opacity() {
        assert_eq!(mean(&[200, 100, 0, 255, 0, 0, 0, 0, 100, 0, 50, 255], 4), [150.0, 50.0, 25.0]);
        assert_eq!(mean(&[9, 0, 7, 0], 2), [0.0]);
        assert_eq!(mean(&[], 4), [0.0, 0.0, 0.0]);
    }
}
