//! One scale of quality for all formats: `q` is JPEG's, and other encoders get the quality that looks like it.

use crate::format::Format;

/// `q`, and the qualities that look most like JPEG at that `q`, measured over photographs (bench/encoders.sh,
/// bench/results/encoders.md): of WebP (effort 4) by mean SSIM, of AVIF and JPEG XL by mean SSIMULACRA2. Values in
/// between are interpolated.
const EQUAL: [[u8; 4]; 16] = [
    [1, 1, 1, 1],
    [10, 6, 12, 3],
    [15, 15, 23, 13],
    [20, 22, 31, 20],
    [30, 32, 41, 33],
    [40, 40, 46, 49],
    [50, 48, 51, 58],
    [60, 56, 55, 64],
    [70, 67, 61, 72],
    [75, 73, 63, 76],
    [80, 78, 70, 81],
    [85, 82, 76, 84],
    [90, 87, 86, 90],
    [95, 94, 93, 95],
    [98, 99, 98, 98],
    [100, 100, 100, 100],
];

/// The quality for the encoder of a format.
pub fn encoder_quality(format: Format, quality: u8) -> u8 {
    let column = match format {
        Format::Webp => 1,
        Format::Avif => 2,
        Format::Jxl => 3,
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
        for format in [Format::Jpeg, Format::Webp, Format::Avif, Format::Jxl] {
            let all: Vec<u8> = (1..=100).map(|quality| encoder_quality(format, quality)).collect();
            assert!(all.is_sorted(), "{format:?}: {all:?}");
            assert_eq!((all[0], all[99]), (1, 100), "{format:?}");
        }
        assert_eq!(
            [Format::Webp, Format::Avif, Format::Jxl].map(|format| encoder_quality(format, 75)),
            [73, 63, 76]
        );
        assert_eq!(
            [Format::Webp, Format::Avif].map(|format| encoder_quality(format, 77)),
            [75, 66]
        );
    }
}
