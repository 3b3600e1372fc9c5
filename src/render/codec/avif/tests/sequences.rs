//! Image sequences that are read: files of other encoders, and files that break the rules of their tables.

use super::boxed;
use super::file::{File, av1c_400, av1c_420, av1c_444, clap, data, full, masks, nclx};
use super::movie::{Movie, START, decode_all, entries, entry, numbers, samples};
use crate::render::codec::avif::{
    Crop, DecodeError, Error, FrameDecoder, Nclx, Orient, Shrink, parse,
};

fn corrupt(sentence: &str) -> Error {
    Error::corrupt(sentence)
}

/// The samples at a place, in percent of width and height.
fn at<S: Copy>(
    samples: &[S],
    (width, height): (usize, usize),
    bands: usize,
    x: usize,
    y: usize,
) -> Vec<S> {
    let pixel = (y * height / 100) * width + x * width / 100;
    samples[pixel * bands..][..bands].to_vec()
}

#[test]
fn avif_sequence_of_lossless_frames_is_exact() {
    let file = data("animated-lossless.avif");
    let avif = parse(&file).unwrap();
    let frames = avif.frames.as_ref().unwrap();
    assert_eq!(frames.delays, [40, 50, 60, 70, 80, 90, 100, 110]);
    assert_eq!((frames.count(), frames.plays, frames.duration()), (8, 0, 600));
    // `moving` of generate-avif.py
    for (number, frame) in (0..).zip(decode_all(&avif)) {
        let expected = (0..24).flat_map(|y: i32| {
            (0..32).flat_map(move |x: i32| {
                let is_inside =
                    (0..8).contains(&(x - 2 * number)) && (0..8).contains(&(y - number));
                let outside = [8 * x as u8, 10 * y as u8, 99, 255];
                if is_inside { [250, 20 * number as u8, 30, 128] } else { outside }
            })
        });
        assert!(frame.into_iter().eq(expected), "{number}");
    }
}

#[test]
fn avif_sequence_with_hidden_frames_shows_one_for_each_sample() {
    // The second sample has four frame headers, others only say which frame is shown.
    let file = data("animated-hidden.avif");
    let avif = parse(&file).unwrap();
    let frames = decode_all(&avif);
    assert_eq!((frames.len(), &avif.frames.as_ref().unwrap().delays[..]), (12, &[40; 12][..]));
    for (number, frame) in frames.iter().enumerate() {
        let row = &frame[20 * 64 * 3..21 * 64 * 3];
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            let is_bar = (4 * number..4 * number + 8).contains(&x);
            let expected: u8 = if is_bar { 255 } else { 0 };
            assert!(
                pixel.iter().all(|code| code.abs_diff(expected) < 4),
                "{number}, {x}: {pixel:?}"
            );
        }
    }
}

#[test]
fn avif_sequence_of_ten_bits_has_alpha() {
    let file = data("animated-10-bit.avif");
    let avif = parse(&file).unwrap();
    // 2, 7 and 8 thirtieths of a second.
    assert_eq!(avif.frames.as_ref().unwrap().delays, [67, 233 - 67, 267 - 233]);
    let mut decoder = FrameDecoder::new(&avif).unwrap();
    let quarters = [[65535, 0, 0], [0, 65535, 0], [0, 0, 65535], [65535; 3]];
    let alphas = [255, 192, 128, 0_u16];
    for number in 0..3 {
        let mut out = vec![0_u16; 64 * 48 * 4];
        decoder.next(Shrink::NONE, &mut out).unwrap();
        for (place, (x, y)) in [(25, 25), (75, 25), (25, 75), (75, 75)].into_iter().enumerate() {
            let from = (place + 4 - number) % 4;
            let found = at(&out, (64, 48), 4, x, y);
            let near = |a: u16, b: u16| a.abs_diff(b) < 1000;
            assert!(near(found[3], alphas[from] * 257), "{number} {place}: {found:?}");
            let is_clear = alphas[from] == 0;
            let colours = found.iter().zip(quarters[from]).all(|(a, b)| near(*a, b));
            assert!(is_clear || colours, "{number} {place}: {found:?}");
        }
    }
}

#[test]
fn avif_sequence_of_premultiplied_frames_is_divided_by_alpha() {
    let file = data("premultiplied-animated.avif");
    let avif = parse(&file).unwrap();
    assert!(avif.is_premultiplied);
    for frame in decode_all(&avif) {
        let found = at(&frame, (64, 48), 4, 75, 75);
        let expected = [180_u8, 60, 120, 64];
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 8), "{found:?}");
    }
}

#[test]
fn avif_sequence_is_transformed_by_its_sample_entry() {
    let file = data("animated-clap-irot.avif");
    let avif = parse(&file).unwrap();
    assert_eq!(avif.crop, Some(Crop { left: 20, top: 14, width: 40, height: 30 }));
    assert_eq!(avif.orientation, [Orient::Rotate(1)]);
    let mut movie = Movie::new();
    let boxes = [
        av1c_420(),
        nclx(9, 13, 9),
        boxed(b"colr", b"profICC"),
        clap([32, 1, 24, 1, 0, 1, 0, 1]),
        boxed(b"imir", &[1]),
        boxed(b"btrt", &[0; 12]),
    ];
    movie.set(b"stsd", 0, &entries(&[entry(b"av01", (64, 48), &boxes)]));
    movie.parsed(|avif, _| {
        let expected = Nclx { primaries: 9, transfer: 13, matrix: 9, is_full_range: true };
        assert_eq!((avif.nclx, avif.icc), (Some(expected), Some(&b"ICC"[..])));
        assert_eq!(avif.crop, Some(Crop { left: 16, top: 12, width: 32, height: 24 }));
        assert_eq!(
            (&avif.orientation[..], avif.metadata_bytes),
            (&[Orient::MirrorHorizontally][..], 3)
        );
    });
}

#[test]
fn avif_sequence_is_shown_as_its_edit_list_says() {
    // Written by libavif 1.4.2.
    let file = data("animated-loop.avif");
    let avif = parse(&file).unwrap();
    let frames = avif.frames.as_ref().unwrap();
    assert_eq!((frames.plays, &frames.delays[..]), (0, &[40, 70, 500][..]));
    let first: Vec<Vec<u8>> =
        decode_all(&avif).iter().map(|frame| at(frame, (16, 12), 4, 50, 50)).collect();
    let expected = [[255, 0, 0, 255], [0, 255, 0, 195], [0, 0, 255, 135]];
    for (found, expected) in first.iter().zip(expected) {
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 3), "{found:?}");
    }
    let plays = |duration: &[u8], version: u8, list: &[u8]| {
        let mut movie = Movie::new();
        let (header, id) = ([0; 16], numbers(&[1, 0]));
        movie.set(
            b"tkhd",
            version,
            &[&header[..8 + 8 * usize::from(version)], &id, duration].concat(),
        );
        movie.set_box(b"edts", boxed(b"edts", &boxed(b"elst", list)));
        parse(&movie.to_bytes()).map(|avif| avif.frames.unwrap().plays)
    };
    let once = |flags: u32, once: u32| numbers(&[flags, 1, once, 0, 0x1_0000]);
    let wide = |once: u64| {
        [&numbers(&[1 << 24 | 1, 1])[..], &once.to_be_bytes(), &numbers(&[0, 0, 0x1_0000])].concat()
    };
    for (duration, expected) in [(150, 1), (300, 2), (301, 3), (149, 1), (u32::MAX, 0)] {
        assert_eq!(plays(&duration.to_be_bytes(), 0, &once(1, 150)), Ok(expected), "{duration}");
        assert_eq!(plays(&duration.to_be_bytes(), 0, &once(0, 150)), Ok(1));
        let long = if duration == u32::MAX { u64::MAX } else { duration.into() };
        assert_eq!(plays(&long.to_be_bytes(), 1, &wide(150)), Ok(expected), "{duration}");
    }
    // More than 2³¹ - 1 times is for ever, as in libavif.
    let many = 150 * ((1_u64 << 31) - 1);
    assert_eq!(plays(&many.to_be_bytes(), 1, &wide(150)), Ok(i32::MAX as u32));
    assert_eq!(plays(&(many + 1).to_be_bytes(), 1, &wide(150)), Ok(0));
    let zero = Err(corrupt("track 1: `elst` repeats nothing: a duration is 0"));
    assert_eq!(plays(&0_u32.to_be_bytes(), 0, &once(1, 150)), zero);
    assert_eq!(plays(&150_u32.to_be_bytes(), 0, &once(1, 0)), zero);
    let two = numbers(&[1, 2, 150, 0, 0x1_0000, 150, 0, 0x1_0000]);
    let sentence = "track 1: `elst` repeats 2 edits; only one is supported";
    assert_eq!(plays(&[0, 0, 1, 0], 0, &two), Err(Error::unsupported(sentence)));
    assert_eq!(plays(&[0, 0, 1, 0], 0, &[0; 7]), Err(corrupt("track 1: box `elst` ends early")));
}

#[test]
fn avif_sequence_must_have_one_sample_entry_that_fits_its_stream() {
    let error = |payload: &[u8]| Movie::new().set(b"stsd", 0, payload).error();
    let good = entry(b"av01", (64, 48), &[av1c_420()]);
    for (entries, error_of) in [
        (entries(&[]), Error::unsupported("it has 0 sample entries, not one")),
        (
            entries(&[good.clone(), good.clone()]),
            Error::unsupported("it has 2 sample entries, not one"),
        ),
        (numbers(&[1]), Error::unsupported("it has 1 sample entries, not one")),
        (
            entries(&[entry(b"encv", (64, 48), &[av1c_420()])]),
            Error::unsupported("its frames are `encv`, not `av01`"),
        ),
        (entries(&[entry(b"av01", (64, 48), &[])]), corrupt("it has no `av1C`")),
        (entries(&[boxed(b"av01", &[0; 77])]), corrupt("box `av01` ends early")),
        (
            entries(&[entry(b"av01", (64, 47), &[av1c_420()])]),
            corrupt("its AV1 has 64 x 48 pixels and its sample entry says 64 x 47"),
        ),
        (
            entries(&[entry(b"av01", (64, 48), &[av1c_444()])]),
            corrupt("its `av1C` and its AV1 have different profiles, depths or subsamplings"),
        ),
    ] {
        assert_eq!(error(&entries), error_of.in_track(1));
    }
    let identity = entries(&[entry(b"av01", (64, 48), &[av1c_420(), nclx(1, 13, 0)])]);
    assert_eq!(error(&identity), corrupt("its identity matrix needs chroma planes of full size"));
}

#[test]
fn avif_sequence_has_the_alpha_that_refers_to_its_pictures() {
    let mask = masks("alpha.avif").remove(0);
    let auxiliary = |urn: &[u8]| full(b"auxi", 0, urn);
    let alpha = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0";
    let track = |id: u32, count: u32, boxes: &[Vec<u8>], size: (u16, u16)| {
        let mut track = Movie::new();
        track.set(b"tkhd", 0, &numbers(&[0, 0, id, 0, 150]));
        track.set(b"hdlr", 0, &[&[0; 4][..], b"auxv", &[0; 13]].concat());
        track.set_box(b"tref", boxed(b"tref", &boxed(b"auxl", &numbers(&[1]))));
        track.set(b"stsd", 0, &entries(&[entry(b"av01", size, boxes)]));
        track.set(b"stts", 0, &numbers(&[1, count, 1]));
        // Its frames are those of a still image, behind the pictures.
        let start = START + Movie::new().samples.concat().len() as u32;
        let chunks: Vec<u32> = [count].into_iter().chain((0..count).map(|_| start)).collect();
        track.set(b"stco", 0, &numbers(&chunks)).set(b"stsc", 0, &numbers(&[1, 1, 1, 1]));
        track.set(b"stsz", 0, &numbers(&[mask.len() as u32, count]));
        track
    };
    let with = |tracks: &[&Movie]| {
        let mut movie = Movie::new();
        movie.samples.push(mask.clone());
        movie.tracks = tracks.iter().map(|track| track.track()).collect();
        movie
    };
    let good = track(2, 3, &[av1c_400(), auxiliary(alpha)], (64, 48));
    let mut movie = with(&[&good]);
    movie.parsed(|avif, _| {
        assert!(avif.alpha.is_some() && !avif.is_premultiplied);
        for frame in decode_all(avif) {
            let found = [(25, 25), (75, 25), (25, 75), (75, 75)]
                .map(|(x, y)| at(&frame, (64, 48), 4, x, y)[3]);
            assert_eq!(found, [255, 192, 128, 0]);
        }
    });
    movie.set_box(b"tref", boxed(b"tref", &boxed(b"prem", &numbers(&[2]))));
    movie.parsed(|avif, _| assert!(avif.is_premultiplied));
    // Without its type it is alpha; a depth map is not, and neither is what belongs to another track.
    with(&[&track(2, 3, &[av1c_400()], (64, 48))]).parsed(|avif, _| assert!(avif.alpha.is_some()));
    let depth = track(2, 3, &[av1c_400(), auxiliary(b"urn:mpeg:hevc:2015:auxid:2\0")], (64, 48));
    with(&[&depth]).parsed(|avif, _| assert!(avif.alpha.is_none()));
    let mut other = good.clone();
    other.set_box(b"tref", boxed(b"tref", &boxed(b"auxl", &numbers(&[7]))));
    with(&[&other]).parsed(|avif, _| assert!(avif.alpha.is_none()));
    with(&[&depth, &good]).parsed(|avif, _| assert!(avif.alpha.is_some()));
    assert_eq!(with(&[&good, &good]).error(), corrupt("track 1: it has two alpha planes"));
    let short = track(2, 2, &[av1c_400()], (64, 48));
    let sentence = "track 2: alpha has 2 frames and its pictures have 3";
    assert_eq!(with(&[&short]).error(), corrupt(sentence));
    let mut small = track(2, 3, &[av1c_400()], (33, 17));
    let mask = masks("odd.avif").remove(0);
    small.set(b"stsz", 0, &numbers(&[mask.len() as u32, 3]));
    let mut movie = with(&[&small]);
    *movie.samples.last_mut().unwrap() = mask;
    assert_eq!(movie.error(), corrupt("track 2: alpha has a different size"));
    let deep = masks("alpha-10-bit.avif").remove(0);
    let mut track = track(2, 3, &[boxed(b"av1C", &[0x81, 0, 0x5c, 0])], (64, 48));
    track.set(b"stsz", 0, &numbers(&[deep.len() as u32, 3]));
    let mut movie = with(&[&track]);
    *movie.samples.last_mut().unwrap() = deep;
    assert_eq!(movie.error(), Error::unsupported("track 2: alpha has a different depth"));
}

fn decode_errors(movie: &Movie) -> Vec<Option<DecodeError>> {
    let bytes = movie.to_bytes();
    let avif = parse(&bytes).unwrap();
    let mut decoder = FrameDecoder::new(&avif).unwrap();
    let length = (avif.colour.width * avif.colour.height) as usize * avif.bands();
    let mut out = vec![0_u8; length];
    (0..movie.samples.len()).map(|_| decoder.next(Shrink::NONE, &mut out).err()).collect()
}

fn with_samples(samples: Vec<Vec<u8>>) -> Movie {
    let mut movie = Movie::new();
    let sizes = samples.iter().map(|sample| sample.len() as u32);
    let count = samples.len() as u32;
    movie.set(b"stsz", 0, &numbers(&[0, count].into_iter().chain(sizes).collect::<Vec<_>>()));
    movie.set(b"stsc", 0, &numbers(&[1, 1, count, 1]));
    movie.set(b"stts", 0, &numbers(&[1, count, 10]));
    movie.samples = samples;
    movie
}

#[test]
fn avif_sequence_with_a_damaged_frame_goes_on_after_it() {
    let [first, second, third] = &samples("animated.avif")[..] else { panic!() };
    let mut movie = with_samples(vec![first.clone(), b"\x32\x7f".to_vec(), third.clone()]);
    let sentence = "an OBU is longer than its AV1 stream";
    let errors = decode_errors(&movie);
    assert_eq!(errors[1], Some(DecodeError::Frame(corrupt(sentence))));
    assert_eq!(errors[0], None);
    // A frame header of nothing.
    movie = with_samples(vec![first.clone(), vec![0x32, 1, 0], second.clone()]);
    assert!(matches!(decode_errors(&movie)[1], Some(DecodeError::Decoder(_))));
    movie = with_samples(vec![first.clone(), vec![0x12, 0], second.clone()]);
    let none = Some(DecodeError::Frame(corrupt("its AV1 has no frame")));
    assert_eq!(decode_errors(&movie), [None, none, None]);
    // A frame of another size, with its own sequence header.
    let other = super::file::streams("odd.avif").remove(0);
    movie = with_samples(vec![first.clone(), other, second.clone()]);
    let sentence = "its AV1 has frames of 64 x 48 and of 33 x 17 pixels";
    assert_eq!(decode_errors(&movie)[1], Some(DecodeError::Frame(corrupt(sentence))));
    // Frames that are not shown are limited, and take longer than they seem to.
    let hidden = [&second[..], &second[2..].repeat(16)].concat();
    movie = with_samples(vec![first.clone(), hidden.clone(), hidden]);
    let sentence = Error::unsupported("too many of its frames are not shown");
    assert!(decode_errors(&movie).contains(&Some(DecodeError::Frame(sentence))));
}

#[test]
fn avif_sequence_that_is_cut_tells_which_frame_is_missing() {
    let mut movie = Movie::new();
    movie.set(b"stsc", 0, &numbers(&[1, 1, 1, 1]));
    let [first, second, third] = [0, 1, 2].map(|n| movie.samples[n].len() as u32);
    movie.set(b"stco", 0, &numbers(&[3, START, START + first, u32::MAX]));
    movie.parsed(|_, frames| assert_eq!(frames.first_missing(), Some(2)));
    assert_eq!(decode_errors(&movie), [None, None, Some(DecodeError::Truncated)]);
    // The frames may be anywhere.
    movie.set(b"stco", 0, &numbers(&[3, START, u32::MAX, START + first + second]));
    movie.parsed(|_, frames| assert_eq!(frames.first_missing(), Some(1)));
    let end = movie.to_bytes().len() as u32;
    movie.set(b"stco", 0, &numbers(&[3, START, START + first, end - third]));
    movie.parsed(|_, frames| assert_eq!(frames.first_missing(), None));
    movie.set(b"stco", 0, &numbers(&[3, START, START + first, end - third + 1]));
    movie.parsed(|_, frames| assert_eq!(frames.first_missing(), Some(2)));
    // All offsets of 64 bits are read.
    movie.remove(b"stco").set(b"co64", 0, &numbers(&[3, 0, START, u32::MAX, u32::MAX, 0, START]));
    movie.parsed(|_, frames| assert_eq!(frames.first_missing(), Some(1)));
}

#[test]
fn avif_sequence_is_read_where_it_is_the_major_brand() {
    let still = File::single().to_bytes();
    let meta = &still[28..];
    assert_eq!(&meta[4..8], b"meta");
    let sequence = Movie::new().to_bytes();
    // Without a still image, and beside one.
    assert!(parse(&sequence).unwrap().frames.is_some());
    let both = [&sequence[..], meta].concat();
    let avif = parse(&both).unwrap();
    assert!(avif.frames.is_some());
    assert_eq!(avif.colour.tiles[0], Movie::new().samples[0]);
    let mut still_first = both.clone();
    still_first[8..12].copy_from_slice(b"avif");
    assert!(parse(&still_first).unwrap().frames.is_none());
    // Without tracks, the still image is shown.
    let ftyp = &sequence[..24];
    assert!(parse(&[ftyp, meta].concat()).unwrap().frames.is_none());
    let two = [&sequence[..], &boxed(b"moov", b"")].concat();
    assert_eq!(parse(&two).unwrap_err(), corrupt("the file has two `moov` boxes"));
    let cut = &sequence[..sequence.len() - 1];
    assert_eq!(parse(cut).unwrap_err(), corrupt("box `moov` is truncated"));
    // The metadata of the still image is that of the sequence.
    let mut file = File::single();
    file.item(b"Exif", b"\0\0\0\0MM\0*", &[]);
    file.refer(b"cdsc", 2, &[1]);
    let described = [&sequence[..], &file.to_bytes()[28..]].concat();
    let avif = parse(&described).unwrap();
    assert_eq!((avif.exif.as_deref(), avif.metadata_bytes), (Some(&b"MM\0*"[..]), 8));
}
