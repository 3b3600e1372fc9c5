//! `strip=false`: the colour profile and the copyright are kept, and nothing else. The tests parse the results
//! themselves.

use image::{Rgba, RgbaImage};

use crate::support::directory::Directory;
use crate::support::images::{self, Image, Kind, avif_has_alpha, holds, profile_of, within};
use crate::support::jxl;
use crate::support::png_chunks::with_chunk;
use crate::support::server::{Server, data};

const KINDS: [Kind; 3] = [Kind::Jpeg, Kind::Png, Kind::Webp];
const COLOURS: [[u8; 3]; 3] = [[200, 100, 50], [60, 160, 90], [40, 60, 170]];
const MAKE: u16 = 0x010f;
const ORIENTATION: u16 = 0x0112;
const ARTIST: u16 = 0x013b;
const COPYRIGHT: u16 = 0x8298;
const GPS: u16 = 0x8825;

fn source() -> image::RgbImage {
    images::columns(90, 30, &COLOURS)
}

/// An EXIF block (TIFF 6.0, little-endian) with these texts, an orientation and a GPS directory.
fn exif(orientation: u8, texts: &[(u16, &str)]) -> Vec<u8> {
    let mut entries: Vec<(u16, [u8; 10])> = Vec::new();
    let count = texts.len() + 2;
    let first = 8 + 2 + 12 * count + 4;
    let mut values = Vec::<u8>::new();
    let entry = |kind: u16, length: u32, value: u32| -> [u8; 10] {
        [&kind.to_le_bytes()[..], &length.to_le_bytes(), &value.to_le_bytes()]
            .concat()
            .try_into()
            .unwrap()
    };
    for (tag, text) in texts {
        let bytes = [text.as_bytes(), b"\0"].concat();
        let length = bytes.len() as u32;
        let value = if bytes.len() <= 4 {
            let mut inside = bytes.clone();
            inside.resize(4, 0);
            u32::from_le_bytes(inside.try_into().unwrap())
        } else {
            values.extend(&bytes);
            (first + values.len() - bytes.len()) as u32
        };
        entries.push((*tag, entry(2, length, value)));
    }
    entries.push((ORIENTATION, entry(3, 1, u32::from(orientation))));
    entries.push((GPS, entry(4, 1, (first + values.len()) as u32)));
    entries.sort_unstable_by_key(|(tag, _)| *tag);
    let mut block = b"II\x2a\0\x08\0\0\0".to_vec();
    block.extend((count as u16).to_le_bytes());
    for (tag, rest) in entries {
        block.extend(tag.to_le_bytes());
        block.extend(rest);
    }
    block.extend([0; 4]);
    block.extend(values);
    // GPSLatitudeRef: "N".
    block.extend([1, 0, 1, 0, 2, 0, 2, 0, 0, 0, b'N', 0, 0, 0, 0, 0, 0, 0]);
    block
}

/// The EXIF blocks of a result.
fn exif_blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    match Kind::of(bytes).unwrap() {
        Kind::Jxl => {
            let image = jxl::read(bytes);
            let exif = image.aux_boxes().first_exif().unwrap();
            if exif.has_data() {
                found.push(exif.unwrap().payload().to_vec());
            }
        }
        Kind::Jpeg => {
            let mut rest = &bytes[2..];
            while let [0xff, marker, high, low, ..] = *rest {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let segment = &rest[4..2 + length];
                if marker == 0xe1 {
                    found.push(segment.strip_prefix(b"Exif\0\0").expect("EXIF").to_vec());
                }
                if marker == 0xda {
                    break;
                }
                rest = &rest[2 + length..];
            }
        }
        Kind::Png => {
            let mut rest = &bytes[8..];
            while rest.len() >= 12 {
                let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
                if &rest[4..8] == b"eXIf" {
                    found.push(rest[8..8 + length].to_vec());
                }
                rest = &rest[12 + length..];
            }
        }
        Kind::Webp => {
            assert_eq!(
                u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize,
                bytes.len() - 8
            );
            let mut rest = &bytes[12..];
            while rest.len() >= 8 {
                let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
                if &rest[..4] == b"EXIF" {
                    found.push(rest[8..8 + length].to_vec());
                }
                rest = &rest[8 + length.next_multiple_of(2)..];
            }
        }
        other => panic!("{other:?}"),
    }
    found
}

/// The entries of a big-endian EXIF block with one directory of texts.
fn texts(block: &[u8]) -> Vec<(u16, String)> {
    let short = |at: usize| u16::from_be_bytes(block[at..at + 2].try_into().unwrap());
    let long = |at: usize| u32::from_be_bytes(block[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&block[..4], long(4)), (&b"MM\0\x2a"[..], 8));
    let count = usize::from(short(8));
    assert_eq!(long(10 + 12 * count), 0, "there is a second directory");
    (0..count)
        .map(|number| {
            let entry = 10 + 12 * number;
            assert_eq!(short(entry + 2), 2, "its type is not ASCII");
            let length = long(entry + 4);
            let start = if length <= 4 { entry + 8 } else { long(entry + 8) };
            let text = &block[start..start + length];
            assert_eq!(text.last(), Some(&0));
            (short(entry), String::from_utf8(text[..length - 1].to_vec()).unwrap())
        })
        .collect()
}

#[test]
fn only_the_profile_and_the_copyright_are_kept() {
    let profile = images::profile_of_jpeg(&data("p3-primaries.jpg"));
    let all = exif(
        1,
        &[(MAKE, "TestCam"), (ARTIST, "Ann"), (COPYRIGHT, "© 2026 somebody, all rights reserved")],
    );
    let expected = [
        (ARTIST, "Ann".to_owned()),
        (COPYRIGHT, "© 2026 somebody, all rights reserved".to_owned()),
    ];
    let directory = Directory::new().with("gps.jpg", &data("gps.jpg"));
    for kind in KINDS {
        let put = |name: &str, exif: Option<Vec<u8>>, profile: Option<&Vec<u8>>| {
            let bytes = images::with_metadata(kind, &source(), exif, profile.cloned());
            directory.put(&format!("{name}.{}", kind.name()), &bytes);
        };
        put("all", Some(all.clone()), Some(&profile));
        put("copyright", Some(all.clone()), None);
        put("profile", None, Some(&profile));
        put("nothing", Some(exif(1, &[(MAKE, "TestCam")])), None);
    }
    let server = Server::with_handler(directory.handler());
    for from in KINDS {
        for (to, quality) in [
            (Kind::Jpeg, "&q=100"),
            (Kind::Png, ""),
            (Kind::Webp, "&q=100"),
            // If it is lossy, the profile may be written as its primaries and curve.
            (Kind::Jxl, "&lossless=true"),
        ] {
            for size in ["", "&w=45", "&lossless=true"] {
                if size == "&lossless=true" && to != Kind::Webp {
                    continue;
                }
                for (name, has_exif, has_profile) in [
                    ("all", true, true),
                    ("copyright", true, false),
                    ("profile", false, true),
                    ("nothing", false, false),
                ] {
                    let target = format!(
                        "/h/{name}.{}?strip=false&f={}{quality}{size}",
                        from.name(),
                        to.name()
                    );
                    let body = server.get(&target).ok().body;
                    let found: Vec<_> =
                        exif_blocks(&body).iter().map(|block| texts(block)).collect();
                    let wanted: Vec<_> = has_exif.then(|| expected.to_vec()).into_iter().collect();
                    assert_eq!(found, wanted, "{target}");
                    assert!(profile_of(&body) == has_profile.then(|| profile.clone()), "{target}");
                    for mark in [&b"TestCam"[..], b"http://ns.adobe.com", b"Photoshop"] {
                        assert!(!holds(&body, mark), "{target}");
                    }
                    // Colours stay in the space of the profile.
                    let image = Image::decode(&body);
                    for (x, colour) in [(17, COLOURS[0]), (50, COLOURS[1]), (83, COLOURS[2])] {
                        assert!(
                            within(image.at(x, 50), colour, 10),
                            "{target}: {:?}",
                            image.at(x, 50)
                        );
                    }
                }
            }
        }
        // By default nothing is kept, and the colours are converted to sRGB.
        let body = server.get(&format!("/h/all.{}?f=png&strip=true", from.name())).ok().body;
        assert_eq!((exif_blocks(&body).len(), profile_of(&body)), (0, None));
        assert!(!within(Image::decode(&body).at(17, 50), COLOURS[0], 10));
    }
    // Colour effects are those of sRGB.
    for (query, has_profile) in [("neg=1", false), ("sat=2&trim=0", false), ("pix=2", true)] {
        let body = server.get(&format!("/h/all.jpg?strip=false&f=png&{query}")).ok().body;
        let found: Vec<_> = exif_blocks(&body).iter().map(|block| texts(block)).collect();
        assert_eq!(found, [expected.to_vec()], "{query}");
        assert_eq!(profile_of(&body).is_some(), has_profile, "{query}");
    }
    // An image with GPS and without copyright gets no EXIF block.
    for format in ["jpg", "png", "webp", "jxl"] {
        let body = server.get(&format!("/h/gps.jpg?strip=false&f={format}")).ok().body;
        assert_eq!(exif_blocks(&body).len(), 0);
    }
    // An AVIF keeps the profile alone, which applies when it is loaded.
    let avif = server.get("/h/all.png?strip=false&f=avif&q=100").ok().body;
    assert_eq!(
        [&profile, &b"acsp"[..], b"Exif", b"TestCam"].map(|mark| holds(&avif, mark)),
        [true, true, false, false]
    );
    assert!(!holds(&server.get("/h/all.png?f=avif&q=100").ok().body, b"acsp"));
    directory.put("all.avif", &avif);
    let direct = Image::decode(&server.get("/h/all.png?f=png").ok().body);
    let through_avif = Image::decode(&server.get("/h/all.avif?f=png").ok().body);
    for x in [17, 50, 83] {
        let [red, green, blue, _] = direct.at(x, 50);
        assert!(
            within(through_avif.at(x, 50), [red, green, blue], 6),
            "{:?}",
            through_avif.at(x, 50)
        );
    }
    // In a format without profiles, the colours are converted to sRGB.
    let gif = server.get("/h/all.png?strip=false&f=gif").ok().body;
    assert!(!within(Image::decode(&gif).at(17, 50), COLOURS[0], 10) && !holds(&gif, b"acsp"));
}

#[test]
fn the_result_has_no_orientation_and_keeps_its_transparency() {
    let directory = Directory::new();
    let block = exif(6, &[(COPYRIGHT, "mine")]);
    for kind in KINDS {
        let bytes = images::with_metadata(kind, &source(), Some(block.clone()), None);
        directory.put(&format!("a.{}", kind.name()), &bytes);
    }
    let server = Server::with_handler(directory.handler());
    for from in KINDS {
        for to in KINDS.into_iter().chain([Kind::Jxl]) {
            let target = format!("/h/a.{}?strip=false&f={}", from.name(), to.name());
            let body = server.get(&target).ok().body;
            assert_eq!(Image::decode(&body).size(), (30, 90), "{target}");
            assert_eq!(texts(&exif_blocks(&body)[0]), [(COPYRIGHT, "mine".to_owned())], "{target}");
        }
    }
    // A lossy and a lossless WebP with transparency, with an EXIF block.
    let clear =
        RgbaImage::from_fn(31, 17, |x, _| Rgba([200, 10, 10, if x < 15 { 255 } else { 60 }]));
    directory.put("clear.png", &with_chunk(&images::png(clear), b"eXIf", &block));
    for query in ["f=webp", "f=webp&lossless=true", "f=png", "f=jxl", "f=jxl&lossless=true"] {
        let body = server.get(&format!("/h/clear.png?strip=false&{query}")).ok().body;
        let image = Image::decode(&body);
        // The original has the orientation 6.
        assert_eq!((image.size(), image.has_alpha), ((17, 31), true), "{query}");
        assert!(image.at(50, 90)[3].abs_diff(60) < 4 && image.at(50, 10)[3] == 255, "{query}");
        assert_eq!(exif_blocks(&body).len(), 1, "{query}");
    }
    let avif = server.get("/h/clear.png?strip=false&f=avif").ok().body;
    assert!(avif_has_alpha(&avif));
}

#[test]
fn a_malformed_exif_block_is_no_error() {
    let whole = exif(1, &[(ARTIST, "Ann Onymous"), (COPYRIGHT, "mine, all of it")]);
    let directory = Directory::new();
    let mut names = Vec::new();
    for at in (0..whole.len()).step_by(7) {
        let mut broken = whole.clone();
        broken[at] = 0xff;
        let name = format!("{at}.png");
        directory.put(&name, &images::with_metadata(Kind::Png, &source(), Some(broken), None));
        names.push(name);
    }
    let server = Server::with_handler(directory.handler());
    let mut client = server.client();
    for name in names {
        let body = client.get(&format!("/h/{name}?w=20&strip=false")).ok().body;
        for (tag, _) in exif_blocks(&body).iter().flat_map(|block| {
            // A text of random bytes may not be UTF-8, but its tag must be one of these.
            let count = usize::from(block[9]);
            (0..count)
                .map(|n| (u16::from_be_bytes([block[10 + 12 * n], block[11 + 12 * n]]), ()))
                .collect::<Vec<_>>()
        }) {
            assert!([ARTIST, COPYRIGHT].contains(&tag), "{name}");
        }
    }
}
