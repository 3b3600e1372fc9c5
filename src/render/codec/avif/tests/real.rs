//! Files of encoders, also truncated and mutated, and hostile files.

use std::borrow::Cow;

use super::file::{File, data};
use crate::render::codec::avif::sequence::{MAX_OBUS, scan};
use crate::render::codec::avif::{Avif, Chroma, Coded, Crop, Error, Nclx, Orient, parse};

/// The names of all AVIF files of a directory.
fn names(directory: &str) -> Vec<String> {
    let path = format!("{}/tests/data/{directory}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name.ends_with(".avif"))
        .map(|name| format!("{directory}{name}"))
        .collect();
    names.sort();
    assert!(names.len() > 10);
    names
}

#[test]
fn avif_files_of_encoders_are_parsed() {
    let check = |name: &str, check: &dyn Fn(&Avif)| check(&parse(&data(name)).unwrap());
    for (name, size, chroma, depth) in [
        ("quarters.avif", (64, 48), Chroma::Yuv444, 8),
        ("patches-nclx.avif", (96, 32), Chroma::Yuv444, 8),
        ("two-sizes.avif", (64, 48), Chroma::Yuv444, 8),
        ("yuv420.avif", (64, 48), Chroma::Yuv420, 8),
        ("yuv422.avif", (64, 48), Chroma::Yuv422, 8),
        ("yuv444.avif", (64, 48), Chroma::Yuv444, 8),
        ("monochrome.avif", (64, 48), Chroma::Monochrome, 8),
        ("10-bit-444.avif", (64, 48), Chroma::Yuv444, 10),
        ("12-bit.avif", (64, 48), Chroma::Yuv420, 12),
        ("odd.avif", (33, 17), Chroma::Yuv420, 8),
        ("pasp.avif", (64, 48), Chroma::Yuv444, 8),
        ("grid.avif", (128, 128), Chroma::Yuv420, 8),
        ("grid-overhang.avif", (100, 90), Chroma::Yuv420, 8),
        ("animated.avif", (64, 48), Chroma::Yuv420, 8),
    ] {
        check(name, &|image| {
            let colour = &image.colour;
            assert_eq!((colour.width, colour.height), size, "{name}");
            let kept = if image.frames.is_some() { 9 } else { 1 };
            assert_eq!(
                (colour.sequence.chroma, colour.sequence.depth, colour.frames),
                (chroma, depth, kept),
                "{name}"
            );
        });
    }
    check("alpha-premultiplied.avif", &|image| {
        assert!(image.is_premultiplied && image.alpha.is_some())
    });
    check("alpha.avif", &|image| assert!(!image.is_premultiplied && image.alpha.is_some()));
    check("grid-alpha.avif", &|image| assert_eq!(image.alpha.as_ref().unwrap().tiles.len(), 4));
    check("limited-range-alpha.avif", &|image| {
        assert!(!image.colour.sequence.nclx.is_full_range);
        assert!(image.alpha.as_ref().unwrap().sequence.nclx.is_full_range);
    });
    check("irot-3-imir-0.avif", &|image| {
        assert_eq!(image.orientation, [Orient::Rotate(3), Orient::MirrorVertically]);
    });
    check("clap-irot-1.avif", &|image| {
        assert_eq!(image.crop, Some(Crop { left: 20, top: 14, width: 40, height: 30 }));
        assert_eq!(image.orientation, [Orient::Rotate(1)]);
    });
    check("icc.avif", &|image| assert_eq!(&image.icc.unwrap()[36..40], b"acsp"));
    check("exif-xmp.avif", &|image| assert_eq!(&image.exif.as_deref().unwrap()[..4], b"MM\0*"));
    check("pq.avif", &|image| {
        let expected = Nclx { primaries: 9, transfer: 16, matrix: 9, is_full_range: true };
        assert_eq!((image.nclx, image.colour.sequence.nclx), (Some(expected), expected));
    });
}

#[test]
fn avif_test_files_are_parsed_except_the_one_with_a_wrong_size() {
    for name in names("") {
        assert_eq!(parse(&data(&name)).is_ok(), name != "lying-ispe.avif", "{name}");
    }
}

/// Asserts what a decoder relies on.
fn check(file: &[u8], image: &Avif) {
    check_coded(&image.colour);
    if let Some(alpha) = &image.alpha {
        check_coded(alpha);
        assert_eq!((alpha.width, alpha.height), (image.colour.width, image.colour.height));
        assert_eq!(alpha.sequence.depth, image.colour.sequence.depth);
    }
    assert!(!image.is_premultiplied || image.alpha.is_some());
    if let Some(Crop { left, top, width, height }) = image.crop {
        assert!(width > 0 && left + width <= image.colour.width);
        assert!(height > 0 && top + height <= image.colour.height);
    }
    assert!(image.orientation.len() <= 4);
    if let Some(frames) = &image.frames {
        assert!((1..=100_000).contains(&frames.count()));
        assert_eq!(frames.delays.len(), frames.count() as usize);
        assert!(frames.samples(0).0.is_some() && frames.first_missing() != Some(0));
        assert_eq!(frames.samples(frames.count() as usize), (None, None));
    }
    let tiles = [Some(&image.colour), image.alpha.as_ref()]
        .into_iter()
        .flatten()
        .flat_map(|coded| &coded.tiles);
    let copied = tiles.map(|tile| if let Cow::Owned(bytes) = tile { bytes.len() } else { 0 });
    assert!(copied.sum::<usize>() <= 2 * file.len());
}

fn check_coded(coded: &Coded) {
    assert!((1..=256).contains(&coded.tiles.len()));
    assert_eq!(coded.tiles.len() as u32, coded.columns * coded.rows);
    assert!((1..=coded.tile_width * coded.columns).contains(&coded.width));
    assert!((1..=coded.tile_height * coded.rows).contains(&coded.height));
    for tile in &coded.tiles {
        // Without the OBUs of `av1C`.
        let stream = scan(&[], tile, &mut MAX_OBUS.clone()).unwrap();
        assert_eq!(
            (stream.header.width, stream.header.height),
            (coded.tile_width, coded.tile_height)
        );
        assert_eq!(stream.header.sequence, coded.sequence);
        assert!((1..=10).contains(&coded.frames) && stream.frames <= coded.frames);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let names = [names(""), names("hostile/")].concat();
    let files = names.iter().map(|name| data(name)).filter(|bytes| bytes.len() < 8000);
    files.chain([File::grid_with_alpha_of_tiles().to_bytes()]).collect()
}

#[test]
fn avif_truncated_file_is_parsed_completely_or_refused() {
    for seed in seeds() {
        let whole = parse(&seed);
        for end in 0..seed.len() {
            let Ok(image) = parse(&seed[..end]) else { continue };
            // Only unused parts may be missing.
            let whole = whole.as_ref().unwrap();
            assert_eq!(image.colour.tiles, whole.colour.tiles);
            assert_eq!(image.exif, whole.exif);
            assert_eq!(image.icc, whole.icc);
        }
    }
}

#[test]
fn avif_mutated_file_is_refused_or_consistent() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let (mut read, mut refused) = (0, 0);
    for seed in seeds() {
        // Most mutations go to the boxes before the streams.
        let head =
            seed.windows(4).position(|window| window == b"mdat").unwrap_or(seed.len()).max(1);
        for round in 0..800 {
            let mut bytes = seed.clone();
            for _ in 0..1 + random() % 4 {
                let at = random() % if round % 4 == 0 { bytes.len() } else { head };
                match random() % 8 {
                    0 => bytes[at] ^= 1 << (random() % 8),
                    1..=4 => bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff][random() % 6],
                    5 => bytes[at] = random() as u8,
                    6 => bytes[at] = bytes[at].wrapping_add(1),
                    // Four bytes copied from elsewhere.
                    _ => {
                        let from = random() % head;
                        let length = 4.min(bytes.len() - at.max(from));
                        bytes.copy_within(from..from + length, at);
                    }
                }
            }
            match parse(&bytes) {
                Ok(image) => {
                    check(&bytes, &image);
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > refused / 20 && refused > read / 20, "{read} read, {refused} refused");
}

#[test]
fn avif_hostile_files_are_refused_as_the_manifest_says() {
    let list = String::from_utf8(data("hostile/MANIFEST.tsv")).unwrap();
    let mut seen = 0;
    for line in list.lines().filter(|line| line.contains(".avif\t")) {
        let fields: Vec<&str> = line.split('\t').collect();
        let bytes = data(&format!("hostile/{}", fields[0]));
        if crate::format::Format::of_bytes(&bytes) != Some(crate::format::Format::Avif) {
            continue;
        }
        let answer = match parse(&bytes) {
            // Refused by a configured limit instead, or as its frames are decoded.
            Ok(image) if image.frames.is_some() => fields[1] != "unsupported_format",
            Ok(_) => fields[1].starts_with("too_many_pixels") || fields[1] == "side_too_long",
            Err(Error::Corrupt(_)) => fields[1] == "corrupt_image",
            Err(Error::Unsupported(_)) => fields[1] == "unsupported_format",
        };
        assert!(answer, "{line}: {:?}", parse(&bytes).err());
        seen += 1;
    }
    assert!(seen > 40);
}
