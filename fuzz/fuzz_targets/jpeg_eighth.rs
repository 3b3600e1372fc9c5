//! The JPEG decoder at scale 1/8: no panic, the pixels of libjpeg, which refuses nothing that is examined, and no change
//! by a missing EOI marker that is added. A JPEG that is transcoded to a single scan keeps its pixels.
#![no_main]

use libfuzzer_sys::fuzz_target;
use s3imageserver::bench;

/// More would only take memory.
const MAX_PIXELS: usize = 4_000_000;

/// The sides in the first frame header that looks like one.
fn is_small(jpeg: &[u8]) -> bool {
    let frames =
        jpeg.windows(9).filter(|bytes| bytes[0] == 0xff && matches!(bytes[1], 0xc0..=0xc2));
    frames.fold(true, |is_small, frame| {
        let side = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        is_small && side(5) * side(7) <= MAX_PIXELS
    })
}

fuzz_target!(|jpeg: &[u8]| {
    if !is_small(jpeg) {
        return;
    }
    for must_examine in [true, false] {
        let Some(image) = bench::decode_jpeg_eighth(jpeg, must_examine) else { continue };
        let samples = image.width as usize * image.height as usize * image.bands;
        assert_eq!(image.samples.len(), samples);
        // An image without pixels, which libvips is not asked for.
        if samples == 0 {
            break;
        }
        match bench::decode_jpeg_with_libjpeg(jpeg, 8, must_examine) {
            Some(expected) => {
                assert!(image.samples == expected.samples, "other pixels than libjpeg")
            }
            None => assert!(!must_examine, "libjpeg refuses it"),
        }
        if must_examine {
            break;
        }
    }
    if let Some(transcoded) = bench::transcode_jpeg(jpeg) {
        assert!(bench::transcode_jpeg(&transcoded).is_none());
        let [original, transcoded] = [jpeg, &transcoded].map(|file| {
            bench::decode_jpeg_with_libjpeg(file, 1, true).expect("libjpeg refuses it").samples
        });
        assert!(original == transcoded, "other pixels than the original");
    }
    if let Some(complete) = bench::complete_jpeg(jpeg) {
        assert!(bench::complete_jpeg(&complete).is_none());
        let _ = bench::decode_jpeg_eighth(&complete, false);
    }
});
