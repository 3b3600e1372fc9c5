//! What is encoded, as another decoder reads it.

use std::cell::Cell;

use jxl_oxide::JxlImage;

use super::*;

const LOSSLESS: Encoding = Encoding { quality: 75, is_lossless: true };
const LOSSY: Encoding = Encoding { quality: 90, is_lossless: false };

/// A gradient with some noise.
fn samples(width: u32, height: u32, bands: usize) -> Vec<u8> {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let sample = |x: u32, y: u32, band: u32| {
        let noise = (x * 31 + y * 17 + band).wrapping_mul(2_654_435_761) >> 29;
        let (along, across) = (x * 255 / width, y * 255 / height);
        ([along, across, 255 - along, (along + across) / 2][band as usize] + noise).min(255) as u8
    };
    pixels.flat_map(|(x, y)| (0..bands as u32).map(move |band| sample(x, y, band))).collect()
}

fn written(samples: &[u8], size: (u32, u32), bands: usize, encoding: Encoding) -> Vec<u8> {
    encode(samples, size, bands, encoding, None, || false).unwrap()
}

/// Samples and bands, in the colours of the file.
fn decoded(file: &[u8]) -> (Vec<u8>, usize) {
    let image = JxlImage::builder().read(file).unwrap();
    let bands = image.pixel_format().channels();
    let frame = image.render_frame(0).unwrap();
    let mut samples = vec![0; (image.width() * image.height()) as usize * bands];
    frame.stream().write_to_buffer(&mut samples);
    (samples, bands)
}

#[test]
fn jxl_lossless_encoding_round_trips() {
    for bands in 1..=4 {
        for size in [(1, 1), (33, 7), (300, 5)] {
            let samples = samples(size.0, size.1, bands);
            let file = written(&samples, size, bands, LOSSLESS);
            assert_eq!(decoded(&file), (samples, bands), "{size:?}");
        }
    }
}

#[test]
fn jxl_lossy_encoding_has_a_small_error_and_exact_alpha() {
    for bands in 1..=4 {
        for size in [(1, 1), (33, 27), (280, 60)] {
            let before = samples(size.0, size.1, bands);
            let (after, found) = decoded(&written(&before, size, bands, LOSSY));
            assert_eq!(found, bands);
            let pairs = before.chunks(bands).zip(after.chunks(bands));
            let colours = if bands < 3 { 1 } else { 3 };
            let mut sum = 0.0;
            for (one, other) in pairs {
                assert_eq!(one[colours..], other[colours..], "alpha");
                let pairs = one[..colours].iter().zip(other);
                sum += pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum::<f64>();
            }
            let mean = sum / (before.len() / bands * colours) as f64;
            assert!(mean < 40.0, "{bands} {size:?}: {mean}");
        }
    }
}

#[test]
fn jxl_size_grows_with_quality() {
    let samples = samples(128, 128, 3);
    let size =
        |quality| written(&samples, (128, 128), 3, Encoding { quality, is_lossless: false }).len();
    let sizes = [1, 10, 40, 75, 90, 100].map(size);
    assert!(sizes.is_sorted_by(|less, more| less < more) && sizes[0] * 4 < sizes[5], "{sizes:?}");
    assert_eq!((size(0), size(255)), (sizes[0], sizes[5]));
}

#[test]
fn jxl_keeps_the_profile() {
    let root = env!("CARGO_MANIFEST_DIR");
    let jpeg = std::fs::read(format!("{root}/tests/data/p3-primaries.jpg")).unwrap();
    let start = jpeg.windows(12).position(|part| part == b"ICC_PROFILE\0").unwrap() + 14;
    let length = u32::from_be_bytes(jpeg[start..start + 4].try_into().unwrap()) as usize;
    let profile = &jpeg[start..start + length];
    let samples = samples(20, 20, 3);
    let file = encode(&samples, (20, 20), 3, LOSSLESS, Some(profile), || false).unwrap();
    let image = JxlImage::builder().read(&file[..]).unwrap();
    assert_eq!(image.original_icc(), Some(profile));
    assert_eq!(decoded(&file).0, samples);
    encode(&samples, (20, 20), 3, LOSSY, Some(profile), || false).unwrap();
    // Of RGB, for gray samples; and none.
    for encoding in [LOSSLESS, LOSSY] {
        let of = |bands: usize, profile: &[u8]| {
            encode(&samples[..400 * bands], (20, 20), bands, encoding, Some(profile), || false)
        };
        assert_eq!(of(1, profile), Err(Error::Profile));
        for broken in [&profile[..100], b"", b"not a profile"] {
            assert_eq!(of(3, broken), Err(Error::Profile), "{}", broken.len());
        }
    }
}

#[test]
fn jxl_encoding_can_be_stopped() {
    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(0) };
    }
    let is_stopped = || LEFT.replace(LEFT.get().saturating_sub(1)) == 0;
    let samples = samples(300, 300, 4);
    for encoding in [LOSSY, LOSSLESS] {
        let mut stopped = 0;
        loop {
            LEFT.set(stopped);
            match encode(&samples, (300, 300), 4, encoding, None, is_stopped) {
                Err(error) => assert_eq!(error, Error::Stopped),
                Ok(file) => break assert_eq!(file, written(&samples, (300, 300), 4, encoding)),
            }
            stopped += 1;
        }
        // Often enough, at every stage of the work.
        assert!(stopped > 10, "{stopped}");
    }
}

#[test]
fn jxl_encode_refuses_samples_of_another_size() {
    let error = |samples: &[u8], width, height, bands| {
        encode(samples, (width, height), bands, LOSSY, None, || false).err()
    };
    assert_eq!(error(&[0; 12], 2, 2, 3), None);
    for (width, height, bands) in
        [(2, 2, 4), (2, 2, 2), (0, 0, 3), (0, 4, 3), (2, 2, 0), (1, 2, 6), (2, 2, usize::MAX)]
    {
        assert_eq!(error(&[0; 12], width, height, bands), Some(Error::Samples));
    }
    assert_eq!(error(&[], 1 << 14, (1 << 14) + 1, 3), Some(Error::TooLarge));
    assert_eq!(error(&[], u32::MAX, u32::MAX, 3), Some(Error::TooLarge));
}

#[test]
fn jxl_metadata_is_found_and_changes_no_pixel() {
    for encoding in [LOSSY, LOSSLESS] {
        let file = written(&samples(40, 30, 4), (40, 30), 4, encoding);
        let both = insert_exif(&insert_xmp(&file, b"<x/>").unwrap(), b"MM\0\x2a").unwrap();
        assert_eq!(decoded(&both), decoded(&file));
        let image = JxlImage::builder().read(&both[..]).unwrap();
        assert_eq!(image.aux_boxes().first_xml().unwrap(), b"<x/>");
        let exif = image.aux_boxes().first_exif().unwrap().unwrap();
        assert_eq!((exif.tiff_header_offset(), exif.payload()), (0, &b"MM\0\x2a"[..]));
    }
}
