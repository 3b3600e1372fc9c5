//! Animations that are written: what a reader of the container finds, and the pixels of every frame.

use crate::render::codec::av1::Decoder;
use crate::render::codec::avif::{
    Animation, Chroma, Encoding, Metadata, decode, encode_animation, parse,
};

const WIDTH: u32 = 41;
const HEIGHT: u32 = 30;
const DELAYS: [u32; 5] = [70, 70, 0, 10, 11];
const PLAIN: Encoding =
    Encoding { quality: 90, is_lossless: false, is_full_chroma: true, options: &[] };

/// Frames of a gradient that moves by three pixels from each to the next.
fn samples(bands: u32) -> Vec<u8> {
    let mut samples: Vec<u8> = Vec::new();
    for frame in 0..DELAYS.len() as u32 {
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                samples.extend((0..bands).map(|band| (x * 3 + 9 * frame + y * (band + 1)) as u8));
            }
        }
    }
    samples
}

fn animation(samples: &[u8], bands: u32, plays: u32) -> Animation<'_> {
    let bands = bands as usize;
    Animation {
        samples,
        bands,
        width: WIDTH,
        height: HEIGHT,
        delays: &DELAYS,
        plays,
        metadata: Metadata::default(),
    }
}

fn encoded(animation: &Animation<'_>, encoding: &Encoding<'_>) -> Vec<u8> {
    encode_animation(animation, encoding, || false).unwrap().unwrap()
}

/// The payloads of the boxes of this name inside others, as ISO/IEC 14496-12 nests them.
fn boxes<'b>(bytes: &'b [u8], name: &[u8; 4]) -> Vec<&'b [u8]> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let [a, b, c, d, ..] = *rest {
        let (own, after) = rest.split_at(u32::from_be_bytes([a, b, c, d]) as usize);
        let (kind, payload) = own[4..].split_at(4);
        if kind == name {
            found.push(payload);
        } else if ["moov", "trak", "edts", "mdia", "minf", "stbl"]
            .map(str::as_bytes)
            .contains(&kind)
        {
            found.extend(boxes(payload, name));
        }
        rest = after;
    }
    found
}

fn numbers(payload: &[u8]) -> Vec<u32> {
    payload.as_chunks().0.iter().map(|number| u32::from_be_bytes(*number)).collect()
}

/// The samples of the colours and of alpha.
fn streams(file: &[u8]) -> Vec<Vec<&[u8]>> {
    let sizes = boxes(file, b"stsz").into_iter().map(numbers);
    let offsets = boxes(file, b"stco").into_iter().map(numbers);
    let mut streams = Vec::new();
    for (sizes, offsets) in sizes.zip(offsets) {
        assert_eq!((sizes[1], sizes[2], offsets[1]), (0, 5, 5));
        let places = sizes[3..].iter().zip(&offsets[2..]);
        let sample = |(size, offset): (&u32, &u32)| &file[*offset as usize..][..*size as usize];
        streams.push(places.map(sample).collect());
    }
    streams
}

#[test]
fn avif_animation_has_its_first_frame_as_a_still_image() {
    for bands in 1..=4 {
        let samples = samples(bands);
        let file = encoded(&animation(&samples, bands, 0), &PLAIN);
        let avif = parse(&file).unwrap();
        assert_eq!((avif.colour.width, avif.colour.height), (WIDTH, HEIGHT));
        assert_eq!(avif.bands(), bands as usize);
        let mut out = vec![0_u8; (WIDTH * HEIGHT * bands) as usize];
        decode(&avif, &mut out, || Ok(())).unwrap();
        let errors = out.iter().zip(&samples).map(|(one, other)| u64::from(one.abs_diff(*other)));
        assert!(errors.sum::<u64>() < out.len() as u64 * 4, "{bands}");
    }
}

#[test]
fn avif_animation_keeps_every_frame() {
    // Gray is luma as it is, and alpha too.
    let samples = samples(2);
    for is_lossless in [false, true] {
        let encoding = Encoding { is_lossless, ..PLAIN };
        let file = encoded(&animation(&samples, 2, 0), &encoding);
        let streams = streams(&file);
        assert_eq!(streams.len(), 2);
        for (band, stream) in streams.iter().enumerate() {
            let mut decoder = Decoder::open(WIDTH * HEIGHT).unwrap();
            for (number, sample) in (0..).zip(stream) {
                let frame = decoder.next(sample).unwrap();
                assert_eq!((frame.width(), frame.height()), (WIDTH, HEIGHT));
                assert_eq!(frame.chroma(), Chroma::Monochrome);
                let plane = frame.plane_u8(0).unwrap();
                let rows = (0..HEIGHT as usize).flat_map(|row| plane.row(row).iter().copied());
                let wanted = samples.iter().skip(band).step_by(2);
                let wanted = wanted.skip((number * WIDTH * HEIGHT) as usize);
                let error: u64 = rows.zip(wanted).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                let most = if is_lossless { 0 } else { u64::from(WIDTH * HEIGHT) * 4 };
                assert!(error <= most, "band {band}, frame {number}, {is_lossless}: {error}");
            }
            // The second frame is predicted from the first one.
            assert!(Decoder::open(WIDTH * HEIGHT).unwrap().next(stream[1]).is_err());
            assert!(Decoder::open(WIDTH * HEIGHT - 1).unwrap().next(stream[0]).is_err());
        }
    }
}

#[test]
fn avif_animation_keeps_delays_and_loops() {
    let samples = samples(4);
    for plays in [0, 1, 3] {
        let file = encoded(&animation(&samples, 4, plays), &PLAIN);
        assert_eq!(&file[4..12], b"ftypavis");
        // Frames that browsers show for 100 ms are written so.
        let once = 70 + 70 + 100 + 100 + 11;
        let times = boxes(&file, b"stts");
        assert_eq!(times.len(), 2, "colours and alpha");
        for times in times {
            assert_eq!(numbers(times), [0, 3, 2, 70, 2, 100, 1, 11]);
        }
        for header in boxes(&file, b"mdhd") {
            assert_eq!(numbers(header)[5..8], [1000, 0, once]);
        }
        let all = if plays == 0 { [u32::MAX; 2] } else { [0, once * plays] };
        assert_eq!(numbers(boxes(&file, b"mvhd")[0])[5..8], [1000, all[0], all[1]]);
        for list in boxes(&file, b"elst") {
            let repeats = u32::from(plays != 1);
            assert_eq!(numbers(list), [1 << 24 | repeats, 1, 0, once, 0, 0, 0x1_0000]);
        }
        for keys in boxes(&file, b"stss") {
            assert_eq!(numbers(keys)[2], 1, "the first frame is a key frame");
        }
    }
}

#[test]
fn avif_animation_has_no_alpha_where_all_is_opaque() {
    let mut samples = samples(4);
    samples.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = 255);
    assert_eq!(streams(&encoded(&animation(&samples, 4, 0), &PLAIN)).len(), 1);
    *samples.last_mut().unwrap() = 254;
    assert_eq!(streams(&encoded(&animation(&samples, 4, 0), &PLAIN)).len(), 2);
}

#[test]
fn avif_animation_can_be_stopped_and_refuses_other_lengths() {
    let samples = samples(3);
    let whole = animation(&samples, 3, 0);
    assert_eq!(encode_animation(&whole, &PLAIN, || true), Ok(None));
    for broken in [
        Animation { delays: &DELAYS[1..], ..whole },
        Animation { delays: &[], ..whole },
        Animation { samples: &samples[3..], ..whole },
        Animation { bands: 5, ..whole },
    ] {
        assert!(encode_animation(&broken, &PLAIN, || false).is_err());
    }
}
