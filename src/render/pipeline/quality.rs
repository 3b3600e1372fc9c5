//! One scale of quality for all formats: `q` is JPEG's, and other encoders get the quality that looks like it.

use crate::format::Format;

/// `q`, and the qualities that look most like JPEG at that `q`, measured over photographs (bench/encoders.sh,
/// bench/results/encoders.md): of WebP (effort 4) by mean SSIM, of AVIF by mean SSIMULACRA2. Values in between are
/// interpolated.
const EQUAL: [[u8; 3]; 16] = [
    [1, 1, 1],
    [10, 6, 12],
    [15, 15, 23],
    [20, 22, 31],
    [30, 32, 41],
    [40, 40, 46],
    [50, 48, 51],
    [60, 56, 55],
    [70, 67, 61],
    [75, 73, 63],
    [80, 78, 70],
    [85, 82, 76],
    [90, 87, 86],
    [95, 94, 93],
    [98, 99, 98],
    [100, 100, 100],
];

/// The quality for the encoder of a format.
pub fn encoder_quality(format: Format, quality: u8) -> u8 {
    let column = match format {
        Format::Webp => 1,
        Format::Avif => 2,
        Format::Jpeg | Format::Png | Format::Gif => return quality,
    };
    for pair in EQUAL.windows(2) {
        if let [below, above] = pair
            && (below[0]..=above[0]).contains(&quality)
        {
            let [from, to] = [below, above].map(|row| f64::from(row[column]));
            let part = f64::from(quality - below[0]) / f64::from(above[0] - below[0]);
            return (from + part * (to - from)).round() as u8;
        }
    }
    quality
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoder_quality_never_falls_as_q_rises() {
        for format in [Format::Jpeg, Format::Webp, Format::Avif] {
            let all: Vec<u8> = (1..=100).map(|quality| encoder_quality(format, quality)).collect();
            assert!(all.is_sorted(), "{format:?}: {all:?}");
            assert_eq!((all[0], all[99]), (1, 100), "{format:?}");
        }
        assert_eq!(
            [Format::Webp, Format::Avif].map(|format| encoder_quality(format, 75)),
            [73, 63]
        );
        assert_eq!(
            [Format::Webp, Format::Avif].map(|format| encoder_quality(format, 77)),
            [75, 66]
        );
    }
}
