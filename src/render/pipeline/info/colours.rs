//! The average colour and the dominant colours of an image.
//!
//! The dominant colours are found in a histogram with 5 bits of each channel: it is divided like a variance-based median
//! cut (Wan, Wong, Prusinkiewicz, 1988), then the parts are refined by Lloyd's algorithm (k-means). Nothing of it is
//! random: equal pixels have equal colours. Pixels count by their opacity.

/// The largest number of dominant colours.
const MAX_COLOURS: usize = 5;
/// Bits of a channel that the histogram tells apart.
const BITS: usize = 5;
/// A part of the histogram whose samples differ by less from their mean (standard deviation) is one colour.
const MIN_DEVIATION: f64 = 8.0;
/// Rounds of Lloyd's algorithm; it is mostly done after four.
const ROUNDS: usize = 8;
/// In thousandths of the pixels: fewer are no dominant colour.
const MIN_SHARE: u64 = 5;

pub type Rgb = [u8; 3];

/// The colours of an image. Both are empty if all of it is transparent.
#[derive(Debug, PartialEq)]
pub struct Colours {
    /// The mean of the samples of sRGB.
    pub average: Option<Rgb>,
    /// Each with its share of the opaque pixels in thousandths, the largest share first.
    pub dominant: Vec<(Rgb, u64)>,
}

/// Pixels of about one colour.
#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    /// The opacity of the pixels.
    weight: u64,
    /// The samples of red, green and blue, times the opacity.
    sums: [u64; 3],
}

impl Bin {
    fn add(&mut self, other: &Bin) {
        self.weight += other.weight;
        self.sums.iter_mut().zip(other.sums).for_each(|(sum, more)| *sum += more);
    }

    fn sum<'b>(bins: impl IntoIterator<Item = &'b Bin>) -> Bin {
        bins.into_iter().fold(Bin::default(), |mut sum, bin| {
            sum.add(bin);
            sum
        })
    }

    fn mean(&self) -> [f64; 3] {
        self.sums.map(|sum| sum as f64 / self.weight.max(1) as f64)
    }

    fn rgb(&self) -> Rgb {
        let weight = self.weight.max(1);
        self.sums.map(|sum| u8::try_from((sum + weight / 2) / weight).unwrap_or(u8::MAX))
    }
}

pub fn find(pixels: &[[u8; 4]]) -> Colours {
    let bins = histogram(pixels);
    let all = Bin::sum(&bins);
    if all.weight == 0 {
        return Colours { average: None, dominant: Vec::new() };
    }
    let share = |bin: &Bin| (bin.weight * 1000 + all.weight / 2) / all.weight;
    let mut dominant: Vec<(Rgb, u64)> =
        clusters(&bins).iter().map(|bin| (bin.rgb(), share(bin))).collect();
    dominant.retain(|(_, share)| *share >= MIN_SHARE);
    dominant.sort_by_key(|(rgb, share)| (std::cmp::Reverse(*share), *rgb));
    Colours { average: Some(all.rgb()), dominant }
}

/// The bins that are not empty.
fn histogram(pixels: &[[u8; 4]]) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); 1 << (3 * BITS)];
    for [red, green, blue, alpha] in pixels {
        let rgb = [*red, *green, *blue];
        let index =
            rgb.iter().fold(0, |index, sample| index << BITS | usize::from(sample >> (8 - BITS)));
        let weight = u64::from(*alpha);
        if let Some(bin) = bins.get_mut(index) {
            bin.add(&Bin { weight, sums: rgb.map(|sample| u64::from(sample) * weight) });
        }
    }
    bins.retain(|bin| bin.weight > 0);
    bins
}

/// The sums of at most [`MAX_COLOURS`] parts of the bins.
fn clusters(bins: &[Bin]) -> Vec<Bin> {
    let mut parts = vec![bins.to_vec()];
    while parts.len() < MAX_COLOURS {
        let spreads: Vec<Spread> = parts.iter().map(|part| Spread::of(part)).collect();
        let widest = spreads
            .iter()
            .enumerate()
            .filter(|(_, spread)| spread.deviation >= MIN_DEVIATION)
            // Of equal ones the first.
            .rev()
            .max_by(|(_, one), (_, other)| one.total.total_cmp(&other.total));
        let Some((index, Spread { channel, mean, .. })) = widest else { break };
        let is_above = |bin: &Bin| bin.mean().get(*channel).is_some_and(|sample| sample > mean);
        let (above, below) = parts.swap_remove(index).into_iter().partition(is_above);
        parts.extend([below, above]);
    }
    let mut centres: Vec<Bin> = parts.iter().map(Bin::sum).collect();
    for _ in 0..ROUNDS {
        let means: Vec<[f64; 3]> = centres.iter().map(Bin::mean).collect();
        let mut next = vec![Bin::default(); centres.len()];
        for bin in bins {
            let nearest = nearest(&means, bin.mean());
            if let Some(centre) = next.get_mut(nearest) {
                centre.add(bin);
            }
        }
        centres = next;
        centres.retain(|centre| centre.weight > 0);
    }
    centres
}

/// How far the bins of a part are from their mean.
struct Spread {
    /// The sum of the squares, times the weights, in all channels.
    total: f64,
    /// The standard deviation in the channel that has the largest.
    deviation: f64,
    channel: usize,
    /// Of this channel.
    mean: f64,
}

impl Spread {
    fn of(part: &[Bin]) -> Spread {
        let sum = Bin::sum(part);
        let means = sum.mean();
        let squares = [0, 1, 2].map(|channel: usize| {
            let distance = |bin: &Bin| bin.mean()[channel] - means[channel];
            part.iter().map(|bin| distance(bin).powi(2) * bin.weight as f64).sum::<f64>()
        });
        let channel =
            (1..3).fold(0, |most, next| if squares[next] > squares[most] { next } else { most });
        Spread {
            total: squares.iter().sum(),
            deviation: (squares[channel] / sum.weight.max(1) as f64).sqrt(),
            channel,
            mean: means[channel],
        }
    }
}

/// The index of the nearest centre, of equally near ones the first.
fn nearest(centres: &[[f64; 3]], colour: [f64; 3]) -> usize {
    let distance = |centre: &[f64; 3]| -> f64 {
        centre.iter().zip(colour).map(|(one, other)| (one - other).powi(2)).sum()
    };
    let indices = centres.iter().enumerate();
    indices
        .min_by(|(_, one), (_, other)| distance(one).total_cmp(&distance(other)))
        .map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::*;

    fn image(parts: &[([u8; 4], usize)]) -> Vec<[u8; 4]> {
        parts.iter().flat_map(|(pixel, count)| std::iter::repeat_n(*pixel, *count)).collect()
    }

    #[test]
    fn colours_have_their_shares() {
        let parts = [
            ([255, 0, 0, 255], 500),
            ([0, 128, 0, 255], 300),
            ([0, 0, 255, 255], 150),
            ([255, 255, 255, 255], 46),
            ([0, 0, 0, 255], 4),
        ];
        let Colours { average, dominant } = find(&image(&parts));
        let expected =
            [([255, 0, 0], 500), ([0, 128, 0], 300), ([0, 0, 255], 150), ([255, 255, 255], 46)];
        // Four thousandths are not dominant.
        assert_eq!(dominant, expected);
        assert_eq!(average, Some([139, 50, 50]));
    }

    #[test]
    fn shares_and_means_are_rounded_to_the_nearest() {
        let parts = [([200, 0, 0, 255], 2), ([0, 100, 0, 255], 1)];
        let Colours { average, dominant } = find(&image(&parts));
        assert_eq!(dominant, [([200, 0, 0], 667), ([0, 100, 0], 333)]);
        // 133.3 and 33.3
        assert_eq!(average, Some([133, 33, 0]));
        // 66.7
        let grays = [([0, 0, 0, 255], 1), ([100, 100, 100, 255], 2)];
        assert_eq!(find(&image(&grays)).average, Some([67; 3]));
        // Five thousandths are the least.
        let few = [([255, 0, 0, 255], 995), ([0, 0, 255, 255], 5)];
        assert_eq!(find(&image(&few)).dominant, [([255, 0, 0], 995), ([0, 0, 255], 5)]);
    }

    #[test]
    fn similar_pixels_are_one_colour() {
        let pixels: Vec<[u8; 4]> = (0..1000_u32)
            .map(|number| [100 + (number % 7) as u8, 50 + (number % 5) as u8, 20, 255])
            .collect();
        assert_eq!(find(&pixels).dominant, [([103, 52, 20], 1000)]);
    }

    #[test]
    fn transparent_pixels_do_not_count() {
        let parts = [([255, 0, 0, 0], 900), ([0, 0, 200, 255], 75), ([0, 200, 0, 51], 125)];
        let Colours { average, dominant } = find(&image(&parts));
        assert_eq!(dominant, [([0, 0, 200], 750), ([0, 200, 0], 250)]);
        assert_eq!(average, Some([0, 50, 150]));
        let empty = Colours { average: None, dominant: Vec::new() };
        assert_eq!(find(&image(&[([9, 9, 9, 0], 7)])), empty);
        assert_eq!(find(&[]), empty);
    }

    #[test]
    fn there_are_at_most_five_and_their_order_is_fixed() {
        let mut pixels = noise(100, 100, true);
        let found = find(&pixels);
        assert_eq!(found.dominant.len(), MAX_COLOURS);
        assert!(found.dominant.is_sorted_by(|one, other| one.1 >= other.1));
        let sum: u64 = found.dominant.iter().map(|(_, share)| share).sum();
        assert!((998..=1002).contains(&sum), "{sum}");
        pixels.reverse();
        assert_eq!(find(&pixels), found);
    }
}
