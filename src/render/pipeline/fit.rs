//! `max_bytes`: the best quality with which an encoded image is at most that large.
//!
//! The search takes at most [`MAX_ENCODINGS`]. It depends on nothing but the lengths of the results, so that the same
//! request always gets the same bytes.

/// Most encodings of one image.
pub const MAX_ENCODINGS: usize = 5;
/// A result of at least this part of `max_bytes`, in hundredths, is not improved any more.
const NEARLY_FULL: u64 = 97;
/// Bytes of photographs as JPEGs by their quality, in thousands (bench/results/encoders.md, "One q for all formats"). Of
/// other formats on JPEG's scale, the proportions are similar: where the first guess is wrong, the next ones are
/// interpolated.
const TYPICAL: [(u8, f64); 14] = [
    (1, 26.2),
    (10, 83.5),
    (20, 157.2),
    (30, 218.1),
    (40, 268.2),
    (50, 316.5),
    (60, 369.5),
    (70, 453.5),
    (75, 507.5),
    (80, 591.5),
    (85, 706.5),
    (90, 1021.3),
    (95, 1437.8),
    (100, 3107.7),
];
/// What a guess aims at, as a part of `max_bytes`, by the number of encodings that were all too large.
const AIMS: [f64; 3] = [0.95, 0.9, 0.6];
/// The same between two known lengths.
const AIM_BETWEEN: f64 = 0.985;
/// The same with the last encoding, which is wasted if it does not fit: where one is known that fills much of `max_bytes`,
/// and otherwise.
const LAST_AIMS: (f64, f64) = (0.96, 0.85);
/// Lengths that are far from `max_bytes`, as parts of it: so small, so large.
const FAR: (f64, f64) = (0.7, 1.1);
/// How fast lengths may grow, compared with typical ones: images with few details hardly do.
const SLOPES: (f64, f64) = (0.02, 6.0);

/// An encoded image, and its place in the list of qualities.
#[derive(Debug, PartialEq, Eq)]
pub struct Fitted {
    pub index: usize,
    pub bytes: Vec<u8>,
}

/// One encoding: its place in the list of qualities, and its length in bytes.
#[derive(Clone, Copy)]
struct Known {
    index: usize,
    length: f64,
}

/// The result of `encode` with the best of these qualities, which rise, of which none is 0, and of which the last one is
/// tried first, that has at most `max_bytes`. If it finds none, the smallest result. Fails like `encode`.
pub fn fit<E>(
    qualities: &[u8],
    max_bytes: u64,
    mut encode: impl FnMut(u8) -> Result<Vec<u8>, E>,
) -> Result<Option<Fitted>, E> {
    let Some(last) = qualities.len().checked_sub(1) else { return Ok(None) };
    let mut below: Option<Known> = None;
    let mut above: Option<Known> = None;
    let mut slope = 1.0;
    let mut best: Option<Fitted> = None;
    let mut index = last;
    for left in (0..MAX_ENCODINGS).rev() {
        let Some(quality) = qualities.get(index) else { break };
        let bytes = encode(*quality)?;
        let length = bytes.len() as u64;
        let known = Known { index, length: length as f64 };
        if length <= max_bytes {
            below = Some(known);
            best = Some(Fitted { index, bytes });
            if length.saturating_mul(100) >= max_bytes.saturating_mul(NEARLY_FULL) {
                break;
            }
        } else {
            if let Some(before) = above {
                slope = slope_between(qualities, known, before);
            }
            above = Some(known);
            // Until one fits, the smallest is the best.
            if below.is_none() && best.as_ref().is_none_or(|best| bytes.len() < best.bytes.len()) {
                best = Some(Fitted { index, bytes });
            }
        }
        let first = below.map_or(0, |known| known.index + 1);
        let Some(above) = above.filter(|above| first < above.index) else { break };
        let within = |aim| best_within(qualities, first, above.index, aim);
        let max_bytes = max_bytes as f64;
        let typical_above = typical_at(qualities, above.index);
        index = match below {
            // If any quality fits, the lowest does.
            None if left == 1 => 0,
            None => {
                let aim = AIMS.get(MAX_ENCODINGS - 1 - left).or(AIMS.last()).unwrap_or(&1.0);
                let guess = within(typical_above + (max_bytes * aim / above.length).ln() / slope);
                guess.max(above.index / 3)
            }
            Some(below) => {
                let is_poor = below.length < FAR.0 * max_bytes;
                let aim = match left {
                    1 if is_poor => LAST_AIMS.1,
                    1 => LAST_AIMS.0,
                    _ => AIM_BETWEEN,
                };
                let typical_below = typical_at(qualities, below.index);
                let growth = (max_bytes * aim / below.length.max(1.0)).ln().max(0.0);
                let guess = within(typical_below + growth / slope_between(qualities, below, above));
                // Lengths may not grow as typical ones do: after one that was much too large, half of the way is safer.
                if known.index == above.index && is_poor && above.length > FAR.1 * max_bytes {
                    guess.min(within(f64::midpoint(typical_below, typical_above)))
                } else {
                    guess
                }
            }
        };
    }
    Ok(best)
}

/// The place of the best quality, from `first` on and before `end`, whose typical length has at most this logarithm.
fn best_within(qualities: &[u8], first: usize, end: usize, aim: f64) -> usize {
    let reaches = (first..end).rev().find(|index| typical_at(qualities, *index) <= aim);
    reaches.unwrap_or(first)
}

/// By how much the logarithm of the length grows with that of the typical length.
fn slope_between(qualities: &[u8], one: Known, other: Known) -> f64 {
    let typical = typical_at(qualities, other.index) - typical_at(qualities, one.index);
    let slope = (other.length.max(1.0) / one.length.max(1.0)).ln() / typical;
    // Two lengths that are equal, or not in order.
    if slope.is_finite() { slope.clamp(SLOPES.0, SLOPES.1) } else { 1.0 }
}

fn typical_at(qualities: &[u8], index: usize) -> f64 {
    typical(qualities.get(index).copied().unwrap_or_default())
}

/// The logarithm of the typical length at a quality.
fn typical(quality: u8) -> f64 {
    for pair in TYPICAL.windows(2) {
        if let [(low, from), (high, to)] = pair
            && quality <= *high
        {
            let part = f64::from(quality.saturating_sub(*low)) / f64::from(high - low);
            return from.ln() + part * (to.ln() - from.ln());
        }
    }
    TYPICAL.last().map_or(0.0, |(_, bytes)| bytes.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fits an encoder whose results have these lengths, and returns the quality, the length and the qualities tried.
    fn fitted(start: u8, max_bytes: u64, length: impl Fn(u8) -> usize) -> (u8, u64, Vec<u8>) {
        let qualities: Vec<u8> = (1..=start).collect();
        let mut tried = Vec::new();
        let result = fit(&qualities, max_bytes, |quality| {
            tried.push(quality);
            Ok::<_, ()>(vec![0; length(quality)])
        });
        let Fitted { index, bytes } = result.unwrap().unwrap();
        assert!(tried.len() <= MAX_ENCODINGS, "{tried:?}");
        assert_eq!(bytes.len(), length(qualities[index]));
        (qualities[index], bytes.len() as u64, tried)
    }

    /// Lengths of different images: like the table, flat, steep, with a large constant part.
    const CURVES: [fn(u8) -> usize; 5] = [
        |quality| (typical(quality).exp() * 40.0) as usize,
        |quality| 3000 + 20 * usize::from(quality),
        |quality| 50 * usize::from(quality).pow(2),
        |quality| 10_000 + (typical(quality).exp() * 3.0) as usize,
        |quality| (1.05_f64.powi(quality.into()) * 300.0) as usize,
    ];

    #[test]
    fn what_fits_at_once_is_encoded_once() {
        let (quality, _, tried) = fitted(75, 1000, |_| 1000);
        assert_eq!((quality, tried), (75, vec![75]));
        let (quality, _, tried) = fitted(1, 1000, |_| 5000);
        assert_eq!((quality, tried), (1, vec![1]));
    }

    #[test]
    fn the_result_fits_if_any_does_and_is_near_the_best_quality() {
        for (number, length) in CURVES.into_iter().enumerate() {
            for start in [5, 10, 20, 40, 60, 75, 80, 85, 90, 95] {
                for percent in (2..100).step_by(3) {
                    let max_bytes = length(start) as u64 * percent / 100;
                    let (quality, bytes, tried) = fitted(start, max_bytes, length);
                    let best =
                        (1..=start).rev().find(|quality| length(*quality) as u64 <= max_bytes);
                    let Some(best) = best else {
                        assert_eq!(quality, 1, "the smallest, curve {number}, {tried:?}");
                        continue;
                    };
                    assert!(bytes <= max_bytes, "curve {number} from {start}: {tried:?}");
                    // The first and the fourth curve grow like photographs, or less.
                    let (steps, part) = if number % 3 == 0 { (2, 95) } else { (6, 40) };
                    let is_near = quality + steps >= best || bytes * 100 >= max_bytes * part;
                    assert!(is_near, "curve {number} from {start}, {percent} %: {best}, {tried:?}");
                }
            }
        }
    }

    #[test]
    fn the_search_is_the_same_each_time() {
        for length in CURVES {
            let max_bytes = length(80) as u64 / 3;
            assert_eq!(fitted(80, max_bytes, length), fitted(80, max_bytes, length));
        }
    }

    #[test]
    fn hostile_lengths_end_the_search_with_the_smallest_result() {
        // Nothing fits, and nothing is smaller.
        let (_, bytes, tried) = fitted(100, 10, |_| 70_000);
        assert_eq!((bytes, tried.first(), tried.last()), (70_000, Some(&100), Some(&1)));
        // A lower quality is larger.
        let (quality, _, tried) = fitted(60, 1000, |quality| 9000 - 50 * usize::from(quality));
        assert_eq!((quality, tried[0]), (60, 60));
        // Empty results, and a limit of 0.
        assert_eq!(fitted(50, 0, |_| 0).0, 50);
        assert_eq!(fitted(50, 0, |quality| usize::from(quality > 3)).1, 0);
        let jumps = |quality: u8| if quality.is_multiple_of(2) { 100 } else { 100_000 };
        assert!(fitted(99, 1000, jumps).2.len() <= MAX_ENCODINGS);
    }

    #[test]
    fn a_failure_ends_the_search() {
        let mut count = 0;
        let result = fit(&[1, 2, 3, 4, 5], 10, |_| {
            count += 1;
            if count == 2 { Err("stopped") } else { Ok(vec![0; 100]) }
        });
        assert_eq!((result, count), (Err("stopped"), 2));
        assert_eq!(fit(&[], 10, |_| Ok::<_, ()>(vec![])), Ok(None));
    }
}
