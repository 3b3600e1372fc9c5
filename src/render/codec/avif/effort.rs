//! How thoroughly libaom searches for the best coding of an image, chosen by its content.
//!
//! `cpu-used=9` takes a third of the time of 8. Texture costs no more bytes at it. Smooth areas with sharp edges (a
//! sky, a drawing, text) cost 5 to 150 % more, because only 8 compares all intra modes by rate and distortion and
//! detects screen content; such an image has few coefficients, so that it is fast at 8 as well
//! (bench/results/encoders.md).

/// The search for the best coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// By rate and distortion, in small blocks.
    Search,
    /// By estimates only.
    Estimate,
}

/// Of 16 samples, so many have the same code as the one before, from which on an image counts as smooth: photographs
/// with texture have up to 3 of 16, drawings and text from 10 on.
const SMOOTH_OF_16: usize = 4;

/// Larger images are not searched: libaom can't be stopped within an image, so this bounds the time by which
/// `decode_timeout` is exceeded.
const MAX_SEARCHED_SAMPLES: usize = 4_000_000;

impl Effort {
    /// The effort for a plane of luma or alpha.
    pub fn of(samples: &[u8]) -> Effort {
        let repeated = samples.iter().zip(samples.iter().skip(1)).filter(|(a, b)| a == b).count();
        let is_smooth = repeated.saturating_mul(16) >= samples.len().saturating_mul(SMOOTH_OF_16);
        if is_smooth && samples.len() <= MAX_SEARCHED_SAMPLES {
            Effort::Search
        } else {
            Effort::Estimate
        }
    }

    /// libaom's `cpu-used`.
    pub fn cpu_used(self) -> &'static str {
        match self {
            Effort::Search => "8",
            Effort::Estimate => "9",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avif_effort_follows_the_share_of_repeated_samples() {
        let texture: Vec<u8> =
            (0..4000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(Effort::of(&texture), Effort::Estimate);
        assert_eq!(Effort::of(&[7; 4000]), Effort::Search);
        // Runs of two: half of all samples are repeated. One repeated sample in five is not enough.
        let runs = |length: usize| -> Vec<u8> {
            texture.iter().flat_map(|code| vec![*code; length]).collect()
        };
        assert_eq!(Effort::of(&runs(2)), Effort::Search);
        let few: Vec<u8> =
            texture.chunks(4).flat_map(|four| four.iter().chain(four.last()).copied()).collect();
        assert_eq!(Effort::of(&few), Effort::Estimate);
        assert_eq!(Effort::of(&[]), Effort::Search);
        assert_eq!(Effort::of(&[1]), Effort::Estimate);
    }

    #[test]
    fn avif_effort_is_bounded_for_large_images() {
        assert_eq!(Effort::of(&vec![7; MAX_SEARCHED_SAMPLES]), Effort::Search);
        assert_eq!(Effort::of(&vec![7; MAX_SEARCHED_SAMPLES + 1]), Effort::Estimate);
    }
}
